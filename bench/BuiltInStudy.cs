using System.Globalization;
using MoeFromScratch.Autograd;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Training.Corpus;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>
/// What a model trained on the practice corpus can do, and what its routers do: accuracy on exercises it never saw, experts
/// per token by kind, layer, list length and training step, and whether hard tokens get more of them.
/// </summary>
internal static class BuiltInStudy
{
    private const int Sample = 200, Sums = 1000;
    private const ulong Seed = 1;
    private static readonly ExerciseKind[] Kinds = Enum.GetValues<ExerciseKind>();

    /// <summary>A document's tokens: experts used at each place in each layer, and the loss of the token that follows it.</summary>
    private sealed record Passage(Exercise Exercise, double[] Losses, int[][] Experts)
    {
        public double Mean => Experts.Average(static layer => layer.Average());
        public double Of(int token) => Experts.Average(layer => layer[token]);
    }

    /// <param name="folder">A training folder: the model, and its numbered checkpoints if they were kept.</param>
    public static void Print(string folder)
    {
        using IBackend backend = CpuBackend.Create();
        using (LanguageModel model = LanguageModel.Load(folder, backend))
        {
            Row("kind", "right", "experts per token", "by layer", "loss");
            List<Passage> all = [];
            foreach (ExerciseKind kind in Kinds)
            {
                List<Passage> passages = [.. Read(model, Exercises(kind, Sample))];
                all.AddRange(passages);
                Row(kind.ToString(), Accuracy(model, kind), Number(passages.Average(static p => p.Mean)), Layers(passages),
                    Number(passages.SelectMany(static p => p.Losses).Average()));
            }
            Row("all", "", Number(all.Average(static p => p.Mean)), Layers(all), "");
            Console.WriteLine();
            Difficulty(all);
        }
        Console.WriteLine();
        Row(["step", .. Kinds.Select(static k => k.ToString()), "all, by layer"]);
        foreach (string checkpoint in Directory.EnumerateDirectories(folder, "checkpoint-*").Order(StringComparer.Ordinal))
            using (LanguageModel model = LanguageModel.Load(checkpoint, backend))
            {
                List<Passage>[] byKind = [.. Kinds.Select(k => Read(model, Exercises(k, Sample / 4)).ToList())];
                Row([int.Parse(checkpoint[^6..], CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture),
                    .. byKind.Select(static k => Number(k.Average(static p => p.Mean))), Layers([.. byKind.SelectMany(static k => k)])]);
            }
    }

    private static IEnumerable<Exercise> Exercises(ExerciseKind kind, int count) =>
        Enumerable.Range(0, count).Select(i => PracticeCorpus.HeldOut(kind, Seed, i));

    /// <summary>Greedy for what has one answer; stories are drawn at temperature 0.8 and judged by the grammar.</summary>
    private static string Accuracy(LanguageModel model, ExerciseKind kind)
    {
        bool story = kind == ExerciseKind.Story;
        int count = kind == ExerciseKind.Addition ? Sums : Sample, right = 0;
        double grammatical = 0;
        foreach ((int i, Exercise exercise) in Exercises(kind, count).Index())
        {
            GenerateOptions options = new() { Sampler = new SamplerOptions(story ? 0.8f : 0, (ulong)i) };
            string text = string.Concat(TextGeneration.Stream(model, model.Tokenizer!.Encode(exercise.Prompt), options).Select(static p => p.Text));
            right += PracticeCorpus.IsRight(exercise, text) ? 1 : 0;
            grammatical += story ? StoryGrammar.GrammaticalShare(exercise.Prompt + text) : 0;
        }
        return string.Create(CultureInfo.InvariantCulture,
            $"{100.0 * right / count:f1} % of {count}{(story ? $" whole stories, {100 * grammatical / count:f1} % of sentences" : "")}");
    }

    private static IEnumerable<Passage> Read(LanguageModel model, IEnumerable<Exercise> exercises)
    {
        using Tape g = Tape.Inference(model.Backend);
        List<LayerOutput> layers = [];
        int end = model.Config.EosTokenIds[0];
        foreach (Exercise exercise in exercises)
        {
            int[] tokens = [.. model.Tokenizer!.Encode(exercise.Prompt + exercise.Answer), end];
            g.Reset();
            ForwardResult result = model.Transformer.Forward(g, Batch.Packed(g, tokens.AsSpan(0, tokens.Length - 1), [tokens.Length - 1]), layers);
            float[] logits = new float[result.Logits.Shape.Count];
            model.Backend.Download<float>(result.Logits, logits);
            int vocab = result.Logits.Cols;
            yield return new Passage(exercise,
                [.. Enumerable.Range(0, tokens.Length - 1).Select(t => Loss(logits.AsSpan(t * vocab, vocab), tokens[t + 1]))],
                [.. layers.Where(static l => l.Routing is not null).Select(l => Experts(model.Backend, l.Routing!.Value))]);
        }
    }

    private static double Loss(ReadOnlySpan<float> logits, int label)
    {
        double sum = 0;
        foreach (float logit in logits)
            sum += Math.Exp(logit - logits[label]);
        return Math.Log(sum);
    }

    private static int[] Experts(IBackend backend, in Routing r)
    {
        float[] kept = new float[r.Tokens * r.NumExperts];
        backend.Download<float>(r.Kept, kept);
        int experts = r.NumExperts;
        return [.. Enumerable.Range(0, r.Tokens).Select(t => kept.AsSpan(t * experts, experts).ToArray().Count(static k => k > 0))];
    }

    /// <summary>Do hard tokens, long lists and carries get more experts?</summary>
    private static void Difficulty(List<Passage> all)
    {
        Row("exercises", "experts per token");
        foreach (ExerciseKind kind in new[] { ExerciseKind.Reversal, ExerciseKind.Sorting })
            foreach (IGrouping<int, Passage> length in all.Where(p => p.Exercise.Kind == kind).GroupBy(static p => p.Exercise.Answer.Count(' '.Equals)).OrderBy(static l => l.Key))
                Row($"{kind} of {length.Key}", Number(length.Average(static p => p.Mean)));
        foreach (IGrouping<bool, Passage> carry in all.Where(static p => p.Exercise.Kind == ExerciseKind.Addition).GroupBy(Carries).OrderBy(static c => c.Key))
            Row($"Addition with{(carry.Key ? "" : "out")} a carry", Number(carry.Average(static p => p.Mean)));
        Console.WriteLine();
        Row("tokens by the loss of what follows", "experts per token");
        (double Loss, double Experts)[] tokens = [.. all.SelectMany(static p => p.Losses.Select((loss, t) => (loss, p.Of(t)))).OrderBy(static t => t.loss)];
        const int Parts = 5;
        for (int i = 0; i < Parts; i++)
        {
            ReadOnlySpan<(double Loss, double Experts)> part = tokens.AsSpan((i * tokens.Length / Parts)..((i + 1) * tokens.Length / Parts));
            Row($"{part[0].Loss:g2} to {part[^1].Loss:g2} nats", Number(part.ToArray().Average(static t => t.Experts)));
        }
        double meanLoss = tokens.Average(static t => t.Loss), meanExperts = tokens.Average(static t => t.Experts);
        double covariance = tokens.Average(t => (t.Loss - meanLoss) * (t.Experts - meanExperts));
        double deviations = Math.Sqrt(tokens.Average(t => Math.Pow(t.Loss - meanLoss, 2)) * tokens.Average(t => Math.Pow(t.Experts - meanExperts, 2)));
        Row("correlation of loss and experts", Number(covariance / deviations));
    }

    private static bool Carries(Passage p)
    {
        int[] terms = [.. p.Exercise.Prompt.TrimEnd('=').Split('+').Select(static t => int.Parse(t, CultureInfo.InvariantCulture))];
        return terms[0] % 10 + terms[1] % 10 >= 10;
    }

    private static string Layers(IReadOnlyList<Passage> passages) =>
        string.Join(' ', passages[0].Experts.Select((_, layer) => Number(passages.Average(p => p.Experts[layer].Average()))));

    private static string Number(double x) => x.ToString("f2", CultureInfo.InvariantCulture);

    private static void Row(params ReadOnlySpan<string> cells) => Console.WriteLine($"| {string.Join(" | ", cells!)} |");
}
