using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tracing;

/// <summary>
/// Passes every kernel on to another backend and keeps what was chosen there: which experts, and by which scores. With another one's
/// choices it takes those in place of its own, each where that one made it; weights still come from its own scores. Then what two
/// backends compute differs by rounding alone, and each choice of its own, which it keeps, stands for itself.
/// </summary>
/// <remarks>It sees the kernels: a router that decides on the host, as <see cref="Moe.Routers.BaseRouter"/> does in training, goes unseen.</remarks>
/// <param name="inner">Stays the caller's.</param>
/// <param name="forced">Has made the same passes before, and its choices are taken here; null to choose freely.</param>
public sealed class ChoiceBackend(IBackend inner, ChoiceBackend? forced = null) : PassingBackend(inner)
{
    private readonly List<Choice> _choices = [];
    private List<LayerOutput>? _layers;

    /// <summary>Its own, also where others were taken.</summary>
    public IReadOnlyList<Choice> Choices => _choices;

    public bool IsForced => forced is not null;

    /// <summary>Tells it the layer, from now on: the one after those in the list. Null where it need not know.</summary>
    internal void Follow(List<LayerOutput>? layers) => _layers = layers;

    public override void SelectTopK(Tensor scores, int k, Tensor mask)
    {
        base.SelectTopK(scores, k, mask);
        Keep(new TopKChoice(_layers?.Count, mask.Cols, Scores(scores), Chosen(mask)), mask);
    }

    public override void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask)
    {
        base.SelectTopP(probs, in rule, mask);
        Keep(new TopPChoice(_layers?.Count, mask.Cols, Scores(probs), Chosen(mask), rule), mask);
    }

    public override void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept)
    {
        base.SelectTokens(mask, scores, room, kept);
        int firstRow = (int)(kept.ByteOffset / sizeof(float) / kept.Cols);
        Keep(new TokenChoice(_layers?.Count, kept.Cols, scores is null ? [] : Scores(scores), Chosen(kept), firstRow), kept);
    }

    /// <exception cref="InvalidOperationException">The other one did not make this choice: its passes were others.</exception>
    private void Keep(Choice own, Tensor mask)
    {
        _choices.Add(own);
        if (forced is null)
            return;
        Choice? taken = forced.Choices.ElementAtOrDefault(_choices.Count - 1);
        if (taken is null || taken.GetType() != own.GetType() || (taken.Rows, taken.Columns) != (own.Rows, own.Columns))
            throw new InvalidOperationException($"the choices to take are of other passes: number {_choices.Count} is none of {own.Rows} × {own.Columns}");
        if (!own.Chosen.AsSpan().SequenceEqual(taken.Chosen))
            Inner.Upload<float>(Array.ConvertAll(taken.Chosen, static c => c ? 1f : 0), mask);
    }

    private float[] Scores(Tensor scores) => _layers is null ? [] : Inner.ToFloats(scores);
    private bool[] Chosen(Tensor mask) => Array.ConvertAll(Inner.ToFloats(mask), static m => m > 0);
}
