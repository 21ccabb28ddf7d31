using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe generate</c>: text from a prompt.</summary>
internal static class GenerateVerb
{
    private sealed record Settings(string? Prompt, string? PromptIds, GenerateOptions Options, bool ShowExperts, bool Json);

    public static Command Command()
    {
        Argument<string?> prompt = new("PROMPT") { Description = "The text to continue; standard input when it is not given.", Arity = ArgumentArity.ZeroOrOne };
        prompt.Validators.Add(static r =>
        {
            if (r.Tokens is [{ Value: ['-', not ' ', ..] text }] && !text.Any(char.IsWhiteSpace) && !Environment.GetCommandLineArgs().Contains("--"))
                r.AddError($"There is no option '{text}'; write -- before a prompt that looks like one");
        });
        Option<string> model = new("--model", "-m") { Description = "Checkpoint folder.", Required = true, HelpName = "CHECKPOINT" };
        Option<string?> ids = new("--prompt-ids") { Description = "The prompt as token ids, like 3,17,5: works without a tokenizer.", HelpName = "IDS" };
        Option<bool> greedy = new("--greedy") { Description = "Always the likeliest token; the same as --temperature 0." };
        Option<float?> temperature = new("--temperature") { Description = "Below 1 sharpens the choice, above 1 flattens it; 0.8 unless the checkpoint says otherwise.", HelpName = "X" };
        Option<int?> topK = new("--top-k") { Description = "Draw from the k likeliest tokens only.", HelpName = "K" };
        Option<float?> topP = new("--top-p") { Description = "Draw from the likeliest tokens that hold this probability.", HelpName = "P" };
        Option<float?> minP = new("--min-p") { Description = "Draw from tokens at least this share as likely as the likeliest.", HelpName = "P" };
        Option<float?> penalty = new("--repetition-penalty") { Description = "Above 1 makes tokens that were already used less likely.", HelpName = "X" };
        Option<string[]> stop = new("--stop") { Description = "Stop before this text; may be given several times.", HelpName = "TEXT", DefaultValueFactory = static _ => [] };
        Option<string?> routerTopP = new("--router-top-p") { Description = "Route by top-p: one threshold, or one per mixture layer, like 0.4,0.3.", HelpName = "P,…" };
        Option<string?> routerTopK = new("--router-top-k") { Description = "Route every token to so many experts: one number, or one per mixture layer.", HelpName = "K,…" };
        Option<string?> routerMax = new("--router-max-experts") { Description = "At most so many experts per token with top-p routing: one number, or one per mixture layer.", HelpName = "N,…" };
        Option<int?> count = new("--max-new-tokens") { Description = "At most so many new tokens; 200 unless the checkpoint says otherwise.", HelpName = "N" };
        Option<bool> ignoreEos = new("--ignore-eos") { Description = "Go on after an end-of-sequence token." };
        Option<bool> noCache = new("--no-cache") { Description = "Compute the whole sequence anew for each token (slow; checks the cache)." };
        Option<bool> showExperts = new("--show-experts") { Description = "Colour each token by the experts it used, and sum up by layer." };
        Option<ulong> seed = Common.Seed();
        Option<string> device = Common.Device();
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("the result");
        Command command = new("generate", "Continue a text.")
        {
            prompt, model, ids, greedy, temperature, topK, topP, minP, penalty, stop, count, ignoreEos, noCache, routerTopP, routerTopK, routerMax,
            showExperts, seed, device, threads, json,
        };
        command.SetAction(r =>
        {
            RoutingOptions routing = new(
                Numbers<float>(r.GetValue(routerTopP), "--router-top-p"), Numbers<int>(r.GetValue(routerTopK), "--router-top-k"),
                Numbers<int>(r.GetValue(routerMax), "--router-max-experts"));
            using IBackend backend = Common.Backend(r.GetValue(device)!, r.GetValue(threads));
            using LanguageModel loaded = LanguageModel.Load(r.GetValue(model)!, backend, routing: routing);
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
            Settings settings = new(r.GetValue(prompt), r.GetValue(ids),
                new GenerateOptions
                {
                    MaxNewTokens = newTokens,
                    Sampler = sampler,
                    Stop = r.GetValue(stop)!,
                    IgnoreEos = r.GetValue(ignoreEos),
                    NoCache = r.GetValue(noCache),
                },
                r.GetValue(showExperts), r.GetValue(json));
            _ = new StopStrings(settings.Options.Stop);   // refused now, whether there is a tokenizer or not
            int[] promptIds = PromptIds(settings, loaded, r.GetValue(model)!);
            if (settings.Options.Stop.Count > 0 && !HasTokenizer(settings, loaded))
                throw new ArgumentException("--stop needs a tokenizer");
            return settings.Json ? PrintJson(settings, loaded, promptIds) : PrintText(settings, loaded, promptIds);
        });
        return command;
    }

    private static IReadOnlyList<T> Numbers<T>(string? text, string option) where T : struct, INumber<T> => text is null ? []
        : [.. text.Split(',').Select(part => T.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out T value)
            ? value
            : throw new ArgumentException($"{option} takes numbers like 2 or 2,1,1; '{part}' is none"))];

    private static int[] PromptIds(Settings s, LanguageModel model, string folder)
    {
        if (s.PromptIds is not null && s.Prompt is not null)
            throw new ArgumentException("give the prompt as text or as --prompt-ids, not both");
        if (s.PromptIds is not null)
            return [.. s.PromptIds.Split(',').Select(static part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
                ? id
                : throw new ArgumentException($"--prompt-ids takes token ids like 3,17,5; '{part}' is none"))];
        if (model.Tokenizer is null)
            throw new ArgumentException($"{folder} has no tokenizer.json; give the prompt as --prompt-ids");
        return model.Tokenizer.Encode(s.Prompt ?? Console.In.ReadToEnd());
    }

    private static int PrintText(Settings s, LanguageModel model, int[] prompt)
    {
        ExpertView? view = s.ShowExperts ? new ExpertView(model.Config) : null;
        bool echo = s.PromptIds is null;
        foreach ((string text, GeneratedToken? token) in Pieces(s, model, prompt))
        {
            if (echo)   // only once the first token is there: a refused prompt prints nothing
                Console.Write(s.Prompt);
            echo = false;
            if (view is null)
                Console.Write(text);
            else
                view.Write(text, token);
        }
        Console.WriteLine();
        view?.WriteSummary();
        return Program.Success;
    }

    private static int PrintJson(Settings s, LanguageModel model, int[] prompt)
    {
        long start = Stopwatch.GetTimestamp();
        List<TextPiece> pieces = [.. Pieces(s, model, prompt)];
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        List<GeneratedToken> tokens = [.. pieces.Where(static p => p.Token is not null).Select(static p => p.Token!.Value)];
        Common.PrintJson(new JsonObject
        {
            ["prompt_ids"] = new JsonArray([.. prompt.Select(static id => (JsonNode)id)]),
            ["ids"] = new JsonArray([.. tokens.Select(static t => (JsonNode)t.Id)]),
            ["text"] = HasTokenizer(s, model) ? string.Concat(pieces.Select(static p => p.Text)) : null,
            ["experts_per_token"] = new JsonArray([.. tokens.Select(static t => (JsonNode)t.ExpertsPerToken)]),
            ["tokens_per_second"] = Math.Round(tokens.Count / seconds, 1),
        });
        return Program.Success;
    }

    /// <summary>Text piece by piece, or ids where there is no tokenizer.</summary>
    private static IEnumerable<TextPiece> Pieces(Settings s, LanguageModel model, int[] prompt) => HasTokenizer(s, model)
        ? TextGeneration.Stream(model, prompt, s.Options)
        : TextGeneration.Generate(model, prompt, s.Options).Select(static t => new TextPiece($"{t.Id} ", t));

    /// <summary>False where there is no tokenizer, or none we can read and token ids were given.</summary>
    private static bool HasTokenizer(Settings s, LanguageModel model)
    {
        try
        {
            return model.Tokenizer is not null;
        }
        catch (CheckpointException) when (s.PromptIds is not null)
        {
            return false;
        }
    }
}
