using System.Diagnostics;
using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Evaluation;

/// <summary>A context and what may follow it.</summary>
/// <param name="Tokens">At least one.</param>
/// <param name="Continuations">At least one token each.</param>
public sealed record ScoredContext(int[] Tokens, IReadOnlyList<int[]> Continuations);

/// <summary>
/// Log-likelihoods: Σ_i ln p(c_i | context, c_1 … c_(i−1)) of each continuation c, in nats. Contexts are sorted by length and packed into passes
/// without padding. One that several continuations share is computed once: it stays in a key-value cache, and each of them is fed behind
/// it and forgotten again.
/// </summary>
/// <remarks>
/// On the reference backend, a likelihood is the same to the last bit whatever shares its pass. The other backends choose kernels by the number of rows, so
/// that there it is the same up to rounding, and to the last bit for the same requests and the same room. In models whose tokens compete for
/// experts (<see cref="Moe.RouterConfig.IsAcrossTokens"/>) each continuation has passes of its own, over the whole sequence.
/// </remarks>
public sealed class Scorer : IDisposable
{
    private const int UsualTokens = 4096, MostLogits = 1 << 26;

    private readonly LanguageModel _model;
    private readonly IBackend _backend;
    private readonly Tape _tape;
    private readonly List<LayerOutput> _layers = [];
    private readonly int? _task;
    private readonly bool _alone;

    /// <param name="batchTokens">Tokens of a pass; a longer sequence has one to itself. 0 for 4,096, or fewer where their logits would take more than 256 MB.</param>
    /// <param name="task">The task, for models that route by it.</param>
    /// <exception cref="ArgumentException">A task that the model does not know, or one missing or too many.</exception>
    public Scorer(LanguageModel model, int batchTokens = 0, int? task = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(batchTokens);
        (_model, _backend, _task) = (model, model.Backend, task);
        TaskRouterConfig[] byTask = [.. model.Config.Layers.OfType<MoeConfig>().Select(static m => m.Router).OfType<TaskRouterConfig>()];
        if (byTask.Length == 0 != task is null)
            throw new ArgumentException(task is null ? $"the model routes by task: name one of 0 to {byTask[0].Tasks - 1}" : "the model does not route by task");
        if (byTask.FirstOrDefault(r => task < 0 || task >= r.Tasks) is { } router)
            throw new ArgumentException($"the model knows the tasks 0 to {router.Tasks - 1}, not {task}");
        BatchTokens = batchTokens > 0 ? batchTokens : Math.Clamp(MostLogits / model.Config.VocabSize, 1, UsualTokens);
        _alone = model.Config.Layers.OfType<MoeConfig>().Any(static m => m.Router.IsAcrossTokens);
        _tape = Tape.Inference(_backend);
    }

    public LanguageModel Model => _model;

    /// <summary>Tokens of a pass.</summary>
    public int BatchTokens { get; }

    /// <summary>Those of a context's continuations that are computed together.</summary>
    /// <param name="Index">The context's.</param>
    /// <param name="First">The first of its continuations here.</param>
    /// <param name="Longest">Tokens of the longest sequence: context and continuation less its last token, which nothing follows.</param>
    private sealed record Item(int Index, int First, int[] Context, IReadOnlyList<int[]> Continuations, int Longest)
    {
        /// <summary>Logits that are computed at once: of all continuations' first tokens, and of the rest of the first.</summary>
        public int LogitRows => Continuations.Count - 1 + Continuations[0].Length;
    }

    /// <summary>The log-likelihood of each continuation of each context; null for contexts that were not reached before the stop.</summary>
    /// <param name="cost">Takes what the passes cost.</param>
    /// <param name="progress">Told after each pass which share of the work is done.</param>
    /// <exception cref="ArgumentException">An empty context or continuation, one that is longer than the model's context, or a token outside the vocabulary.</exception>
    /// <exception cref="ArithmeticException">A logit is NaN: the model is broken.</exception>
    public double[]?[] Score(IReadOnlyList<ScoredContext> contexts, CostMeter? cost = null, Action<double>? progress = null, CancellationToken stop = default)
    {
        double[][] sums = [.. contexts.Select(static c => new double[c.Continuations.Count])];
        int[] left = [.. contexts.Select(static c => c.Continuations.Count)];
        Item[] items = [.. contexts.Index().SelectMany(c => Items(c.Index, c.Item)).OrderByDescending(static i => i.Longest)];   // stable
        long all = items.Sum(static i => (long)i.Longest), done = 0;
        foreach (List<Item> pass in Passes(items))
        {
            if (stop.IsCancellationRequested)
                break;
            Run(pass, sums, cost);
            foreach (Item item in pass)
            {
                left[item.Index] -= item.Continuations.Count;
                done += item.Longest;
            }
            progress?.Invoke((double)done / all);
        }
        _tape.Reset();
        return [.. sums.Zip(left, static (s, l) => l == 0 ? s : null)];
    }

    public void Dispose() => _tape.Dispose();

    /// <summary>All continuations of a context together, or each by itself where a shared context would not be what each of them sees.</summary>
    private IEnumerable<Item> Items(int index, ScoredContext context)
    {
        int most = _model.Config.MaxPositions, vocab = _model.Config.VocabSize;
        if (context.Tokens.Length == 0 || context.Continuations.Count == 0 || context.Continuations.Any(static c => c.Length == 0))
            throw new ArgumentException("a context and its continuations have at least one token each");
        int longest = context.Tokens.Length - 1 + context.Continuations.Max(static c => c.Length);
        if (longest > most)
            throw new ArgumentException($"a sequence of {longest + 1} tokens does not fit the model's context of {most}");
        foreach (int token in context.Tokens.Concat(context.Continuations.SelectMany(static c => c)))
            if ((uint)token >= (uint)vocab)
                throw new ArgumentException($"token {token} is not in the vocabulary of {vocab}");
        return !_alone && context.Continuations.All(c => ReferenceEquals(Form(context.Tokens.Length - 1 + c.Length), Form(longest)))
            ? [new Item(index, 0, context.Tokens, context.Continuations, longest)]
            : context.Continuations.Select((c, i) => new Item(index, i, context.Tokens, [c], context.Tokens.Length - 1 + c.Length));
    }

    /// <summary>
    /// As many as there is room for, of one rotary form: that goes by the longest sequence of a pass, which is its first. The cache has as much room for each.
    /// </summary>
    private IEnumerable<List<Item>> Passes(IEnumerable<Item> items)
    {
        List<Item> pass = [];
        long rows = 0;
        foreach (Item item in items)
        {
            if (pass.Count > 0 && (_alone || (pass.Count + 1L) * pass[0].Longest > BatchTokens || rows + item.LogitRows > BatchTokens
                || !ReferenceEquals(Form(item.Longest), Form(pass[0].Longest))))
            {
                yield return pass;
                (pass, rows) = ([], 0);
            }
            pass.Add(item);
            rows += item.LogitRows;
        }
        if (pass.Count > 0)
            yield return pass;
    }

    private RopeScaling? Form(int context) => _model.Config.Attention.RopeScaling?.In(context);

    /// <summary>
    /// First each context with its first continuation, which also tells how all of them begin; then, behind the contexts in the cache, the rest of each
    /// second continuation, of each third, and so on.
    /// </summary>
    private void Run(List<Item> pass, double[][] sums, CostMeter? cost)
    {
        int rounds = pass.Max(static i => i.Continuations.Count), longest = pass.Max(static i => i.Longest);
        using KvCache? cache = rounds == 1 ? null : new KvCache(_backend, _model.Config, longest, pass.Count);
        List<int> tokens = [], rows = [], labels = [];
        List<(Item Item, int Continuation)> asked = [];
        int[] counts = new int[pass.Count];
        for (int round = 0; round < rounds; round++)
        {
            tokens.Clear();
            rows.Clear();
            labels.Clear();
            asked.Clear();
            foreach ((int i, Item item) in pass.Index())
            {
                int start = tokens.Count;
                if (round == 0)
                {
                    tokens.AddRange(item.Context);
                    for (int c = 0; c < item.Continuations.Count; c++)
                        Ask(item, c, 0);
                }
                for (int t = 1; round < item.Continuations.Count && t < item.Continuations[round].Length; t++)
                {
                    tokens.Add(item.Continuations[round][t - 1]);
                    Ask(item, round, t);
                }
                counts[i] = tokens.Count - start;
            }
            if (tokens.Count > 0)
                Add(NegativeLogs(tokens, counts, rows, labels, cache, longest, cost));
            foreach ((int i, Item item) in pass.Index())
                cache?.Truncate(i, item.Context.Length);
        }

        void Ask(Item item, int continuation, int t)
        {
            rows.Add(tokens.Count - 1);
            labels.Add(item.Continuations[continuation][t]);
            asked.Add((item, continuation));
        }

        void Add(float[] negative)
        {
            foreach ((int r, (Item item, int continuation)) in asked.Index())
                sums[item.Index][item.First + continuation] -= negative[r];
        }
    }

    /// <summary>−ln p(label) of each row.</summary>
    /// <param name="counts">Tokens of each sequence.</param>
    /// <param name="longest">Tokens of the longest sequence of all rounds.</param>
    private float[] NegativeLogs(List<int> tokens, int[] counts, List<int> rows, List<int> labels, KvCache? cache, int longest, CostMeter? cost)
    {
        long start = Stopwatch.GetTimestamp();
        _tape.Reset();
        int[] ids = [.. tokens], tasks = _task is { } task ? [.. Enumerable.Repeat(task, counts.Length)] : [];
        Batch batch = cache is null ? Batch.Packed(_tape, ids, counts, tasks) : Batch.Continue(_tape, cache, ids, counts, lastOnly: false, tasks, longest);
        batch = batch with { LogitRows = _tape.Constant<int>([rows.Count], DType.I32, [.. rows]) };
        ForwardResult result = _model.Transformer.Forward(_tape, batch, _layers, cache);
        float[] negative = _backend.ToFloats(_tape.CrossEntropy(result.Logits, _tape.Constant<int>([labels.Count], DType.I32, [.. labels])));
        if (Array.Exists(negative, float.IsNaN))
            throw new ArithmeticException("the model's logits are not numbers (NaN): its weights are damaged");
        cost?.Take(_tape, ids.Length, _layers, start);
        return negative;
    }
}
