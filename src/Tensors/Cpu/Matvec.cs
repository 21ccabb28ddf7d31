namespace MoeFromScratch.Tensors.Cpu;

/// <summary>Products of so few rows that reading the weights is most of the work: they are read once, from memory, and never copied.</summary>
internal static unsafe class Matvec<V> where V : struct, ILanes<V>
{
    private const long AloneBelow = 1 << 17;           // multiplications not worth waking anyone for
    private const int Piece = 1 << 16;                 // weights
    private const int CacheResident = 1 << 17;         // bytes of weights
    private const int StripColumns = 512;              // C's part stays in the first level

    /// <summary>Runs those of the products that are such.</summary>
    public static void Run(WorkerPool pool, Product* products, int count)
    {
        int pieces = 0;
        long work = 0;
        for (int i = 0; i < count; i++)
        {
            products[i].FirstPiece = pieces;
            if (!products[i].IsMatvec)
                continue;
            pieces += Gemm<V>.Blocks(products[i].N, products[i].ByDots ? PieceRows(products[i].K) : StripColumns);
            work += (long)products[i].M * products[i].N * products[i].K;
        }
        pool.Run(pieces, new Job { Products = products, Count = count }, work < AloneBelow);
    }

    private static int PieceRows(int k) => Math.Max(1, Piece / 4 / Math.Max(k, 1)) * 4;

    private struct Job : IJob
    {
        public Product* Products;
        public int Count;

        public readonly void Run(int index, int worker)
        {
            Product* p = Gemm<V>.Find(Products, Count, index);
            switch (p->B.Type)
            {
                case DType.F32: Run<F32>(p, index - p->FirstPiece); break;
                case DType.BF16: Run<BF16>(p, index - p->FirstPiece); break;
                case DType.F16: Run<F16>(p, index - p->FirstPiece); break;
                case DType.Q8_0: Blocks<Q8>(p, index - p->FirstPiece); break;
                case DType.Q4_0: Blocks<Q4>(p, index - p->FirstPiece); break;
                default: LongBlocks(p, index - p->FirstPiece); break;
            }
        }

        private static void Run<TElement>(Product* p, int piece) where TElement : IElement
        {
            if (p->ByDots)
                Rows<TElement>(p, piece);
            else
                Strip<TElement>(p, piece);
        }

        private static void Strip<TElement>(Product* p, int piece) where TElement : IElement
        {
            int n = piece * StripColumns, count = Math.Min(StripColumns, p->N - n), k = 0;
            for (int m = 0; m < p->M && !p->Accumulate; m++)
                new Span<float>(p->C + m * p->CRow + n, count).Clear();
            byte* w = (byte*)p->B.P + (long)n * p->B.Type.Size();
            for (; k <= p->K - 4; k += 4, w += 4 * p->B.Stride * p->B.Type.Size())
                for (int m = 0; m < p->M; m++)
                    MatvecKernels<V>.Add4<TElement>(Line(p, m) + k, w, p->B.Stride, count, p->C + m * p->CRow + n);
            for (; k < p->K; k++, w += p->B.Stride * p->B.Type.Size())
                for (int m = 0; m < p->M; m++)
                    MatvecKernels<V>.Add<TElement>(Line(p, m)[k], w, count, p->C + m * p->CRow + n);
        }

        /// <summary>Four rows of weights at a time stay in the first level for all rows of A.</summary>
        private static void Rows<TElement>(Product* p, int piece) where TElement : IElement
        {
            int size = PieceRows(p->K), n = piece * size, end = Math.Min(p->N, n + size);
            long row = p->B.Stride * TElement.Size;
            byte* w = (byte*)p->B.P + n * row, last = EndOfRun(p, row);
            Prefetch.Begin(w, MatvecKernels<V>.Ahead * TElement.Size, last);
            for (; n <= end - 4; n += 4, w += 4 * row)
            {
                MatvecKernels<V>.Dots<TElement>(p->M, Line(p, 0), p->A.Stride, w, p->B.Stride, p->K, p->C + n, p->CRow, 1, last);
                for (int i = 0; i < 4 && !MatvecKernels<V>.Readable<TElement>(w, p->B.Stride, p->K); i++)
                    Row<TElement>(p, n + i);
            }
            for (; n < end; n++)
                Row<TElement>(p, n);
        }

        /// <summary>The same for rows of blocks; rows that are no fourth are multiplied four times.</summary>
        private static void Blocks<TBlock>(Product* p, int piece) where TBlock : IBlock
        {
            int size = PieceRows(p->K), n = piece * size, end = Math.Min(p->N, n + size);
            long row = p->B.Type.Bytes(p->B.Stride);
            byte* w = (byte*)p->B.P + n * row, last = EndOfRun(p, row);
            Prefetch.Begin(w, BlockDots<V>.Ahead, last);
            for (; n <= end - 4; n += 4, w += 4 * row)
                BlockDots<V>.Dots<TBlock>(p->M, Line(p, 0), p->A.Stride, w, row, p->K, p->C + n, p->CRow, 1, last);
            for (; n < end; n++, w += row)
                BlockDots<V>.Dots<TBlock>(p->M, Line(p, 0), p->A.Stride, w, 0, p->K, p->C + n, p->CRow, 0, last);
        }

        private static void LongBlocks(Product* p, int piece)
        {
            int size = PieceRows(p->K), n = piece * size, end = Math.Min(p->N, n + size);
            long row = p->B.Type.Bytes(p->B.Stride);
            byte* last = EndOfRun(p, row);
            Prefetch.Begin((byte*)p->B.Row(n), BlockDots<V>.Ahead, last);
            for (; n < end; n++)
                BlockDots<V>.LongDots(p->B.Type, p->M, Line(p, 0), p->A.Stride, (byte*)p->B.Row(n), p->K, p->C + n, p->CRow, last);
        }

        /// <summary>Where the rows end that are asked for ahead; null for so few that they are in a cache more often than not, where asking costs more than it helps.</summary>
        private static byte* EndOfRun(Product* p, long row) => p->N * row < CacheResident ? null : (byte*)p->B.P + p->N * row;

        private static float* Line(Product* p, int m) => (float*)p->A.Row(m);

        private static void Row<TElement>(Product* p, int n) where TElement : IElement
        {
            for (int m = 0; m < p->M; m++)
                p->C[m * p->CRow + n] = MatvecKernels<V>.Dot<TElement>(Line(p, m), p->B.P, n * p->B.Stride, p->K);
        }
    }
}
