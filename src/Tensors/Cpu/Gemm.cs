using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>One product C [M, N] = or += A [M, K] · B [K, N]. Of each pair of strides one is 1.</summary>
internal unsafe struct Product
{
    public float* A;
    public long ARow, ACol;
    public void* B;
    public DType BType;
    public long BRow, BCol;
    public float* C;
    public long CRow;
    public int M, N, K;
    public bool Accumulate;

    /// <summary>Where its packed A begins, counted in floats.</summary>
    public long PackedA;

    /// <summary>Number of its first piece among those of all products.</summary>
    public int FirstPiece;

    /// <summary>So few rows that reading the weights is all the work: no packing pays.</summary>
    public readonly bool IsMatvec => M <= 8 && ACol == 1 && (ByDots || BCol == 1);

    /// <summary>Weights contiguous along K make dot products; along N they are added up row by row.</summary>
    public readonly bool ByDots => BRow == 1 && !Accumulate;
}

/// <summary>
/// All matmuls: a list of products, one for a linear layer, one per expert for a grouped one, run together.
/// <para>
/// A is packed once, in parallel. Then every piece, a block of C, packs its own columns of B, KC rows at a time, into the
/// second-level cache, keeps one panel of them in the first level, and streams the panels of A past it. Each element of C
/// is a sum over K in one order, whatever the pieces are; K is never shared out.
/// </para>
/// </summary>
internal sealed unsafe class Gemm<V>(WorkerPool pool, bool poison) : IDisposable where V : struct, ILanes<V>
{
    /// <summary>Depth of a block: a panel of B, KC · NR floats, fills half of a 32 KB first-level cache at 8 lanes.</summary>
    public const int KC = 256;

    private const int PanelsPerBlock = 4;              // of B, in one piece
    private const long PackedABudget = 8L << 20;       // floats: 32 MB
    private const long AloneBelow = 1 << 19;           // multiplications not worth waking anyone for

    private readonly Scratch _packedA = new(poison), _packedB = new(poison);
    private Product[] _products = new Product[16];
    private int _count;

    private static int MR => GemmKernels<V>.MR;
    private static int NR => GemmKernels<V>.NR;
    private static int NB => PanelsPerBlock * NR;

    /// <summary>Panels of A that stay in the second-level cache beside the block of B.</summary>
    private static int MCPanels => 192 * 1024 / (KC * MR * sizeof(float));

    /// <summary>Queues a product. Products of one run write different elements.</summary>
    public void Add(in Product product)
    {
        if (product.M == 0 || product.N == 0 || (product.K == 0 && product.Accumulate))
            return;
        int most = (int)Math.Min(int.MaxValue, Math.Max(MCPanels, PackedABudget / ((long)Math.Max(product.K, 1) * MR)) * MR);
        for (int row = 0; row < product.M; row += most)
        {
            if (_count == _products.Length)
                Array.Resize(ref _products, 2 * _count);
            ref Product p = ref _products[_count++];
            p = product;
            p.A += row * product.ARow;
            p.C += row * product.CRow;
            p.M = Math.Min(most, product.M - row);
        }
    }

    /// <summary>Runs what was queued.</summary>
    public void Run()
    {
        fixed (Product* products = _products)
        {
            Matvec<V>.Run(pool, products, _count);
            for (int start = 0; start < _count;)
            {
                int end = start;
                long floats = 0;
                for (; end < _count && (end == start || floats + PackedSize(products[end]) <= PackedABudget); end++)
                {
                    products[end].PackedA = floats;
                    floats += PackedSize(products[end]);
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
    }

    /// <summary>C = or += A·B of packed panels: a ⌈m/MR⌉ × [k][MR], b ⌈n/NR⌉ × [k][NR].</summary>
    public static void Multiply(int m, int n, int k, float* a, float* b, float* c, long ldc, bool accumulate)
    {
        for (int j = 0; j < n; j += NR, b += (long)k * NR)
        {
            float* panel = a;
            for (int i = 0; i < m; i += MR, panel += (long)k * MR)
            {
                float* tile = c + i * ldc + j;
                if (m - i >= MR && n - j >= NR)
                    GemmKernels<V>.Tile(k, panel, b, tile, ldc, accumulate);
                else
                    EdgeTile(Math.Min(MR, m - i), Math.Min(NR, n - j), k, panel, b, tile, ldc, accumulate);
            }
        }
    }

    /// <summary>⌈count/width⌉ panels of a matrix whose lines run across memory (<see cref="Packing.Across"/>).</summary>
    public static void PackAcross<TElement>(void* from, long start, long stride, int count, int k, float* to, int width) where TElement : IElement
    {
        for (int i = 0; i < count; i += width, to += (long)k * width)
            Packing.Across<TElement>(from, start + i * stride, stride, Math.Min(width, count - i), k, to, width);
    }

    /// <summary>⌈count/width⌉ panels of a matrix whose lines run along memory (<see cref="Packing.Along"/>).</summary>
    public static void PackAlong<TElement>(void* from, long start, long stride, int count, int k, float* to, int width) where TElement : IElement
    {
        for (int i = 0; i < count; i += width, to += (long)k * width)
            Packing.Along<V, TElement>(from, start + i, stride, Math.Min(width, count - i), k, to, width);
    }

    [SkipLocalsInit]
    private static void EdgeTile(int m, int n, int k, float* a, float* b, float* c, long ldc, bool accumulate)
    {
        float* tile = stackalloc float[MR * NR];
        GemmKernels<V>.Tile(k, a, b, tile, NR, accumulate: false);
        for (int i = 0; i < m; i++, c += ldc, tile += NR)
            for (int j = 0; j < n; j++)
                c[j] = accumulate ? c[j] + tile[j] : tile[j];
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

    // ── many rows ───────────────────────────────────────────────────────────────────────────────────────────────

    private void RunPacked(Product* products, int count, long packedFloats)
    {
        float* packedA = _packedA.Get<float>(packedFloats);
        int packs = 0;
        long work = 0;
        for (int i = 0; i < count; i++)
        {
            products[i].FirstPiece = packs;
            if (products[i].IsMatvec)
                continue;
            packs += PackPieces(products[i]);
            work += (long)products[i].M * products[i].N * products[i].K;
        }
        if (packs == 0)
            return;
        bool alone = work < AloneBelow;
        pool.Run(packs, new PackJob { Products = products, Count = count, PackedA = packedA }, alone);

        int pieces = 0;
        for (int i = 0; i < count; i++)
        {
            products[i].FirstPiece = pieces;
            if (!products[i].IsMatvec)
                pieces += RowBlocks(products[i]) * Blocks(products[i].N, NB);
        }
        float* packedB = _packedB.Get<float>((long)KC * NB * pool.Threads);
        pool.Run(pieces, new MultiplyJob { Products = products, Count = count, PackedA = packedA, PackedB = packedB }, alone);
    }

    /// <summary>Blocks of rows: few, because each packs B anew, but enough to share out a product with few columns.</summary>
    private static int RowBlocks(in Product p) => Blocks(Blocks(p.M, MR), (Blocks(p.N, NB) >= 8 ? 4 : 1) * MCPanels);

    /// <summary>Panels of A per packing piece: about 32 thousand elements.</summary>
    private static int PackPanels(int k) => Math.Max(1, (1 << 15) / (Math.Max(k, 1) * MR));

    private static int PackPieces(in Product p) => Blocks(Blocks(p.M, MR), PackPanels(p.K));

    private struct PackJob : IJob
    {
        public Product* Products;
        public int Count;
        public float* PackedA;

        /// <summary>Layout: [block of KC][panel][k][MR].</summary>
        public readonly void Run(int index, int worker)
        {
            Product* p = Find(Products, Count, index);
            int panels = Blocks(p->M, MR), size = PackPanels(p->K);
            int first = (index - p->FirstPiece) * size, row = first * MR;
            int rows = Math.Min(p->M, (first + size) * MR) - row;
            for (int k = 0; k < p->K; k += KC)
            {
                int kc = Math.Min(KC, p->K - k);
                float* to = PackedA + p->PackedA + ((long)k * panels + (long)first * kc) * MR;
                if (p->ACol == 1)
                    PackAcross<F32>(p->A, row * p->ARow + k, p->ARow, rows, kc, to, MR);
                else
                    PackAlong<F32>(p->A, row + k * p->ACol, p->ACol, rows, kc, to, MR);
            }
        }
    }

    private struct MultiplyJob : IJob
    {
        public Product* Products;
        public int Count;
        public float* PackedA, PackedB;

        public readonly void Run(int index, int worker)
        {
            Product* p = Find(Products, Count, index);
            int piece = index - p->FirstPiece, columnBlocks = Blocks(p->N, NB), panels = Blocks(p->M, MR);
            int perBlock = Blocks(panels, RowBlocks(*p));
            int firstPanel = piece / columnBlocks * perBlock, lastPanel = Math.Min(panels, firstPanel + perBlock);
            int column = piece % columnBlocks * NB, columns = Math.Min(NB, p->N - column);
            float* b = PackedB + (long)worker * KC * NB;

            int k = 0;
            do
            {
                int kc = Math.Min(KC, p->K - k);
                PackB(p, k, kc, column, columns, b);
                for (int panel = firstPanel; panel < lastPanel; panel += MCPanels)
                {
                    int row = panel * MR, rows = Math.Min(p->M, Math.Min(lastPanel, panel + MCPanels) * MR) - row;
                    float* a = PackedA + p->PackedA + ((long)k * panels + (long)panel * kc) * MR;
                    Multiply(rows, columns, kc, a, b, p->C + row * p->CRow + column, p->CRow, p->Accumulate || k > 0);
                }
                k += KC;
            }
            while (k < p->K);
        }

        private static void PackB(Product* p, int k, int kc, int column, int columns, float* to)
        {
            switch (p->BType)
            {
                case DType.F32: PackB<F32>(p, k, kc, column, columns, to); break;
                case DType.BF16: PackB<BF16>(p, k, kc, column, columns, to); break;
                default: PackB<F16>(p, k, kc, column, columns, to); break;
            }
        }

        private static void PackB<TElement>(Product* p, int k, int kc, int column, int columns, float* to) where TElement : IElement
        {
            if (p->BCol == 1)
                PackAlong<TElement>(p->B, column + k * p->BRow, p->BRow, columns, kc, to, NR);
            else
                PackAcross<TElement>(p->B, column * p->BCol + k, p->BCol, columns, kc, to, NR);
        }
    }
}
