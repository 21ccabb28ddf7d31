using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe generate</c>: text from a prompt.</summary>
internal static class GenerateVerb
{
    private sealed record Settings(IReadOnlyList<string> Prompts, IReadOnlyList<string> PromptIds, GenerateOptions Options, bool ShowExperts, bool Json);

    public static Command Command()
    {
        Argument<string[]> prompt = new("PROMPT")
        {
            Description = "The text to continue; standard input, less a line break at its end, when it is not given. Several prompts are continued together, prompt i with the seed plus i.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        prompt.Validators.Add(static r =>
        {
            string[] options = [.. Environment.GetCommandLineArgs().TakeWhile(static a => a != "--")];
            if (r.Tokens.FirstOrDefault(t => LooksLikeOption(t.Value) && options.Contains(t.Value)) is { } token)
                r.AddError($"There is no option '{token.Value}'; write -- before a prompt that looks like one");
        });
        Option<string?> model = new("--model", "-m") { Description = "Checkpoint folder; the model that comes with the tool when it is not given.", HelpName = "CHECKPOINT" };
        Option<string[]> ids = new("--prompt-ids")
        {
            Description = "The prompt as token ids, like 3,17,5: works without a tokenizer; may be given several times.",
            HelpName = "IDS",
            DefaultValueFactory = static _ => [],
        };
        Option<bool> greedy = new("--greedy") { Description = "Always the likeliest token; the same as --temperature 0." };
        Option<float?> temperature = new("--temperature") { Description = "Below 1 sharpens the choice, above 1 flattens it; 0.8 unless the checkpoint says otherwise.", HelpName = "X" };
        Option<int?> topK = new("--top-k") { Description = "Draw from the k likeliest tokens only.", HelpName = "K" };
        Option<float?> topP = new("--top-p") { Description = "Draw from the likeliest tokens that hold this probability.", HelpName = "P" };
        Option<float?> minP = new("--min-p") { Description = "Draw from tokens at least this share as likely as the likeliest.", HelpName = "P" };
        Option<float?> penalty = new("--repetition-penalty") { Description = "Above 1 makes tokens that were already used less likely.", HelpName = "X" };
        Option<string[]> stop = new("--stop") { Description = "Stop before this text; may be given several times.", HelpName = "TEXT", DefaultValueFactory = static _ => [] };
        RouterOptions router = new();
        Option<int?> task = new("--task") { Description = "The task, counted from 0, for a model that routes by it.", HelpName = "N" };
        Option<int?> count = new("--max-new-tokens") { Description = "At most so many new tokens; 200 unless the checkpoint says otherwise.", HelpName = "N" };
        Option<bool> ignoreEos = new("--ignore-eos") { Description = "Go on after an end-of-sequence token." };
        Option<bool> noCache = new("--no-cache") { Description = "Compute the whole sequence anew for each token (slow; checks the cache)." };
        Option<string> kvCache = Common.KvCache();
        Option<bool> showExperts = new("--show-experts") { Description = "Colour each token by the experts it used, and sum up by layer." };
        Option<ulong> seed = Common.Seed();
        Option<string> device = Common.Device(), precision = Common.Precision();
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("the result");
        Command command = new("generate", "Continue a text.")
        {
            prompt, model, ids, greedy, temperature, topK, topP, minP, penalty, stop, count, ignoreEos, noCache, kvCache, task, showExperts, seed, device, precision, threads, json,
        };
        router.AddTo(command);
        command.SetAction(r =>
        {
            if (r.GetValue(greedy) && r.GetValue(temperature) is not (null or 0))
                throw new ArgumentException("--greedy is --temperature 0: leave one of them out");
            RoutingOptions routing = router.Read(r);
            DType cacheType = Common.CacheType(r.GetValue(kvCache)!);
            if (cacheType != DType.F32 && r.GetValue(noCache))
                throw new ArgumentException("--no-cache leaves no cache for --kv-cache to set");
            using IBackend backend = Common.Backend(r.GetValue(device)!, r.GetValue(threads), r.GetValue(precision)!);
            string folder = r.GetValue(model) ?? Common.BuiltInFolder();
            using LanguageModel loaded = LanguageModel.Load(folder, backend, routing: routing);
            GenerationDefaults theirs = loaded.Generation;
            bool silent = theirs == new GenerationDefaults { EosTokenIds = theirs.EosTokenIds };
            SamplerOptions sampler = theirs.Sampler(r.GetValue(seed));
            sampler = sampler with
            {
                Temperature = r.GetValue(greedy) ? 0 : r.GetValue(temperature) ?? (silent ? 0.8f : sampler.Temperature),
                TopK = r.GetValue(topK) ?? sampler.TopK,
                TopP = r.GetValue(topP) ?? sampler.TopP,
                MinP = r.GetValue(minP) ?? sampler.MinP,
                RepetitionPenalty = r.GetValue(penalty) ?? sampler.RepetitionPenalty,
            };
            sampler.RequireValid();
            int newTokens = r.GetValue(count) ?? theirs.MaxNewTokens ?? 200;
            if (newTokens < 0)
                throw new ArgumentException($"--max-new-tokens must be at least 0, not {newTokens}");
            Settings settings = new(r.GetValue(prompt)!, r.GetValue(ids)!,
                new GenerateOptions
                {
                    MaxNewTokens = newTokens,
                    Sampler = sampler,
                    Stop = r.GetValue(stop)!,
                    IgnoreEos = r.GetValue(ignoreEos),
                    NoCache = r.GetValue(noCache),
                    CacheType = cacheType,
                    Task = r.GetValue(task),
                },
                r.GetValue(showExperts), r.GetValue(json));
            _ = new StopStrings(settings.Options.Stop);   // refused now, whether there is a tokenizer or not
            if (settings.Prompts.Count == 0 && settings.PromptIds.Count == 0)
                settings = settings with { Prompts = [WithoutLineBreak(Console.In.ReadToEnd())] };
            int[][] promptIds = PromptIds(settings, loaded, folder);
            if (settings.Options.Stop.Count > 0 && !HasTokenizer(settings, loaded))
                throw new ArgumentException("--stop needs a tokenizer");
            return settings.Json ? PrintJson(settings, loaded, promptIds) : PrintText(settings, loaded, promptIds);
        });
        return command;
    }

    private static bool LooksLikeOption(string text) => text is ['-', not ' ', ..] && !text.Any(char.IsWhiteSpace);

    /// <summary>What a pipe ends with is not what the text goes on from.</summary>
    private static string WithoutLineBreak(string text) => text.EndsWith('\n') ? text[..^(text.EndsWith("\r\n", StringComparison.Ordinal) ? 2 : 1)] : text;

    private static int[][] PromptIds(Settings s, LanguageModel model, string folder)
    {
        if (s.PromptIds.Count > 0)
            return s.Prompts.Count > 0
                ? throw new ArgumentException("give the prompt as text or as --prompt-ids, not both")
                : [.. s.PromptIds.Select(Ids)];
        Tokenizer tokenizer = model.Tokenizer ?? throw new ArgumentException($"{folder} has no tokenizer ({TokenizerSource.Kinds}); give the prompt as --prompt-ids");
        return [.. s.Prompts.Select(p => tokenizer.Encode(p))];

        static int[] Ids(string text) => [.. text.Split(',').Select(static part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
            ? id
            : throw new ArgumentException($"--prompt-ids takes token ids like 3,17,5; '{part}' is none"))];
    }

    /// <summary>The first prompt's text as it is made, then the others', which were made beside it.</summary>
    private static int PrintText(Settings s, LanguageModel model, int[][] prompts)
    {
        ExpertView? view = s.ShowExperts ? new ExpertView(model.Config) : null;
        Queue<TextPiece>[] waiting = [.. prompts.Select(static _ => new Queue<TextPiece>())];
        int at = 0;
        bool begun = false;
        foreach ((int prompt, TextPiece made) in Pieces(s, model, prompts))
        {
            waiting[prompt].Enqueue(made);
            while (at < prompts.Length && waiting[at].TryDequeue(out TextPiece piece))
            {
                if (!begun && s.Prompts.Count > 0)   // only once the first piece is there: a refused prompt prints nothing
                    Console.Write(s.Prompts[at]);
                begun = true;
                if (view is null)
                    Console.Write(piece.Text);
                else
                    view.Write(piece.Text, piece.Token);
                if (piece.Token is not null)
                    continue;
                Console.WriteLine(at < prompts.Length - 1 ? Environment.NewLine : "");
                (at, begun) = (at + 1, false);
            }
        }
        view?.WriteSummary();
        return Program.Success;
    }

    private static int PrintJson(Settings s, LanguageModel model, int[][] prompts)
    {
        long start = Stopwatch.GetTimestamp();
        ILookup<int, TextPiece> pieces = Pieces(s, model, prompts).ToLookup(static p => p.Prompt, static p => p.Piece);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        JsonObject[] texts = [.. prompts.Index().Select(p =>
        {
            List<GeneratedToken> tokens = [.. pieces[p.Index].Where(static x => x.Token is not null).Select(static x => x.Token!.Value)];
            return new JsonObject
            {
                ["prompt_ids"] = new JsonArray([.. p.Item.Select(static id => (JsonNode)id)]),
                ["ids"] = new JsonArray([.. tokens.Select(static t => (JsonNode)t.Id)]),
                ["text"] = HasTokenizer(s, model) ? string.Concat(pieces[p.Index].Select(static x => x.Text)) : null,
                ["experts_per_token"] = new JsonArray([.. tokens.Select(static t => (JsonNode)t.ExpertsPerToken)]),
                ["tokens_per_second"] = Math.Round(tokens.Count / seconds, 1),
            };
        })];
        Common.PrintJson(texts is [var single] ? single : new JsonArray([.. texts]));
        return Program.Success;
    }

    /// <summary>Text piece by piece, or ids where there is no tokenizer.</summary>
    private static IEnumerable<(int Prompt, TextPiece Piece)> Pieces(Settings s, LanguageModel model, int[][] prompts) => HasTokenizer(s, model)
        ? TextGeneration.Stream(model, prompts, s.Options)
        : TextGeneration.Generate(model, prompts, s.Options).Select(static t => (t.Prompt, new TextPiece(t.Token is { } token ? $"{token.Id} " : "", t.Token)));

    /// <summary>False where there is no tokenizer, or none we can read and token ids were given.</summary>
    private static bool HasTokenizer(Settings s, LanguageModel model)
    {
        try
        {
            return model.Tokenizer is not null;
        }
        catch (CheckpointException) when (s.PromptIds.Count > 0)
        {
            return false;
        }
    }
}
