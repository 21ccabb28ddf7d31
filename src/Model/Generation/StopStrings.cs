namespace MoeFromScratch.Model.Generation;

/// <summary>
/// Watches a text that arrives in pieces for strings that end it. Text that could still become a stop string is held back,
/// so that nothing of one is ever shown.
/// </summary>
public sealed class StopStrings
{
    private readonly IReadOnlyList<string> _stops;
    private string _held = "";

    /// <exception cref="ArgumentException">A stop string is empty.</exception>
    public StopStrings(IReadOnlyList<string> stops) => _stops = stops.All(static s => s.Length > 0)
        ? stops
        : throw new ArgumentException("a stop string cannot be empty");

    /// <summary>Whether a stop string came.</summary>
    public bool Stopped { get; private set; }

    /// <summary>The text that may be shown now, up to a stop string at most.</summary>
    public string Push(string piece)
    {
        if (Stopped)
            return "";
        string text = _held + piece;
        int end = _stops.Select(s => text.IndexOf(s, StringComparison.Ordinal)).Where(static at => at >= 0).DefaultIfEmpty(-1).Min();
        if (end >= 0)
        {
            Stopped = true;
            _held = "";
            return text[..end];
        }
        int held = _stops.Select(s => LongestBeginningAtTheEnd(text, s)).DefaultIfEmpty(0).Max();
        _held = text[^held..];
        return text[..^held];
    }

    /// <summary>What was held back when no more text comes.</summary>
    public string Flush() => (_held, _held = "").Item1;

    private static int LongestBeginningAtTheEnd(string text, string stop)
    {
        for (int length = Math.Min(text.Length, stop.Length - 1); length > 0; length--)
            if (text.EndsWith(stop[..length], StringComparison.Ordinal))
                return length;
        return 0;
    }
}
