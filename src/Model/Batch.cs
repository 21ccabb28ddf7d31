using System.Buffers;
using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model;

/// <summary>
/// The tokens of one forward pass, sequences packed one after the other without padding; attention never crosses from one
/// to the next. Its tensors belong to the tape.
/// </summary>
public readonly record struct Batch
{
    /// <summary>[T] I32</summary>
    public required Tensor Tokens { get; init; }

    /// <summary>[T] I32 place of each token in its sequence.</summary>
    public required Tensor Positions { get; init; }

    /// <summary>[B, 4] I32 (query start, query count, key start, key count), see <see cref="IBackend.Attention"/>.</summary>
    public required Tensor Sequences { get; init; }

    /// <summary>[B · 4] <see cref="Sequences"/> on the host, for whoever decides there what each sequence gets; with a cache, until its next batch.</summary>
    public required ReadOnlyMemory<int> SequenceTable { get; init; }

    /// <summary>[T] I32 cache row that takes each token's key and value; null without a cache.</summary>
    public Tensor? CacheRows { get; init; }

    /// <summary>[T, M] I32 which keys each token may see; null for all that causality allows.</summary>
    public Tensor? Visible { get; init; }

    /// <summary>[T] 1 for tokens, 0 for padding; null when nothing is padding.</summary>
    public Tensor? TokenMask { get; init; }

    /// <summary>[T] I32 task of each token's sequence, for models that route by it; null where nobody said.</summary>
    public Tensor? Tasks { get; init; }

    /// <summary>Tokens of the longest of its sequences, those in a cache and those that are still to follow in further pieces included.</summary>
    public int Context { get; init; }

    /// <summary>[R] I32 the rows whose logits are wanted; null for all.</summary>
    public Tensor? LogitRows { get; init; }

    /// <summary>Whole sequences, each from its position 0.</summary>
    /// <param name="tokens">All sequences, one after the other.</param>
    /// <param name="lengths">Tokens of each.</param>
    /// <param name="tasks">Task of each; empty for none.</param>
    public static Batch Packed(Tape g, ReadOnlySpan<int> tokens, ReadOnlySpan<int> lengths, ReadOnlySpan<int> tasks = default) =>
        Make(g, tokens, lengths, cache: null, lastOnly: false, tasks);

    /// <summary>Sequences of equal length with padding, as references take them: padded tokens are computed but nobody sees them.</summary>
    /// <param name="mask">1 for tokens, 0 for padding, like <paramref name="tokens"/>.</param>
    /// <param name="seesFirst">Whether a sequence's first token is seen even where it is padding, see <see cref="AttentionConfig.SeesFirst"/>.</param>
    public static Batch Padded(Tape g, ReadOnlySpan<int> tokens, int sequences, ReadOnlySpan<int> mask, bool seesFirst = false, ReadOnlySpan<int> tasks = default)
    {
        int length = tokens.Length / sequences;
        int[] lengths = new int[sequences], visible = new int[tokens.Length * length];
        Array.Fill(lengths, length);
        float[] weight = new float[tokens.Length];
        for (int t = 0; t < tokens.Length; t++)
        {
            weight[t] = mask[t];
            mask.Slice(t / length * length, length).CopyTo(visible.AsSpan(t * length));
            visible[t * length] |= seesFirst ? 1 : 0;
        }
        return Packed(g, tokens, lengths, tasks) with
        {
            Visible = g.Constant<int>([tokens.Length, length], DType.I32, visible),
            TokenMask = g.Constant<float>([tokens.Length], DType.F32, weight),
        };
    }

    /// <summary>The next tokens of the sequences in a cache: a prompt, a piece of it, or one token each. Reserves their cache rows.</summary>
    /// <param name="tokens">New tokens of all sequences, one after the other.</param>
    /// <param name="counts">New tokens of each sequence; one with none rests and has no row in the logits.</param>
    /// <param name="lastOnly">Want logits for each sequence's last token only.</param>
    /// <param name="tasks">Task of each sequence; empty for none.</param>
    /// <param name="context">Where this is a piece of a prompt, the length of the whole, see <see cref="Context"/>.</param>
    /// <exception cref="ArgumentException">The counts do not add up to the tokens, or one is negative.</exception>
    /// <exception cref="InvalidOperationException">The cache is full.</exception>
    public static Batch Continue(Tape g, KvCache cache, ReadOnlySpan<int> tokens, ReadOnlySpan<int> counts, bool lastOnly = true, ReadOnlySpan<int> tasks = default,
        int context = 0) => Make(g, tokens, counts, cache, lastOnly, tasks, context);

    private static Batch Make(Tape g, ReadOnlySpan<int> tokens, ReadOnlySpan<int> counts, KvCache? cache, bool lastOnly, ReadOnlySpan<int> tasks,
        int context = 0)
    {
        if (!tasks.IsEmpty && tasks.Length != counts.Length)
            throw new ArgumentException($"{tasks.Length} tasks for {counts.Length} sequences");
        RequireRoom(tokens.Length, counts, cache);
        int total = tokens.Length, sequences = counts.Length - counts.Count(0);
        int[] buffer = ArrayPool<int>.Shared.Rent(3 * total + 5 * sequences);
        Span<int> positions = buffer.AsSpan(0, total), rows = buffer.AsSpan(total, total);
        Span<int> table = buffer.AsSpan(2 * total, 4 * sequences), last = buffer.AsSpan(2 * total + 4 * sequences, sequences);
        Span<int> taskOf = buffer.AsSpan(2 * total + 5 * sequences, total);
        int start = 0, row = 0;
        for (int b = 0; b < counts.Length; b++)
        {
            int count = counts[b];
            if (count == 0)
                continue;
            int past = cache?.Reserve(b, count) ?? 0, firstRow = cache?.FirstRow(b) ?? start;
            for (int t = 0; t < count; t++)
            {
                positions[start + t] = past + t;
                rows[start + t] = firstRow + past + t;
            }
            if (!tasks.IsEmpty)
                taskOf.Slice(start, count).Fill(tasks[b]);
            (table[4 * row], table[4 * row + 1], table[4 * row + 2], table[4 * row + 3]) = (start, count, firstRow, past + count);
            start += count;
            last[row++] = start - 1;
            context = Math.Max(context, past + count);
        }

        Batch batch = new()
        {
            Tokens = g.Constant([total], DType.I32, tokens),
            Positions = g.Constant<int>([total], DType.I32, positions),
            Sequences = g.Constant<int>([sequences, 4], DType.I32, table),
            SequenceTable = OnHost(table, cache),
            Context = context,
            CacheRows = cache is null ? null : g.Constant<int>([total], DType.I32, rows),
            Tasks = tasks.IsEmpty ? null : g.Constant<int>([total], DType.I32, taskOf),
            LogitRows = lastOnly ? g.Constant<int>([sequences], DType.I32, last) : null,
        };
        ArrayPool<int>.Shared.Return(buffer);
        return batch;
    }

    /// <summary>In the cache's own memory, so that a decode step allocates nothing.</summary>
    private static Memory<int> OnHost(ReadOnlySpan<int> table, KvCache? cache)
    {
        Memory<int> copy = cache is null ? new int[table.Length] : cache.SequenceTable.AsMemory(0, table.Length);
        table.CopyTo(copy.Span);
        return copy;
    }

    /// <summary>All checks come before the first reservation, so that a refused batch leaves the cache as it was.</summary>
    private static void RequireRoom(int tokens, ReadOnlySpan<int> counts, KvCache? cache)
    {
        long sum = 0;
        int least = cache is null ? 1 : 0;
        for (int b = 0; b < counts.Length; b++)
        {
            if (counts[b] < least)
                throw new ArgumentException($"a sequence takes at least {least} tokens, not {counts[b]}");
            sum += counts[b];
            cache?.RequireRoom(b, counts[b]);
        }
        if (tokens == 0)
            throw new ArgumentException("a batch takes at least one token");
        if (sum != tokens)
            throw new ArgumentException($"{tokens} tokens for sequences that add up to {sum}");
    }
}
