using System.CommandLine;
using System.Globalization;
using System.Numerics;
using MoeFromScratch.Model.Moe;

namespace MoeFromScratch.Cli;

/// <summary>The options that change how many experts a token gets.</summary>
internal sealed class RouterOptions
{
    private readonly Option<string?> _topP = new("--router-top-p") { Description = "Route by top-p: one threshold above 0 and at most 1, or one per mixture layer, like 0.4,0.3.", HelpName = "P,…" };
    private readonly Option<string?> _topK = new("--router-top-k") { Description = "Route every token to so many experts: one number, or one per mixture layer.", HelpName = "K,…" };
    private readonly Option<string?> _max = new("--router-max-experts") { Description = "At most so many experts per token with top-p routing: one number, or one per mixture layer.", HelpName = "N,…" };

    public void AddTo(Command command)
    {
        command.Add(_topP);
        command.Add(_topK);
        command.Add(_max);
    }

    /// <exception cref="ArgumentException">A value is no number.</exception>
    public RoutingOptions Read(ParseResult r) =>
        new(Numbers<float>(r.GetValue(_topP), _topP.Name), Numbers<int>(r.GetValue(_topK), _topK.Name), Numbers<int>(r.GetValue(_max), _max.Name));

    private static IReadOnlyList<T> Numbers<T>(string? text, string option) where T : struct, INumber<T> => text is null ? []
        : [.. text.Split(',').Select(part => T.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out T value)
            ? value
            : throw new ArgumentException($"{option} takes numbers like 2 or 2,1,1; '{part}' is none"))];
}
