using MoeFromScratch.Contract;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Generation;

public sealed class GenerationDefaultsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void NoFileSaysNothing() => Assert.Equal(new GenerationDefaults().Sampler(3), GenerationDefaults.Read(_folder.Path).Sampler(3));

    [Fact]
    public void ReadsWhatIsThere()
    {
        Write("""{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05, "eos_token_id": [5, 7], "max_new_tokens": 12, "transformers_version": "4.45"}""");
        GenerationDefaults d = GenerationDefaults.Read(_folder.Path);
        Assert.Equal(new SamplerOptions(0.6f, 9, 20, 0.95f, 0, 1.05f), d.Sampler(9));
        Assert.Equal([5, 7], d.EosTokenIds);
        Assert.Equal(12, d.MaxNewTokens);
    }

    [Fact]
    public void WithoutSamplingItIsGreedy()
    {
        Write("""{"do_sample": false, "temperature": 0.6}""");
        Assert.Equal(0, GenerationDefaults.Read(_folder.Path).Sampler().Temperature);
    }

    [Theory]
    [InlineData("""{"temperature": "warm"}""", "temperature")]
    [InlineData("""{"top_p": 1.5}""", "top-p")]
    [InlineData("""{"top_k": -1}""", "top_k")]
    [InlineData("""{"eos_token_id": "x"}""", "eos_token_id")]
    [InlineData("[]", "not a JSON object")]
    public void RefusesNonsense(string json, string rule)
    {
        Write(json);
        Assert.Contains("generation_config.json", TemporaryFolder.AssertRefused(rule, () => GenerationDefaults.Read(_folder.Path)).Message, StringComparison.Ordinal);
    }

    /// <summary>The file's end of sequence replaces that of config.json.</summary>
    [Fact]
    public void ItsEndOfSequenceEndsATextBefore()
    {
        foreach (string file in Directory.EnumerateFiles(Golden.Folder("mixtral")))
            File.Copy(file, _folder[Path.GetFileName(file)]);
        using IBackend backend = CpuBackend.Create(1);
        int[] all = Greedy(backend);
        Write($$"""{"eos_token_id": {{all[3]}}}""");
        Assert.Equal(all[..Array.IndexOf(all, all[3])], Greedy(backend));
    }

    private int[] Greedy(IBackend backend)
    {
        using LanguageModel model = LanguageModel.Load(_folder.Path, backend);
        return [.. TextGeneration.Generate(model, [3, 17, 5], new GenerateOptions { MaxNewTokens = 8 }).Select(static t => t.Id)];
    }

    private void Write(string json) => File.WriteAllText(_folder["generation_config.json"], json);
}
