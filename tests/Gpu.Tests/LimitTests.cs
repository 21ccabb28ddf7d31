using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>What lies at the edge of what a device takes, and beyond it.</summary>
public sealed class LimitTests
{
    /// <summary>
    /// A query's long keys are cut so that many groups read them; keys of many sequences, counted together, are not cut for each of their queries.
    /// The grid's first direction takes what may be many.
    /// </summary>
    [Theory]
    [InlineData(1, 32, 200, 1)]
    [InlineData(1, 32, 4000, 16)]
    [InlineData(1, 128, 1 << 20, 64)]
    [InlineData(8, 16, 4000, 16)]
    [InlineData(2048, 32, 150_000, 1)]
    [InlineData(1, 1, 0, 1)]
    public void KeysAreCutForAsManyGroupsAsADeviceNeeds(int queries, int heads, int keys, int pieces) =>
        Assert.Equal(new Index3D(queries * heads, pieces, 1), GpuBackend.FewQueriesGrid(queries, heads, keys));

    [Fact]
    public void ABankOfTwoTypesIsRefusedAndLeavesNothingBehind()
    {
        using GpuBackend device = Devices.Create();
        Tensor x = device.From([9, 4], new float[36]), y = device.New([9, 4]);
        Tensor[] w = [device.New([4, 4]), device.New([4, 4], DType.BF16)];
        Tensor offsets = device.From([3], [0, 4, 9]);
        int live = device.LiveBuffers;
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => device.GroupedLinear(x, new SlotRange(offsets, 0, 2), w, y));
        Assert.Contains("one type", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(live, device.LiveBuffers);
        foreach (Tensor tensor in (Tensor[])[x, y, offsets, .. w])
            device.Free(tensor);
    }

    [Fact]
    public void TensorsOfTheHostAndOfAnotherDeviceAreRefused()
    {
        using GpuBackend device = Devices.Create(), another = Devices.Create();
        using IBackend host = new ReferenceBackend();
        foreach ((IBackend of, string place) in new[] { ((IBackend)another, "another device"), (host, "host memory") })
        {
            Tensor theirs = of.From([4], new float[4]), mine = device.New([4]);
            Assert.Contains(place, Assert.Throws<ArgumentException>(() => device.Copy(theirs, mine)).Message, StringComparison.Ordinal);
            of.Free(theirs);
            device.Free(mine);
        }
    }

    /// <summary>The pieces of a query's keys are put together by a step that waits for neighbours: what is uploaded after it stays.</summary>
    [Fact]
    public void AnUploadComesAfterAttention()
    {
        using GpuBackend device = Devices.Create();
        Tensor x = device.From([1, 4], new float[4]), sequence = device.From([1, 4], [0, 1, 0, 1]), y = device.New([1, 4]), lse = device.New([1, 1]);
        device.Attention(x, x, x, sequence, null, null, new AttentionLayout(Heads: 1, KvHeads: 1, HeadDim: 4, Scale: 1), y, lse);
        float[] after = [5, 6, 7, 8];
        device.Upload<float>(after, y);
        Assert.Equal(after, device.ToFloats(y));
        foreach (Tensor tensor in (Tensor[])[x, sequence, y, lse])
            device.Free(tensor);
    }

    /// <summary>The last group's threads are whole: beyond that, the numbers of some would not fit.</summary>
    [Fact]
    public void ElementsAreFewerThanThreadsCanBeCounted()
    {
        GpuBackend.RequireThreads(int.MaxValue - GpuBackend.MostThreads);
        Assert.Contains("2³¹", Assert.Throws<ArgumentException>(static () => GpuBackend.RequireThreads(int.MaxValue - GpuBackend.MostThreads + 1L)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("cuda:1", true)]
    [InlineData("cuda: 1", false)]
    [InlineData("cuda:+1", false)]
    [InlineData("cuda:-1", false)]
    [InlineData("cuda:", false)]
    [InlineData("cuda:99999999999", false)]
    public void ADevicesNumberIsDigits(string device, bool known) => Assert.Equal(known, GpuDevices.Knows(device));
}
