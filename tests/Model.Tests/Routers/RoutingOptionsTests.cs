using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

public sealed class RoutingOptionsTests
{
    private static readonly TraceInput Input = new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], Sequences: 1);

    [Fact]
    public void TopKOneGivesEveryTokenOneExpert() => Assert.All(Counts("dynamic-moe", new([], [1], [])).SelectMany(static c => c), static c => Assert.Equal(1, c));

    /// <summary>Slots, with null and zero-computation experts.</summary>
    [Fact]
    public void OtherRoutersKeepTheirRules()
    {
        Assert.All(Slots("uni-moe-2", new([], [3], [])), static c => Assert.Equal(3, c));
        Assert.All(Slots("uni-moe-2", new([1f], [], [])), static c => Assert.Equal(5, c));
        Assert.All(Slots("moe-plus-plus", new([], [3], [])), static c => Assert.Equal(3, c));
        Assert.All(Slots("openmoe", new([], [3], [])), static c => Assert.Equal(3, c));

        static long[] Slots(string golden, RoutingOptions options) => Run(golden, options).Find("router.1.selected_slots")!.Host<long>().ToArray();
    }

    [Fact]
    public void PerLayerValuesGoToTheirLayers()
    {
        long[][] counts = Counts("dynamic-moe", new([], [1, 3, 2], []));
        Assert.Equal([1L, 3, 2], counts.Select(static c => c.Distinct().Single()));
    }

    [Fact]
    public void ALimitCutsTopP() => Assert.Equal(2, Counts("dynamic-moe", new([1f], [], [2])).SelectMany(static c => c).Max());

    [Fact]
    public void TheOwnThresholdChangesNothing() => Assert.Equal(Logits("dynamic-moe", null), Logits("dynamic-moe", new([0.6f], [], [])));

    /// <summary>A renormalising model stays one: with all experts, the weights still sum to 1.</summary>
    [Fact]
    public void TheWeightRuleStaysTheCheckpoints()
    {
        Trace trace = Run("mixtral", new([1f], [], []));
        float[] weights = trace.Find("router.1.expert_weight")!.Floats.ToArray();
        for (int t = 0; t < Input.Ids.Length; t++)
            Assert.Equal(1, weights.AsSpan(4 * t, 4).ToArray().Sum(), 1e-5f);
        Assert.All(trace.Find("router.1.selected_count")!.Host<long>().ToArray(), static c => Assert.Equal(4, c));
        Assert.Equal(Logits("mixtral", null), Logits("mixtral", new([], [2], [])));
        Assert.Equal(Logits("gpt-oss", null), Logits("gpt-oss", new([], [2], [])));   // the router's bias goes along
    }

    [Theory]
    [InlineData("dynamic-moe", "0.4", "2", "", "both")]
    [InlineData("dynamic-moe", "0.4,0.3", "", "", "3 mixture layers")]
    [InlineData("dynamic-moe", "", "7", "", "between 1 and the number of experts")]
    [InlineData("dynamic-moe", "-1", "", "", "--router-top-p must be above 0 and at most 1, not -1")]
    [InlineData("uni-moe-2", "0.5,0", "", "", "--router-top-p must be above 0 and at most 1, not 0")]
    [InlineData("dynamic-moe", "0.5", "", "-2", "--router-max-experts must be at least 1, not -2")]
    [InlineData("moe-plus-plus", "", "-1", "", "--router-top-k must lie between 1 and the number of experts")]
    [InlineData("openmoe", "", "0", "", "--router-top-k must lie between 1 and the number of experts")]
    [InlineData("dynamic-moe", "", "2", "1", "goes with top-p")]
    [InlineData("mixtral", "", "", "1", "goes with top-p")]
    [InlineData("moe-plus-plus", "0.5", "", "", "cannot be changed in this way")]
    [InlineData("openmoe", "0.5", "", "", "cannot be changed in this way")]
    [InlineData("uni-moe-2", "", "", "1", "cannot be changed in this way")]
    [InlineData("uni-moe-2", "", "6", "", "number of experts 5")]
    public void RefusesWhatDoesNotFit(string golden, string topP, string topK, string max, string part)
    {
        RoutingOptions options = new(
            [.. Split(topP).Select(static v => float.Parse(v, System.Globalization.CultureInfo.InvariantCulture))],
            [.. Split(topK).Select(int.Parse)], [.. Split(max).Select(int.Parse)]);
        Exception e = Assert.ThrowsAny<Exception>(() => Run(golden, options));
        Assert.Contains(part, e.Message, StringComparison.Ordinal);

        static string[] Split(string values) => values.Split(',', StringSplitOptions.RemoveEmptyEntries);
    }

    private static long[][] Counts(string golden, RoutingOptions options)
    {
        Trace trace = Run(golden, options);
        return [.. Enumerable.Range(0, 3).Select(n => trace.Find($"router.{n}.selected_count")!.Host<long>().ToArray())];
    }

    private static float[] Logits(string golden, RoutingOptions? options) => Run(golden, options).Find("logits")!.Floats.ToArray();

    private static Trace Run(string golden, RoutingOptions? options)
    {
        using IBackend backend = CpuBackend.Create(1);
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend, routing: options);
        Trace trace = new();
        Tracer.Forward(trace, model, Input);
        return trace;
    }
}
