namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// All matmuls: a list of products, one for a linear layer, one per expert for a grouped one, run together.
/// <para>
/// A is packed once, in parallel. Then every piece, a block of C, packs its own columns of B. It keeps a block of A and KC rows
/// of B in the second-level cache, one panel of B in the first level, and streams the panels of A past it. Each element of C is a
/// sum over K in one order, whatever the pieces are; K is never shared out.
/// </para>
/// <para>
/// Products that scatter add to rows which others of them name too, so there a piece is a block of columns with all
/// products, one after the other: balanced however unevenly the rows are spread over the products.
/// </para>
/// </summary>
internal sealed unsafe partial class Gemm<V>(WorkerPool pool, bool poison) : IDisposable where V : struct, ILanes<V>
{
    /// <summary>Depth of a block: a panel of B, KC · NR floats, fills three quarters of a 32 KB first-level cache at 8 lanes.</summary>
    private const int KC = 384;

    private const int KSpan = 12 * KC;                 // of K, for which a worker packs its columns of B
    private const int PanelsPerBlock = 4;              // of B, in one piece
    private const long PackedABudget = 8L << 20;       // floats: 32 MB
    private const long ScatterBudget = 4L << 20;       // less, because every piece reads all of it
    private const long AloneBelow = 1 << 19;           // multiplications not worth waking anyone for
    private const long StageAloneBelow = 1 << 13;      // the same, floats to write out

    private readonly Scratch _packedA = new(poison), _packedB = new(poison), _stage = new(poison), _few = new(poison), _sums = new(poison);
    private Product[] _products = new Product[16];
    private int _count;

    private static int MR => GemmKernels<V>.MR;
    private static int NR => GemmKernels<V>.NR;
    private static int NB => PanelsPerBlock * NR;

    /// <summary>Panels of A that stay in the second-level cache beside the block of B.</summary>
    private static int MCPanels => 192 * 1024 / (KC * MR * sizeof(float));

    /// <summary>Queues a product. Products of one run write different elements, unless they scatter.</summary>
    public void Add(in Product product)
    {
        if (product.M == 0 || product.N == 0 || (product.K == 0 && (product.Accumulate || product.Scatter != null)))
            return;
        int most = (int)Math.Min(int.MaxValue, Math.Max(MCPanels, PackedABudget / ((long)Math.Max(product.K, 1) * MR)) * MR);
        for (int row = 0; row < product.M; row += most)
        {
            if (_count == _products.Length)
                Array.Resize(ref _products, 2 * _count);
            ref Product p = ref _products[_count++];
            p = product;
            p.M = Math.Min(most, product.M - row);
            if (row == 0)
                continue;
            if (p.A.KMajor)
                p.A.P = (float*)p.A.P + row;
            else
                p.A = p.A.From(row);
            if (p.Scatter == null)
            {
                p.C += row * p.CRow;
                continue;
            }
            p.Scatter += row;
            if (p.Weight != null)
                p.Weight += row;
        }
    }

    /// <summary>Runs what was queued.</summary>
    public void Run()
    {
        fixed (Product* products = _products)
        {
            RunFewRows(products);
            for (int start = 0; start < _count;)
            {
                int end = start;
                long floats = 0;
                for (; end < _count; end++)
                {
                    bool again = end > start && SameA(products[end], products[end - 1]);
                    long size = again ? 0 : PackedSize(products[end]);
                    if (end > start && floats + size > (products[end].Scatter == null ? PackedABudget : ScatterBudget))
                        break;
                    products[end].PackedA = again ? products[end - 1].PackedA : floats;
                    floats += size;
                }
                RunPacked(products + start, end - start, floats);
                start = end;
            }
        }
        _count = 0;
    }

    public void Dispose()
    {
        _packedA.Dispose();
        _packedB.Dispose();
        _stage.Dispose();
        _few.Dispose();
        _sums.Dispose();
    }

    /// <summary>C [m rounded up to MR][NB] = or += A·B of packed panels: a ⌈m/MR⌉ × [k][MR], b ⌈n/NR⌉ × [k][NR].</summary>
    public static void Multiply(int m, int n, int k, float* a, float* b, float* c, bool accumulate)
    {
        for (int j = 0; j < n; j += NR, b += (long)k * NR)
        {
            float* panel = a;
            for (int i = 0; i < m; i += MR, panel += (long)k * MR)
                GemmKernels<V>.Tile(k, panel, b, c + (long)i * NB + j, NB, accumulate);
        }
    }

    /// <summary>⌈count/width⌉ panels of a matrix whose lines run across memory (<see cref="Packing.Across"/>).</summary>
    public static void PackAcross<TElement>(void* from, long start, long stride, int count, int k, float* to, int width) where TElement : IElement
    {
        for (int i = 0; i < count; i += width, to += (long)k * width)
            Packing.Across<TElement>(from, start + i * stride, stride, Math.Min(width, count - i), k, to, width);
    }

    internal static int Blocks(long count, long size) => (int)((count + size - 1) / size);

    private static long PackedSize(in Product p) => p.IsMatvec ? 0 : (long)Blocks(p.M, MR) * MR * p.K;

    /// <summary>The product that piece <paramref name="index"/> belongs to: the last one that begins at or before it.</summary>
    internal static Product* Find(Product* products, int count, int index)
    {
        int low = 0;
        for (int high = count - 1; low < high;)
        {
            int middle = (low + high + 1) / 2;
            if (products[middle].FirstPiece <= index)
                low = middle;
            else
                high = middle - 1;
        }
        return products + low;
    }

    // ── few rows ────────────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>The products of few rows: A is written out where it is not plain, and C where it scatters.</summary>
    private void RunFewRows(Product* products)
    {
        int staged = 0, scattered = 0;
        long inputs = 0, outputs = 0;
        for (int i = 0; i < _count; i++)
        {
            ref Product p = ref products[i];
            p.FirstPiece = staged;
            if (!p.IsMatvec)
                continue;
            if (p.Scatter != null)
            {
                scattered = p.N;
                outputs += (long)p.M * p.N;
            }
            if (p.A.IsPlain)
                continue;
            if (i > 0 && SameA(p, products[i - 1]))
            {
                p.PackedA = products[i - 1].PackedA;
                continue;
            }
            p.PackedA = inputs;
            staged += p.M;
            inputs += (long)p.M * p.K;
        }
        float* floats = _few.Get<float>(inputs + outputs), free = floats + inputs;
        pool.Run(staged, new StageJob { Products = products, Count = _count, Staged = floats }, inputs < StageAloneBelow);
        ScatterRowsJob scatter = new() { Products = products, Count = _count };
        for (int i = 0; i < _count; i++)
        {
            ref Product p = ref products[i];
            if (!p.IsMatvec)
                continue;
            if (!p.A.IsPlain)
                p.A = new Operand { P = floats + p.PackedA, Stride = p.K };
            if (p.Scatter != null)   // into rows of its own first
            {
                scatter.C = p.C;
                p.C = free;
                (scatter.CRow, p.CRow) = (p.CRow, p.N);
                free += (long)p.M * p.N;
            }
        }
        Matvec<V>.Run(pool, products, _count);
        pool.Run(Blocks(scattered, ScatterRowsJob.Columns), scatter, outputs < StageAloneBelow);
    }

    /// <summary>One row of A.</summary>
    private struct StageJob : IJob
    {
        public Product* Products;
        public int Count;
        public float* Staged;

        public readonly void Run(int index, int worker)
        {
            Product* p = Find(Products, Count, index);
            int row = index - p->FirstPiece;
            p->A.Stage<V>(row, 1, 0, p->K, Staged + p->PackedA + (long)row * p->K);
        }
    }

    /// <summary>A block of columns: adds what was written out to the rows that the products name, in their order.</summary>
    private struct ScatterRowsJob : IJob
    {
        public const int Columns = 128;
        public Product* Products;
        public int Count;
        public float* C;
        public long CRow;

        public readonly void Run(int index, int worker)
        {
            int column = index * Columns;
            for (Product* p = Products; p < Products + Count; p++)
                for (int row = 0; p->IsMatvec && p->Scatter != null && row < p->M; row++)
                    RowMath<V>.AddScaled(p->Weight == null ? 1 : p->Weight[row], p->C + row * p->CRow + column,
                        C + p->Scatter[row] * CRow + column, Math.Min(Columns, p->N - column));
        }
    }
}
