using System.Diagnostics;
using MoeFromScratch.Bench.Peers;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Bench.Scaling;

/// <summary>
/// How the cost of a token grows with the context, the number of experts, the sequences decoded together and the skew of the routing.
/// Ideals follow from the bytes that must be read, at the rate that the first point reads them.
/// </summary>
internal static class ScalingStudy
{
    private const int Rounds = 7, Steps = 8, Hidden = 512, Width = 1024, Layers = 4, Heads = 8, KvHeads = 4, TopK = 2, Prompt = 512;

    /// <summary>Prints the tables and writes the plots.</summary>
    public static void Print(string folder)
    {
        Directory.CreateDirectory(folder);
        Console.WriteLine(PeerTable.Heading($"dotnet run -c Release --project bench -- scaling {folder}") + $" medians of {Rounds} rounds in turns, F32.");
        using IBackend cpu = CpuBackend.Create();
        using (LanguageModel model = RandomModels.Create(cpu, Shape(8, Width), DType.F32))
        {
            Context(model, folder);
            Together(model, folder);
        }
        Experts(cpu, folder);
        Skew(cpu, folder);
    }

    private static void Context(LanguageModel model, string folder)
    {
        int[] contexts = [128, 256, 512, 1024, 2048, 4096, 8192];
        int[] tokens = RandomModels.Tokens(contexts[^1], model.Config.VocabSize);
        const int Decoded = Steps * (Rounds + 1);
        Generator[] generators = [.. contexts.Select(c => new Generator(model.Transformer, model.Backend, c + Decoded))];
        Prefill(generators[0], tokens.AsSpan(0, contexts[0]));
        double[] chunk = [.. contexts.Select((c, i) => Prefill(generators[i], tokens.AsSpan(0, c - Decoded / 2)))];
        double[] ms = Interleaved([.. generators.Select(g => (Action)(() => Decode(g, tokens)))]);
        double[] decode = [.. ms.Select(static t => t / Steps)], ideal = [.. contexts.Select(c => decode[0] * Bytes(c) / Bytes(contexts[0]))];

        Table($"Decoding by context (about {Decoded / 2} tokens around it)", ["context", "ms per token", "tokens/s", "at least, by bytes read, ms", "prefill up to there, ms per token"],
            contexts.Select((c, i) => new[] { c, decode[i], 1e3 / decode[i], ideal[i], chunk[i] }));
        new SvgPlot("One token by context", "tokens in the context", "ms per token", LogX: true, LogY: false,
            Line("decode", contexts, decode), Line("ideal: bytes read", contexts, ideal, true)).Write(Path.Combine(folder, "context.svg"));
        Array.ForEach(generators, static g => g.Dispose());

        double Bytes(int context) => sizeof(float) * (Active(model.Config, Width, TopK) + 2.0 * Layers * context * KvHeads * (Hidden / Heads));
    }

    private static void Together(LanguageModel model, string folder)
    {
        const int Context = 64, Experts = 8;
        int[] batches = [1, 2, 4, 8, 16, 32, 64];
        int[] tokens = RandomModels.Tokens(Prompt * 64, model.Config.VocabSize);
        Generator[] generators = [.. batches.Select(b => new Generator(model.Transformer, model.Backend, Context + Steps * (Rounds + 1), b))];
        foreach ((int i, int batch) in batches.Index())
            for (int s = 0; s < batch; s++)
                generators[i].Feed(tokens.AsSpan(s * Context, Context), s);
        int at = 0;
        double[] ms = Interleaved([.. batches.Select((b, i) => (Action)(() => Step(i, b)))]);
        double[] rate = [.. batches.Select((b, i) => 1e3 * b * Steps / ms[i])], ideal = [.. batches.Select(b => rate[0] * b * Bytes(1) / Bytes(b))];

        Table($"Sequences decoded together, context {Context} and on", ["sequences", "ms per step", "tokens/s", "times one", "at most, each weight read once, tokens/s"],
            batches.Select((b, i) => new[] { b, ms[i] / Steps, rate[i], rate[i] / rate[0], ideal[i] }));
        new SvgPlot("Sequences decoded together", "sequences", "tokens/s", LogX: true, LogY: true,
            Line("decode", batches, rate), Line("ideal: each weight read once", batches, ideal, true)).Write(Path.Combine(folder, "batch.svg"));
        Array.ForEach(generators, static g => g.Dispose());

        void Step(int i, int batch)
        {
            int[] sequences = [.. Enumerable.Range(0, batch)];
            for (int n = 0; n < Steps; n++, at = (at + batch) % (tokens.Length - batch))
                generators[i].Step(tokens.AsSpan(at, batch), sequences);
        }

        double Bytes(int batch) => sizeof(float) * Active(model.Config, Width, Experts * (1 - Math.Pow(1 - TopK / (double)Experts, batch)));
    }

    private static void Experts(IBackend cpu, string folder)
    {
        const int Narrow = 512;
        int[] experts = [8, 16, 32, 64, 128];
        LanguageModel[] models = [.. experts.Select(e => RandomModels.Create(cpu, Shape(e, Narrow), DType.F32))];
        int[] tokens = RandomModels.Tokens(Prompt * 2, models[0].Config.VocabSize);
        Generator[] generators = [.. models.Select(m => new Generator(m.Transformer, cpu, Prompt + Steps * (Rounds + 1)))];
        double[] prefill = Interleaved([.. generators.Select(g => (Action)(() => Prefill(g, tokens.AsSpan(0, Prompt))))]);
        double[] decode = [.. Interleaved([.. generators.Select(g => (Action)(() => Decode(g, tokens)))]).Select(static t => t / Steps)];
        using MachineLimits limits = new(Environment.ProcessorCount);
        Tensor big = Inputs.Random(cpu, [32 << 20], 1);
        double readMs = Interleaved([() => limits.Read(big)])[0] / big.Bytes;
        cpu.Free(big);
        double[] ideal = [.. experts.Select(e => prefill[0] + readMs * (Bytes(e) - Bytes(experts[0])))];

        Table($"Experts of {Narrow}, {TopK} of them for each token", ["experts", "weights, MB", $"prefill {Prompt}, ms", "at least, the further weights read once, ms", "decode, ms per token"],
            experts.Select((e, i) => new[] { e, Bytes(e) / (1 << 20), prefill[i], ideal[i], decode[i] }));
        new SvgPlot($"Experts, {TopK} of them for each token", "experts", "ms", LogX: true, LogY: true,
            Line($"prefill {Prompt}", experts, prefill), Line("decode, per token", experts, decode),
            Line("ideal prefill: the further weights read once", experts, ideal, true), Line("ideal decode: the same work", experts, [.. experts.Select(_ => decode[0])], true))
            .Write(Path.Combine(folder, "experts.svg"));
        Array.ForEach(generators, static g => g.Dispose());
        Array.ForEach(models, static m => m.Dispose());

        double Bytes(int e) => sizeof(float) * Active(models[0].Config, Narrow, e);
    }

    private static void Skew(IBackend cpu, string folder)
    {
        const int Experts = 8;
        double[] most = [1.0 / Experts, 0.2, 0.3, 0.4, 0.5];
        double[] ms = Interleaved([.. most.Select(m => Ours.Layer(cpu, [m, .. Enumerable.Repeat((1 - m) / (Experts - 1), Experts - 1)])).Select(static f => (Action)(() => f()))]);
        Table("Layer of 2048 tokens × 1024, 2 of 8 experts of 2048, by the most loaded expert's share of the choices", ["share", "ms", "times balanced"],
            most.Select((m, i) => new[] { m, ms[i], ms[i] / ms[0] }));
        new SvgPlot("A layer by the skew of its routing", "share of the most loaded expert", "ms", LogX: false, LogY: false,
            Line("layer", most, ms), Line("ideal: the same work", most, [.. most.Select(_ => ms[0])], true)).Write(Path.Combine(folder, "skew.svg"));
    }

    private static ModelConfig Shape(int experts, int width) =>
        RandomModels.Mixtral(Hidden, Layers, Heads, KvHeads, experts, width, TopK) with { MaxPositions = 1 << 14 };

    /// <summary>Parameters that are read when so many experts of each layer have tokens.</summary>
    private static double Active(ModelConfig config, int width, double experts) =>
        Layers * (2.0 * Hidden * Hidden * (Heads + KvHeads) / Heads + experts * 3 * Hidden * width) + (double)config.VocabSize * Hidden;

    /// <summary>Milliseconds per token.</summary>
    private static double Prefill(Generator generator, ReadOnlySpan<int> tokens)
    {
        generator.Clear();
        long start = Stopwatch.GetTimestamp();
        generator.Feed(tokens);
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds / tokens.Length;
    }

    /// <summary>Some tokens, others each time, so that other experts are read.</summary>
    private static void Decode(Generator generator, ReadOnlySpan<int> tokens)
    {
        for (int i = 0; i < Steps; i++)
            generator.Feed(tokens.Slice(generator.Length() % tokens.Length, 1));
    }

    /// <summary>Milliseconds of each, done in turns: medians after a round that does not count.</summary>
    private static double[] Interleaved(Action[] works)
    {
        double[][] all = [.. works.Select(static _ => new double[Rounds + 1])];
        for (int round = 0; round <= Rounds; round++)
            for (int i = 0; i < works.Length; i++)
            {
                long start = Stopwatch.GetTimestamp();
                works[i]();
                all[i][round] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            }
        return [.. all.Select(static r => PeerTable.Median(r.Skip(1)))];
    }

    private static PlotLine Line<T>(string name, T[] xs, double[] ys, bool ideal = false) where T : System.Numerics.INumber<T> =>
        new(name, [.. xs.Select((x, i) => (double.CreateChecked(x), ys[i]))], ideal);

    private static void Table(string title, string[] head, IEnumerable<double[]> rows)
    {
        Console.WriteLine($"\n{title}:\n");
        Console.WriteLine($"| {string.Join(" | ", head)} |");
        Console.WriteLine($"|{string.Concat(head.Select(static _ => "---:|"))}");
        foreach (double[] row in rows)
            Console.WriteLine($"| {string.Join(" | ", row.Select(PeerTable.Number))} |");
    }
}
