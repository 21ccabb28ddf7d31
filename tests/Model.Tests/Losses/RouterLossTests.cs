using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Losses;

/// <summary>The router losses where their values are known without computing, their gradients, and what padding adds to them: nothing.</summary>
public sealed class RouterLossTests
{
    private const int E = 4;

    /// <summary>Each token's two experts, evenly over all.</summary>
    private static readonly float[] Spread = [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1];

    /// <summary>Some experts busier than others, one to three per token.</summary>
    private static readonly float[] Uneven = [1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 1];

    public static TheoryData<string> All { get; } = ["load_balance Layer", "load_balance Model", "load_balance per choice", "router_z", "router_entropy"];

    [Theory]
    [InlineData(BalanceScope.Layer)]
    [InlineData(BalanceScope.Model)]
    public void UniformProbabilitiesBalanceToK(BalanceScope scope)
    {
        LoadBalanceLoss loss = new(1, scope);
        Assert.Equal(2, Value(loss, [Filled(3)], [Spread]), 1e-6);
        Assert.Equal(2, Value(loss, [Filled(0), Filled(-7)], [Spread, Spread]), 1e-6);
        Assert.Equal(1, Value(loss with { PerChoice = true }, [Filled(3)], [Spread]), 1e-6);
        Assert.Equal(1, Value(loss with { PerChoice = true }, [Filled(0), Filled(-7)], [Spread, Uneven]), 1e-6);
    }

    /// <summary>Everyone to one expert costs E; two layers that collapse onto different ones cost half of it when taken together.</summary>
    [Fact]
    public void CollapseCostsE()
    {
        float[][] logits = [Peaked(0), Peaked(2)], selected = [Choice(0), Choice(2)];
        Assert.Equal(E, Value(new LoadBalanceLoss(1), logits, selected), 1e-6);
        Assert.Equal(E / 2.0, Value(new LoadBalanceLoss(1, BalanceScope.Model), logits, selected), 1e-6);
        Assert.Equal(E, Value(new LoadBalanceLoss(1, BalanceScope.Model), [Peaked(1), Peaked(1)], [Choice(1), Choice(1)]), 1e-6);
        Assert.Equal(E, Value(new LoadBalanceLoss(1) { PerChoice = true }, logits, selected), 1e-6);
    }

    [Fact]
    public void EntropyGoesFromNothingToLnE()
    {
        Assert.Equal(Math.Log(E), Value(new RouterEntropyLoss(1), [Filled(5), Filled(0)], [Spread, Spread]), 1e-6);
        Assert.Equal(0, Value(new RouterEntropyLoss(1), [Peaked(1)], [Choice(1)]), 1e-6);
        Assert.Equal(Math.Log(E) / 2, Value(new RouterEntropyLoss(1), [Filled(0), Peaked(3)], [Spread, Choice(3)]), 1e-6);
        Assert.All(Gradients(new RouterEntropyLoss(1), [Filled(5)], [Spread])[0], static d => Assert.Equal(0, d, 1e-6));
    }

    /// <summary>(c + ln E)² at equal logits c, with gradient 2 (c + ln E) / (T · E) in each.</summary>
    [Fact]
    public void ZLossIsTheSquareOfTheLogSum()
    {
        double lse = 1.5 + Math.Log(E);
        Assert.Equal(lse * lse, Value(new RouterZLoss(1), [Filled(1.5f)], [Spread]), 1e-5);
        Assert.All(Gradients(new RouterZLoss(1), [Filled(1.5f)], [Spread])[0], d => Assert.Equal(2 * lse / 16, d, 1e-6));
        Assert.Equal(80 * 80, Value(new RouterZLoss(1), [Peaked(0)], [Choice(0)]), 1e-2);
    }

    /// <summary>Nothing when even; with everything on one expert var / mean² is E, once for importance and once for load, in each layer.</summary>
    [Fact]
    public void VariationIsNothingWhenEvenAndEWhenCollapsed()
    {
        Assert.Equal(0, Value(new ImportanceLoadLoss(0.5f), [Filled(3)], [Spread]), 1e-6);
        Assert.Equal(0.5 * 2 * E, Value(new ImportanceLoadLoss(0.5f), [Peaked(1)], [Choice(1)]), 1e-5);
        Assert.Equal(2 * 0.5 * 2 * E, Value(new ImportanceLoadLoss(0.5f), [Peaked(0), Peaked(2)], [Choice(0), Choice(2)]), 1e-5);
    }

    [Theory]
    [InlineData("importance_load")]
    [MemberData(nameof(All))]
    public void GradientsAreDifferences(string name)
    {
        RouterLoss loss = Make(name);
        using IBackend backend = Machines.Make(Machines.Reference);
        Tensor[] logits = [.. Enumerable.Range(0, 2).Select(i => Leaf(backend, Drawn((ulong)i)))];
        GradCheck.Result worst = GradCheck.Run(backend,
            (g, x) => loss.Of(g, [.. x.Select(l => Route(g, l, Uneven))], Loss.TokenWeights(g, 4, null)), logits);
        Assert.True(worst.Error < 2e-3f, $"{worst.Error} at {worst.Where}");
    }

    [Theory]
    [MemberData(nameof(All))]
    public void MaskedTokensCountNothing(string name)
    {
        RouterLoss loss = Make(name);
        float[] four = Drawn(9), six = new float[6 * E], chosen = new float[6 * E];
        int[] place = [0, 2, 3, 5];
        new Contract.Noise(4).Normals(six.Length).CopyTo(six, 0);
        Array.Fill(chosen, 1);
        for (int t = 0; t < 4; t++)
        {
            four.AsSpan(t * E, E).CopyTo(six.AsSpan(place[t] * E));
            Uneven.AsSpan(t * E, E).CopyTo(chosen.AsSpan(place[t] * E));
        }
        float[] mask = [1, 0, 1, 1, 0, 1];

        Assert.Equal(Value(loss, [four], [Uneven]), Value(loss, [six], [chosen], mask), 1e-6);
        float[] alone = Gradients(loss, [four], [Uneven])[0], among = Gradients(loss, [six], [chosen], mask)[0];
        for (int t = 0; t < 4; t++)
            Close.Within("gradient", alone.AsSpan(t * E, E), among.AsSpan(place[t] * E, E), 1e-6f, 0);
        Assert.All(among[E..(2 * E)].Concat(among[(4 * E)..(5 * E)]), static d => Assert.Equal(0, d));
    }

    private static RouterLoss Make(string name) => name switch
    {
        "load_balance Layer" => new LoadBalanceLoss(1),
        "load_balance Model" => new LoadBalanceLoss(1, BalanceScope.Model),
        "load_balance per choice" => new LoadBalanceLoss(1) { PerChoice = true },
        "importance_load" => new ImportanceLoadLoss(1),
        "router_z" => new RouterZLoss(1),
        _ => new RouterEntropyLoss(1),
    };

    private static float[] Filled(float value) => [.. Enumerable.Repeat(value, 4 * E)];

    private static float[] Drawn(ulong seed) => new Contract.Noise(seed).Normals(4 * E);

    /// <summary>All tokens sure of one expert: the others' probabilities underflow.</summary>
    private static float[] Peaked(int expert) => [.. Choice(expert).Select(static c => c * 80 - (1 - c) * 80)];

    private static float[] Choice(int expert) => [.. Enumerable.Range(0, 4 * E).Select(i => i % E == expert ? 1f : 0f)];

    private static float Value(RouterLoss loss, float[][] logits, float[][] selected, float[]? mask = null) => Run(loss, logits, selected, mask).Value;

    private static float[][] Gradients(RouterLoss loss, float[][] logits, float[][] selected, float[]? mask = null) =>
        Run(loss, logits, selected, mask).Gradients;

    private static (float Value, float[][] Gradients) Run(RouterLoss loss, float[][] logits, float[][] selected, float[]? mask)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using Tape g = Tape.Training(backend);
        Tensor[] leaves = [.. logits.Select(l => Leaf(backend, l))];
        Tensor? tokenMask = mask is null ? null : g.Constant<float>([mask.Length], DType.F32, mask);
        Routing[] routings = [.. leaves.Zip(selected, (x, s) => Route(g, x, s))];
        Tensor value = loss.Of(g, routings, Loss.TokenWeights(g, leaves[0].Rows, tokenMask));
        float result = backend.ToFloats(value)[0];
        g.Backward(value);
        return (result, [.. leaves.Select(x => backend.ToFloats(x.Grad!))]);
    }

    private static Tensor Leaf(IBackend backend, float[] logits)
    {
        Tensor x = backend.From([logits.Length / E, E], logits);
        x.RequiresGrad = true;
        x.Grad = backend.Zeros(x.Shape);
        return x;
    }

    private static Routing Route(Tape g, Tensor logits, float[] selected)
    {
        Tensor probs = g.Softmax(logits), chosen = g.Constant<float>(logits.Shape, DType.F32, selected);
        return Routing.Plan(g, logits, probs, chosen, g.Mul(probs, chosen), E);
    }
}
