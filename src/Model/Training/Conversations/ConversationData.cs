using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace MoeFromScratch.Model.Training.Conversations;

/// <summary>
/// Conversations, each a sequence of its own, to learn the answers of. Every one is seen once in an epoch; the last ones are kept for validation.
/// </summary>
public sealed class ConversationData : TrainingData
{
    private readonly EncodedConversation[] _train, _validation;
    private readonly float _answerWeight;
    private readonly EpochOrder _order;
    private string? _fingerprint;

    /// <param name="maxLength">Longer conversations are cut to so many tokens, and left out if no answer begins before.</param>
    /// <param name="answerWeight">What a token of an answer counts in the router losses, where the others count 1 (DCMoE's <c>aux_balance_weight</c>).</param>
    /// <param name="validationShare">What is kept for validation, at least one conversation; 0 for nothing.</param>
    /// <exception cref="ArgumentException">Too few conversations are left, or the weight is no number above 0.</exception>
    public ConversationData(IReadOnlyList<EncodedConversation> conversations, int maxLength, float answerWeight = 1, float validationShare = 0.1f)
    {
        if (!(answerWeight > 0) || !float.IsFinite(answerWeight))
            throw new ArgumentException($"the weight of answers is a number above 0, not {answerWeight.ToString(CultureInfo.InvariantCulture)}");
        Truncated = conversations.Count(c => c.Tokens.Length > maxLength);
        EncodedConversation[] all = [.. conversations.Select(c => Cut(c, maxLength)).Where(static c => Array.LastIndexOf(c.IsAnswer, true) > 0)];
        LeftOut = conversations.Count - all.Length;
        int validation = validationShare > 0 ? Math.Max(1, (int)(all.Length * validationShare)) : 0;
        if (all.Length <= validation)
            throw new ArgumentException($"{all.Length} of {conversations.Count} conversations have an answer within {maxLength} tokens, too few to train on"
                + (validation > 0 ? " and to validate with" : ""));
        (_train, _validation) = (all[..^validation], all[^validation..]);
        _answerWeight = answerWeight;
        _order = new EpochOrder(_train.Length);
    }

    /// <summary>Conversations that were longer than the limit.</summary>
    public int Truncated { get; }

    /// <summary>Those of them without an answer before it, which are not used.</summary>
    public int LeftOut { get; }

    public override int Examples => _train.Length;

    public override int ValidationExamples => _validation.Length;

    /// <summary>Tokens of both parts, and how many of them are answers'.</summary>
    public (long All, long Answers) Tokens =>
        (_train.Concat(_validation).Sum(static c => (long)c.Tokens.Length), _train.Concat(_validation).Sum(static c => (long)c.IsAnswer.Count(static a => a)));

    /// <summary>SHA-256 of both parts, and the weight of answers.</summary>
    public override string Fingerprint => _fingerprint ??= string.Create(CultureInfo.InvariantCulture, $"{Hash()} with answers counting {_answerWeight}");

    /// <inheritdoc/>
    public override MicroBatch Train(ulong seed, long step, int microBatch, int batchSize, int accumulate) =>
        Batch(_train, _order.Batch(seed, step, microBatch, batchSize, accumulate));

    /// <inheritdoc/>
    public override MicroBatch Validation(ReadOnlySpan<int> examples) => Batch(_validation, examples);

    /// <summary>An answer's tokens are the labels of the tokens before them, and carry the weight themselves, as in DCMoE's code.</summary>
    private MicroBatch Batch(EncodedConversation[] part, ReadOnlySpan<int> which)
    {
        List<int> tokens = [], labels = [], lengths = [];
        List<float> weights = [];
        foreach (int i in which)
        {
            (int[] ids, bool[] isAnswer) = part[i];
            tokens.AddRange(ids);
            lengths.Add(ids.Length);
            for (int t = 0; t < ids.Length; t++)
            {
                labels.Add(t + 1 < ids.Length && isAnswer[t + 1] ? ids[t + 1] : -1);
                if (_answerWeight != 1)
                    weights.Add(isAnswer[t] ? _answerWeight : 1);
            }
        }
        return new MicroBatch([.. tokens], [.. labels], [.. lengths]) { Weights = [.. weights] };
    }

    private static EncodedConversation Cut(EncodedConversation c, int length) =>
        c.Tokens.Length <= length ? c : new EncodedConversation(c.Tokens[..length], c.IsAnswer[..length]);

    private string Hash()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (EncodedConversation[] part in new[] { _train, _validation })
        {
            hash.AppendData(MemoryMarshal.AsBytes<int>([part.Length]));
            foreach ((int[] tokens, bool[] isAnswer) in part)
            {
                hash.AppendData(MemoryMarshal.AsBytes<int>([tokens.Length]));
                hash.AppendData(MemoryMarshal.AsBytes<int>(tokens));
                hash.AppendData(MemoryMarshal.AsBytes<bool>(isAnswer));
            }
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
