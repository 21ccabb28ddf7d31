using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>The model that comes with the tool, on ILGPU's simulation.</summary>
public sealed class BuiltInModelTests
{
    private static readonly string Folder = Path.Combine(Golden.Folder("mixtral"), "..", "..", "..", "src", "Cli", "built-in");

    /// <summary>A prompt that the model is sure about: each token is likelier than the next by more than a factor of nine.</summary>
    [Fact]
    public void TheFirstTokensAreTheCpus()
    {
        string text = First8(CpuBackend.Create());
        Assert.Equal(" 5 6 7 8", text);
        Assert.Equal(text, First8(GpuDevices.Open("ilgpu-cpu")));
    }

    private static string First8(IBackend owned)
    {
        using IBackend backend = owned;
        using LanguageModel model = LanguageModel.Load(Folder, backend);
        GenerateOptions options = new()
        {
            MaxNewTokens = 8,
            Sampler = new SamplerOptions { Temperature = 0 },
        };
        return model.Tokenizer!.Decode([.. TextGeneration.Generate(model, model.Tokenizer.Encode("count 3 4"), options).Select(static t => t.Id)]);
    }
}
