using MoeFromScratch.Autograd;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

public static class ExpertsOp
{
    /// <summary>
    /// Dispatch, compute, combine: y[t] = Σ_e weight[t, e] · E_e(x[t]) over the experts that run for token t.
    /// x [T, D] → y [T, D]. Dropless: every slot of the routing is computed; an expert without slots costs nothing and
    /// gets a gradient of zeros.
    /// </summary>
    public static Tensor Experts(this Tape g, Tensor x, in Routing r, IReadOnlyList<ExpertBank> banks)
    {
        Tensor? y = null;
        for (int i = 0; i < banks.Count; i++)
            y = banks[i].Apply(g, x, r, g.GiveUp(y));
        return y ?? throw new ArgumentException("a mixture of experts needs at least one bank");
    }
}
