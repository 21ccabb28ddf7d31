using System.Diagnostics;
using System.Runtime.CompilerServices;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Measuring;

/// <summary>
/// Passes every kernel on to another backend and keeps the time that each took: where a step's time goes. It waits for nothing,
/// so of a device that works on its own it would see the launches only.
/// </summary>
internal sealed class TimedBackend(IBackend inner) : IBackend
{
    private readonly Dictionary<string, long> _ticks = [];

    /// <summary>Seconds by kernel since the last <see cref="Clear"/>; matmuls also by the layer whose weights they read.</summary>
    public IReadOnlyList<(string Name, double Seconds)> Times =>
        [.. _ticks.Select(static t => (t.Key, (double)t.Value / Stopwatch.Frequency)).OrderByDescending(static t => t.Item2)];

    public void Clear() => _ticks.Clear();

    public string Name => inner.Name;
    public int LiveBuffers => inner.LiveBuffers;

    /// <summary>The backend is the caller's.</summary>
    public void Dispose()
    {
    }

    public Storage Allocate(long bytes) => inner.Allocate(bytes);
    public void Free(Storage storage) => inner.Free(storage);
    public void Upload(ReadOnlySpan<byte> source, Tensor y) { using Lap lap = Take(); inner.Upload(source, y); }
    public void Download(Tensor x, Span<byte> target) { using Lap lap = Take(); inner.Download(x, target); }
    public Tensor Import(Tensor host) => inner.Import(host);
    public void Copy(Tensor x, Tensor y) { using Lap lap = Take(); inner.Copy(x, y); }
    public void Fill(Tensor y, float value) { using Lap lap = Take(); inner.Fill(y, value); }
    public void Unary<TOp>(Tensor x, Tensor y) where TOp : struct, IUnary { using Lap lap = Take(); inner.Unary<TOp>(x, y); }
    public void UnaryGrad<TOp>(Tensor x, Tensor dy, Tensor dx) where TOp : struct, IUnary { using Lap lap = Take(); inner.UnaryGrad<TOp>(x, dy, dx); }
    public void Gated<TOp>(Tensor a, Tensor b, Tensor y) where TOp : struct, IUnary { using Lap lap = Take(); inner.Gated<TOp>(a, b, y); }
    public void GatedGrad<TOp>(Tensor a, Tensor b, Tensor dy, Tensor? da, Tensor? db) where TOp : struct, IUnary { using Lap lap = Take(); inner.GatedGrad<TOp>(a, b, dy, da, db); }
    public void Add(Tensor a, Tensor b, Tensor y) { using Lap lap = Take(); inner.Add(a, b, y); }
    public void Mul(Tensor a, Tensor b, Tensor y) { using Lap lap = Take(); inner.Mul(a, b, y); }
    public void MulAdd(Tensor a, Tensor b, Tensor y) { using Lap lap = Take(); inner.MulAdd(a, b, y); }
    public void Axpy(float alpha, Tensor x, Tensor y) { using Lap lap = Take(); inner.Axpy(alpha, x, y); }
    public void RowDot(Tensor a, Tensor? b, Tensor y) { using Lap lap = Take(); inner.RowDot(a, b, y); }
    public void ColumnSum(Tensor x, Tensor? w, Tensor y) { using Lap lap = Take(); inner.ColumnSum(x, w, y); }
    public void ScaleRows(Tensor x, Tensor s, Tensor y) { using Lap lap = Take(); inner.ScaleRows(x, s, y); }
    public void Outer(Tensor? a, Tensor? b, Tensor y) { using Lap lap = Take(); inner.Outer(a, b, y); }
    public void Softmax(Tensor x, Tensor y) { using Lap lap = Take(); inner.Softmax(x, y); }
    public void SoftmaxGrad(Tensor y, Tensor dy, Tensor dx) { using Lap lap = Take(); inner.SoftmaxGrad(y, dy, dx); }
    public void LogSumExp(Tensor x, Tensor y) { using Lap lap = Take(); inner.LogSumExp(x, y); }
    public void LogSumExpGrad(Tensor x, Tensor y, Tensor dy, Tensor dx) { using Lap lap = Take(); inner.LogSumExpGrad(x, y, dy, dx); }
    public void RmsNorm(Tensor x, Tensor w, float eps, Tensor y, Tensor r) { using Lap lap = Take(); inner.RmsNorm(x, w, eps, y, r); }
    public void RmsNormGrad(Tensor x, Tensor w, Tensor r, Tensor dy, Tensor? dx, Tensor? dw) { using Lap lap = Take(); inner.RmsNormGrad(x, w, r, dy, dx, dw); }
    public void AddColumns(Tensor x, HeadColumns from, HeadColumns to, int width, Tensor y) { using Lap lap = Take(); inner.AddColumns(x, from, to, width, y); }
    public void Linear(Tensor x, Tensor w, Tensor y) { using Lap lap = Take(w); inner.Linear(x, w, y); }
    public void LinearGradInput(Tensor dy, Tensor w, Tensor dx) { using Lap lap = Take(w); inner.LinearGradInput(dy, w, dx); }
    public void LinearGradWeight(Tensor dy, Tensor x, Tensor dw) { using Lap lap = Take(); inner.LinearGradWeight(dy, x, dw); }
    public void Rope(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y) { using Lap lap = Take(); inner.Rope(x, positions, frequencies, in layout, y); }
    public void RopeGrad(Tensor dy, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor dx) { using Lap lap = Take(); inner.RopeGrad(dy, positions, frequencies, in layout, dx); }
    public void Attention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout, Tensor y, Tensor lse) { using Lap lap = Take(); inner.Attention(q, k, v, sequences, visible, sinks, in layout, y, lse); }
    public void AttentionGrad(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout, Tensor y, Tensor lse, Tensor dy, Tensor? dq, Tensor? dk, Tensor? dv, Tensor? dsinks) { using Lap lap = Take(); inner.AttentionGrad(q, k, v, sequences, visible, sinks, in layout, y, lse, dy, dq, dk, dv, dsinks); }
    public void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y) { using Lap lap = Take(); inner.GatherRows(x, index, range, y); }
    public void ScatterAddRows(Tensor x, Tensor index, SlotRange range, Tensor y) { using Lap lap = Take(); inner.ScatterAddRows(x, index, range, y); }
    public void WriteRows(Tensor x, Tensor index, Tensor y) { using Lap lap = Take(); inner.WriteRows(x, index, y); }
    public void SelectTopK(Tensor scores, int k, Tensor mask) { using Lap lap = Take(); inner.SelectTopK(scores, k, mask); }
    public void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask) { using Lap lap = Take(); inner.SelectTopP(probs, in rule, mask); }
    public void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept) { using Lap lap = Take(); inner.SelectTokens(mask, scores, room, kept); }
    public void BandSoftmax(Tensor x, Tensor mask, float band, Tensor y) { using Lap lap = Take(); inner.BandSoftmax(x, mask, band, y); }
    public void BandSoftmaxGrad(Tensor x, Tensor mask, float band, Tensor y, Tensor dy, Tensor dx) { using Lap lap = Take(); inner.BandSoftmaxGrad(x, mask, band, y, dy, dx); }
    public void CountSlots(Tensor mask, Tensor offsets) { using Lap lap = Take(); inner.CountSlots(mask, offsets); }
    public void FillSlots(Tensor mask, Tensor offsets, Tensor token, Tensor expert) { using Lap lap = Take(); inner.FillSlots(mask, offsets, token, expert); }
    public void GatherSlots(Tensor x, Tensor token, Tensor expert, Tensor offsets, Tensor y) { using Lap lap = Take(); inner.GatherSlots(x, token, expert, offsets, y); }
    public void GatherSlotsGrad(Tensor dy, Tensor token, Tensor expert, Tensor offsets, Tensor dx) { using Lap lap = Take(); inner.GatherSlotsGrad(dy, token, expert, offsets, dx); }
    public void GroupedLinear(Tensor x, SlotRange range, ReadOnlySpan<Tensor> w, Tensor y) { using Lap lap = Take(); inner.GroupedLinear(x, range, w, y); }
    public void GroupedLinearGradInput(Tensor dy, SlotRange range, ReadOnlySpan<Tensor> w, Tensor dx) { using Lap lap = Take(); inner.GroupedLinearGradInput(dy, range, w, dx); }
    public void GroupedLinearGradWeight(Tensor dy, Tensor x, SlotRange range, ReadOnlySpan<Tensor?> dw) { using Lap lap = Take(); inner.GroupedLinearGradWeight(dy, x, range, dw); }
    public void GatedExperts<TOp>(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor y) where TOp : struct, IUnary { using Lap lap = Take(); inner.GatedExperts<TOp>(x, in slots, in w, a, b, y); }
    public void GatedExpertsGrad<TOp>(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor dy, Tensor? dx, Tensor? dweight, in GatedWeights<Tensor?> dw) where TOp : struct, IUnary { using Lap lap = Take(); inner.GatedExpertsGrad<TOp>(x, in slots, in w, a, b, dy, dx, dweight, in dw); }
    public void Combine(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor y) { using Lap lap = Take(); inner.Combine(x, weight, token, range, y); }
    public void CombineGrad(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor dy, Tensor? dx, Tensor? dweight) { using Lap lap = Take(); inner.CombineGrad(x, weight, token, range, dy, dx, dweight); }
    public void Sample(Tensor logits, Tensor? seen, in SamplingRule rule, Tensor id) { using Lap lap = Take(); inner.Sample(logits, seen, in rule, id); }
    public void CrossEntropy(Tensor logits, Tensor labels, Tensor y, Tensor lse) { using Lap lap = Take(); inner.CrossEntropy(logits, labels, y, lse); }
    public void CrossEntropyGrad(Tensor logits, Tensor labels, Tensor lse, Tensor dy, Tensor dlogits) { using Lap lap = Take(); inner.CrossEntropyGrad(logits, labels, lse, dy, dlogits); }
    public void SumOfSquares(Tensor x, Tensor y) { using Lap lap = Take(); inner.SumOfSquares(x, y); }
    public void AdamW(Tensor g, in AdamWStep step, Tensor p, Tensor m, Tensor v) { using Lap lap = Take(); inner.AdamW(g, in step, p, m, v); }

    /// <param name="weight">What tells one matmul from another.</param>
    private Lap Take(Tensor? weight = null, [CallerMemberName] string kernel = "") => new(this, weight is null ? kernel : $"{kernel}, {Layer(weight.Name)}");

    private static string Layer(string? weight) => weight is null ? "unnamed"
        : weight.Contains(".self_attn.", StringComparison.Ordinal) ? "attention"
        : weight.Contains(".gate", StringComparison.Ordinal) && !weight.Contains("_proj", StringComparison.Ordinal) ? "router"
        : weight.Contains(".mlp.", StringComparison.Ordinal) ? "feed-forward" : "output";

    private readonly ref struct Lap(TimedBackend of, string name)
    {
        private readonly long _start = Stopwatch.GetTimestamp();

        public void Dispose() => System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(of._ticks, name, out _) += Stopwatch.GetTimestamp() - _start;
    }
}
