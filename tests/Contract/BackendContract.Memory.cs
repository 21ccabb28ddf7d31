using System.Runtime.InteropServices;
using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    [Theory, InlineData(0), InlineData(1), InlineData(255), InlineData(256), InlineData(257), InlineData(100_000)]
    public void Allocate_gives_enough_and_counts(long bytes)
    {
        int live = Subject.LiveBuffers;
        Storage storage = Subject.Allocate(bytes);
        Assert.True(storage.Bytes >= bytes);
        Assert.Equal(live + 1, Subject.LiveBuffers);
        Subject.Free(storage);
    }

    [Fact]
    public void Free_takes_back_in_any_order()
    {
        int live = Subject.LiveBuffers;
        Storage a = Subject.Allocate(1000), b = Subject.Allocate(1000);
        Assert.NotSame(a, b);
        Subject.Free(a);
        Assert.Equal(live + 1, Subject.LiveBuffers);
        Subject.Free(b);
        Assert.Equal(live, Subject.LiveBuffers);
    }

    [Fact]
    public void Upload_reaches_only_the_view() =>
        Agree(Exact, t => t.Backend.Upload<float>(t.Noise(0).Normals(15), t.Output("y", [3, 5])));

    [Fact]
    public void Download_reads_the_view()
    {
        float[] values = new Noise(7).Normals(12);
        Tensor x = Subject.From([12], values);
        Assert.Equal(values[4..10], Subject.ToFloats(x.View([2, 3], 4)));
        Subject.Free(x);
    }

    [Fact]
    public void Import_makes_a_host_tensor_usable()
    {
        float[] values = new Noise(8).Normals(21);
        using NativeStorage storage = new(sizeof(float) * 21);
        Tensor host = new([3, 7], DType.F32, storage);
        values.CopyTo(host.Floats);

        Tensor imported = Subject.Import(host), y = Subject.New([3, 7]);
        Subject.Add(imported, imported, y);
        Assert.Equal(Array.ConvertAll(values, v => v + v), Subject.ToFloats(y));
        Subject.Free(y);
        if (!ReferenceEquals(imported, host))
            Subject.Free(imported);
    }

    [Theory, MemberData(nameof(WeightTypes))]
    public void Copy_rounds_to_the_nearest_even(DType to)
    {
        foreach (int n in Sizes)
            Agree(Exact, t => t.Backend.Copy(t.Normal([n]), t.Output("y", [n], to)));

        // Every exponent with mantissas on, just below and just above the ties of both 16-bit types.
        float[] edges = [.. from exponent in Enumerable.Range(0, 256)
                            from mantissa in new uint[] { 0, 1, 0x1000, 0x0FFF, 0x1001, 0x3000, 0x8000, 0x7FFF, 0x8001, 0x18000, 0x7FF000, 0x7FFFFF }
                            from sign in new uint[] { 0, 0x80000000 }
                            where exponent < 255 || mantissa == 0
                            select BitConverter.UInt32BitsToSingle(sign | (uint)exponent << 23 | mantissa)];
        Agree(Exact, t => t.Backend.Copy(t.Input([edges.Length], edges), t.Output("y", [edges.Length], to)));
    }

    [Theory, InlineData(DType.BF16), InlineData(DType.F16)]
    public void Copy_widens_every_16_bit_number(DType from)
    {
        ushort[] all = [.. Enumerable.Range(0, 1 << 16).Select(i => (ushort)i)];
        DType other = from == DType.F16 ? DType.BF16 : DType.F16;
        foreach (DType to in new[] { DType.F32, other })
            Agree(Exact, t => t.Backend.Copy(
                t.Input([all.Length], from, MemoryMarshal.AsBytes<ushort>(all)),
                t.Zeroed("y", [all.Length], to)));   // some NaN may come out with the very bits that mark memory as unwritten
    }

    [Theory, InlineData(DType.I32), InlineData(DType.I64), InlineData(DType.BF16), InlineData(DType.F32)]
    public void Copy_moves_bytes_between_equal_types(DType type)
    {
        byte[] bytes = [.. Enumerable.Range(0, 15 * type.Size()).Select(i => (byte)(7 * i))];
        Agree(Exact, t => t.Backend.Copy(t.Input([3, 5], type, bytes), t.Output("y", [3, 5], type)));
    }

    [Fact]
    public void Fill_writes_every_element()
    {
        foreach (int n in Lengths)
            foreach (float value in new[] { 0, -1.5f, float.NegativeInfinity })
                Agree(Exact, t => t.Backend.Fill(t.Output("y", [n]), value));
    }
}
