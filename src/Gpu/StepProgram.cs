using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>Steps that follow each other, by value: a kernel's parameters may take 4 KB.</summary>
public struct Steps
{
    public int Count;
    public Step S0, S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, S12, S13, S14, S15, S16, S17, S18, S19;

    public const int Capacity = 20;

    internal void Add(Step step)
    {
        switch (Count++)
        {
            case 0: S0 = step; break;
            case 1: S1 = step; break;
            case 2: S2 = step; break;
            case 3: S3 = step; break;
            case 4: S4 = step; break;
            case 5: S5 = step; break;
            case 6: S6 = step; break;
            case 7: S7 = step; break;
            case 8: S8 = step; break;
            case 9: S9 = step; break;
            case 10: S10 = step; break;
            case 11: S11 = step; break;
            case 12: S12 = step; break;
            case 13: S13 = step; break;
            case 14: S14 = step; break;
            case 15: S15 = step; break;
            case 16: S16 = step; break;
            case 17: S17 = step; break;
            case 18: S18 = step; break;
            default: S19 = step; break;
        }
    }

    internal static Step At(Steps all, int i)
    {
        switch (i)
        {
            case 0: return all.S0;
            case 1: return all.S1;
            case 2: return all.S2;
            case 3: return all.S3;
            case 4: return all.S4;
            case 5: return all.S5;
            case 6: return all.S6;
            case 7: return all.S7;
            case 8: return all.S8;
            case 9: return all.S9;
            case 10: return all.S10;
            case 11: return all.S11;
            case 12: return all.S12;
            case 13: return all.S13;
            case 14: return all.S14;
            case 15: return all.S15;
            case 16: return all.S16;
            case 17: return all.S17;
            case 18: return all.S18;
            default: return all.S19;
        }
    }
}

/// <summary>
/// Several steps in one group, one after the other with a barrier between: what lies between two matrices of a decoded token is so
/// little that launches would take longer than the work.
/// </summary>
internal struct StepProgram : IKernel<Steps>
{
    public static void Run(Steps all)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(StepScratch.Floats);
        for (int i = 0; i < all.Count; i++)
        {
            Step s = Steps.At(all, i);
            for (int item = 0; item < s.Items; item++)
                One(s, item, scratch);
            Group.Barrier();
        }
    }

    private static void One(Step s, int item, ArrayView<float> scratch)
    {
        switch (s.Code)
        {
            case 0: FillStep.Run(s, item, scratch); break;
            case 1: CopyStep.Run(s, item, scratch); break;
            case 2: AddStep.Run(s, item, scratch); break;
            case 3: MulStep.Run(s, item, scratch); break;
            case 4: MulAddStep.Run(s, item, scratch); break;
            case 5: AxpyStep.Run(s, item, scratch); break;
            case 6: RowDotStep.Run(s, item, scratch); break;
            case 7: ColumnSumStep.Run(s, item, scratch); break;
            case 8: OuterStep.Run(s, item, scratch); break;
            case 9: SoftmaxStep.Run(s, item, scratch); break;
            case 10: LogSumExpStep.Run(s, item, scratch); break;
            case 11: RmsNormStep.Run(s, item, scratch); break;
            case 12: AddColumnsStep.Run(s, item, scratch); break;
            case 13: RopeStep.Run(s, item, scratch); break;
            case 14: WriteRowsStep<F32>.Run(s, item, scratch); break;
            case 15: SelectStep.Run(s, item, scratch); break;
            case 16: CountColumnStep.Run(s, item, scratch); break;
            case 17: SumCountsStep.Run(s, item, scratch); break;
            case 18: FillSlotsStep.Run(s, item, scratch); break;
            case 19: GatherSlotsStep.Run(s, item, scratch); break;
            case 20: MergeAttentionStep.Run(s, item, scratch); break;
            case 22: FillFewSlotsStep.Run(s, item, scratch); break;
            case 23: SmallLinearStep<F32>.Run(s, item, scratch); break;
            case 24: SmallLinearStep<BF16>.Run(s, item, scratch); break;
            case 25: SmallLinearStep<F16>.Run(s, item, scratch); break;
            case 26: UnaryStep<Sigmoid>.Run(s, item, scratch); break;
            case 27: UnaryStep<Silu>.Run(s, item, scratch); break;
            case 28: UnaryStep<Relu>.Run(s, item, scratch); break;
            case 29: UnaryStep<Tanh>.Run(s, item, scratch); break;
            case 30: UnaryStep<Softplus>.Run(s, item, scratch); break;
            case 31: UnaryStep<NormalCdf>.Run(s, item, scratch); break;
            case 32: UnaryStep<Square>.Run(s, item, scratch); break;
            case 33: UnaryStep<Reciprocal>.Run(s, item, scratch); break;
            case 34: UnaryStep<EntropyTerm>.Run(s, item, scratch); break;
            case 35: BandSoftmaxStep.Run(s, item, scratch); break;
            case 36: GatherRowsStep<F32>.Run(s, item, scratch); break;
            case 37: GatherRowsStep<BF16>.Run(s, item, scratch); break;
            case 38: GatherRowsStep<F16>.Run(s, item, scratch); break;
            case 39: UnaryStep<ClippedPlusOne>.Run(s, item, scratch); break;
            case 40: GatedStep<Silu>.Run(s, item, scratch); break;
            case 41: GatedStep<CappedSwish>.Run(s, item, scratch); break;
            case 42: SelectFewTokensStep.Run(s, item, scratch); break;
            case 43: WriteRowsStep<BF16>.Run(s, item, scratch); break;
            case 44: WriteRowsStep<F16>.Run(s, item, scratch); break;
            default: CombineStep.Run(s, item, scratch); break;
        }
    }
}

public sealed partial class GpuBackend
{
    /// <summary>More elements than this are worth a launch of their own.</summary>
    private const int SmallElements = 1 << 16, SmallItems = 512;

    private readonly HashSet<DeviceStorage> _touched = [];
    private readonly HashSet<DeviceStorage> _viewed = [];
    private Steps _waiting;

    /// <summary>Threads are counted by an int, those of the last group that are beyond the last element too.</summary>
    internal static void RequireThreads(long count) =>
        Check.That(count <= int.MaxValue - MostThreads, "an elementwise step on a device takes fewer than 2³¹ − 256 elements");

    /// <summary>One thread for each of so many elements.</summary>
    private void Each<TStep>(long count, Step step) where TStep : struct, IStep
    {
        RequireThreads(count);
        step.N = (int)count;
        Run<TStep>(Blocks(count), count, step);
    }

    /// <summary>One group for each of so many rows.</summary>
    private void Rows<TStep>(int rows, int cols, Step step) where TStep : struct, IStep
    {
        (step.Rows, step.Cols) = (rows, cols);
        Run<TStep>(rows, (long)rows * cols, step);
    }

    /// <summary>A step of so many items over so many elements: soon, with its neighbours, where it is small.</summary>
    private void Run<TStep>(int items, long elements, Step step) where TStep : struct, IStep
    {
        (step.Items, step.Code) = (items, TStep.Code);
        if (items == 0)
            return;
        if (TStep.Code < 0 || elements > SmallElements || items > SmallItems)
        {
            Launch<AloneKernel<TStep>, Step>(new Index3D(Math.Min(items, 65535), 1, 1), GroupSize, step);
            return;
        }
        if (_waiting.Count == Steps.Capacity)
            Flush();
        _waiting.Add(step);
        _touched.UnionWith(_viewed);
        _viewed.Clear();
    }

    /// <summary>Launches what waits for neighbours: matrices first, since steps that came before one and touch it would have sent it on its way.</summary>
    private void Flush()
    {
        FlushLinears();
        if (_waiting.Count > 0)
        {
            Steps steps = _waiting;
            _waiting = default;
            Start<StepProgram, Steps>(new Index3D(1, 1, 1), GroupSize, steps);
        }
        _touched.Clear();
        _memory.Launched();
    }

    private int Blocks(long count) => checked((int)((count + GroupSize - 1) / GroupSize));
}
