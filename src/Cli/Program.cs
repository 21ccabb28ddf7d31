using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using MoeFromScratch.Cli.Verbs;

namespace MoeFromScratch.Cli;

/// <summary>The tool <c>moe</c>: parses the command line, runs a verb, and turns every failure into one line and an exit code.</summary>
public static partial class Program
{
    public const int Success = 0, Failure = 1, Usage = 2, Interrupted = 130;

    public static int Main(string[] args)
    {
        RootCommand root = new("Mixture-of-experts language models in C# from the first byte.")
        {
            GenerateVerb.Command(), TrainVerb.Command(), TraceVerb.Command(), InspectVerb.Command(), DevicesVerb.Command(), BenchVerb.Command(),
            ExtractVerb.Command(), UpcycleVerb.Command(), ConvertVerb.Command(), EvalVerb.Command(),
        };
        root.Add(Common.Verbose);

        ParseResult parsed = root.Parse(args.Length == 0 ? ["--help"] : args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        string? misread = Misread(parsed);
        if (misread is not null || parsed.Errors.Count > 0)
        {
            string verb = parsed.CommandResult.Command == root ? "" : parsed.CommandResult.Command.Name + " ";
            Fail($"{misread ?? string.Join("; ", parsed.Errors.Select(static e => Plain(e.Message.TrimEnd('.'))).Reverse())} (try 'moe {verb}--help')");
            return Usage;
        }
        try
        {
            return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
        }
        catch (Exception e)
        {
            Fail(parsed.GetValue(Common.Verbose) ? e.ToString() : OneLine(e));
            return Failure;
        }
    }

    /// <summary>What the parser took for something else: an option's name for a value, or a value that a switch cannot have for a word without a place.</summary>
    private static string? Misread(ParseResult parsed)
    {
        Option? Named(string word) => parsed.CommandResult.Command.Options.FirstOrDefault(o => o.Name == word || o.Aliases.Contains(word));
        foreach (SymbolResult given in parsed.CommandResult.Children)
            if (given.Tokens.Any(static t => t.Value.Length == 0) && NamesAPlace(given))
                return $"{(given as OptionResult)?.Option.Name ?? ((ArgumentResult)given).Argument.Name} '' is no folder or file";
        foreach (OptionResult given in parsed.CommandResult.Children.OfType<OptionResult>())
            foreach (string value in given.Tokens.Select(static t => t.Value).Where(static v => v.StartsWith("--", StringComparison.Ordinal)))
                if (Named(value) is not null)
                    return $"{given.Option.Name} needs a value before {value}";
                else if (given.Option.AllowMultipleArgumentsPerToken)
                    return $"there is no option {value}";
        foreach ((Token name, Token word) in parsed.Tokens.Zip(parsed.Tokens.Skip(1)))
            if (name.Type == TokenType.Option && word.Type == TokenType.Argument && parsed.UnmatchedTokens.Contains(word.Value) && Named(name.Value)?.ValueType == typeof(bool))
                return $"{name.Value} takes true or false, not '{word.Value}'";
        return null;
    }

    /// <summary>Of arguments all but prompts do, of options those that help names so.</summary>
    private static bool NamesAPlace(SymbolResult given) => given is OptionResult { Option.HelpName: { } what }
        ? what is "FILE" or "FILE.safetensors" or "DIR" or "PATH" or "CHECKPOINT"
        : given is ArgumentResult { Argument.Name: not "PROMPT" };

    /// <summary>The parser's message without the names of .NET types.</summary>
    private static string Plain(string message) => WrongType().Replace(message, static m =>
        $"{m.Groups[2].Value} takes {(m.Groups[3].Value is "Single" or "Double" ? "a number" : m.Groups[3].Value == "Boolean" ? "true or false" : "a whole number in range")}, not '{m.Groups[1].Value}'");

    [GeneratedRegex(@"^Cannot parse argument '(.*)' for option '(.*)' as expected type '.*?(Single|Double|Boolean|U?Int\d+)\b.*$")]
    private static partial Regex WrongType();

    private static void Fail(string message) => Console.Error.WriteLine($"moe: {message}");

    private static string OneLine(Exception e)
    {
        string text = e switch
        {
            AggregateException { InnerException: { } inner } => inner.Message,
            OutOfMemoryException => "out of memory",
            _ => e.Message,
        };
        return text.ReplaceLineEndings(" ");
    }
}
