using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Batching;

/// <summary>However tokens are fed through a cache, their logits are those of one pass over the whole text, to 5e-5 + 1e-5 · |b|.</summary>
public sealed class KvCacheTests
{
    public static TheoryData<string, string> Runs { get; } = Machines.Runs(GoldenCase.Dropless, Machines.All);

    [Theory]
    [MemberData(nameof(Runs))]
    public void ChunksGiveTheLogitsOfOnePass(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend);
        int[] tokens = expected.Input.Ids[..expected.Input.Length];
        float[] whole = Tiny.Logits(model, tokens, tokens.Length);
        foreach (int chunk in new[] { 1, 2, 5, 8, 9, tokens.Length })
        {
            using KvCache cache = new(backend, model.Config, tokens.Length);
            List<float> logits = [];
            for (int start = 0; start < tokens.Length; start += chunk)
            {
                ReadOnlySpan<int> next = tokens.AsSpan(start, Math.Min(chunk, tokens.Length - start));
                logits.AddRange(Feed(model, cache, next, [next.Length], lastOnly: false));
            }
            Close.Activations($"logits by chunks of {chunk}", whole, logits.ToArray());
            Assert.Equal(tokens.Length, cache.Length(0));
        }
    }

    /// <summary>Sequences of different lengths that grow at different rates beside each other.</summary>
    [Theory]
    [MemberData(nameof(Runs))]
    public void SequencesShareACache(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend);
        int length = expected.Input.Length, vocab = model.Config.VocabSize;
        int[][] texts = [expected.Input.Ids[..length], expected.Input.Ids[length..], expected.Input.Ids[..length]];
        float[][] whole = [.. texts.Select(t => Tiny.Logits(model, t, t.Length))];
        int[][] rounds = [[9, 2, 1], [1, 1, 1], [4, 0, 3], [0, 10, 0], [1, 1, 1], [2, 3, 1]];

        foreach (bool lastOnly in new[] { false, true })
        {
            using KvCache cache = new(backend, model.Config, length, sequences: 3);
            int[] done = new int[3];
            foreach (int[] counts in rounds)
            {
                int[] tokens = [.. texts.Zip(counts, done).SelectMany(static x => x.First.Skip(x.Third).Take(x.Second))];
                float[] logits = Feed(model, cache, tokens, counts, lastOnly), wanted =
                    [.. Enumerable.Range(0, 3).Where(b => counts[b] > 0).SelectMany(b => lastOnly
                        ? whole[b].AsSpan((done[b] + counts[b] - 1) * vocab, vocab).ToArray()
                        : whole[b].AsSpan(done[b] * vocab, counts[b] * vocab).ToArray())];
                Close.Activations("logits", wanted, logits);
                done = [.. done.Zip(counts, static (d, c) => d + c)];
            }
            Assert.Equal([17, 17, 7], done);
        }
    }

    /// <summary>The generator splits a prompt longer than its chunk; the split changes nothing, and a cleared one starts anew.</summary>
    [Theory]
    [InlineData("dynamic-moe")]
    [InlineData("mixtral")]
    public void LongPromptsAreFedInPieces(string family)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family(family), Tiny.Config(family), seed: 5);
        int[] tokens = Tiny.Input(model.Config, 1, Generator.PrefillChunk + 40).Ids;
        float[] whole = Tiny.Logits(model, tokens, tokens.Length)[^model.Config.VocabSize..];
        using Generator generator = new(model.Transformer, backend, tokens.Length);
        for (int run = 0; run < 2; run++)
        {
            generator.Feed(tokens);
            Close.Activations("logits", whole, generator.Logits());
            Assert.Equal(tokens.Length, generator.Length());
            generator.Clear();
            Assert.Equal(0, generator.Length());
        }
    }

    /// <summary>A cache of 16 bits rounds keys and values and nothing else: near the logits of F32, but not on them.</summary>
    [Theory]
    [InlineData(DType.F16, 5e-3f)]
    [InlineData(DType.BF16, 4e-2f)]
    public void ACacheOfSixteenBitsRounds(DType type, float within)
    {
        foreach (string golden in new[] { "mixtral", "deepseek-v3", "gpt-oss" })
        {
            GoldenCase expected = new(golden);
            using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
            using LanguageModel model = LanguageModel.Load(expected.Folder, backend);
            int[] tokens = expected.Input.Ids[..expected.Input.Length];
            float[] whole = Tiny.Logits(model, tokens, tokens.Length)[^model.Config.VocabSize..];
            using Generator generator = new(model.Transformer, backend, tokens.Length, 1, type);
            generator.Feed(tokens.AsSpan(0, 12));
            foreach (int token in tokens.AsSpan(12))
                generator.Feed([token]);
            float[] rounded = generator.Logits().ToArray();
            Close.Within(golden, whole, rounded, within, within);
            Assert.Contains(whole.Zip(rounded), static p => MathF.Abs(p.First - p.Second) > 2e-5f);
        }
    }

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using IBackend backend = Machines.Make(Machines.Reference);
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("mixtral"), Tiny.Config("mixtral"), seed: 5);
        using KvCache cache = new(backend, model.Config, capacity: 4, sequences: 2);
        using Tape g = Tape.Inference(backend);
        Batch.Continue(g, cache, [1, 2, 3, 4], [3, 1]);
        InvalidOperationException full = Assert.Throws<InvalidOperationException>(() => Batch.Continue(g, cache, [1, 2, 3], [2, 1]));
        Assert.Contains("holds 4 tokens, 5 are needed", full.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Batch.Continue(g, cache, [1, 2], [1, 2]));
        Assert.Throws<ArgumentException>(() => Batch.Continue(g, cache, [], [0, 0]));
        Assert.Throws<ArgumentException>(() => Batch.Continue(g, cache, [1], [1, -1]));
        Assert.Equal((3, 1), (cache.Length(0), cache.Length(1)));

        using Generator generator = new(model.Transformer, backend, capacity: 3);
        Assert.Throws<ArgumentException>(() => generator.Feed([]));
        Assert.Throws<ArgumentException>(() => generator.Feed([31]));
        Assert.Throws<ArgumentException>(() => generator.Feed([-1]));
        Assert.Throws<InvalidOperationException>(() => generator.Feed([1, 2, 3, 4]));

        using Tape training = Tape.Training(backend);
        using KvCache empty = new(backend, model.Config, capacity: 4);
        Assert.Throws<InvalidOperationException>(
            () => model.Transformer.Forward(training, Batch.Continue(training, empty, [1, 2], [2]), [], empty));
    }

    private static float[] Feed(LanguageModel model, KvCache cache, ReadOnlySpan<int> tokens, ReadOnlySpan<int> counts, bool lastOnly)
    {
        using Tape g = Tape.Inference(model.Backend);
        Batch batch = Batch.Continue(g, cache, tokens, counts, lastOnly);
        return model.Backend.ToFloats(model.Transformer.Forward(g, batch, [], cache).Logits);
    }
}
