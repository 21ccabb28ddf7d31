using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Model.Tracing;

namespace MoeFromScratch.Cli.Verbs;

/// <summary>What <c>moe trace --compare</c> prints: how far two devices are apart.</summary>
internal static class TraceReport
{
    private const int Shown = 20;

    public static void Print(TraceComparison tensors, RoutingComparison routing, bool json)
    {
        KeyValuePair<string, float>[] worst = [.. tensors.Largest.OrderByDescending(static p => float.IsNaN(p.Value) ? float.PositiveInfinity : p.Value)];
        if (json)
            Common.PrintJson(Json(worst, tensors, routing));
        else
            Print(worst, tensors, routing);
    }

    private static JsonObject Json(KeyValuePair<string, float>[] worst, TraceComparison tensors, RoutingComparison routing) => new()
    {
        ["largest_difference"] = new JsonObject(worst.Select(static p => KeyValuePair.Create(p.Key, (JsonNode?)Number(p.Value)))),
        ["different_integers"] = new JsonObject(tensors.Different.Select(static p => KeyValuePair.Create(p.Key, (JsonNode?)p.Value))),
        ["routing"] = new JsonObject
        {
            ["forced"] = routing.IsForced,
            ["choices"] = routing.Decisions,
            ["tolerance"] = RoutingComparison.Tolerance,
            ["within_tolerance"] = routing.Within.Count(),
            ["beyond_tolerance"] = routing.Beyond.Count(),
            ["margin_unknown"] = routing.Unknown.Count(),
            ["later_flips"] = routing.Later,
            ["first_flips"] = new JsonArray([.. routing.First.Select(static f => new JsonObject
            {
                ["layer"] = f.Layer,
                ["row"] = f.Sequence,
                ["token"] = f.Token,
                ["margin"] = f.Margin is { } margin ? Number(margin) : null,
            })]),
        },
    };

    /// <summary>JSON has no numbers for "NaN" and "Infinity".</summary>
    private static JsonValue Number(float value) => float.IsFinite(value) ? JsonValue.Create(value) : JsonValue.Create(value.ToString(CultureInfo.InvariantCulture));

    private static void Print(KeyValuePair<string, float>[] worst, TraceComparison tensors, RoutingComparison routing)
    {
        Console.WriteLine("largest deviation of each tensor, worst first");
        foreach ((string name, float difference) in worst.Take(Shown))
            Console.WriteLine($"{Scientific(difference),12}  {name}");
        if (worst.Length > Shown)
            Console.WriteLine($"{"",12}  and {worst.Length - Shown} more, which deviate by no more than that");
        Console.WriteLine($"{tensors.Different.Values.Sum()} of the integers differ (experts, counts and ids)");
        if (routing.Decisions > 0)
            Print(routing);
    }

    private static void Print(RoutingComparison routing)
    {
        Console.WriteLine(routing.IsForced
            ? $"routing forced: by itself the second device would have chosen otherwise in {routing.First.Count} of {routing.Decisions} choices (token and layer)"
            : $"routing: {routing.First.Count} of {routing.Decisions} choices (token and layer) differ by themselves; {routing.Later} more follow from those");
        foreach (IGrouping<double, RoutingFlip> decade in routing.Within.GroupBy(static f => Decade(f.Margin!.Value)).OrderBy(static d => d.Key))
            Console.WriteLine($"{decade.Count(),12}  with a margin {(decade.Key == 0 ? "of 0, a tie" : "up to " + Scientific(decade.Key, "0e-0"))}");
        RoutingFlip[] named = [.. routing.Unknown, .. routing.Beyond];
        foreach (RoutingFlip flip in named.Take(Shown))
            Console.WriteLine($"{(flip.Margin is { } margin ? Scientific(margin) : "unknown"),12}  margin of layer {flip.Layer}, row {flip.Sequence}, token {flip.Token}{(flip.Margin is null ? "" : ": a real disagreement")}");
        if (named.Length > Shown)
            Console.WriteLine($"{"",12}  and {named.Length - Shown} more");
        Console.WriteLine($"{routing.Beyond.Count()} real disagreements (margins above {Scientific(RoutingComparison.Tolerance, "0e-0")})");
    }

    private static string Scientific(double value, string format = "0.000e-00") => value.ToString(format, CultureInfo.InvariantCulture);

    /// <summary>The next power of ten, from 1e-8 on; 0 for 0.</summary>
    private static double Decade(float margin) => margin == 0 ? 0 : Math.Max(1e-8, Math.Pow(10, Math.Ceiling(Math.Log10(margin) - 1e-6)));
}
