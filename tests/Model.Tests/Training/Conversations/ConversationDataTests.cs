using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Training.Conversations;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Training.Conversations;

public sealed class ConversationDataTests
{
    /// <summary>Conversation n: question of n + 1 tokens, answer of two, question of one, answer of one; tokens are 100 n and up.</summary>
    private static EncodedConversation Talk(int n)
    {
        bool[] isAnswer = [.. Enumerable.Repeat(false, n + 1), true, true, false, true];
        return new EncodedConversation([.. Enumerable.Range(100 * n, isAnswer.Length)], isAnswer);
    }

    private static ConversationData Data(int count, int maxLength = 100, float weight = 1, float share = 0) =>
        new([.. Enumerable.Range(0, count).Select(Talk)], maxLength, weight, share);

    [Fact]
    public void OnlyAnswersAreLabels()
    {
        MicroBatch batch = Data(3, weight: 10).Train(seed: 1, step: 1, microBatch: 0, batchSize: 3, accumulate: 1);
        Assert.Equal([5, 6, 7], batch.Lengths.Order());
        Assert.Equal(9, batch.Labelled);
        int start = 0;
        foreach (int length in batch.Lengths)
        {
            EncodedConversation talk = Talk(length - 5);
            Assert.Equal(talk.Tokens, batch.Tokens[start..(start + length)]);
            Assert.Equal([.. talk.Tokens.Skip(1).Select((t, i) => talk.IsAnswer[i + 1] ? t : -1), -1], batch.Labels[start..(start + length)]);
            Assert.Equal(talk.IsAnswer.Select(static a => a ? 10f : 1f), batch.Weights[start..(start + length)]);
            start += length;
        }
        Assert.Empty(Data(3).Train(1, 1, 0, 3, 1).Weights);
    }

    /// <summary>Every example once an epoch, in an order that depends on seed and epoch; the last step has what is left, or nothing.</summary>
    [Theory]
    [InlineData(10, 2, 2)]
    [InlineData(7, 3, 1)]
    [InlineData(12, 2, 3)]
    [InlineData(1, 4, 2)]
    public void AnEpochSeesEachOnce(int count, int batchSize, int accumulate)
    {
        ConversationData data = Data(count);
        int steps = data.StepsPerEpoch(batchSize, accumulate);
        Assert.Equal((count + batchSize * accumulate - 1) / (batchSize * accumulate), steps);
        int[][] epochs = [.. Enumerable.Range(0, 3).Select(e => Seen(data, 5, e))];
        Assert.All(epochs, e => Assert.Equal(Enumerable.Range(0, count), e.Order()));
        if (count >= 7)
        {
            Assert.NotEqual(epochs[0], epochs[1]);
            Assert.NotEqual(epochs[1], epochs[2]);
            Assert.NotEqual(epochs[0], Seen(data, 6, 0));
        }
        Assert.Equal(epochs[1], Seen(Data(count), 5, 1));    // what was asked before does not matter

        int[] Seen(ConversationData of, ulong seed, int epoch) =>
        [
            .. Enumerable.Range(epoch * steps + 1, steps).SelectMany(step => Enumerable.Range(0, accumulate).SelectMany(micro =>
            {
                MicroBatch batch = of.Train(seed, step, micro, batchSize, accumulate);
                Assert.InRange(batch.Lengths.Length, 0, batchSize);
                return batch.Lengths.Select(static length => length - 5);
            })),
        ];
    }

    [Fact]
    public void TheLastTenthIsForValidation()
    {
        ConversationData data = Data(25, share: 0.1f);
        Assert.Equal((23, 2), (data.Examples, data.ValidationExamples));
        Assert.Equal([2300, 2301], data.Validation([0]).Tokens[..2]);
        Assert.Equal(2400, data.Validation([1]).Tokens[0]);
        Assert.Equal((1, 1), (Data(2, share: 0.1f).Examples, Data(2, share: 0.1f).ValidationExamples));
        Assert.Contains("to validate with", Assert.Throws<ArgumentException>(() => Data(1, share: 0.1f)).Message, StringComparison.Ordinal);
        Assert.NotEqual(data.Fingerprint, Data(25).Fingerprint);
        Assert.NotEqual(data.Fingerprint, Data(25, weight: 10, share: 0.1f).Fingerprint);
        Assert.Equal(data.Fingerprint, Data(25, share: 0.1f).Fingerprint);
    }

    [Fact]
    public void LongOnesAreCutAndCounted()
    {
        ConversationData data = Data(6, maxLength: 6);      // lengths 5 to 10; the answer of the last one begins at 6
        Assert.Equal((4, 1, 5), (data.Truncated, data.LeftOut, data.Examples));
        Assert.Equal(5 + 4 * 6, data.Tokens.All);
        Assert.Contains("0 of 2 conversations have an answer within 1 tokens", Assert.Throws<ArgumentException>(() => Data(2, maxLength: 1)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Data(2, weight: 0));
    }

    /// <summary>The validation loss is the mean over the answers' tokens of all conversations, however many go through at once.</summary>
    [Fact]
    public void ValidationIsAMeanOverTokens()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        ModelConfig tiny = Tiny.Config("mixtral");
        EncodedConversation[] talks = [.. Enumerable.Range(0, 8).Select(n => Talk(n) with
        {
            Tokens = [.. Talk(n).Tokens.Select(t => t % tiny.VocabSize)],
            IsAnswer = [.. Talk(n).IsAnswer.Select((a, t) => a || t > 9 - n)],
        })];
        ConversationData data = new(talks, 100, validationShare: 0.4f);     // the last three
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("mixtral"), tiny, seed: 2);
        double sum = 0;
        int count = 0;
        foreach (EncodedConversation talk in talks[^3..])
        {
            float[] logits = Tiny.Logits(model, talk.Tokens, talk.Tokens.Length);
            for (int t = 0; t + 1 < talk.Tokens.Length; t++)
                if (talk.IsAnswer[t + 1])
                {
                    float[] row = logits[(t * tiny.VocabSize)..((t + 1) * tiny.VocabSize)];
                    sum += Math.Log(row.Sum(static v => Math.Exp(v))) - row[talk.Tokens[t + 1]];
                    count++;
                }
        }
        foreach (int atOnce in new[] { 1, 2, 3 })
            using (Trainer trainer = new(model, data, Texts.Options(100) with { EvalBatchSize = atOnce }))
                Assert.Equal(sum / count, trainer.Validate(), 1e-5);
    }

    /// <summary>What is minimised is the mean over the answers' tokens of a whole step, however unevenly micro-batches share them, and DCMoE's balance by the weights.</summary>
    [Fact]
    public void AStepIsOneBatch()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        ModelConfig tiny = Tiny.Config("mixtral") with { RouterLosses = [] };
        EncodedConversation[] talks = [.. Enumerable.Range(0, 4).Select(n => Talk(n) with { Tokens = [.. Talk(n).Tokens.Select(t => t % tiny.VocabSize)] })];
        ConversationData data = new(talks, 100, answerWeight: 10, validationShare: 0);
        TrainOptions options = Texts.Options(100) with { BatchSize = 3, Accumulate = 2, RouterLosses = [new LoadBalanceLoss(1), new RouterZLoss(1)] };
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("mixtral"), tiny, seed: 2);
        MicroBatch first = data.Train(options.Seed, 1, 0, 3, 2), second = data.Train(options.Seed, 1, 1, 3, 2);
        Assert.Equal((3, 1), (first.Lengths.Length, second.Lengths.Length));

        float expected, z;
        int[] tokens = [.. first.Tokens, .. second.Tokens], labels = [.. first.Labels, .. second.Labels], lengths = [.. first.Lengths, .. second.Lengths];
        using (Tape g = Tape.Inference(backend))
        {
            List<LayerOutput> layers = [];
            Tensor logits = model.Transformer.Forward(g, Batch.Packed(g, tokens, lengths), layers).Logits;
            float[] all = backend.ToFloats(logits);
            double sum = 0;
            for (int t = 0; t < labels.Length; t++)
                if (labels[t] >= 0)
                {
                    double[] row = [.. all[(t * tiny.VocabSize)..((t + 1) * tiny.VocabSize)].Select(static v => (double)v)];
                    sum += Math.Log(row.Sum(Math.Exp)) - row[labels[t]];
                }
            expected = (float)(sum / labels.Count(static l => l >= 0));
            z = 0;
            foreach ((MicroBatch of, int start) in new[] { (first, 0), (second, first.Tokens.Length) })
                z += (float)layers.Average(l => Weighted(backend.ToFloats(l.Routing!.Value.Logits), of, start, l.Routing!.Value.NumExperts)) * of.Tokens.Length / tokens.Length;
        }
        using Trainer trainer = new(model, data, options);
        TrainStep step = trainer.Step();
        Assert.Equal(expected, step.Loss, 1e-5f);
        Assert.Equal(z, step.RouterLosses[1], 1e-5f);

        static double Weighted(float[] logits, MicroBatch of, int start, int experts)
        {
            double sum = 0;
            for (int t = 0; t < of.Tokens.Length; t++)
                sum += of.Weights[t] * Math.Pow(Math.Log(logits[((start + t) * experts)..((start + t + 1) * experts)].Sum(static v => Math.Exp(v))), 2);
            return sum / of.Weights.Sum();
        }
    }
}
