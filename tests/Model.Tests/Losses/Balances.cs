using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Losses;

/// <summary>A layer's routing on the host: [token][expert], in double.</summary>
/// <param name="Kinds">"ffn", "shared" or "free" for each expert.</param>
public sealed record Routed(double[][] Logits, double[][] Probs, double[][] Selected, double[][] Weights, string[] Kinds)
{
    public static Routed Of(IBackend backend, in Routing r)
    {
        int experts = r.NumExperts;
        return new Routed(Rows(r.Logits), Rows(r.Probs), Rows(r.Selected), Rows(r.Weights),
            [.. r.Banks.SelectMany(static b => Enumerable.Repeat(b.IsFfn ? "ffn" : b.IsShared ? "shared" : "free", b.Count))]);

        double[][] Rows(Tensor x) => [.. backend.ToFloats(x).Select(static v => (double)v).Chunk(experts)];
    }
}

/// <summary>The losses that even out the experts' loads, and their formulas written down once more, without tensors.</summary>
public static class Balances
{
    private const double Tau = 0.75;

    public static (RouterLoss Loss, Func<IReadOnlyList<Routed>, double> Formula) Named(string name) => name switch
    {
        "load_balance" => (new LoadBalanceLoss(1), static layers => layers.Average(static l => Balance(Mean(l.Selected), Mean(l.Probs)))),
        "load_balance over all layers" => (new LoadBalanceLoss(1, BalanceScope.Model), static layers => Balance(
            Mean([.. layers.SelectMany(static l => l.Selected)]), Mean([.. layers.SelectMany(static l => l.Probs)]))),
        "heterogeneous_balance" => (new HeterogeneousBalanceLoss(1, (float)Tau), static layers => layers.Average(static l =>
            Mean(l.Selected).Zip(Mean(l.Probs), static (f, p) => f * p).Zip(l.Kinds, static (fp, kind) => kind == "ffn" ? fp : Tau * fp).Sum())),
        "dcmoe_balance" => (new DcMoeBalanceLoss(1), static layers => layers.Average(DcMoe)),
        "importance_load" => (new ImportanceLoadLoss(1), static layers => layers.Sum(static l =>
            Variation(Mean(l.Weights)) + Variation(Mean([.. l.Weights.Select(static row => row.Select(static w => w > 0 ? 1.0 : 0).ToArray())])))),
        _ => throw new ArgumentException(name),
    };

    /// <summary>E · Σ f P</summary>
    private static double Balance(double[] f, double[] p) => f.Length * f.Zip(p, static (a, b) => a * b).Sum();

    private static double[] Mean(double[][] rows) => [.. Enumerable.Range(0, rows[0].Length).Select(e => rows.Average(row => row[e]))];

    /// <summary>Over the experts that are no shared ones: P the softmax over each token's selected logits, even where it selected none.</summary>
    private static double DcMoe(Routed layer)
    {
        int[] dynamic = [.. layer.Kinds.Index().Where(static k => k.Item != "shared").Select(static k => k.Index)];
        double[][] chosen = [.. layer.Selected.Select(row => dynamic.Select(e => row[e]).ToArray())];
        double[][] shares = [.. layer.Logits.Zip(chosen, (row, c) => dynamic.Select((e, i) => c[i] * Math.Exp(row[e])).ToArray())];
        double[][] probs = [.. shares.Select(row => row.Sum() is > 0 and var sum ? row.Select(s => s / sum).ToArray() : row.Select(_ => 1.0 / row.Length).ToArray())];
        return Balance(Mean(chosen), Mean(probs));
    }

    /// <summary>Variance with n − 1 over the squared mean; any factor on v changes nothing.</summary>
    private static double Variation(double[] v)
    {
        double mean = v.Average();
        return v.Sum(x => (x - mean) * (x - mean)) / (v.Length - 1) / (mean * mean);
    }
}
