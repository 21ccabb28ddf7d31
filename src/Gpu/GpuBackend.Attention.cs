using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    /// <summary>Keys that one group of a few queries goes through, at least.</summary>
    private const int SplitKeys = 256;

    /// <summary>Groups that keep any device busy: each has sums of its own in memory.</summary>
    private const int MostSplitGroups = 1 << 13;

    public void Attention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout, Tensor y, Tensor lse)
    {
        Check.Attention(q, k, v, Readable(sequences), visible, sinks, layout, y, lse);
        int lanes = _accelerator.WarpSize, most = Math.Min(AttentionTile.MostDims, 8 * lanes);
        Check.That(layout.HeadDim <= most && layout.ValueDim <= most, $"this device takes heads of up to {most}");
        if (q.Rows == 0)
            return;
        bool few = lanes % AttentionTile.RowThreads != 0 || q.Rows <= Math.Max(FewRows, 4 * sequences.Rows);
        AttentionArgs args = Arguments(q, k, v, sequences, visible, layout, lse);
        args.Y = View<float>(y);
        args.Sinks = ViewOrNone<float>(sinks);
        switch (k.DType)
        {
            case DType.F32: Attend<F32>(); break;
            case DType.BF16: Attend<BF16>(); break;
            default: Attend<F16>(); break;
        }

        void Attend<TElement>() where TElement : struct, IElement
        {
            if (few)
                FewQueries<TElement>(args, y, lse, sinks);
            else
                ManyQueries<TElement>(args, y, lse, sinks);
        }
    }

    private AttentionArgs Arguments(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, in AttentionLayout layout, Tensor lse) => new()
    {
        Q = View<float>(q),
        K = Elements(k),
        V = Elements(v),
        Lse = View<float>(lse),
        Sequences = View<int>(sequences),
        Visible = ViewOrNone<int>(visible),
        VisibleCols = visible?.Cols ?? 0,
        Count = sequences.Rows,
        Rows = q.Rows,
        KeyRows = k.Rows,
        Heads = layout.Heads,
        KvHeads = layout.KvHeads,
        HeadDim = layout.HeadDim,
        ValueDim = layout.ValueDim,
        Scale = layout.Scale,
        Window = layout.Window,
        Causal = layout.Causal || layout.Window > 0,
        IsAligned = IsAligned(q, layout.HeadDim) && IsAligned(k, layout.HeadDim) && IsAligned(v, layout.ValueDim),
    };

    /// <summary>Flash decoding: keys in pieces of 256 or more, each with its own running softmax; then the pieces together.</summary>
    private void FewQueries<TElement>(AttentionArgs args, Tensor y, Tensor lse, Tensor? sinks) where TElement : struct, IElement
    {
        Index3D grid = FewQueriesGrid(args.Rows, args.Heads, args.KeyRows);
        args.Splits = grid.Y;
        int pieces = args.Rows * args.Heads * args.Splits;
        Tensor parts = this.New([pieces, args.ValueDim + 2]);
        args.Parts = View<float>(parts);
        Launch<FewQueriesKernel<TElement>, AttentionArgs>(grid, Math.Min(GroupSize, 8 * _accelerator.WarpSize), args);
        Rows<MergeAttentionStep>(args.Rows * args.Heads, args.ValueDim, new Step
        {
            A = View<float>(parts),
            B = ViewOrNone<float>(sinks),
            Y = View<float>(y),
            Z = View<float>(lse),
            N = args.Splits,
            M = args.Heads,
        });
        this.Free(parts);
    }

    /// <summary>
    /// Queries and heads, by the pieces that keys are cut into. Those of all sequences are counted together, so of many queries there would be far too many.
    /// Only a grid's first direction takes more than 65,535.
    /// </summary>
    internal static Index3D FewQueriesGrid(int queries, int heads, int keys) =>
        new(queries * heads, (int)Math.Clamp((keys + SplitKeys - 1L) / SplitKeys, 1, Math.Max(1, MostSplitGroups / ((long)queries * heads))), 1);

    /// <summary>What queries see that are in no sequence, then a group for every tile of queries, every head and every 128 columns of values.</summary>
    private void ManyQueries<TElement>(AttentionArgs args, Tensor y, Tensor lse, Tensor? sinks) where TElement : struct, IElement
    {
        Fill(y, 0);
        Fill(lse, sinks is null ? float.NegativeInfinity : 0);
        if (sinks is not null)
            Outer(null, sinks, lse);
        Launch<ManyQueriesKernel<TElement>, AttentionArgs>(AttentionTiles(args.Rows, args.Heads, args.ValueDim), AttentionTile.Threads, args);
    }

    private static Index3D AttentionTiles(int rows, int heads, int dim) =>
        new((rows + AttentionTile.Rows - 1) / AttentionTile.Rows, heads, (dim + AttentionTile.Dims - 1) / AttentionTile.Dims);
}

public struct AttentionArgs
{
    public ArrayView<float> Q, Y, Lse, Sinks, Parts;

    /// <summary>Of one type, which the kernel knows; on the way back F32.</summary>
    public ElementView K, V;

    /// <summary>On the way back, where Y is the gradient that is added to: Σ_d dy · y of every query and head is Delta.</summary>
    public ArrayView<float> Dy, Delta;

    public ArrayView<int> Sequences, Visible;
    public int Count, Rows, KeyRows, Heads, KvHeads, HeadDim, ValueDim, Window, VisibleCols, Splits;
    public float Scale;
    public Flag Causal;

    /// <summary>All rows of heads that tiles read begin at multiples of four elements.</summary>
    public Flag IsAligned;

    /// <summary>Whether query t of a sequence sees its j-th key; the query stands at key <paramref name="position"/>.</summary>
    internal static bool Sees(AttentionArgs a, int t, int position, int j) =>
        !(a.Causal && j > position) && !(a.Window > 0 && j <= position - a.Window) && (a.VisibleCols == 0 || a.Visible[(long)t * a.VisibleCols + j] != 0);
}
