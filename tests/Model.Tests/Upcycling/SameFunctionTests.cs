using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Model.Upcycling;

namespace MoeFromScratch.Model.Tests.Upcycling;

/// <summary>Where the mixture computes what the dense model computed: in each of these cases by algebra, whatever the weights are.</summary>
public sealed class SameFunctionTests : IDisposable
{
    private const double Rounding = 2e-6;
    private static readonly RouterInit Zeros = new(Std: 0), Opinionated = new(Std: 1);

    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    public static TheoryData<string> Cases { get; } =
    [
        "copy", "copy, top-p", "copy, every second layer", "copy and a shared expert", "groups without opinions", "groups without opinions, two of each shard",
        "groups and zero experts without opinions", "groups renormalised", "groups renormalised, two of each shard", "split of all experts", "split of all experts, two matrices", "raw copies of all experts",
    ];

    private static UpcycleOptions Options(string name)
    {
        UpcycleOptions copy = new(Workshop.Way("copy")) { Router = Opinionated };
        return name switch
        {
            "copy" => copy,
            "copy, top-p" => new UpcycleOptions(Workshop.Way("copy, top-p")) { Router = Opinionated },
            "copy, every second layer" => copy with { Every = 2 },
            "copy and a shared expert" => copy with { Add = AddedExperts.Parse("shared") },
            "groups without opinions" => Groups(2, 4, 4, renormalize: false, Zeros),
            "groups without opinions, two of each shard" => Groups(3, 4, 8, renormalize: false, Zeros),
            "groups and zero experts without opinions" => Groups(2, 4, 4, renormalize: false, Zeros) with { Add = AddedExperts.Parse("zero:3") },
            "groups renormalised" => Groups(2, 4, 4, renormalize: true, Opinionated),
            "groups renormalised, two of each shard" => Groups(3, 3, 6, renormalize: true, Opinionated),
            "split of all experts" => new UpcycleOptions(new RandomSplit(4, 3, new SplitRouter(4, null, TwoMatrices: false))) { Router = Zeros },
            "split of all experts, two matrices" => new UpcycleOptions(new RandomSplit(4, 3, new SplitRouter(4, null, TwoMatrices: true))) { Router = Zeros },
            "raw copies of all experts" => new UpcycleOptions(new PlainCopy(4, new CopyRouter(4, null, Renormalize: false))) { Router = Opinionated },
            _ => throw new ArgumentException(name),
        };
    }

    private static UpcycleOptions Groups(int copies, int granularity, int topK, bool renormalize, RouterInit router) =>
        new(new VirtualGroups(copies, granularity, topK, Scaling.Exact, renormalize)) { Router = router };

    [Theory]
    [MemberData(nameof(Cases))]
    public void IsTheDenseModel(string name)
    {
        (_, Receipt receipt) = _shop.Upcycle(_shop.Tiny(), Options(name));
        Assert.Equal(2, receipt.Difference.Layers.Count);
        Assert.All(receipt.Difference.Layers, static d => Assert.InRange(d, 0, Rounding));
        Assert.InRange(receipt.Difference.Logits, 0, Rounding);
        Assert.Equal(receipt.Difference.DenseLoss, receipt.Difference.UpcycledLoss, 1e-5f);
        Assert.Equal(64, receipt.Difference.Tokens / 4);    // four windows of all positions
    }

    /// <summary>
    /// The same measure finds a difference where there is one: a router with opinions and weights as they are, a scale that the gate's
    /// nonlinearity spoils, none at all, or experts without what the dense layer had.
    /// </summary>
    [Fact]
    public void IsNotWhereTheAlgebraDoesNotHold()
    {
        string dense = _shop.Tiny();
        double raw = Difference(Groups(2, 4, 4, renormalize: false, new RouterInit(Std: 0.02f)));
        double paper = Difference(new UpcycleOptions(new VirtualGroups(2, 4, 4, Scaling.Paper, renormalize: false)) { Router = Zeros });
        double none = Difference(new UpcycleOptions(new VirtualGroups(2, 4, 4, Scaling.None, renormalize: false)) { Router = Zeros });
        double drawn = Difference(new UpcycleOptions(Workshop.Way("no slices")));
        Assert.InRange(raw, 1e-4, 0.1);             // nearly uniform
        Assert.True(paper > raw && none > 0.1 && drawn > 0.1, $"{raw} {paper} {none} {drawn}");

        double Difference(UpcycleOptions options) => _shop.Upcycle(dense, options).Receipt.Difference.Layers[0];
    }

    /// <summary>Each token gets exactly one copy of each shard, whatever the router thinks: repeated rows tie.</summary>
    [Fact]
    public void ATokenGetsEachShardOnce()
    {
        const int Copies = 3, Shards = 4;
        (string folder, _) = _shop.Upcycle(_shop.Tiny(), Groups(Copies, Shards, Shards, renormalize: false, Opinionated));
        using LanguageModel model = LanguageModel.Load(folder, _shop.Backend);
        Trace trace = new();
        Tracer.Forward(trace, model, Tests.Tiny.Input(model.Config, 2, 30));
        HashSet<int> sets = [];
        for (int layer = 0; layer < 2; layer++)
        {
            long[] mask = trace.Find($"router.{layer}.expert_mask")!.Host<long>().ToArray();
            for (int t = 0; t < 60; t++)
            {
                int[] chosen = [.. Enumerable.Range(0, Copies * Shards).Where(e => mask[t * Copies * Shards + e] > 0)];
                Assert.Equal(Enumerable.Range(0, Shards), chosen.Select(static e => e % Shards));
                sets.Add(Assert.Single(chosen.Select(static e => e / Shards).Distinct()));
            }
        }
        Assert.Equal(Copies, sets.Count);
    }
}
