using MoeFromScratch.Contract;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Tensors.Tests.Checkpoints;

/// <summary>The container of GGUF files: what an independent writer made is read, what we write is read, and what is broken is refused.</summary>
public sealed class GgufFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private GgufFile Open(GgufBytes file) => Open(file.Bytes());

    private GgufFile Open(byte[] bytes)
    {
        File.WriteAllBytes(_folder["x.gguf"], bytes);
        return GgufFile.Open(_folder["x.gguf"]);
    }

    [Theory]
    [InlineData(2u, 32)]
    [InlineData(3u, 64)]
    public void EveryTypeOfValueIsRead(uint version, int alignment)
    {
        GgufBytes bytes = new GgufBytes { Version = version, Alignment = alignment }
            .Value("u8", 0, 200).Value("i8", 1, 0xFE).Value("u16", 2, BitConverter.GetBytes((ushort)60000)).Value("i16", 3, BitConverter.GetBytes((short)-2))
            .U32("general.alignment", (uint)alignment).Value("i32", 5, BitConverter.GetBytes(-7)).F32("f32", 0.25f).Value("true", 7, 1).Value("false", 7, 0)
            .String("text", "ä ▁").Value("u64", 10, BitConverter.GetBytes(1UL << 40)).Value("i64", 11, BitConverter.GetBytes(-1L << 40)).Value("f64", 12, BitConverter.GetBytes(1.5))
            .Array("texts", 8, GgufBytes.Text("a"), GgufBytes.Text(""), GgufBytes.Text("ß")).Array("ints", 5, BitConverter.GetBytes(3), BitConverter.GetBytes(-4))
            .Array("none", 8).Array("nested", 9, [.. BitConverter.GetBytes(8u), .. BitConverter.GetBytes(1UL), .. GgufBytes.Text("in")])
            .Floats("a", [3, 2], 1, 2, 3, 4, 5, 6).Tensor("h", 1, [2], [0, 0x3C, 0, 0xC0]).Tensor("q", 8, [32], [0, 0x3C, .. Enumerable.Range(0, 32).Select(static i => (byte)i)]);
        using GgufFile file = Open(bytes);
        GgufMetadata m = file.Metadata;
        Assert.Equal([200, -2, 60000, -2, -7, 1L << 40, -1L << 40],
            new[] { "u8", "i8", "u16", "i16", "i32", "u64", "i64" }.Select(k => m.Integer(k, min: long.MinValue)));
        Assert.Equal((0.25f, 1.5f, true, false, "ä ▁"), (m.Number("f32"), m.Number("f64"), m.Bool("true"), m.Bool("false"), m.String("text")));
        Assert.Equal(["a", "", "ß"], m.Strings("texts"));
        Assert.Equal([3, -4], m.Integers("ints"));
        Assert.Empty(m.Strings("none"));
        Assert.Equal(17, m.Keys.Count);
        Assert.Equal(2, file.Get("a").Shape.Rank);
        Assert.Equal([1f, 2, 3, 4, 5, 6], file.Get("a").Floats.ToArray());
        Assert.Equal((2, 3), (file.Get("a").Shape[0], file.Get("a").Shape[1]));
        Assert.Equal(DType.F16, file.Get("h").DType);
        Assert.Equal([.. Enumerable.Range(0, 32).Select(static i => (float)i)], Blocks.Dequantise(file.Get("q")));
    }

    /// <summary>Values are passed over, not made: arrays of strings, and of arrays under a long key, cost opening nothing each.</summary>
    [Fact]
    public void OpeningMakesNothingOfWhatNobodyAsksFor()
    {
        byte[] empty = [.. BitConverter.GetBytes(8u), .. BitConverter.GetBytes(0UL)];
        byte[] bytes = new GgufBytes().Array(new string('k', 200), 9, [.. Enumerable.Repeat(empty, 20_000)]).Array("tokens", 8, [.. Enumerable.Repeat(GgufBytes.Text("a"), 20_000)]).Bytes();
        Open(bytes).Dispose();
        long before = GC.GetAllocatedBytesForCurrentThread();
        using GgufFile file = GgufFile.Open(_folder["x.gguf"]);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, bytes.Length / 10);
    }

    [Fact]
    public void ValuesOfAnotherTypeAreRefused()
    {
        using GgufFile file = Open(new GgufBytes().F32("nan", float.NaN).Value("huge", 12, BitConverter.GetBytes(1e300)).String("s", "x").U32("n", 5).Value("b", 7, 2).Array("bad", 8, [.. BitConverter.GetBytes(1UL), 0xFF]));
        TemporaryFolder.AssertRefused("s must be an integer from 0 to 9, not a string", () => file.Metadata.Integer("s", max: 9));
        TemporaryFolder.AssertRefused("n must be an integer from 6 to 9, not 5 (U32)", () => file.Metadata.Integer("n", 6, 9));
        TemporaryFolder.AssertRefused("n must be a string", () => file.Metadata.String("n"));
        TemporaryFolder.AssertRefused("b must be a bool, not a Bool of 2", () => file.Metadata.Bool("b"));
        TemporaryFolder.AssertRefused("nan must be a finite number, not NaN (F32)", () => file.Metadata.Number("nan"));
        TemporaryFolder.AssertRefused("huge must be a finite number", () => file.Metadata.Number("huge"));
        TemporaryFolder.AssertRefused("bad is not UTF-8", () => file.Metadata.Strings("bad"));
        TemporaryFolder.AssertRefused("missing is missing", () => file.Metadata.Number("missing"));
    }

    [Fact]
    public void WhatIsWrittenIsRead()
    {
        GgufMetadataBuilder metadata = new GgufMetadataBuilder().Add("s", "ä").Add("u", 7u).Add("i", -7).Add("f", 0.1f).Add("b", true)
            .Add("texts", ["x", "▁y"]).Add("floats", [1f, -2f]).Add("ints", (int[])[1, -2]);
        DType[] types = [DType.F32, DType.F16, DType.BF16, DType.Q8_0, DType.Q4_0, DType.Q4_K, DType.Q6_K, DType.I32];
        Tensor[] tensors = [.. types.Select(static (t, i) => Filled(t, [3, 256], seed: i)), Filled(DType.F32, [2, 3, 4], 9), Filled(DType.F32, [5], 10)];
        GgufWriter.Write(_folder["y.gguf"], metadata, [.. tensors.Select(static (t, i) => PlannedTensor.Of($"t.{i}", t))]);
        using GgufFile file = GgufFile.Open(_folder["y.gguf"]);
        Assert.Equal(["y.gguf"], _folder.Files);
        Assert.Equal(("ä", 7L, -7L, 0.1f, true), (file.Metadata.String("s"), file.Metadata.Integer("u"), file.Metadata.Integer("i", min: -9), file.Metadata.Number("f"), file.Metadata.Bool("b")));
        Assert.Equal([GgufType.String, GgufType.U32, GgufType.I32, GgufType.F32, GgufType.Bool], new[] { "s", "u", "i", "f", "b" }.Select(k => file.Metadata.TypeOf(k)!.Value));
        Assert.Equal([GgufType.String, GgufType.F32, GgufType.I32], new[] { "texts", "floats", "ints" }.Select(k => file.Metadata.TypeOf(k, element: true)!.Value));
        Assert.Equal(["x", "▁y"], file.Metadata.Strings("texts"));
        Assert.Equal([1f, -2f], file.Metadata.Numbers("floats"));
        Assert.Equal([1, -2], file.Metadata.Integers("ints"));
        Assert.Equal(metadata.Read("m").Keys, file.Metadata.Keys);
        foreach ((int i, Tensor tensor) in tensors.Index())
            TemporaryFolder.AssertEqual(tensor, file.Get($"t.{i}"));
    }

    [Fact]
    public void AFailedWriteLeavesWhatWasThere()
    {
        File.WriteAllText(_folder["z.gguf"], "old");
        PlannedTensor breaks = new("t", DType.F32, [8], static _ => throw new IOException("full"));
        Assert.Throws<IOException>(() => GgufWriter.Write(_folder["z.gguf"], new GgufMetadataBuilder(), [breaks]));
        PlannedTensor little = new("t", DType.F32, [8], static s => s.WriteByte(1));
        Assert.Throws<InvalidOperationException>(() => GgufWriter.Write(_folder["z.gguf"], new GgufMetadataBuilder(), [little]));
        Assert.Throws<ArgumentException>(() => new GgufMetadataBuilder().Add("a", 1).Add("a", 2));
        Assert.Equal("old", File.ReadAllText(_folder["z.gguf"]));
        Assert.Equal(["z.gguf"], _folder.Files);
    }

    public static TheoryData<string, byte[]> Broken => new()
    {
        { "does not begin with 'GGUF'", "GGML then more"u8.ToArray() },
        { "truncated: the version is missing", "GGUF"u8.ToArray() },
        { "is big-endian", [.. "GGUF"u8, 0, 0, 0, 3, .. new byte[16]] },
        { "has version 1 of the format", new GgufBytes { Version = 1 }.Bytes() },
        { "the key 'a' appears twice", new GgufBytes().U32("a", 1).U32("a", 2).Bytes() },
        { "'a' has the type 13", new GgufBytes().Value("a", 13, 0).Bytes() },
        { "general.alignment must be a power of 2, not 24", new GgufBytes().U32("general.alignment", 24).Bytes() },
        { "'a' claims 18446744073709551615 bytes", new GgufBytes().Value("a", 8, [.. BitConverter.GetBytes(ulong.MaxValue)]).Bytes() },
        { "'a' claims 4611686018427387904 values of 4 bytes", new GgufBytes().Value("a", 9, [.. BitConverter.GetBytes(5u), .. BitConverter.GetBytes(1UL << 62)]).Bytes() },
        { "the key of metadata 1 of 18446744073709551615", [.. "GGUF"u8, 3, 0, 0, 0, .. new byte[8], .. Enumerable.Repeat((byte)0xFF, 8)] },
        { "appears twice", new GgufBytes().Floats("t", [1], 1).Floats("t", [1], 1).Bytes() },
        { "has the type Q5_K, which is not supported; supported are F32, F16, Q4_0, Q8_0, Q4_K, Q6_K, I32, I64, F64, BF16", new GgufBytes().Tensor("t", 13, [256], new byte[176]).Bytes() },
        { "has the type number 99", new GgufBytes().Tensor("t", 99, [1], new byte[4]).Bytes() },
        { "5 dimensions, but at most 4", new GgufBytes().Tensor("t", 0, [1, 1, 1, 1, 1], new byte[4]).Bytes() },
        { "dimension 4294967296 is beyond", new GgufBytes().Tensor("t", 0, [1L << 32], new byte[4]).Bytes() },
        { "has more bytes than can be counted", new GgufBytes().Tensor("t", 0, [int.MaxValue, int.MaxValue, int.MaxValue], new byte[4]).Bytes() },
        { "has rows of 33 elements, which are no whole number of Q8_0's blocks of 32", new GgufBytes().Tensor("t", 8, [33], new byte[34]).Bytes() },
        { "begins at 3, which is no multiple of the alignment 32", new GgufBytes().Tensor("t", 0, [1], new byte[4], offset: 3).Bytes() },
        { "begins at 32, but the tensor before it ends at 0", new GgufBytes().Tensor("t", 0, [1], new byte[64], offset: 32).Bytes() },
        { "inside the tensor before it", new GgufBytes().Tensor("a", 0, [1], new byte[4]).Tensor("b", 0, [1], new byte[4], offset: 0).Bytes() },
        { "ends at 400, but the file has 4 bytes of data", new GgufBytes().Tensor("t", 0, [100], new byte[4]).Bytes() },
        { "on are more than can be counted", new GgufBytes().Tensor("t", 0, [16], new byte[64], offset: long.MaxValue - 31).Bytes() },
    };

    [Theory]
    [MemberData(nameof(Broken))]
    public void BrokenFilesAreRefused(string rule, byte[] bytes) =>
        TemporaryFolder.AssertRefused(rule, () => Open(bytes).Dispose());

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.F16)]
    [InlineData(DType.BF16)]
    [InlineData(DType.Q8_0)]
    [InlineData(DType.Q4_0)]
    public void TypesAreConvertedElementByElement(DType to)
    {
        const int Many = (1 << 16) + 96;   // more than one step
        Tensor x = new([1, Many], DType.F32, new NativeStorage(Many * sizeof(float)));
        Random random = new(5);
        foreach (ref float value in x.Floats)
            value = (float)(random.NextDouble() - 0.5);
        using MemoryStream stream = new();
        TensorConversion.Write(stream, x, to);
        byte[] expected = to switch
        {
            DType.F32 => x.Host<byte>().ToArray(),
            DType.F16 => [.. x.Floats.ToArray().SelectMany(static v => BitConverter.GetBytes((Half)v))],
            DType.BF16 => [.. x.Floats.ToArray().SelectMany(static v => BitConverter.GetBytes(DTypes.ToBF16(v)))],
            _ => Quantised(to, x.Floats),
        };
        Assert.Equal(expected, stream.ToArray());
        Tensor back = new(x.Shape, to, new NativeStorage(expected.Length));
        expected.CopyTo(back.Host<byte>());
        using MemoryStream wide = new();
        TensorConversion.Write(wide, back, DType.F32);
        float[] values = new float[Many];
        Buffer.BlockCopy(wide.ToArray(), 0, values, 0, Many * sizeof(float));
        Assert.True(x.Floats.ToArray().Zip(values).All(v => Math.Abs(v.First - v.Second) <= (to == DType.Q4_0 ? 0.07 : 0.003)));
    }

    private static byte[] Quantised(DType type, ReadOnlySpan<float> values)
    {
        byte[] blocks = new byte[type.Bytes(values.Length)];
        Blocks.Quantise(type, values, blocks);
        return blocks;
    }

    private static Tensor Filled(DType type, Shape shape, int seed)
    {
        Tensor tensor = new(shape, type, new NativeStorage(type.Bytes(shape.Count)));
        new Random(seed).NextBytes(tensor.Host<byte>());
        return tensor;
    }
}
