using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Layers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>
/// A mixture of experts: decide, dispatch, compute, combine. The router decides and returns a <see cref="Routing"/>, a list of
/// (token, expert) slots sorted by expert; <see cref="ExpertsOp.Experts"/> gathers each expert's rows (dispatch), runs every
/// expert on its own run of rows (compute) and adds the weighted results back to their tokens (combine).
/// </summary>
public sealed class MoeLayer : FeedForward
{
    private readonly Router _router;
    private readonly ExpertBank[] _banks;
    private readonly float _inputScale;

    /// <param name="w">The layer's scope: the router's <c>gate</c> and the experts' <c>experts.{e}</c>.</param>
    public MoeLayer(ModelConfig model, MoeConfig config, WeightScope w)
    {
        if (!config.Router.WeighsShared && config.Banks.Any(static b => b.IsShared))
            throw new ArgumentException($"{English.A(config.Router.GetType().Name)} has no shared experts among those it chooses from; a bank of the kind 'shared' stands beside them");
        _router = config.Router.Build(model, config, w);
        _inputScale = config.InputScale;
        _banks = new ExpertBank[config.Banks.Count];
        int first = 0;
        for (int i = 0; i < _banks.Length; i++)
        {
            _banks[i] = config.Banks[i].Build(model, w, first);
            first += _banks[i].Count;
        }
    }

    public Router Router => _router;
    public IReadOnlyList<ExpertBank> Banks => _banks;

    public override (Tensor y, Routing? routing) Forward(Tape g, Tensor x, in RouterContext context)
    {
        Routing r = _router.Route(g, x, context) with { Banks = _banks, Sequences = context.Sequences };   // decide
        Tensor input = _inputScale == 1 ? x : g.Scale(x, _inputScale);
        Tensor y = g.Experts(input, r, _banks);                                                            // dispatch, compute, combine   [T, D]
        return (r.Detail?.PassedOn is { } share ? g.ScaleRows(input, share, onto: y) : y, r);
    }
}
