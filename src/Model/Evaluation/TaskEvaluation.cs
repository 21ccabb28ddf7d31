using System.Text;

namespace MoeFromScratch.Model.Evaluation;

/// <summary>
/// Has a model choose among continuations. The tokens of a continuation are those of context + continuation beyond as many as the context has by itself, where white
/// space at the context's end counts as the continuation's beginning, as lm-eval has it; the special tokens that the tokenizer puts before a text come first.
/// </summary>
public static class TaskEvaluation
{
    private const int Chunk = 256;

    /// <param name="limit">Only the first so many questions; 0 for all.</param>
    /// <param name="progress">Told which share of the work is done.</param>
    /// <exception cref="ArgumentException">The model has no tokenizer, or it cannot encode a text, whose place the message names.</exception>
    public static TaskResult Run(Scorer scorer, TaskSet task, int limit = 0, Action<double>? progress = null, CancellationToken stop = default)
    {
        RequestEncoder encoder = new(scorer.Model);
        CostMeter cost = new(scorer.Model);
        int asked = limit == 0 ? task.Documents.Count : Math.Min(limit, task.Documents.Count), skipped = 0, truncated = 0;
        List<Answered> answered = [];
        bool stopped = false;
        for (int done = 0; done < asked && !stopped; done += Chunk)
        {
            TaskDocument[] chunk = [.. task.Documents.Take(done..Math.Min(done + Chunk, asked))];
            List<(TaskDocument Document, Encoded[] Choices, Encoded[]? Unconditional)> encoded = [];
            foreach (TaskDocument document in chunk)
            {
                Encoded?[] choices = [.. document.Choices.Select(c => encoder.Encode(document.Place, c.Context, c.Continuation))];
                Encoded?[]? without = document.Choices[0].Unconditional is null ? null : [.. document.Choices.Select(c => encoder.Encode(document.Place, c.Unconditional!, c.Continuation))];
                if (choices.Contains(null) || without?.Contains(null) == true)
                    skipped++;
                else
                    encoded.Add((document, [.. choices.OfType<Encoded>()], without is null ? null : [.. without.OfType<Encoded>()]));
            }
            bool both = encoded.Exists(static e => e.Unconditional is not null);
            double[]?[] sums = Score(scorer, [.. encoded.Select(static e => e.Choices)], cost, p => Report(both ? p / 2 : p), stop);
            double[]?[] bare = !both ? [] : Score(scorer, [.. encoded.Select(static e => e.Unconditional ?? [])], null, p => Report((1 + p) / 2), stop);
            foreach ((int i, (TaskDocument document, Encoded[] choices, Encoded[]? without)) in encoded.Index())
            {
                if (sums[i] is not { } logs || (without is not null && bare[i] is null))
                {
                    stopped = true;
                    continue;
                }
                truncated += Array.Exists(choices, static c => c.IsTruncated) ? 1 : 0;
                answered.Add(new Answered(document, logs, without is null ? null : bare[i], [.. choices.Select(static c => c.Continuation.Length)]));
            }
            stopped |= stop.IsCancellationRequested && done + Chunk < asked;

            void Report(double share) => progress?.Invoke((done + share * chunk.Length) / asked);
        }
        double chance = answered.Count == 0 ? 0 : answered.Average(static a => 1.0 / a.Document.Choices.Count);
        return new TaskResult(task.Name, task.Primary, answered.Count, skipped, truncated, chance, Accuracies(answered), cost.Sum(), stopped);
    }

    /// <summary>A question with what the model thinks of its choices.</summary>
    private sealed record Answered(TaskDocument Document, double[] Logs, double[]? Unconditional, int[] Tokens)
    {
        public bool IsRight(TaskMetric metric) => Best(metric) == Document.Label;

        /// <summary>The first of the best.</summary>
        private int Best(TaskMetric metric)
        {
            double[] scores = [.. Logs.Select((log, i) => metric switch
            {
                TaskMetric.AccPerToken => log / Tokens[i],
                TaskMetric.AccPerChar => log / Length(Document.Choices[i].Continuation).Characters,
                TaskMetric.AccPerByte => log / Length(Document.Choices[i].Continuation).Bytes,
                TaskMetric.AccUncond => log - Unconditional![i],
                _ => log,
            })];
            return Array.IndexOf(scores, scores.Max());
        }
    }

    /// <summary>A continuation's length, less one leading space, in Unicode characters and in UTF-8 bytes.</summary>
    internal static (int Characters, int Bytes) Length(string continuation)
    {
        string text = continuation is [' ', .. var rest] ? rest : continuation;
        return (text.EnumerateRunes().Count(), Encoding.UTF8.GetByteCount(text));
    }

    /// <summary>Of each question, the log-likelihood of each choice; null where the scorer was stopped before.</summary>
    private static double[]?[] Score(Scorer scorer, IReadOnlyList<Encoded[]> questions, CostMeter? cost, Action<double> progress, CancellationToken stop)
    {
        List<ScoredContext> contexts = [];
        List<(int Question, int[] Choices)> places = [];
        foreach ((int q, Encoded[] choices) in questions.Index())
            foreach (IGrouping<int, int> shared in Enumerable.Range(0, choices.Length)
                .GroupBy(c => Array.FindIndex(choices, o => o.Context.AsSpan().SequenceEqual(choices[c].Context))))
            {
                contexts.Add(new ScoredContext(choices[shared.Key].Context, [.. shared.Select(c => choices[c].Continuation)]));
                places.Add((q, [.. shared]));
            }
        double[]?[] logs = [.. questions.Select(static choices => new double[choices.Length])];
        foreach (((int question, int[] choices), double[]? sums) in places.Zip(scorer.Score(contexts, cost, progress, stop)))
            if (sums is null || logs[question] is not { } log)
                logs[question] = null;
            else
                for (int i = 0; i < choices.Length; i++)
                    log[choices[i]] = sums[i];
        return logs;
    }

    private static IReadOnlyList<Accuracy> Accuracies(List<Answered> answered)
    {
        if (answered.Count == 0)
            return [];
        bool both = answered.TrueForAll(static a => a.Unconditional is not null);
        return [.. Enum.GetValues<TaskMetric>().Where(m => both || m != TaskMetric.AccUncond).Select(metric =>
        {
            double share = answered.Average(a => a.IsRight(metric) ? 1.0 : 0);
            return new Accuracy(metric, share, answered.Count == 1 ? null : Math.Sqrt(share * (1 - share) / (answered.Count - 1)));
        })];
    }
}
