using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    public void Sample(Tensor logits, Tensor? seen, in SamplingRule rule, Tensor id)
    {
        Check.Sampling(logits, seen is null ? null : Readable(seen), rule, id);
        Launch<SampleKernel, Sampling>(new Index3D(1, 1, 1), GroupSize, new Sampling
        {
            Logits = View<float>(logits),
            Seen = ViewOrNone<int>(seen),
            Id = View<int>(id),
            Count = (int)logits.Count,
            SeenCount = (int)(seen?.Count ?? 0),
            TopK = rule.TopK < logits.Count ? rule.TopK : 0,
            Temperature = rule.Temperature,
            Uniform = rule.Uniform,
            TopP = rule.TopP,
            Reach = rule.Reach,
            Penalty = rule.Penalty,
        });
    }
}

/// <summary>A <see cref="SamplingRule"/> and what it is applied to.</summary>
public struct Sampling
{
    public ArrayView<float> Logits;
    public ArrayView<int> Seen, Id;
    public int Count, SeenCount, TopK;
    public float Temperature, Uniform, TopP, Reach, Penalty;
}

/// <summary>
/// One group draws one token. Nothing is sorted: the least logit that may be drawn is found bit by bit, each time by a sum over all
/// tokens at least as likely, which is the same for every order of equal logits.
/// </summary>
internal struct SampleKernel : IKernel<Sampling>
{
    public static void Run(Sampling s)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(StepScratch.Floats);
        Penalise(s);
        Group.Barrier();
        float max = float.NegativeInfinity, broken = 0;
        for (int v = Group.IdxX; v < s.Count; v += Group.DimX)
        {
            float logit = s.Logits[v];
            broken = float.IsNaN(logit) ? 1 : broken;
            max = MathF.Max(max, logit);
        }
        broken = GroupMath.Max(broken, scratch);
        max = GroupMath.Max(max, scratch);
        int id = Likeliest(s, max, scratch);
        if (broken == 0 && s.Temperature > 0)
            id = Draw(s, max, id, scratch);
        if (Group.IdxX == 0)
            s.Id[0] = broken == 0 ? id : -1;
    }

    private static void Penalise(Sampling s)
    {
        for (int i = Group.IdxX; i < s.SeenCount; i += Group.DimX)
        {
            int v = s.Seen[i];
            float logit = s.Logits[v];
            s.Logits[v] = logit > 0 ? logit / s.Penalty : logit * s.Penalty;
        }
    }

    /// <summary>The first of the largest; ids are exact as floats.</summary>
    private static int Likeliest(Sampling s, float max, ArrayView<float> scratch)
    {
        float before = -s.Count;
        for (int v = Group.IdxX; v < s.Count; v += Group.DimX)
            before = s.Logits[v] == max ? MathF.Max(before, -v) : before;
        return (int)-GroupMath.Max(before, scratch);
    }

    /// <summary>Each thread adds up a run of the tokens, and the one whose run holds the drawn one looks for it there.</summary>
    private static int Draw(Sampling s, float max, int likeliest, ArrayView<float> scratch)
    {
        int least = int.MinValue;
        if (s.TopK > 0)
            least = Least(s, max, least, s.TopK, weighted: 0, scratch);
        if (s.TopP < 1)
            least = Least(s, max, least, s.TopP * Sum(s, max, least, 1, scratch), weighted: 1, scratch);
        int run = (s.Count + Group.DimX - 1) / Group.DimX, start = Group.IdxX * run, end = IntrinsicMath.Min(start + run, s.Count);
        float sum = 0;
        for (int v = start; v < end; v++)
            sum += Drawable(s, v, max, least);
        scratch[Group.IdxX] = sum;
        Group.Barrier();

        float before = 0, all = 0;
        for (int i = 0; i < Group.DimX; i++)
        {
            before = i == Group.IdxX ? all : before;
            all += scratch[i];
        }
        Group.Barrier();
        float target = s.Uniform * all;
        int drawn = -1;
        if (before <= target && before + sum > target)
            for (int v = start; v < end; v++)
            {
                float weight = Drawable(s, v, max, least);
                drawn = weight > 0 && before <= target ? v : drawn;     // the last one counts, and of a sum that rounding kept from the target the last there is
                before += weight;
            }
        drawn = (int)GroupMath.Max(drawn, scratch);
        return drawn < 0 ? likeliest : drawn;
    }

    /// <summary>The largest key such that the tokens that have at least it are as many, or weigh as much, as wanted.</summary>
    private static int Least(Sampling s, float max, int floor, float wanted, int weighted, ArrayView<float> scratch)
    {
        int least = int.MinValue;
        for (int bit = 31; bit >= 0; bit--)
        {
            int higher = least + (1 << bit);
            least = Sum(s, max, IntrinsicMath.Max(higher, floor), weighted, scratch) >= wanted ? higher : least;
        }
        return IntrinsicMath.Max(least, floor);
    }

    /// <summary>How many tokens have at least a key, or how much they weigh.</summary>
    private static float Sum(Sampling s, float max, int least, int weighted, ArrayView<float> scratch)
    {
        float sum = 0;
        for (int v = Group.IdxX; v < s.Count; v += Group.DimX)
        {
            float logit = s.Logits[v];
            if (FloatKey.Of(logit) >= least)
                sum += weighted == 0 ? 1 : Weight(s, logit, max);
        }
        return GroupMath.Sum(sum, scratch);
    }

    private static float Drawable(Sampling s, int v, float max, int least)
    {
        float logit = s.Logits[v];
        return FloatKey.Of(logit) >= least && logit >= max + s.Reach ? Weight(s, logit, max) : 0;
    }

    private static float Weight(Sampling s, float logit, float max) => MathF.Exp((logit - max) / s.Temperature);
}
