using MoeFromScratch.Model.Evaluation;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Tests.Tokenizers;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Evaluation;

/// <summary>Questions in the letters of a tiny untrained model, which has opinions all the same.</summary>
public sealed class TaskEvaluationTests : IDisposable
{
    private static readonly string[] Words = ["cat", " the cat sat", "m", " mat", "on the mat", " t", "; t", "he sat", "see", "ea"];

    private readonly ReferenceBackend _backend = new ReferenceBackend();
    private readonly LanguageModel _model;

    public TaskEvaluationTests() => _model = Texts.Model(_backend, "dynamic-moe");

    public void Dispose()
    {
        _model.Dispose();
        _backend.Dispose();
    }

    /// <summary>With the labels that one metric would choose, its accuracy is 1, and every other's the share in which it agrees.</summary>
    [Theory]
    [InlineData(TaskMetric.Acc)]
    [InlineData(TaskMetric.AccPerToken)]
    [InlineData(TaskMetric.AccPerChar)]
    [InlineData(TaskMetric.AccPerByte)]
    [InlineData(TaskMetric.AccUncond)]
    public void AccuracyIsTheShareOfRightChoices(TaskMetric metric)
    {
        TaskDocument[] documents = [.. Enumerable.Range(0, 12).Select(Question)];
        TaskSet task = new("made", metric, [.. documents.Select(d => d with { Label = Best(d, metric) })]);
        using Scorer scorer = new(_model);
        TaskResult result = TaskEvaluation.Run(scorer, task);
        Assert.Equal((12, 0, 0, false), (result.Documents, result.Skipped, result.Truncated, result.IsPartial));
        Assert.Equal(documents.Average(static d => 1.0 / d.Choices.Count), result.Chance, 1e-12);
        Assert.Equal(5, result.Accuracies.Count);
        foreach (Accuracy a in result.Accuracies)
        {
            double share = documents.Average(d => Best(d, a.Metric) == Best(d, metric) ? 1.0 : 0);
            Assert.Equal(share, a.Value, 1e-12);
            Assert.Equal(Math.Sqrt(share * (1 - share) / 11), a.StandardError!.Value, 1e-12);
        }
        Assert.Equal(1, result.Accuracies.Single(a => a.Metric == metric).Value);
        Assert.Contains(result.Accuracies, static a => a.Value < 1);
    }

    /// <summary>Of 1, 2, 3 and 4 bytes; the last one is two in UTF-16.</summary>
    [Theory]
    [InlineData("cat", 3, 3)]
    [InlineData(" cat", 3, 3)]
    [InlineData("  cat ", 5, 5)]
    [InlineData(" aé東😀", 4, 10)]
    public void LengthsAreThoseOfUnicode(string continuation, int characters, int bytes) =>
        Assert.Equal((characters, bytes), TaskEvaluation.Length(continuation));

    /// <summary>What stands before an empty context is the model's token for the beginning of a text.</summary>
    [Fact]
    public void AnEmptyContextIsTheBeginningOfAText()
    {
        using LanguageModel model = LanguageModel.Create(_backend, Tiny.Family("dynamic-moe"), _model.Config with { BosTokenId = 3 }, seed: 2, _model.Tokenizer);
        using Scorer scorer = new(model);
        TaskChoice[] choices = [.. Words.Select(static w => new TaskChoice("", w.TrimStart()))];
        double[] logs = [.. choices.Select(c => Oracle.LogLikelihood(model, [3], model.Tokenizer!.Encode(c.Continuation)))];
        TaskResult result = TaskEvaluation.Run(scorer, new TaskSet("empty", TaskMetric.Acc, [new TaskDocument("here", choices, Array.IndexOf(logs, logs.Max()))]));
        Assert.Equal(1, result.Accuracies[0].Value);
        Assert.Equal(1 + choices.Sum(static c => c.Continuation.Length - 1), result.Cost.Tokens);
    }

    [Fact]
    public void OnlyTheFirstAreAsked()
    {
        TaskDocument[] documents = [.. Enumerable.Range(0, 6).Select(Question)];
        using Scorer scorer = new(_model);
        TaskResult all = TaskEvaluation.Run(scorer, new TaskSet("made", TaskMetric.Acc, documents[..1])), limited = TaskEvaluation.Run(scorer, new TaskSet("made", TaskMetric.Acc, documents), limit: 1);
        Assert.Equal(1, limited.Documents);
        Assert.Equal(all.Cost.Tokens, limited.Cost.Tokens);
        Assert.Equal(all.Accuracies, limited.Accuracies);
        Assert.All(limited.Accuracies, static a => Assert.Null(a.StandardError));
    }

    /// <summary>Requests without context are not in it.</summary>
    [Fact]
    public void CostIsThatOfTheQuestions()
    {
        using Scorer scorer = new(_model);
        TaskChoice[] choices = [new("the cat", " sat", "on the mat"), new("the cat", " on", "on the mat")];
        TaskResult result = TaskEvaluation.Run(scorer, new TaskSet("made", TaskMetric.Acc, [new TaskDocument("here", choices, 0)]));
        Assert.Equal(7 + 3 + 2, result.Cost.Tokens);
        Assert.InRange(result.Cost.ExpertsPerToken!.Value, 1, 6);
    }

    /// <summary>Both ways to cut a text are the same choice, a tie that the first one wins; with the space in the context the second would be likelier.</summary>
    [Fact]
    public void WhiteSpaceMovesToTheContinuation()
    {
        using Scorer scorer = new(_model);
        TaskChoice[] choices = [new("the cat", " sat"), new("the cat ", "sat")];
        Assert.True(Log(_model, "the cat", " sat") < Log(_model, "the cat ", "sat"));
        TaskResult result = TaskEvaluation.Run(scorer, new TaskSet("made", TaskMetric.Acc, [new TaskDocument("here", choices, 0)]));
        Assert.Equal(1, result.Accuracies[0].Value);
    }

    /// <summary>A vocabulary in which the end of the context and the beginning of the continuation make one token.</summary>
    [SkippableFact]
    public void TokensAreThoseOfTheWholeText()
    {
        Tokenizer tokenizer = Vocabularies.Load(Vocabularies.Gpt2);
        using LanguageModel model = LanguageModel.Create(_backend, new DynamicMoe(), Tiny.Config("dynamic-moe") with { VocabSize = tokenizer.VocabSize }, 3, tokenizer);
        int[] whole = tokenizer.Encode("The answer is 42"), context = tokenizer.Encode("The answer is");
        Assert.Equal(whole[..^1], context);
        using Scorer scorer = new(model);
        foreach ((string c, string a) in new[] { ("The answer is", " 42"), ("The answer is ", "42") })
            Assert.Equal(3, Run(scorer, c, a).Cost.Tokens);         // the last token is never fed
        Assert.Equal(1 + 1 - 1, Run(scorer, "Hel", "lo").Cost.Tokens);      // "Hello" is one token: no token is beyond the context's, so it is "lo" by itself
    }

    /// <summary>A number that is cut otherwise than its end by itself.</summary>
    [SkippableFact]
    public void AContinuationIsCutAsItStandsInTheText()
    {
        Tokenizer tokenizer = Vocabularies.Load(Vocabularies.Gpt2);
        using LanguageModel model = LanguageModel.Create(_backend, new DynamicMoe(), Tiny.Config("dynamic-moe") with { VocabSize = tokenizer.VocabSize }, 3, tokenizer);
        int[] whole = tokenizer.Encode("1234");
        Assert.NotEqual(tokenizer.Encode("234"), whole[1..]);
        Assert.Equal(whole[1..], new RequestEncoder(model).Encode("here", "1", "234")!.Continuation);
    }

    [Fact]
    public void WhatDoesNotFitIsCutOffAtTheBeginning()
    {
        string text = string.Concat(Enumerable.Repeat("the cat sat on the mat; ", 4))[..^2];        // 94 characters; the model's context is 64
        Encoded encoded = new RequestEncoder(_model).Encode("here", text, " on")!;
        int[] all = _model.Tokenizer!.Encode(text + " on");
        Assert.True(encoded.IsTruncated);
        Assert.Equal(all[^65..], encoded.Context.Concat(encoded.Continuation));
        Assert.Equal(3, encoded.Continuation.Length);
    }

    [Fact]
    public void LongContextsLoseTheirBeginning()
    {
        using Scorer scorer = new(_model);
        string cat = string.Concat(Enumerable.Repeat("the cat sat ", 6));       // 72 characters; the model's context is 64
        TaskChoice[] choices = [new(cat, "on"), new(cat, "on the mat")];
        TaskResult result = TaskEvaluation.Run(scorer, new TaskSet("long", TaskMetric.Acc, [new TaskDocument("here", choices, 0)]));
        Assert.Equal((1, 0, 1), (result.Documents, result.Skipped, result.Truncated));
        Assert.Equal(64 + 64, result.Cost.Tokens);
        double[] expected = [.. choices.Select(c => Log(_model, (cat.TrimEnd() + " " + c.Continuation)[^65..^(c.Continuation.Length + 1)], " " + c.Continuation))];
        Assert.Equal(Array.IndexOf(expected, expected.Max()) == 0 ? 1 : 0, result.Accuracies[0].Value);
    }

    [Fact]
    public void AnAnswerLongerThanTheContextIsLeftOut()
    {
        using Scorer scorer = new(_model);
        TaskDocument[] documents =
        [
            new("first", [new TaskChoice("the", new string('a', 65)), new TaskChoice("the", "a")], 0), new("second", [new TaskChoice("the", new string('a', 64)), new TaskChoice("the", "a")], 1),
        ];
        TaskResult result = TaskEvaluation.Run(scorer, new TaskSet("long", TaskMetric.Acc, documents));
        Assert.Equal((1, 1, 1), (result.Documents, result.Skipped, result.Truncated));
    }

    [Fact]
    public void ATextThatCannotBeEncodedIsNamed()
    {
        using Scorer scorer = new(_model);
        Assert.StartsWith("file: line 3: ", Assert.Throws<ArgumentException>(() => Run(scorer, "the", " zzz")).Message, StringComparison.Ordinal);
        Assert.Contains("no token for the beginning", Assert.Throws<ArgumentException>(() => Run(scorer, "", "the")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AStopCountsWhatWasAnswered()
    {
        TaskDocument[] documents = [.. Enumerable.Range(0, 12).Select(Question)];
        using Scorer scorer = new(_model, batchTokens: 1);
        using CancellationTokenSource stop = new();
        stop.Cancel();
        TaskResult none = TaskEvaluation.Run(scorer, new TaskSet("made", TaskMetric.Acc, documents), stop: stop.Token);
        Assert.Equal((0, true), (none.Documents, none.IsPartial));
        Assert.Empty(none.Accuracies);

        TaskSet plain = new("made", TaskMetric.Acc, [.. documents.Select(static d => d with { Choices = [.. d.Choices.Select(static c => c with { Unconditional = null })] })]);
        using CancellationTokenSource later = new();
        int passes = 0;
        TaskResult some = TaskEvaluation.Run(scorer, plain, progress: _ =>
        {
            if (++passes == 5)
                later.Cancel();
        }, stop: later.Token);
        Assert.Equal((5, true), (some.Documents, some.IsPartial));
        Assert.Equal(4, some.Accuracies.Count);
    }

    private static TaskResult Run(Scorer scorer, string context, string continuation) =>
        TaskEvaluation.Run(scorer, new TaskSet("one", TaskMetric.Acc, [new TaskDocument("file: line 3", [new TaskChoice(context, continuation)], 0)]));

    private static TaskDocument Question(int i) => new($"question {i}",
        [.. Enumerable.Range(0, 2 + i % 3).Select(c => new TaskChoice($"the {Words[i % 3]}", Words[(3 * i + 2 * c + 1) % Words.Length], "on the mat"))], 0);

    private int Best(TaskDocument document, TaskMetric metric)
    {
        double[] scores = [.. document.Choices.Select(c =>
        {
            double log = Log(_model, c.Context, c.Continuation);
            int length = c.Continuation.Length, letters = c.Continuation.StartsWith(' ') ? length - 1 : length;
            return metric switch
            {
                TaskMetric.Acc => log,
                TaskMetric.AccPerToken => log / length,
                TaskMetric.AccUncond => log - Log(_model, c.Unconditional!, c.Continuation),
                _ => log / letters,
            };
        })];
        return Array.IndexOf(scores, scores.Max());
    }

    private static double Log(LanguageModel model, string context, string continuation) =>
        Oracle.LogLikelihood(model, model.Tokenizer!.Encode(context), model.Tokenizer.Encode(continuation));
}
