using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Batching;

/// <summary>A sequence's logits do not depend on what shares its batch, packed beside it or padded around it.</summary>
public sealed class PackingTests
{
    private const int Pad = 0;

    public static TheoryData<string, string> Runs { get; } = Machines.Runs(GoldenCase.Dropless, Machines.All);

    [Theory]
    [MemberData(nameof(Runs))]
    public void PackedSequencesAreAlone(string golden, string machine)
    {
        using Texts texts = new(golden, machine);
        int[] packed = [.. texts.All.SelectMany(static t => t)], lengths = [.. texts.All.Select(static t => t.Length)];
        Close.Activations("logits", [.. texts.Alone().SelectMany(static l => l)], Tiny.Logits(texts.Model, packed, lengths));
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void PaddingIsNotSeen(string golden, string machine)
    {
        using Texts texts = new(golden, machine);
        float[][] alone = [.. texts.Alone()];
        int vocab = texts.Model.Config.VocabSize, length = texts.All.Max(static t => t.Length) + 2;
        foreach (bool left in new[] { false, true })
        {
            int[] ids = new int[texts.All.Count * length], mask = new int[ids.Length];
            for (int b = 0; b < texts.All.Count; b++)
            {
                int start = Start(b, left);
                Array.Fill(ids, Pad, b * length, length);
                texts.All[b].CopyTo(ids, start);
                Array.Fill(mask, 1, start, texts.All[b].Length);
            }
            using Tape g = Tape.Inference(texts.Model.Backend);
            Batch batch = Batch.Padded(g, ids, texts.All.Count, mask);
            float[] logits = texts.Model.Backend.ToFloats(texts.Model.Transformer.Forward(g, batch, []).Logits);
            Assert.DoesNotContain(logits, float.IsNaN);
            for (int b = 0; b < texts.All.Count; b++)
                Close.Activations($"logits of sequence {b}", alone[b], logits.AsSpan(Start(b, left) * vocab, alone[b].Length));
        }

        int Start(int b, bool left) => b * length + (left ? length - texts.All[b].Length : 0);
    }

    /// <summary>A golden model with its two texts and beginnings of them, whose routing has a known margin.</summary>
    private sealed class Texts : IDisposable
    {
        private readonly IBackend _backend;

        public Texts(string golden, string machine)
        {
            GoldenCase expected = new(golden);
            int length = expected.Input.Length;
            int[] first = expected.Input.Ids[..length], second = expected.Input.Ids[length..];
            All = [first, second[..9], first[..1], second, first[..4]];
            _backend = Machines.Make(machine);
            Model = LanguageModel.Load(expected.Folder, _backend);
        }

        public IReadOnlyList<int[]> All { get; }
        public LanguageModel Model { get; }

        public IEnumerable<float[]> Alone() => All.Select(t => Tiny.Logits(Model, t, t.Length));

        public void Dispose()
        {
            Model.Dispose();
            _backend.Dispose();
        }
    }
}
