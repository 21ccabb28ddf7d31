using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using Spectre.Console;

namespace MoeFromScratch.Cli;

/// <summary>
/// Text coloured by the experts it used, the mean over the mixture layers: blue for the tokens the routers were sure about,
/// over green and yellow to red for those that needed many. Plain text where the output is no terminal.
/// </summary>
internal sealed class ExpertView(ModelConfig config)
{
    private static readonly (double UpTo, Color Color, string Label)[] Scale =
    [
        (1.0, Color.Blue, "1"),
        (1.5, Color.Aqua, "up to 1.5"),
        (2.0, Color.Green, "up to 2"),
        (2.5, Color.Yellow, "up to 2.5"),
        (double.PositiveInfinity, Color.Red, "more"),
    ];

    private readonly bool _colours = !Console.IsOutputRedirected && AnsiConsole.Profile.Capabilities.Ansi;
    private readonly int[] _layers = [.. config.Layers.Index().Where(static l => l.Item is MoeConfig).Select(static l => l.Index)];
    private readonly List<GeneratedToken> _tokens = [];

    /// <param name="token">What the colour is taken from; null for the rest of a text, which takes the last token's.</param>
    public void Write(string text, in GeneratedToken? token)
    {
        if (token is { } one)
            _tokens.Add(one);
        double experts = _tokens.Count > 0 ? _tokens[^1].ExpertsPerToken : 0;
        Write(text, Array.Find(Scale, s => experts <= s.UpTo).Color);
    }

    /// <summary>The legend and a line per mixture layer.</summary>
    public void WriteSummary()
    {
        if (_tokens.Count == 0 || _layers.Length == 0)
            return;
        Console.WriteLine();
        if (_colours)
        {
            Console.Write("experts per token: ");
            foreach ((_, Color color, string label) in Scale)
                Write($"{label}  ", color);
            Console.WriteLine();
        }
        Console.WriteLine($"mean experts per token: {_tokens.Average(static t => t.ExpertsPerToken):f2} over {_tokens.Count} tokens");
        foreach ((int at, int layer) in _layers.Index())
        {
            int experts = ((MoeConfig)config.Layers[layer]).NumExperts;
            int[] histogram = new int[experts + 1];
            foreach (GeneratedToken token in _tokens)
                histogram[token.Experts[at]]++;
            IEnumerable<string> parts = histogram.Index().Where(static h => h.Item > 0).Select(h => $"{h.Index}: {100.0 * h.Item / _tokens.Count:f0} %");
            Console.WriteLine($"layer {layer,2}: {_tokens.Average(t => t.Experts[at]):f2} of {experts}   ({string.Join(", ", parts)})");
        }
    }

    private void Write(string text, Color color)
    {
        if (_colours)
            AnsiConsole.Write(new Text(text, new Style(color)));
        else
            Console.Write(text);
    }
}
