namespace MoeFromScratch.Tensors.Cpu;

/// <remarks>This half: products of many rows, packed.</remarks>
internal sealed unsafe partial class Gemm<V>
{
    /// <summary>Elements of A that a piece of packing takes.</summary>
    private const int PackPiece = 1 << 15;

    private void RunPacked(Product* products, int count, long packedFloats)
    {
        float* packedA = _packedA.Get<float>(packedFloats), packedB = _packedB.Get<float>((long)KC * NB * pool.Threads);
        float* stage = _stage.Get<float>(StageSize * pool.Threads);
        int packs = 0, pieces = 0, scattered = 0;
        long work = 0;
        for (int i = 0; i < count; i++)
        {
            products[i].FirstPiece = packs;
            if (products[i].IsMatvec)
                continue;
            if (i == 0 || !SameA(products[i], products[i - 1]))
                packs += PackPieces(products[i]);
            work += (long)products[i].M * products[i].N * products[i].K;
        }
        if (work == 0 && packs == 0)
            return;
        bool alone = work < AloneBelow;
        Job job = new() { Products = products, Count = count, PackedA = packedA, PackedB = packedB, Stage = stage };
        pool.Run(packs, new PackJob { Of = job }, alone);

        for (int i = 0; i < count; i++)
        {
            products[i].FirstPiece = pieces;
            if (products[i].IsMatvec)
                continue;
            if (products[i].Scatter == null)
                pieces += RowBlocks(products[i]) * Blocks(products[i].N, NB);
            else
                scattered = products[i].N;
        }
        pool.Run(pieces, new MultiplyJob { Of = job }, alone);
        int columns = ScatterColumns(scattered);
        pool.Run(Blocks(scattered, columns), new ScatterJob { Of = job, Columns = columns }, alone);
    }

    /// <summary>Blocks of rows: few, because each packs B anew, but enough to share out a product with few columns.</summary>
    private static int RowBlocks(in Product p) => Blocks(Blocks(p.M, MR), (Blocks(p.N, NB) >= 8 ? 4 : 1) * MCPanels);

    /// <summary>Columns of a piece that scatters: as many as elsewhere, fewer where every worker would not get its four pieces.</summary>
    private int ScatterColumns(int n) => Math.Clamp(Blocks(Blocks(n, NR), 4 * pool.Threads), 1, PanelsPerBlock) * NR;

    /// <summary>Panels of A per packing piece.</summary>
    private static int PackPanels(int k) => Math.Max(1, PackPiece / (Math.Max(k, 1) * MR));

    private static int PackPieces(in Product p) => Blocks(Blocks(p.M, MR), PackPanels(p.K));

    /// <summary>What a worker needs to write out a block of A or of B that is not plain.</summary>
    private static long StageSize => Math.Max(PackPiece + MR * KC, KC * NB);

    /// <summary>Whether this product reads what was packed for the one queued before it.</summary>
    private static bool SameA(in Product p, in Product before) => !p.IsMatvec && !before.IsMatvec && p.M == before.M && p.K == before.K && p.A.Equals(before.A);

    private struct Job
    {
        public Product* Products;
        public int Count;
        public float* PackedA, PackedB, Stage;

        /// <summary>The columns of B, KC of its K rows, packed for this worker.</summary>
        public readonly float* PackB(Product* p, int k, int kc, int column, int columns, int worker)
        {
            float* to = PackedB + (long)worker * KC * NB;
            Operand b = p->B;
            if (!b.IsPlain)   // K-major, as gradients of weights have it
            {
                float* stage = Stage + worker * StageSize;
                b.Stage<V>(k, kc, column, columns, stage);
                (b, k, column) = (new Operand { P = stage, Stride = columns, KMajor = true }, 0, 0);
            }
            switch (b.Type)
            {
                case DType.F32: Pack<F32>(b, k, kc, column, columns, to, NR); break;
                case DType.BF16: Pack<BF16>(b, k, kc, column, columns, to, NR); break;
                default: Pack<F16>(b, k, kc, column, columns, to, NR); break;
            }
            return to;
        }

        /// <summary>C's block = or += A's rows · the packed columns of B, in the rows that the product names where it scatters.</summary>
        public readonly void Multiply(Product* p, int firstPanel, int lastPanel, int k, int kc, float* b, int column, int columns)
        {
            int panels = Blocks(p->M, MR);
            for (int panel = firstPanel; panel < lastPanel; panel += MCPanels)
            {
                int row = panel * MR, rows = Math.Min(p->M, Math.Min(lastPanel, panel + MCPanels) * MR) - row;
                float* a = PackedA + p->PackedA + ((long)k * panels + (long)panel * kc) * MR;
                if (p->Scatter == null)
                    Gemm<V>.Multiply(rows, columns, kc, a, b, p->C + row * p->CRow + column, p->CRow, p->Accumulate || k > 0);
                else
                    ScatterBlock(rows, columns, kc, a, b, p->C + column, p->CRow, p->Scatter + row, p->Weight == null ? null : p->Weight + row);
            }
        }
    }

    /// <summary>A panel's part of an operand whose lines are M's or N's: [block of width][k][width].</summary>
    private static void Pack<TElement>(in Operand o, int k, int kc, int line, int lines, float* to, int width) where TElement : IElement
    {
        if (o.KMajor)
            PackAlong<TElement>(o.P, line + k * o.Stride, o.Stride, lines, kc, to, width);
        else
            PackAcross<TElement>(o.P, line * o.Stride + k, o.Stride, lines, kc, to, width);
    }

    private struct PackJob : IJob
    {
        public Job Of;

        /// <summary>Layout: [block of KC][panel][k][MR].</summary>
        public readonly void Run(int index, int worker)
        {
            Product* p = Find(Of.Products, Of.Count, index);
            int panels = Blocks(p->M, MR), size = PackPanels(p->K);
            int first = (index - p->FirstPiece) * size, row = first * MR;
            int rows = Math.Min(p->M, (first + size) * MR) - row;
            float* stage = Of.Stage + worker * StageSize;
            for (int k = 0; k < p->K; k += KC)
            {
                int kc = Math.Min(KC, p->K - k);
                float* to = Of.PackedA + p->PackedA + ((long)k * panels + (long)first * kc) * MR;
                if (p->A.IsPlain)
                    Pack<F32>(p->A, k, kc, row, rows, to, MR);
                else if (p->A.KMajor)
                {
                    p->A.Stage<V>(k, kc, row, rows, stage);
                    Pack<F32>(new Operand { P = stage, Stride = rows, KMajor = true }, 0, kc, 0, rows, to, MR);
                }
                else
                {
                    p->A.Stage<V>(row, rows, k, kc, stage);
                    Pack<F32>(new Operand { P = stage, Stride = kc }, 0, kc, 0, rows, to, MR);
                }
            }
        }
    }

    private struct MultiplyJob : IJob
    {
        public Job Of;

        public readonly void Run(int index, int worker)
        {
            Product* p = Find(Of.Products, Of.Count, index);
            int piece = index - p->FirstPiece, columnBlocks = Blocks(p->N, NB), panels = Blocks(p->M, MR);
            int perBlock = Blocks(panels, RowBlocks(*p));
            int firstPanel = piece / columnBlocks * perBlock, lastPanel = Math.Min(panels, firstPanel + perBlock);
            int column = piece % columnBlocks * NB, columns = Math.Min(NB, p->N - column);
            int k = 0;
            do
            {
                int kc = Math.Min(KC, p->K - k);
                Of.Multiply(p, firstPanel, lastPanel, k, kc, Of.PackB(p, k, kc, column, columns, worker), column, columns);
                k += KC;
            }
            while (k < p->K);
        }
    }

    /// <summary>One block of columns of all products that scatter, so that rows named by several are added to in one order.</summary>
    private struct ScatterJob : IJob
    {
        public Job Of;
        public int Columns;

        public readonly void Run(int index, int worker)
        {
            for (Product* p = Of.Products; p < Of.Products + Of.Count; p++)
            {
                if (p->Scatter == null || p->IsMatvec)
                    continue;
                int column = index * Columns, columns = Math.Min(Columns, p->N - column);
                for (int k = 0; k < p->K; k += KC)
                {
                    int kc = Math.Min(KC, p->K - k);
                    Of.Multiply(p, 0, Blocks(p->M, MR), k, kc, Of.PackB(p, k, kc, column, columns, worker), column, columns);
                }
            }
        }
    }

    /// <summary>Row i of A·B times its weight is added to row scatter[i] of C; tiles pass through the first-level cache.</summary>
    [System.Runtime.CompilerServices.SkipLocalsInit]
    private static void ScatterBlock(int m, int n, int k, float* a, float* b, float* c, long ldc, int* scatter, float* weight)
    {
        float* tile = stackalloc float[MR * NR];
        for (int j = 0; j < n; j += NR, b += (long)k * NR)
        {
            float* panel = a;
            for (int i = 0; i < m; i += MR, panel += (long)k * MR)
            {
                int rows = Math.Min(MR, m - i), columns = Math.Min(NR, n - j);
                for (int row = 0; row < rows; row++)
                    Prefetch.Read(c + scatter[i + row] * ldc + j);
                GemmKernels<V>.Tile(k, panel, b, tile, NR, accumulate: false);
                for (int row = 0; row < rows; row++)
                    RowMath<V>.AddScaled(weight == null ? 1 : weight[i + row], tile + row * NR, c + scatter[i + row] * ldc + j, columns);
            }
        }
    }
}
