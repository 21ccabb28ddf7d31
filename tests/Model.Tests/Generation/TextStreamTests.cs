using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Generation;

public sealed class TextStreamTests : IDisposable
{
    private readonly IBackend _backend = CpuBackend.Create(1);
    private readonly LanguageModel _model;

    public TextStreamTests() => _model = Texts.Model(_backend, "dynamic-moe");

    public void Dispose()
    {
        _model.Dispose();
        _backend.Dispose();
    }

    [Fact]
    public async Task StreamsTheTextOfTheIds()
    {
        GenerateOptions options = new() { MaxNewTokens = 12, Sampler = new SamplerOptions(Temperature: 1, Seed: 3) };
        string prompt = _model.Tokenizer!.Decode([0, 1, 2]);
        int[] ids = [.. TextGeneration.Generate(_model, [0, 1, 2], options).Select(static t => t.Id)];
        string whole = _model.Tokenizer.Decode(ids);
        Assert.Equal(12, whole.Length);
        Assert.Equal(whole, await Streamed(options));

        string stop = whole[5..7];
        Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], await Streamed(options with { Stop = [stop] }));

        async Task<string> Streamed(GenerateOptions o)
        {
            string text = "";
            await foreach (string piece in _model.StreamAsync(prompt, o))
                text += piece;
            return text;
        }
    }
}
