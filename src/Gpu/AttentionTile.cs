using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.Gpu;

/// <summary>
/// Attention in tiles of 64 queries and 64 keys, forward and back: a group of threads has 64 rows, queries or keys, and goes through those of the
/// others that see them or are seen, sequence by sequence: a tile may hold rows of several, and a key be in several. Each thread has the scores
/// of four queries and four keys; they pass through shared memory, since what it adds up are four rows and four columns in each half of 128.
/// </summary>
internal static class AttentionTile
{
    public const int Rows = ProductTile.M, Threads = ProductTile.Threads;

    /// <summary>Columns that a group adds up, and how many rows of them are in shared memory at once.</summary>
    public const int Dims = 128, Half = Dims / 2, Depth = 16;

    /// <summary>Threads that share a row, neighbours in a warp.</summary>
    public const int RowThreads = 16;

    public const int MostDims = 256;

    /// <summary>The first of the thread's four rows of a tile.</summary>
    public static int Row => (Group.IdxX >> 4) << 2;

    /// <summary>The first of the thread's four columns of it.</summary>
    public static int Column => (Group.IdxX & 15) << 2;

    /// <summary>x · yᵀ: the thread's rows of x, which are F32, its columns being rows of y.</summary>
    public static Sums16 Products<TElement>(HeadTile x, HeadTile y, ArrayView<float> xs, ArrayView<float> ys) where TElement : struct, IElement
    {
        int row = Group.IdxX >> 2, k = (Group.IdxX & 3) << 2;                      // four columns of one row for each thread
        Sums16 sums = default;
        for (int k0 = 0; k0 < x.Dim; k0 += ProductTile.K)
        {
            ProductTile.Turn(xs, row, k, HeadTile.Four<F32>(x, row, k0 + k));
            ProductTile.Turn(ys, row, k, HeadTile.Four<TElement>(y, row, k0 + k));
            Group.Barrier();
            sums = ProductTile.Multiply(xs, ys, Row, Column, sums);
            Group.Barrier();
        }
        return sums;
    }

    /// <summary>The scaled scores of the thread's queries and keys, −∞ where the one does not see the other; both are counted from the sequence's first.</summary>
    public static Sums16 Scores<TElement>(AttentionArgs a, SequenceTile s, int query, int key, HeadTile q, HeadTile k, ArrayView<float> xs, ArrayView<float> ys)
        where TElement : struct, IElement
    {
        Sums16 dots = Products<TElement>(q, k, xs, ys);
        int i = query + Row, j = key + Column;
        return new()
        {
            R0 = Seen(a, s, i, j, dots.R0),
            R1 = Seen(a, s, i + 1, j, dots.R1),
            R2 = Seen(a, s, i + 2, j, dots.R2),
            R3 = Seen(a, s, i + 3, j, dots.R3),
        };
    }

    /// <summary>e^(score − max), 0 where nothing was seen.</summary>
    public static float Shrink(float score, float max) => score == float.NegativeInfinity ? 0 : MathF.Exp(score - max);

    private static F4 Shrink(F4 scores, float max) =>
        new() { X = Shrink(scores.X, max), Y = Shrink(scores.Y, max), Z = Shrink(scores.Z, max), W = Shrink(scores.W, max) };

    /// <summary>The same of the thread's rows, each with a max of its own.</summary>
    public static Sums16 Shrink(Sums16 scores, F4 max) =>
        new() { R0 = Shrink(scores.R0, max.X), R1 = Shrink(scores.R1, max.Y), R2 = Shrink(scores.R2, max.Z), R3 = Shrink(scores.R3, max.W) };

    /// <summary>The thread's part of a tile into shared memory: its rows from <paramref name="row"/> on.</summary>
    public static void Store(ArrayView<float> tile, int row, int column, Sums16 part)
    {
        ArrayView<F4> fours = tile.AsAligned(16).Cast<F4>();
        int at = (row * ProductTile.Row + column) >> 2;
        fours[at] = part.R0;
        fours[at + ProductTile.Row / 4] = part.R1;
        fours[at + ProductTile.Row / 2] = part.R2;
        fours[at + ProductTile.Row / 4 * 3] = part.R3;
    }

    /// <summary>sums += wᵀ · x: the thread's columns of w, which has a row for each of x's, and its columns of x in each half.</summary>
    public static Sums32 Add<TElement>(ArrayView<float> w, HeadTile x, int column, ArrayView<float> xs, Sums32 sums) where TElement : struct, IElement
    {
        ArrayView<F4> ws4 = w.AsAligned(16).Cast<F4>(), xs4 = xs.AsAligned(16).Cast<F4>();
        int row = Group.IdxX >> 4, rows = IntrinsicMath.Min(x.Rows, Rows);
        bool isWide = x.Dim - column > Half;
        Sums16 near = sums.Near, far = sums.Far;
        for (int j0 = 0; j0 < rows; j0 += Depth)
        {
            xs4[(row * Dims + Column) >> 2] = HeadTile.Four<TElement>(x, j0 + row, column + Column);
            xs4[(row * Dims + Half + Column) >> 2] = HeadTile.Four<TElement>(x, j0 + row, column + Half + Column);
            Group.Barrier();
            int count = IntrinsicMath.Min(Depth, rows - j0);
            for (int j = 0; j < count; j++)
            {
                F4 weights = ws4[((j0 + j) * ProductTile.Row + Row) >> 2];
                near = Sums16.MulAdd(weights, xs4[(j * Dims + Column) >> 2], near);
                if (isWide)
                    far = Sums16.MulAdd(weights, xs4[(j * Dims + Half + Column) >> 2], far);
            }
            Group.Barrier();
        }
        return new() { Near = near, Far = far };
    }

    /// <summary>y += the sums, each of a row times its factor.</summary>
    public static void AddTo(HeadTile y, int column, Sums32 sums, F4 factors)
    {
        AddTo(y, column + Column, sums.Near, factors);
        AddTo(y, column + Half + Column, sums.Far, factors);
    }

    private static void AddTo(HeadTile y, int column, Sums16 sums, F4 factors)
    {
        HeadTile.Add(y, Row, column, sums.R0, factors.X);
        HeadTile.Add(y, Row + 1, column, sums.R1, factors.Y);
        HeadTile.Add(y, Row + 2, column, sums.R2, factors.Z);
        HeadTile.Add(y, Row + 3, column, sums.R3, factors.W);
    }

    private static F4 Seen(AttentionArgs a, SequenceTile s, int query, int key, F4 dots) => new()
    {
        X = Seen(a, s, query, key, dots.X),
        Y = Seen(a, s, query, key + 1, dots.Y),
        Z = Seen(a, s, query, key + 2, dots.Z),
        W = Seen(a, s, query, key + 3, dots.W),
    };

    private static float Seen(AttentionArgs a, SequenceTile s, int query, int key, float dot) =>
        query >= 0 && query < s.Queries && key >= 0 && key < s.Keys && AttentionArgs.Sees(a, s.FirstQuery + query, s.Keys - s.Queries + query, key)
            ? a.Scale * dot : float.NegativeInfinity;
}

/// <summary>What a sequence has to do with a tile of rows.</summary>
internal struct SequenceTile
{
    public int FirstQuery, Queries, FirstKey, Keys;

    /// <summary>The tile's first row, counted from the sequence's first: below 0 where the tile begins before.</summary>
    public int Row;

    /// <summary>Which keys of the sequence its queries in the tile see, or which queries see its keys; none where the two do not meet.</summary>
    public int From, End;

    /// <summary>Of sequence b and the tile that begins at <paramref name="row"/>, of queries or of keys.</summary>
    public static SequenceTile Of(AttentionArgs a, int b, int row, bool ofKeys)
    {
        SequenceTile s = new() { FirstQuery = a.Sequences[4 * b], Queries = a.Sequences[4 * b + 1], FirstKey = a.Sequences[4 * b + 2], Keys = a.Sequences[4 * b + 3] };
        s.Row = row - (ofKeys ? s.FirstKey : s.FirstQuery);
        int first = IntrinsicMath.Max(s.Row, 0), last = IntrinsicMath.Min(s.Row + AttentionTile.Rows, ofKeys ? s.Keys : s.Queries) - 1, ahead = s.Keys - s.Queries;
        if (first > last)
            return s;
        if (ofKeys)
        {
            s.From = a.Causal ? IntrinsicMath.Max(0, first - ahead) : 0;
            s.End = a.Window > 0 ? s.Queries - IntrinsicMath.Max(0, s.Keys - last - a.Window) : s.Queries;
        }
        else
        {
            s.From = a.Window > 0 ? IntrinsicMath.Max(0, first + ahead - a.Window + 1) : 0;
            s.End = a.Causal ? IntrinsicMath.Min(s.Keys, last + ahead + 1) : s.Keys;
        }
        return s;
    }
}

/// <summary>Rows of one head, of whatever type.</summary>
internal struct HeadTile
{
    public ElementView X;

    /// <summary>Where the first row begins, and how far it is to the next.</summary>
    public long Start, Stride;

    public int Rows, Dim;
    public Flag IsAligned;

    /// <summary>So many rows of queries, or of what has a row for each of them.</summary>
    public static HeadTile OfQueries(AttentionArgs a, ArrayView<float> x, int dim, int head, int first, int rows) =>
        Of(ElementView.Of(x), first, rows, a.Heads, head, dim, a.IsAligned);

    /// <summary>The same of keys, by a query's head.</summary>
    public static HeadTile OfKeys(AttentionArgs a, ElementView x, int dim, int head, int first, int rows) =>
        Of(x, first, rows, a.KvHeads, head / (a.Heads / a.KvHeads), dim, a.IsAligned);

    /// <summary>Columns d … d + 3; 0 beyond the row's end and below the last row.</summary>
    public static F4 Four<TElement>(HeadTile x, int row, int d) where TElement : struct, IElement
    {
        F4 v = default;
        long at = x.Start + row * x.Stride + d;
        if (row < x.Rows && d < x.Dim)
            v = x.IsAligned ? TElement.Four(x.X, at) : new()
            {
                X = TElement.At(x.X, at),
                Y = d + 1 < x.Dim ? TElement.At(x.X, at + 1) : 0,
                Z = d + 2 < x.Dim ? TElement.At(x.X, at + 2) : 0,
                W = d + 3 < x.Dim ? TElement.At(x.X, at + 3) : 0,
            };
        return v;
    }

    /// <summary>Columns d … d + 3 += v · factor, where there are such; they are F32.</summary>
    public static void Add(HeadTile y, int row, int d, F4 v, float factor)
    {
        if (row >= y.Rows)
            return;
        long at = y.Start + row * y.Stride + d;
        if (d < y.Dim)
            y.X.Floats[at] += v.X * factor;
        if (d + 1 < y.Dim)
            y.X.Floats[at + 1] += v.Y * factor;
        if (d + 2 < y.Dim)
            y.X.Floats[at + 2] += v.Z * factor;
        if (d + 3 < y.Dim)
            y.X.Floats[at + 3] += v.W * factor;
    }

    private static HeadTile Of(ElementView x, int first, int rows, int heads, int head, int dim, Flag isAligned) =>
        new() { X = x, Start = ((long)first * heads + head) * dim, Stride = (long)heads * dim, Rows = rows, Dim = dim, IsAligned = isAligned };
}

/// <summary>Sums of four rows and twice four columns, <see cref="AttentionTile.Half"/> apart.</summary>
internal struct Sums32
{
    public Sums16 Near, Far;
}
