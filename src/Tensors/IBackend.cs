namespace MoeFromScratch.Tensors;

/// <summary>
/// The seam: everything a machine must be able to do, and all that the rest of the code knows about machines.
/// <para>
/// Rules. Inputs first, outputs last; the caller allocates. A method writes its outputs in full, except where a summary
/// says <c>+=</c>; every <c>…Grad</c> accumulates (<c>dx += …</c>) and skips outputs that are null. Tensors are F32 unless
/// named otherwise; weights (<c>w</c>) are F32, BF16 or F16; ids, positions and slots are I32. A tensor counts as the
/// matrix [Rows, Cols]. Outputs never overlap inputs. Quantised weights (<see cref="Blocks"/>) may be what <see cref="Linear"/>,
/// <see cref="GroupedLinear"/>, <see cref="GatedExperts"/>, <see cref="GatherRows"/> and <see cref="Copy"/> read, on backends that
/// have them, with the numbers they dequantise to; no gradient goes through them.
/// </para>
/// <para>
/// Letters: T tokens, D hidden, N outputs, H heads, K head dim, Kv value dim, E experts, S slots, V vocabulary.
/// Results depend on shapes and values only, never on the number of threads. Ties: higher score, then lower index.
/// </para>
/// </summary>
public interface IBackend : IDisposable
{
    // ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>"reference", "cpu": what <c>--device</c> calls it.</summary>
    string Name { get; }

    /// <summary>Whether a download waits for all that was asked for before it: what the host need not know is then left where it is.</summary>
    bool IsDevice { get; }

    /// <summary>Storages handed out and not given back.</summary>
    int LiveBuffers { get; }

    /// <summary>At least <paramref name="bytes"/> bytes of uninitialised memory.</summary>
    Storage Allocate(long bytes);

    /// <summary>Gives back what <see cref="Allocate"/> handed out.</summary>
    void Free(Storage storage);

    /// <summary>y ← bytes of the host.</summary>
    void Upload(ReadOnlySpan<byte> source, Tensor y);

    /// <summary>bytes of the host ← x. Waits for pending work on x.</summary>
    void Download(Tensor x, Span<byte> target);

    /// <summary>This host tensor where the backend can compute on it: itself, or a copy on the device.</summary>
    Tensor Import(Tensor host);

    /// <summary>y = x, converting between F32, BF16 and F16 where the types differ (round to nearest even), and from quantised types to F32.</summary>
    void Copy(Tensor x, Tensor y);

    /// <summary>y[i] = value</summary>
    void Fill(Tensor y, float value);

    // ── elementwise ─────────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>y = f(x)</summary>
    void Unary<TOp>(Tensor x, Tensor y) where TOp : struct, IUnary;

    /// <summary>dx += dy · f'(x)</summary>
    void UnaryGrad<TOp>(Tensor x, Tensor dy, Tensor dx) where TOp : struct, IUnary;

    /// <summary>y = f(a) · b: SwiGLU's middle with f = silu.</summary>
    void Gated<TOp>(Tensor a, Tensor b, Tensor y) where TOp : struct, IUnary;

    /// <summary>da += dy · b · f'(a), db += dy · f(a)</summary>
    void GatedGrad<TOp>(Tensor a, Tensor b, Tensor dy, Tensor? da, Tensor? db) where TOp : struct, IUnary;

    /// <summary>y = a + b</summary>
    void Add(Tensor a, Tensor b, Tensor y);

    /// <summary>y = a · b</summary>
    void Mul(Tensor a, Tensor b, Tensor y);

    /// <summary>y += a · b</summary>
    void MulAdd(Tensor a, Tensor b, Tensor y);

    /// <summary>y += α · x</summary>
    void Axpy(float alpha, Tensor x, Tensor y);

    // ── rows and columns ────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>y[t] += Σ_d a[t,d] · b[t,d].   a, b [T, D] → y [T]; b null counts as ones.</summary>
    void RowDot(Tensor a, Tensor? b, Tensor y);

    /// <summary>y[d] += Σ_t w[t] · x[t,d].   x [T, D], w [T] → y [D]; w null counts as ones.</summary>
    void ColumnSum(Tensor x, Tensor? w, Tensor y);

    /// <summary>y[t,d] += s[t] · x[t,d].   x [T, D], s [T] → y [T, D]</summary>
    void ScaleRows(Tensor x, Tensor s, Tensor y);

    /// <summary>y[t,d] += a[t] · b[d].   a [T], b [D] → y [T, D]; either may be null and counts as ones.</summary>
    void Outer(Tensor? a, Tensor? b, Tensor y);

    /// <summary>y[t] = softmax over the row x[t].   x [T, D] → y [T, D]</summary>
    void Softmax(Tensor x, Tensor y);

    /// <summary>dx[t] += y[t] · (dy[t] − Σ_j dy[t,j] y[t,j])</summary>
    void SoftmaxGrad(Tensor y, Tensor dy, Tensor dx);

    /// <summary>y[t] = ln Σ_d e^x[t,d].   x [T, D] → y [T]</summary>
    void LogSumExp(Tensor x, Tensor y);

    /// <summary>dx[t,d] += dy[t] · e^(x[t,d] − y[t])</summary>
    void LogSumExpGrad(Tensor x, Tensor y, Tensor dy, Tensor dx);

    /// <summary>
    /// y[t] = x[t] · r[t] · w, r[t] = 1 / √(mean_d x[t,d]² + eps).   x [T, D], w [D] → y [T, D], r [T]. A row of x may hold
    /// several vectors, such as a query's heads: x counts as [x.Count / D, D], with D the length of w.
    /// </summary>
    void RmsNorm(Tensor x, Tensor w, float eps, Tensor y, Tensor r);

    /// <summary>With g = dy · w: dx += r · (g − x · r² · mean_d(g · x)); dw += Σ_t dy · x · r.</summary>
    void RmsNormGrad(Tensor x, Tensor w, Tensor r, Tensor dy, Tensor? dx, Tensor? dw);

    /// <summary>
    /// y[t, h·Ky + to + j] += x[t, h·Kx + from + j] for every head h and every j below <paramref name="width"/>: columns of heads moved
    /// into heads of another size. A side with one head serves all heads of the other: one head of x goes to every head of y, one head of
    /// y takes the sum over the heads of x, in their order. With x and y exchanged it is its own way back.   x [T, Hx·Kx] → y [T, Hy·Ky]
    /// </summary>
    void AddColumns(Tensor x, HeadColumns from, HeadColumns to, int width, Tensor y);

    // ── matrices ────────────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>y = x · wᵀ.   x [T, D], w [N, D] → y [T, N]</summary>
    void Linear(Tensor x, Tensor w, Tensor y);

    /// <summary>dx += dy · w.   dy [T, N], w [N, D] → dx [T, D]</summary>
    void LinearGradInput(Tensor dy, Tensor w, Tensor dx);

    /// <summary>dw += dyᵀ · x.   dy [T, N], x [T, D] → dw [N, D]</summary>
    void LinearGradWeight(Tensor dy, Tensor x, Tensor dw);

    // ── attention ───────────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>
    /// Turns each pair of a head by position · frequency: (x₁, x₂) → magnitude · (x₁ cos − x₂ sin, x₂ cos + x₁ sin); columns of
    /// a head that are in no pair stay as they are.
    /// x [T, H·K], positions [T] I32, frequencies [R/2] → y [T, H·K]. The angle is rounded to F32 once, as references do.
    /// </summary>
    void Rope(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y);

    /// <summary>dx += dy turned back.</summary>
    void RopeGrad(Tensor dy, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor dx);

    /// <summary>
    /// Scaled dot-product attention over packed sequences; no [T, T] matrix is ever stored.
    /// q [T, H·K]; k [Tk, Hkv·K] and v [Tk, Hkv·Kv] both F32, both BF16 or both F16; head h reads key head h / (H / Hkv). <paramref name="sequences"/> [B, 4]
    /// I32 holds (query start, query count, key start, key count) per sequence; its last query stands at its last key, and with
    /// <see cref="AttentionLayout.Causal"/> sees no key after itself. <paramref name="visible"/> [T, M] I32, M at least the
    /// largest key count, is 1 where query t may see the j-th key of its sequence; null hides nothing.
    /// <paramref name="sinks"/> [H] adds e^sinks[h] to the denominators of head h's softmax and nothing to their numerators:
    /// a key that every query sees and that has no value (Xiao et al., 2023, arXiv 2309.17453; learned in gpt-oss); null adds nothing.
    /// → y [T, H·Kv], lse [T, H] (log of the softmax's denominator, for the way back). A query that sees nothing, or is in
    /// no sequence, gives 0 and lse sinks[h], −∞ without sinks.
    /// </summary>
    void Attention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout, Tensor y, Tensor lse);

    /// <summary>
    /// dq, dk, dv += the gradients of <see cref="Attention"/> with keys and values in F32, probabilities recomputed from lse;
    /// dsinks[h] −= Σ_t e^(sinks[h] − lse[t,h]) · Σ_d dy[t,h,d] · y[t,h,d], which takes sinks.
    /// </summary>
    void AttentionGrad(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout,
        Tensor y, Tensor lse, Tensor dy, Tensor? dq, Tensor? dk, Tensor? dv, Tensor? dsinks);

    // ── moving rows ─────────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>y[s] = x[index[s]] for the slots of <paramref name="range"/> (all rows of y by default).   x [T, D] F32, BF16 or F16, index [S] → y [S, D]</summary>
    void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y);

    /// <summary>y[index[s]] += x[s] for the slots of <paramref name="range"/>, in the order of s.   x [S, D], index [S] → y [T, D]</summary>
    void ScatterAddRows(Tensor x, Tensor index, SlotRange range, Tensor y);

    /// <summary>y[index[t]] = x[t], rounded to nearest (ties to even): new keys and values into their cache.   x [T, D], index [T] → y [C, D] F32, BF16 or F16</summary>
    void WriteRows(Tensor x, Tensor index, Tensor y);

    // ── mixture of experts ──────────────────────────────────────────────────────────────────────────────────────

    /// <summary>mask[t,e] = 1 for the k highest scores of row t, else 0.   scores [T, E] → mask [T, E]</summary>
    void SelectTopK(Tensor scores, int k, Tensor mask);

    /// <summary>mask[t,e] = 1 for the likeliest experts of row t, by <see cref="TopPRule"/>, else 0.   probs [T, E] → mask [T, E]</summary>
    void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask);

    /// <summary>
    /// kept[t,e] = 1 for the room[e] highest scores among the positive mask entries of column e, else 0; without scores the
    /// first tokens stay.   mask, scores [T, E], room [E] → kept [T, E]
    /// </summary>
    void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept);

    /// <summary>
    /// Each chosen expert's share among those it only just beat: y[t,i] = e^x[t,i] / Σ_j e^x[t,j] over the j from i on down
    /// in the row's ranking with (x[t,i] − x[t,j]) / max(|x[t,i]|, |x[t,j]|) ≤ band; 0 where the mask is not positive. That is
    /// SparseMixer's softmax when experts are taken one by one, highest first.   x, mask [T, E] → y [T, E]
    /// </summary>
    void BandSoftmax(Tensor x, Tensor mask, float band, Tensor y);

    /// <summary>dx[t,j] += Σ_i dy[t,i] · y[t,i] · (1[i = j] − e^x[t,j] / Σ), the i and their sums Σ those of <see cref="BandSoftmax"/>.</summary>
    void BandSoftmaxGrad(Tensor x, Tensor mask, float band, Tensor y, Tensor dy, Tensor dx);

    /// <summary>offsets[e] = number of positive entries in the columns before e.   mask [T, E] → offsets [E + 1] I32</summary>
    void CountSlots(Tensor mask, Tensor offsets);

    /// <summary>
    /// Lists the positive entries of the mask, sorted by expert, then by token: slot s pairs token[s] with expert[s].
    /// mask [T, E], offsets [E + 1] → token, expert [S] I32, of which the first offsets[E] are written.
    /// </summary>
    void FillSlots(Tensor mask, Tensor offsets, Tensor token, Tensor expert);

    /// <summary>y[s] = x[token[s], expert[s]].   x [T, E], offsets [E + 1] → y [S]</summary>
    void GatherSlots(Tensor x, Tensor token, Tensor expert, Tensor offsets, Tensor y);

    /// <summary>dx[token[s], expert[s]] += dy[s]</summary>
    void GatherSlotsGrad(Tensor dy, Tensor token, Tensor expert, Tensor offsets, Tensor dx);

    /// <summary>
    /// y[s] = x[s] · w[e − First]ᵀ for the slots s of every expert e of <paramref name="range"/>: one matmul per expert over ragged
    /// segments, without padding.   x [S, D], w Count × [N, D] → y [S, N]
    /// </summary>
    void GroupedLinear(Tensor x, SlotRange range, ReadOnlySpan<Tensor> w, Tensor y);

    /// <summary>dx[s] += dy[s] · w[e − First]</summary>
    void GroupedLinearGradInput(Tensor dy, SlotRange range, ReadOnlySpan<Tensor> w, Tensor dx);

    /// <summary>dw[e − First] += Σ_{s of e} dy[s]ᵀ · x[s]; null entries are skipped.</summary>
    void GroupedLinearGradWeight(Tensor dy, Tensor x, SlotRange range, ReadOnlySpan<Tensor?> dw);

    /// <summary>
    /// Gated feed-forward experts, dispatch and combination included: with a[s] = x[token[s]] · gateᵀ and b[s] = x[token[s]] · upᵀ
    /// of the expert of slot s, y[token[s]] += weight[s] · (f(a[s]) · b[s]) · downᵀ, in an order that the offsets alone decide; SwiGLU with f = silu. It is
    /// <see cref="GatherRows"/>, two <see cref="GroupedLinear"/>, <see cref="Gated{TOp}"/>, one more and <see cref="Combine"/> without what lies between.
    /// x [T, D], gate and up Count × [F, D], down Count × [D, F] → a, b [S, F], of which the range's slots are written, y [T, D]
    /// </summary>
    void GatedExperts<TOp>(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor y) where TOp : struct, IUnary;

    /// <summary>
    /// With h = f(a) · b, dh[s] = dy[token[s]] · down and g[s] = weight[s] · dh[s]: dweight[s] += Σ_f h[s,f] · dh[s,f];
    /// ddown += Σ_s weight[s] · dy[token[s]]ᵀ · h[s]; then a and b are used up and become their own gradients, a ← g · b · f'(a) and
    /// b ← g · f(a); dx[token[s]] += a[s] · gate + b[s] · up; dgate += Σ_s a[s]ᵀ · x[token[s]], dup += Σ_s b[s]ᵀ · x[token[s]].
    /// </summary>
    /// <param name="dw">Their null entries are skipped.</param>
    void GatedExpertsGrad<TOp>(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor dy,
        Tensor? dx, Tensor? dweight, in GatedWeights<Tensor?> dw) where TOp : struct, IUnary;

    /// <summary>y[token[s]] += weight[s] · x[s] for the slots of <paramref name="range"/>, in the order of s.   x [S, D] → y [T, D]</summary>
    void Combine(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor y);

    /// <summary>dx[s] += weight[s] · dy[token[s]], dweight[s] += Σ_d x[s,d] · dy[token[s],d]</summary>
    void CombineGrad(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor dy, Tensor? dx, Tensor? dweight);

    // ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────

    /// <summary>
    /// id[0] = the token drawn from the logits of one position by <see cref="SamplingRule"/>; −1 where a logit is NaN. The logits of the
    /// tokens in <paramref name="seen"/> are penalised in place first.   logits [V], seen [M] I32, no token twice → id [1] I32
    /// </summary>
    void Sample(Tensor logits, Tensor? seen, in SamplingRule rule, Tensor id);

    // ── loss and optimiser ──────────────────────────────────────────────────────────────────────────────────────

    /// <summary>y[t] = lse[t] − logits[t, label[t]], 0 where label[t] is negative.   logits [T, V], labels [T] I32 → y, lse [T]</summary>
    void CrossEntropy(Tensor logits, Tensor labels, Tensor y, Tensor lse);

    /// <summary>dlogits[t,v] += dy[t] · (e^(logits[t,v] − lse[t]) − 1[v = label[t]]), nothing where label[t] is negative.</summary>
    void CrossEntropyGrad(Tensor logits, Tensor labels, Tensor lse, Tensor dy, Tensor dlogits);

    /// <summary>y[0] += Σ_i x_i²</summary>
    void SumOfSquares(Tensor x, Tensor y);

    /// <summary>One AdamW step on p and its moments m, v with gradient g; see <see cref="AdamWStep"/>.</summary>
    void AdamW(Tensor g, in AdamWStep step, Tensor p, Tensor m, Tensor v);
}

/// <summary>Slots of the experts First … First + Count − 1: s from offsets[First] to offsets[First + Count], read where the tensor lives.</summary>
/// <param name="Offsets">[E + 1] I32; null (the default value of the struct) stands for all rows.</param>
public readonly record struct SlotRange(Tensor? Offsets, int First, int Count);

/// <summary>Which rows a bank of experts works on, and what each counts.</summary>
/// <param name="Token">[S] I32, the row of each slot.</param>
/// <param name="Weight">[S], the factor on what the expert gives for it.</param>
/// <param name="Range">Slots of the bank's experts.</param>
public readonly record struct ExpertSlots(Tensor Token, Tensor Weight, SlotRange Range);

/// <summary>The three matrices of each gated expert of a bank, or their gradients.</summary>
/// <param name="all">Of all experts first the gates, then the ups, then the downs.</param>
public readonly ref struct GatedWeights<T>(ReadOnlySpan<T> all)
{
    private readonly ReadOnlySpan<T> _all = all;

    /// <summary>Experts.</summary>
    public int Count => _all.Length / 3;

    /// <summary>Count × [F, D]</summary>
    public ReadOnlySpan<T> Gate => _all[..Count];

    /// <summary>Count × [F, D]</summary>
    public ReadOnlySpan<T> Up => _all.Slice(Count, Count);

    /// <summary>Count × [D, F]</summary>
    public ReadOnlySpan<T> Down => _all.Slice(2 * Count);
}

/// <summary>Where columns begin in the heads of a row.</summary>
/// <param name="Heads">H</param>
/// <param name="HeadDim">K; a row has H·K columns.</param>
/// <param name="First">Their first column in a head.</param>
public readonly record struct HeadColumns(int Heads, int HeadDim, int First = 0);

/// <summary>Which elements of a head turn together.</summary>
/// <param name="HeadDim">K</param>
/// <param name="Interleaved">Pairs (2i, 2i + 1) instead of (i, i + R/2), "rotate half", counted from First.</param>
/// <param name="First">The first column that turns.</param>
/// <param name="Turned">R, even: so many columns turn; 0 for all from First on.</param>
/// <param name="Magnitude">What turned columns are multiplied by (YaRN).</param>
public readonly record struct RopeLayout(int HeadDim, bool Interleaved = false, int First = 0, int Turned = 0, float Magnitude = 1)
{
    /// <summary>R/2</summary>
    public int Pairs => (Turned == 0 ? HeadDim - First : Turned) / 2;
}

/// <summary>Heads and reach of an attention.</summary>
/// <param name="Heads">H, query heads.</param>
/// <param name="KvHeads">Hkv, key and value heads; divides H.</param>
/// <param name="HeadDim">K</param>
/// <param name="Scale">Factor on the scores, usually 1/√K.</param>
/// <param name="Causal">Whether a query sees no key after itself.</param>
/// <param name="Window">With a value above 0, a query sees only the last Window keys up to itself.</param>
/// <param name="ValueDim">Kv, the width of a head's values and outputs; 0 stands for K.</param>
public readonly record struct AttentionLayout(
    int Heads, int KvHeads, int HeadDim, float Scale, bool Causal = true, int Window = 0, int ValueDim = 0)
{
    /// <summary>Kv</summary>
    public int ValueDim { get; } = ValueDim == 0 ? HeadDim : ValueDim;
}

/// <summary>
/// Experts in order of falling probability join until the running sum reaches the threshold; the expert that makes it
/// reach is the last. At least one joins; if the sum never gets there, all do. The sum is kept in double and rounded to F32
/// for each comparison, as PyTorch's cumsum on the CPU is, so that the same experts join on the edge.
/// </summary>
/// <param name="Threshold">p</param>
/// <param name="Strict">Reached means sum &gt; p (Dynamic-MoE) instead of sum ≥ p.</param>
/// <param name="MaxExperts">At most so many join; 0 for no limit.</param>
/// <param name="MinP">Nobody joins who is less than so many times as likely as the first.</param>
public readonly record struct TopPRule(float Threshold, bool Strict = true, int MaxExperts = 0, float MinP = 0);

/// <summary>
/// Which token follows, step by step: a penalty, then the tokens that may be drawn, then a draw among them with the probabilities
/// e^(logit / temperature) / Σ. What may be drawn is a set: tokens as likely as the last one that may are in it too.
/// </summary>
/// <param name="Temperature">Divides the logits; 0 takes the likeliest token, whatever follows here.</param>
/// <param name="Uniform">Below 1: the token is the first whose running sum of probabilities, in the order of ids, exceeds it.</param>
/// <param name="TopK">Only the k likeliest tokens; 0 for all.</param>
/// <param name="TopP">Only the likeliest of those that together hold at least this part of their probability (Holtzman et al., 2020); 1 for all.</param>
/// <param name="MinP">Only tokens at least this share as likely as the likeliest; 0 for all.</param>
/// <param name="Penalty">Divides positive logits of tokens already seen and multiplies negative ones (Keskar et al., 2019); 1 for none.</param>
public readonly record struct SamplingRule(float Temperature, float Uniform = 0, int TopK = 0, float TopP = 1, float MinP = 0, float Penalty = 1)
{
    /// <summary>How far below the largest logit <see cref="MinP"/> lets one be: temperature · ln MinP.</summary>
    internal float Reach => (float)(Temperature * Math.Log(MinP));
}

/// <summary>
/// AdamW with decoupled decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW: g ← scale · g; p ← p (1 − lr · decay);
/// m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − lr · m̂ / (√v̂ + eps), m̂ = m / (1 − β₁^step), v̂ = v / (1 − β₂^step).
/// </summary>
/// <param name="Step">Counts from 1.</param>
/// <param name="Beta1">Double, as Beta2 is, because 1 − 0.999 taken in F32 is off by 1e-5, and with it all of v.</param>
/// <param name="GradScale">Multiplies the gradient first: clipping, or 1 / number of accumulated batches.</param>
public readonly record struct AdamWStep(
    int Step, float LearningRate, double Beta1, double Beta2, float Eps, float WeightDecay, float GradScale = 1);
