using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    public static TheoryData<int> Vocabularies => [1, 5, 64, 97, 1000];

    [Theory, MemberData(nameof(Vocabularies))]
    public void Sample_at_no_temperature_takes_the_first_of_the_likeliest(int V)
    {
        Agree(Exact, t => t.Backend.Sample(t.Accumulator("logits", [V]), null, default(SamplingRule) with { TopP = 0.1f, Penalty = 1 }, t.Output("id", [1], DType.I32)));
        float[] tied = new float[V];
        tied.AsSpan().Fill(-3);
        tied[V / 2] = tied[V - 1] = -2;
        Assert.Equal(V / 2, Sampled(tied, new SamplingRule(0)));
        tied.AsSpan().Fill(float.NegativeInfinity);
        Assert.Equal(0, Sampled(tied, new SamplingRule(0)));
    }

    /// <summary>Rounding moves the borders between the tokens a little: a draw this near to one may fall to either side.</summary>
    [Theory, MemberData(nameof(Vocabularies))]
    public void Sample_draws_the_token_that_the_running_sum_reaches(int V)
    {
        const int Draws = 12;
        const float Near = 1e-5f;
        float[] logits = new Noise(5).Normals(V);
        int sure = 0, all = 0;
        foreach (SamplingRule rule in Rules())
            for (int i = 0; i < Draws; i++)
            {
                float u = (i + 0.5f) / Draws;
                int least = Sampled(logits, rule with { Uniform = u - Near }, Oracle), most = Sampled(logits, rule with { Uniform = u + Near }, Oracle);
                Assert.InRange(Sampled(logits, rule with { Uniform = u }), least, most);
                all++;
                sure += least == most ? 1 : 0;
            }
        Assert.True(sure > 0.9 * all, $"only {sure} of {all} draws were sure");

        static IEnumerable<SamplingRule> Rules()
        {
            yield return new SamplingRule(0.7f);
            yield return new SamplingRule(1.5f, TopK: 3);
            yield return new SamplingRule(1, TopP: 0.8f);
            yield return new SamplingRule(2, MinP: 0.2f);
            yield return new SamplingRule(1, TopK: 50, TopP: 0.6f, MinP: 0.05f);
        }
    }

    /// <summary>Tokens of probability 1/8, 1/2, 1/16, 1/4 and 1/16, and sixteen draws spread evenly: how often each comes out is known by hand.</summary>
    [Theory]
    [InlineData(0, 1f, 0f, "2 8 1 4 1")]
    [InlineData(9, 1f, 0f, "2 8 1 4 1")]
    [InlineData(1, 1f, 0f, "0 16 0 0 0")]
    [InlineData(2, 1f, 0f, "0 11 0 5 0")]
    [InlineData(4, 1f, 0f, "2 8 1 4 1")]        // the two least likely are the fourth together
    [InlineData(0, 0.4f, 0f, "0 16 0 0 0")]
    [InlineData(0, 0.7f, 0f, "0 11 0 5 0")]     // 1/2 is not enough, 3/4 is
    [InlineData(0, 0.76f, 0f, "2 9 0 5 0")]
    [InlineData(0, 1f, 0.4f, "0 11 0 5 0")]     // at least 1/5
    [InlineData(0, 1f, 0.13f, "2 9 0 5 0")]     // at least 0.065
    [InlineData(0, 1f, 1f, "0 16 0 0 0")]
    [InlineData(3, 0.9f, 0f, "2 9 0 5 0")]      // top-p counts within the top-k: 3/4 of 7/8 is below 0.9
    [InlineData(3, 0.85f, 0f, "0 11 0 5 0")]
    public void Sample_draws_among_the_tokens_that_may_be_drawn(int topK, float topP, float minP, string expected)
    {
        float[] logits = [.. new[] { 0.125f, 0.5f, 0.0625f, 0.25f, 0.0625f }.Select(static p => 100 + 2 * MathF.Log(p))];
        int[] counts = new int[logits.Length];
        for (int i = 0; i < 16; i++)
            counts[Sampled(logits, new SamplingRule(Temperature: 2, (i + 0.5f) / 16, topK, topP, minP))]++;
        Assert.Equal(expected, string.Join(' ', counts));
    }

    [Fact]
    public void Sample_penalises_what_was_seen_and_leaves_it_so()
    {
        float[] logits = [4, 3, -1, -1.5f, 0];
        Check(new SamplingRule(0, Penalty: 2), [0], [2, 3, -1, -1.5f, 0], 1);
        Check(new SamplingRule(0, Penalty: 0.5f), [2, 3, 1], [4, 6, -0.5f, -0.75f, 0], 1);
        Check(new SamplingRule(1, 0.99f, TopK: 2, Penalty: 2), [4, 0, 1], [2, 1.5f, -1, -1.5f, 0], 1);

        void Check(SamplingRule rule, int[] seen, float[] penalised, int id)
        {
            IReadOnlyList<Outcome> all = Trial.Run(Subject, 1, t =>
                t.Backend.Sample(t.Accumulator("logits", [5], logits), t.Input([seen.Length], seen), rule, t.Output("id", [1], DType.I32)));
            Assert.Equal(penalised, all.Single(static o => o.Name == "logits").Floats);
            Assert.Equal(id, BitConverter.ToInt32(all.Single(static o => o.Name == "id").Bytes));
        }
    }

    [Fact]
    public void Sample_tells_what_is_no_number_and_copes_with_infinity()
    {
        foreach (float temperature in new[] { 0f, 1f })
        {
            Assert.Equal(-1, Sampled([1, float.NaN, 2], new SamplingRule(temperature, 0.5f)));
            Assert.Equal(-1, Sampled([float.NaN], new SamplingRule(temperature, 0.5f, TopK: 1)));
            Assert.Equal(1, Sampled([1, float.PositiveInfinity, 2], new SamplingRule(temperature, 0.5f)));
            Assert.Equal(2, Sampled([float.NegativeInfinity, -1e30f, 0], new SamplingRule(temperature, 0.5f, TopP: 0.5f)));
        }
    }

    private int Sampled(float[] logits, SamplingRule rule, IBackend? on = null)
    {
        int id = -2;
        Trial.Run(on ?? Subject, 1, t =>
        {
            Tensor y = t.Zeroed("id", [1], DType.I32);
            t.Backend.Sample(t.Accumulator("logits", [logits.Length], logits), null, rule, y);
            id = t.Backend.ToInts(y)[0];
        });
        return id;
    }
}
