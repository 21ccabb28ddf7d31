using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>Calls that must not reach memory: each wrong in one argument.</summary>
    private static readonly Dictionary<string, Action<Trial>> WrongCalls = new()
    {
        ["Upload of too few bytes"] = t => t.Backend.Upload(new byte[8], t.Normal([3])),
        ["Download of too few bytes"] = t => t.Backend.Download(t.Normal([3]), new byte[8]),
        ["Copy to fewer elements"] = t => t.Backend.Copy(t.Normal([3, 4]), t.Normal([3, 3])),
        ["Copy of floats to ids"] = t => t.Backend.Copy(t.Normal([3]), t.Input([3], [1, 2, 3])),
        ["Fill of ids"] = t => t.Backend.Fill(t.Input([3], [1, 2, 3]), 1),
        ["Unary to fewer"] = t => t.Backend.Unary<Silu>(t.Normal([5]), t.Normal([4])),
        ["UnaryGrad with fewer gradients"] = t => t.Backend.UnaryGrad<Silu>(t.Normal([5]), t.Normal([4]), t.Normal([5])),
        ["Gated with fewer b"] = t => t.Backend.Gated<Silu>(t.Normal([5]), t.Normal([4]), t.Normal([5])),
        ["GatedGrad with fewer da"] = t => t.Backend.GatedGrad<Silu>(t.Normal([5]), t.Normal([5]), t.Normal([5]), t.Normal([4]), null),
        ["Add of weights"] = t => t.Backend.Add(t.Normal([5], DType.BF16), t.Normal([5]), t.Normal([5])),
        ["Mul to fewer"] = t => t.Backend.Mul(t.Normal([5]), t.Normal([5]), t.Normal([4])),
        ["MulAdd to fewer"] = t => t.Backend.MulAdd(t.Normal([5]), t.Normal([5]), t.Normal([4])),
        ["Axpy to fewer"] = t => t.Backend.Axpy(1, t.Normal([5]), t.Normal([4])),
        ["RowDot with other rows"] = t => t.Backend.RowDot(t.Normal([3, 4]), t.Normal([4, 3]), t.Normal([3])),
        ["RowDot to too few"] = t => t.Backend.RowDot(t.Normal([3, 4]), null, t.Normal([2])),
        ["ColumnSum with too few weights"] = t => t.Backend.ColumnSum(t.Normal([3, 4]), t.Normal([2]), t.Normal([4])),
        ["ScaleRows with too few factors"] = t => t.Backend.ScaleRows(t.Normal([3, 4]), t.Normal([2]), t.Normal([3, 4])),
        ["Outer with too few columns"] = t => t.Backend.Outer(null, t.Normal([3]), t.Normal([3, 4])),
        ["Softmax to another shape"] = t => t.Backend.Softmax(t.Normal([3, 4]), t.Normal([4, 3])),
        ["SoftmaxGrad to another shape"] = t => t.Backend.SoftmaxGrad(t.Normal([3, 4]), t.Normal([3, 4]), t.Normal([4, 3])),
        ["LogSumExp to too few"] = t => t.Backend.LogSumExp(t.Normal([3, 4]), t.Normal([2])),
        ["LogSumExpGrad from too few"] = t => t.Backend.LogSumExpGrad(t.Normal([3, 4]), t.Normal([2]), t.Normal([3]), t.Normal([3, 4])),
        ["RmsNorm with a weight too short"] = t => t.Backend.RmsNorm(t.Normal([3, 4]), t.Normal([3]), 0, t.Normal([3, 4]), t.Normal([3])),
        ["RmsNorm with an empty weight"] = t => t.Backend.RmsNorm(t.Normal([3, 4]), t.Normal([0]), 0, t.Normal([3, 4]), t.Normal([3])),
        ["RmsNorm of heads with too few scales"] = t => t.Backend.RmsNorm(t.Normal([3, 4]), t.Normal([2]), 0, t.Normal([3, 4]), t.Normal([3])),
        ["RmsNormGrad with a weight too short"] = t =>
            t.Backend.RmsNormGrad(t.Normal([3, 4]), t.Normal([4]), t.Normal([3]), t.Normal([3, 4]), null, t.Normal([3])),
        ["Linear of unequal inner sizes"] = t => t.Backend.Linear(t.Normal([2, 3]), t.Normal([5, 4]), t.Normal([2, 5])),
        ["Linear to too few columns"] = t => t.Backend.Linear(t.Normal([2, 3]), t.Normal([5, 3]), t.Normal([2, 4])),
        ["Linear by ids"] = t => t.Backend.Linear(t.Normal([2, 3]), t.Input([1, 3], [1, 2, 3]), t.Normal([2, 1])),
        ["LinearGradInput of unequal sizes"] = t => t.Backend.LinearGradInput(t.Normal([2, 4]), t.Normal([5, 3]), t.Normal([2, 3])),
        ["LinearGradInput through quantised weights"] = t => t.Backend.LinearGradInput(t.Normal([2, 4]), t.Normal([4, 32], DType.Q8_0), t.Normal([2, 32])),
        ["Linear by quantised weights of unequal inner size"] = t => t.Backend.Linear(t.Normal([2, 32]), t.Normal([5, 64], DType.Q4_0), t.Normal([2, 5])),
        ["Fill of quantised weights"] = t => t.Backend.Fill(t.Normal([2, 32], DType.Q8_0), 1),
        ["Copy to quantised weights"] = t => t.Backend.Copy(t.Normal([2, 32]), t.Normal([2, 32], DType.Q8_0)),
        ["GroupedLinearGradInput through quantised weights"] = t =>
            t.Backend.GroupedLinearGradInput(t.Normal([2, 4]), default, [t.Normal([4, 32], DType.Q4_0)], t.Normal([2, 32])),
        ["GatedExpertsGrad through quantised weights"] = t => t.Backend.GatedExpertsGrad<Silu>(
            t.Normal([2, 32]), new ExpertSlots(t.Input([2], [0, 1]), t.Normal([2]), default), new(Gated(t, 1, 32, 32, DType.Q8_0)),
            t.Normal([2, 32]), t.Normal([2, 32]), t.Normal([2, 32]), t.Normal([2, 32]), null, new(new Tensor?[3])),
        ["LinearGradWeight of unequal rows"] = t => t.Backend.LinearGradWeight(t.Normal([2, 5]), t.Normal([3, 4]), t.Normal([5, 4])),
        ["Rope of odd heads"] = t => t.Backend.Rope(t.Normal([2, 6]), t.Input([2], [0, 1]), t.Normal([1]), new RopeLayout(3), t.Normal([2, 6])),
        ["Rope of more columns than a head has"] = t =>
            t.Backend.Rope(t.Normal([2, 6]), t.Input([2], [0, 1]), t.Normal([2]), new RopeLayout(6, First: 3, Turned: 4), t.Normal([2, 6])),
        ["Rope with too few positions"] = t => t.Backend.Rope(t.Normal([2, 4]), t.Input([1], [0]), t.Normal([2]), new RopeLayout(4), t.Normal([2, 4])),
        ["RopeGrad with too few frequencies"] = t =>
            t.Backend.RopeGrad(t.Normal([2, 4]), t.Input([2], [0, 1]), t.Normal([1]), new RopeLayout(4), t.Normal([2, 4])),
        ["Attention with heads that do not divide"] = t => WrongAttention(t, H: 3, Hkv: 2),
        ["Attention with queries beyond q"] = t => WrongAttention(t, sequence: [0, 6, 0, 5]),
        ["Attention with keys beyond k"] = t => WrongAttention(t, sequence: [0, 5, 1, 5]),
        ["Attention with a negative start"] = t => WrongAttention(t, sequence: [-1, 5, 0, 5]),
        ["Attention with a start that overflows"] = t => WrongAttention(t, sequence: [int.MaxValue, 2, 0, 5]),
        ["Attention with a narrow mask"] = t => WrongAttention(t, maskColumns: 4),
        ["Attention with a short lse"] = t => WrongAttention(t, lseRows: 4),
        ["Attention with values as wide as keys where they are not"] = t => WrongAttention(t, valueDim: 3),
        ["Attention with a negative width of values"] = t => WrongAttention(t, valueDim: -4),
        ["Attention with a sink for one head of two"] = t => WrongAttention(t, sinks: 1),
        ["Attention with keys and values of two types"] = t => WrongAttention(t, keys: DType.BF16, values: DType.F16),
        ["Attention with quantised keys"] = t => WrongAttention(t, keys: DType.Q8_0, values: DType.Q8_0, Hkv: 8, H: 8),
        ["AttentionGrad of keys of 16 bits"] = t => WrongAttention(t, keys: DType.F16, values: DType.F16, dkRows: 6),
        ["AttentionGrad into too few keys"] = t => WrongAttention(t, dkRows: 4),
        ["AttentionGrad of sinks that are not there"] = t => WrongAttention(t, dsinks: 2),
        ["AttentionGrad into too many sinks"] = t => WrongAttention(t, sinks: 2, dsinks: 3),
        ["AddColumns beyond a head"] = t => t.Backend.AddColumns(t.Normal([2, 6]), new(2, 3, 1), new(2, 3), 3, t.Normal([2, 6])),
        ["AddColumns to another number of heads"] = t => t.Backend.AddColumns(t.Normal([2, 6]), new(2, 3), new(3, 3), 1, t.Normal([2, 9])),
        ["AddColumns of heads that do not fill a row"] = t => t.Backend.AddColumns(t.Normal([2, 7]), new(2, 3), new(2, 3), 1, t.Normal([2, 6])),
        ["AddColumns to fewer rows"] = t => t.Backend.AddColumns(t.Normal([2, 6]), new(2, 3), new(2, 3), 1, t.Normal([1, 6])),
        ["GatherRows of a row that is not there"] = t => t.Backend.GatherRows(t.Normal([3, 4]), t.Input([2], [0, 3]), default, t.Normal([2, 4])),
        ["GatherRows of a negative row"] = t => t.Backend.GatherRows(t.Normal([3, 4]), t.Input([2], [0, -1]), default, t.Normal([2, 4])),
        ["GatherRows beyond the offsets"] = t =>
            t.Backend.GatherRows(t.Normal([3, 4]), t.Input([2], [0, 1]), new SlotRange(t.Input([3], [0, 1, 2]), 1, 2), t.Normal([2, 4])),
        ["ScatterAddRows to a row that is not there"] = t => t.Backend.ScatterAddRows(t.Normal([2, 4]), t.Input([2], [0, 3]), default, t.Normal([3, 4])),
        ["WriteRows into quantised rows"] = t => t.Backend.WriteRows(t.Normal([2, 32]), t.Input([2], [0, 1]), t.Normal([3, 32], DType.Q8_0)),
        ["WriteRows to a row that is not there"] = t => t.Backend.WriteRows(t.Normal([2, 4]), t.Input([2], [0, 3]), t.Normal([3, 4])),
        ["SelectTopK of more than there are"] = t => t.Backend.SelectTopK(t.Normal([2, 4]), 5, t.Normal([2, 4])),
        ["SelectTokens with too little room"] = t => t.Backend.SelectTokens(t.Normal([2, 4]), null, [1, 2, 3], t.Normal([2, 4])),
        ["SelectTokens with negative room"] = t => t.Backend.SelectTokens(t.Normal([2, 2]), null, [1, -1], t.Normal([2, 2])),
        ["SelectTokens by too few scores"] = t => t.Backend.SelectTokens(t.Normal([2, 2]), t.Normal([2, 1]), [1, 1], t.Normal([2, 2])),
        ["BandSoftmax of other chosen"] = t => t.Backend.BandSoftmax(t.Normal([2, 4]), t.Normal([2, 3]), 0.1f, t.Normal([2, 4])),
        ["BandSoftmaxGrad to fewer"] = t =>
            t.Backend.BandSoftmaxGrad(t.Normal([2, 4]), t.Normal([2, 4]), 0.1f, t.Normal([2, 4]), t.Normal([2, 4]), t.Normal([2, 3])),
        ["SelectTopP into another shape"] = t => t.Backend.SelectTopP(t.Normal([2, 4]), new TopPRule(0.5f), t.Normal([4, 2])),
        ["CountSlots into too few"] = t => t.Backend.CountSlots(t.Normal([2, 4]), t.Input([4], [0, 0, 0, 0])),
        ["FillSlots into too few"] = t => t.Backend.FillSlots(
            t.Normal([2, 2]), t.Input([3], [0, 2, 4]), t.Input([3], [0, 0, 0]), t.Input([3], [0, 0, 0])),
        ["FillSlots of more than its offsets count"] = t => t.Backend.FillSlots(
            t.Input([2, 2], [1f, 1, 1, 1]), t.Input([3], [0, 0, 2]), t.Zeroed("token", [4], DType.I32), t.Zeroed("expert", [4], DType.I32)),
        ["GatherSlots of an expert that is not there"] = t =>
            t.Backend.GatherSlots(t.Normal([2, 2]), t.Input([1], [0]), t.Input([1], [2]), t.Input([3], [0, 0, 1]), t.Normal([1])),
        ["GatherSlotsGrad of a token that is not there"] = t =>
            t.Backend.GatherSlotsGrad(t.Normal([1]), t.Input([1], [2]), t.Input([1], [0]), t.Input([3], [0, 1, 1]), t.Normal([2, 2])),
        ["GroupedLinear with too few weights"] = t =>
            t.Backend.GroupedLinear(t.Normal([2, 3]), new SlotRange(t.Input([3], [0, 1, 2]), 0, 2), [t.Normal([4, 3])], t.Normal([2, 4])),
        ["GroupedLinear with offsets beyond the rows"] = t => t.Backend.GroupedLinear(
            t.Normal([2, 3]), new SlotRange(t.Input([3], [0, 1, 3]), 0, 2), [t.Normal([4, 3]), t.Normal([4, 3])], t.Normal([2, 4])),
        ["GroupedLinear with falling offsets"] = t => t.Backend.GroupedLinear(
            t.Normal([2, 3]), new SlotRange(t.Input([3], [0, 2, 1]), 0, 2), [t.Normal([4, 3]), t.Normal([4, 3])], t.Normal([2, 4])),
        ["GroupedLinearGradInput with an odd weight out"] = t => t.Backend.GroupedLinearGradInput(
            t.Normal([2, 4]), new SlotRange(t.Input([3], [0, 1, 2]), 0, 2), [t.Normal([4, 3]), t.Normal([3, 4])], t.Normal([2, 3])),
        ["GroupedLinearGradWeight with an odd gradient out"] = t => t.Backend.GroupedLinearGradWeight(
            t.Normal([2, 4]), t.Normal([2, 3]), new SlotRange(t.Input([3], [0, 1, 2]), 0, 2), [null, t.Normal([3, 4])]),
        ["Combine with too few weights"] = t => t.Backend.Combine(t.Normal([2, 3]), t.Normal([1]), t.Input([2], [0, 1]), default, t.Normal([2, 3])),
        ["CombineGrad of a token that is not there"] = t => t.Backend.CombineGrad(
            t.Normal([2, 3]), t.Normal([2]), t.Input([2], [0, 2]), default, t.Normal([2, 3]), t.Normal([2, 3]), null),
        ["CrossEntropy of a label beyond the vocabulary"] = t =>
            t.Backend.CrossEntropy(t.Normal([2, 3]), t.Input([2], [0, 3]), t.Normal([2]), t.Normal([2])),
        ["CrossEntropyGrad of a label beyond the vocabulary"] = t =>
            t.Backend.CrossEntropyGrad(t.Normal([2, 3]), t.Input([2], [0, 3]), t.Normal([2]), t.Normal([2]), t.Normal([2, 3])),
        ["SumOfSquares into two"] = t => t.Backend.SumOfSquares(t.Normal([3]), t.Normal([2])),
        ["AdamW with a short moment"] = t =>
            t.Backend.AdamW(t.Normal([3]), new AdamWStep(1, 1, 0.9, 0.9, 1, 0), t.Normal([3]), t.Normal([2]), t.Normal([3])),
        ["AdamW with step 0"] = t =>
            t.Backend.AdamW(t.Normal([3]), new AdamWStep(0, 1, 0.9, 0.9, 1, 0), t.Normal([3]), t.Normal([3]), t.Normal([3])),
    };

    public static TheoryData<string> WrongCallNames => [.. WrongCalls.Keys];

    [Theory, MemberData(nameof(WrongCallNames))]
    public void Refuses(string call) => Trial.Run(Subject, 1, t => Assert.Throws<ArgumentException>(() => WrongCalls[call](t)));

    /// <summary>Five queries and five keys, right but for what is given.</summary>
    private static void WrongAttention(Trial t, int H = 2, int Hkv = 1, int[]? sequence = null, int maskColumns = 5, int lseRows = 5, int dkRows = 5,
        int valueDim = 0, int sinks = 0, int dsinks = 0, DType keys = DType.F32, DType values = DType.F32)
    {
        AttentionLayout layout = new(H, Hkv, HeadDim: 4, Scale: 1, ValueDim: valueDim);
        Tensor q = t.Normal([5, 4 * H]), k = t.Normal([5, 4 * Hkv], keys), v = t.Normal([5, 4 * Hkv], values), y = t.Normal([5, 4 * H]);
        Tensor lse = t.Normal([lseRows, H]), sequences = t.Input([1, 4], sequence ?? [0, 5, 0, 5]), visible = t.Input([5, maskColumns], new int[5 * maskColumns]);
        Tensor? sink = sinks == 0 ? null : t.Normal([sinks]), dsink = dsinks == 0 ? null : t.Normal([dsinks]);
        if (dkRows != 5 || dsink is not null)
            t.Backend.AttentionGrad(q, k, v, sequences, visible, sink, layout, y, lse, t.Normal([5, 4 * H]), null, t.Normal([dkRows, 4 * Hkv]), null, dsink);
        t.Backend.Attention(q, k, v, sequences, visible, sink, layout, y, lse);
    }
}
