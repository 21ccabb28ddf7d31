using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void SelectTopK(Tensor scores, int k, Tensor mask)
    {
        Check.Same(mask, scores);
        Check.That(k >= 0 && k <= scores.Cols, "top-k selects between none and all experts");
        Rows(0, scores.Rows, 8L * scores.Cols, new TopKRow
        {
            Scores = scores.Pointer<float>(),
            Mask = mask.Pointer<float>(),
            Ranked = _scratch.Get<ulong>((long)scores.Cols * _pool.Threads),
            E = scores.Cols,
            K = k,
        });
    }

    public void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask)
    {
        Check.Same(mask, probs);
        Rows(0, probs.Rows, 8L * probs.Cols, new TopPRow
        {
            Probs = probs.Pointer<float>(),
            Mask = mask.Pointer<float>(),
            Ranked = _scratch.Get<ulong>((long)probs.Cols * _pool.Threads),
            E = probs.Cols,
            Rule = rule,
        });
    }

    public void CountSlots(Tensor mask, Tensor offsets)
    {
        Check.F32(mask);
        int experts = mask.Cols;
        Check.Ints(offsets, experts + 1L);
        int* count = offsets.Pointer<int>();
        new Span<int>(count, experts + 1).Clear();
        float* m = mask.Pointer<float>();
        for (int t = 0; t < mask.Rows; t++, m += experts)
            for (int e = 0; e < experts; e++)
                if (m[e] > 0)
                    count[e + 1]++;
        for (int e = 0; e < experts; e++)
            count[e + 1] += count[e];
    }

    public void FillSlots(Tensor mask, Tensor offsets, Tensor token, Tensor expert)
    {
        Check.F32(mask);
        int experts = mask.Cols;
        int slots = Check.SlotLists(offsets, experts, token, expert);
        int* next = _scratch.Get<int>(experts), end = offsets.Pointer<int>() + 1, tokens = token.Pointer<int>(), names = expert.Pointer<int>();
        new Span<int>(offsets.Pointer<int>(), experts).CopyTo(new Span<int>(next, experts));
        float* m = mask.Pointer<float>();
        for (int t = 0; t < mask.Rows; t++, m += experts)
            for (int e = 0; e < experts; e++)
                if (m[e] > 0)
                {
                    Check.That(next[e] < end[e], "the mask has more slots than its offsets count");
                    tokens[next[e]] = t;
                    names[next[e]++] = e;
                    slots--;
                }
        Check.That(slots == 0, "the mask has fewer slots than its offsets count");
    }

    public void GatherSlots(Tensor x, Tensor token, Tensor expert, Tensor offsets, Tensor y)
    {
        Check.F32(x);
        Check.F32(y);
        int slots = Check.SlotLists(offsets, x.Cols, token, expert);
        Check.That(y.Count >= slots, "fewer outputs than slots");
        Check.Indices(token, 0, slots, x.Rows);
        Check.Indices(expert, 0, slots, x.Cols);
        float* from = x.Pointer<float>(), to = y.Pointer<float>();
        int* t = token.Pointer<int>(), e = expert.Pointer<int>();
        for (int s = 0; s < slots; s++)
            to[s] = from[(long)t[s] * x.Cols + e[s]];
    }

    public void GatherSlotsGrad(Tensor dy, Tensor token, Tensor expert, Tensor offsets, Tensor dx)
    {
        Check.F32(dx);
        Check.F32(dy);
        int slots = Check.SlotLists(offsets, dx.Cols, token, expert);
        Check.That(dy.Count >= slots, "fewer gradients than slots");
        Check.Indices(token, 0, slots, dx.Rows);
        Check.Indices(expert, 0, slots, dx.Cols);
        float* from = dy.Pointer<float>(), to = dx.Pointer<float>();
        int* t = token.Pointer<int>(), e = expert.Pointer<int>();
        for (int s = 0; s < slots; s++)
            to[(long)t[s] * dx.Cols + e[s]] += from[s];
    }

    private struct TopKRow : IRow
    {
        public float* Scores, Mask;
        public ulong* Ranked;
        public int E, K;

        public readonly void Row(long row, int worker)
        {
            float* mask = Mask + row * E;
            new Span<float>(mask, E).Clear();
            Ranking ranking = new(Scores + row * E, E, Ranked + (long)worker * E);
            for (int i = 0; i < K; i++)
                mask[ranking.Next()] = 1;
        }
    }

    private struct TopPRow : IRow
    {
        public float* Probs, Mask;
        public ulong* Ranked;
        public TopPRule Rule;
        public int E;

        public readonly void Row(long row, int worker)
        {
            float* probs = Probs + row * E, mask = Mask + row * E;
            new Span<float>(mask, E).Clear();
            Ranking ranking = new(probs, E, Ranked + (long)worker * E);
            int most = Rule.MaxExperts > 0 ? Math.Min(Rule.MaxExperts, E) : E;
            double sum = 0;
            float first = 0;
            for (int i = 0; i < most; i++)
            {
                int e = ranking.Next();
                first = i == 0 ? probs[e] : first;
                if (probs[e] < Rule.MinP * first)
                    break;
                mask[e] = 1;
                sum += probs[e];
                if (Rule.Strict ? (float)sum > Rule.Threshold : (float)sum >= Rule.Threshold)
                    break;
            }
        }
    }
}
