using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe generate</c>: text from a prompt.</summary>
internal static class GenerateVerb
{
    private sealed record Settings(string Model, string? Prompt, string? PromptIds, GenerateOptions Options, bool ShowExperts, bool Json);

    public static Command Command()
    {
        Argument<string?> prompt = new("PROMPT") { Description = "The text to continue; standard input when it is not given.", Arity = ArgumentArity.ZeroOrOne };
        prompt.Validators.Add(static r =>
        {
            if (r.Tokens is [{ Value: var text }] && text.StartsWith("--", StringComparison.Ordinal))
                r.AddError($"There is no option '{text}'; a prompt that begins like one can come from standard input");
        });
        Option<string> model = new("--model", "-m") { Description = "Checkpoint folder.", Required = true, HelpName = "CHECKPOINT" };
        Option<string?> ids = new("--prompt-ids") { Description = "The prompt as token ids, like 3,17,5: works without a tokenizer.", HelpName = "IDS" };
        Option<bool> greedy = new("--greedy") { Description = "Always the likeliest token; the same as --temperature 0." };
        Option<float> temperature = new("--temperature") { Description = "Below 1 sharpens the choice, above 1 flattens it.", DefaultValueFactory = _ => 0.8f };
        Option<int> count = new("--max-new-tokens") { Description = "At most so many new tokens.", DefaultValueFactory = _ => 200, HelpName = "N" };
        Option<bool> ignoreEos = new("--ignore-eos") { Description = "Go on after an end-of-sequence token." };
        Option<bool> noCache = new("--no-cache") { Description = "Compute the whole sequence anew for each token (slow; checks the cache)." };
        Option<bool> showExperts = new("--show-experts") { Description = "Colour each token by the experts it used, and sum up by layer." };
        Option<ulong> seed = Common.Seed();
        Option<string> device = Common.Device();
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("the result");
        Command command = new("generate", "Continue a text.")
        {
            prompt, model, ids, greedy, temperature, count, ignoreEos, noCache, showExperts, seed, device, threads, json,
        };
        command.SetAction(r =>
        {
            if (r.GetValue(count) < 0)
                throw new ArgumentException($"--max-new-tokens must be at least 0, not {r.GetValue(count)}");
            Settings settings = new(r.GetValue(model)!, r.GetValue(prompt), r.GetValue(ids),
                new GenerateOptions
                {
                    MaxNewTokens = r.GetValue(count),
                    Sampler = new SamplerOptions(r.GetValue(greedy) ? 0 : r.GetValue(temperature), r.GetValue(seed)),
                    IgnoreEos = r.GetValue(ignoreEos),
                    NoCache = r.GetValue(noCache),
                },
                r.GetValue(showExperts), r.GetValue(json));
            using IBackend backend = Common.Backend(r.GetValue(device)!, r.GetValue(threads));
            using LanguageModel loaded = LanguageModel.Load(settings.Model, backend);
            int[] promptIds = PromptIds(settings, loaded);
            return settings.Json ? PrintJson(settings, loaded, promptIds) : PrintText(settings, loaded, promptIds);
        });
        return command;
    }

    private static int[] PromptIds(Settings s, LanguageModel model)
    {
        if (s.PromptIds is not null)
            return [.. s.PromptIds.Split(',').Select(static part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
                ? id
                : throw new ArgumentException($"--prompt-ids takes token ids like 3,17,5; '{part}' is none"))];
        if (model.Tokenizer is null)
            throw new ArgumentException($"{s.Model} has no tokenizer.json; give the prompt as --prompt-ids");
        return model.Tokenizer.Encode(s.Prompt ?? Console.In.ReadToEnd());
    }

    /// <summary>For the text after the prompt; null where there is no tokenizer, or none we can read and token ids were given.</summary>
    private static StreamingDecoder? Decoder(Settings s, LanguageModel model, int[] prompt)
    {
        try
        {
            if (model.Tokenizer is null)
                return null;
        }
        catch (CheckpointException) when (s.PromptIds is not null)
        {
            return null;
        }
        StreamingDecoder decoder = new(model.Tokenizer);
        foreach (int id in prompt)
            decoder.Append(id);
        return decoder;
    }

    private static int PrintText(Settings s, LanguageModel model, int[] prompt)
    {
        ExpertView? view = s.ShowExperts ? new ExpertView(model.Config) : null;
        StreamingDecoder? decoder = Decoder(s, model, prompt);
        Console.Write(s.PromptIds is null ? s.Prompt : null);
        foreach (GeneratedToken token in TextGeneration.Generate(model, prompt, s.Options))
        {
            string text = decoder?.Append(token.Id) ?? $"{token.Id} ";
            if (view is null)
                Console.Write(text);
            else
                view.Write(text, token);
        }
        Console.WriteLine(decoder?.End());
        view?.WriteSummary();
        return Program.Success;
    }

    private static int PrintJson(Settings s, LanguageModel model, int[] prompt)
    {
        long start = Stopwatch.GetTimestamp();
        List<GeneratedToken> tokens = [.. TextGeneration.Generate(model, prompt, s.Options)];
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        int[] ids = [.. tokens.Select(static t => t.Id)];
        StreamingDecoder? decoder = Decoder(s, model, prompt);
        Common.PrintJson(new JsonObject
        {
            ["prompt_ids"] = new JsonArray([.. prompt.Select(static id => (JsonNode)id)]),
            ["ids"] = new JsonArray([.. ids.Select(static id => (JsonNode)id)]),
            ["text"] = decoder is null ? null : string.Concat(ids.Select(decoder.Append)) + decoder.End(),
            ["experts_per_token"] = new JsonArray([.. tokens.Select(static t => (JsonNode)t.ExpertsPerToken)]),
            ["tokens_per_second"] = Math.Round(ids.Length / seconds, 1),
        });
        return Program.Success;
    }
}
