using System.Globalization;
using MoeFromScratch.Model.Moe;

namespace MoeFromScratch.Model.Evaluation;

/// <summary>One point of a sweep.</summary>
/// <param name="Setting">Its name, like <c>router-top-p=0.3</c>.</param>
public sealed record SweepPoint(string Setting, RoutingOptions Routing);

/// <summary>Several routings of one model, for the curve of quality over cost.</summary>
public static class RoutingSweep
{
    private const string TopP = "router-top-p", TopK = "router-top-k", MaxExperts = "max-experts";
    private const int MostPoints = 1000;

    /// <summary>From <c>router-top-p=0.1..0.9:0.1</c>, <c>router-top-k=1..4</c> or <c>max-experts=1..8</c>; the step is 0.1 for top-p and 1 for the others unless it is named.</summary>
    /// <param name="common">What is the same at all points.</param>
    /// <exception cref="ArgumentException">Not such a sweep, or one of what the options fix.</exception>
    public static IReadOnlyList<SweepPoint> Parse(string text, RoutingOptions common)
    {
        const NumberStyles Style = NumberStyles.AllowDecimalPoint;
        string[] parts = text.Split('='), range = parts.Length == 2 ? parts[1].Split("..") : [], end = range.Length == 2 ? range[1].Split(':') : [];
        string name = parts[0];
        decimal step = name == TopP ? 0.1m : 1;
        if (end.Length is not (1 or 2) || !Number(range[0], out decimal from) || !Number(end[0], out decimal to) || (end.Length == 2 && !Number(end[1], out step))
            || from > to || step <= 0 || to - from >= MostPoints * step)
            throw new ArgumentException($"'{text}' is no sweep: write {TopP}=0.1..0.9, with a step {TopP}=0.1..0.9:0.2, {TopK}=1..4 or {MaxExperts}=1..8");
        if (name != TopP && (from % 1 != 0 || step % 1 != 0))
            throw new ArgumentException($"'{text}': {name} is a number of experts, not a fraction");
        bool isFixed = name switch
        {
            TopP => common.TopP.Count > 0,
            TopK => common.TopK.Count > 0,
            MaxExperts => common.MaxExperts.Count > 0,
            _ => throw new ArgumentException($"there is no sweep of '{name}': there are {TopP}, {TopK} and {MaxExperts}"),
        };
        if (isFixed)
            throw new ArgumentException($"{name} is both fixed and swept: choose one");
        List<SweepPoint> points = [];
        for (decimal value = from; value <= to; value += step)
            points.Add(new SweepPoint($"{name}={value.ToString("0.######", CultureInfo.InvariantCulture)}", name switch
            {
                TopP => common with { TopP = [(float)value] },
                TopK => common with { TopK = [(int)value] },
                _ => common with { MaxExperts = [(int)value] },
            }));
        return points;

        static bool Number(string part, out decimal value) => decimal.TryParse(part, Style, CultureInfo.InvariantCulture, out value) && value <= int.MaxValue;
    }

    /// <summary>Refuses points that the model's routers do not have, before the first of them is run.</summary>
    /// <exception cref="ArgumentException">As for <see cref="RoutingOptions.Apply"/>; the message begins with the point.</exception>
    public static void Check(ModelConfig model, IEnumerable<SweepPoint> points)
    {
        foreach (SweepPoint point in points)
            try
            {
                point.Routing.Apply(model);
            }
            catch (ArgumentException e) when (point.Setting.Length > 0)
            {
                throw new ArgumentException($"{point.Setting}: {e.Message}", e);
            }
    }
}
