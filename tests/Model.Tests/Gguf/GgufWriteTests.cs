using MoeFromScratch.Contract;
using MoeFromScratch.Model.Conversion;
using MoeFromScratch.Model.Gguf;
using MoeFromScratch.Model.Tests.Tokenizers;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Gguf;

/// <summary>Models of our own as GGUF files: what belongs to them goes along, and what a file holds already stays as it is.</summary>
public sealed class GgufWriteTests : IDisposable
{
    private const string End = TokenizerChoice.EndOfText;

    private readonly TemporaryFolder _folder = new();
    private readonly IBackend _backend = CpuBackend.Create(1);

    public void Dispose()
    {
        _backend.Dispose();
        _folder.Dispose();
    }

    private static ModelConfig Config(int vocabulary, RopeScaling? scaling = null) => new()
    {
        VocabSize = vocabulary,
        HiddenSize = 32,
        Attention = new AttentionConfig { Heads = 2, KvHeads = 1, HeadDim = 16, RopeScaling = scaling },
        Layers = [new DenseConfig(64), new DenseConfig(64)],
        MaxPositions = 256,
        InitStd = 0.2f,
        RmsNormEps = 0.03125f,
        BosTokenId = 3,
        EosTokenIds = [vocabulary - 1],
    };

    /// <summary>A dense model with a vocabulary trained here, as moe train makes them, through a file and back: any text has the same ids.</summary>
    [Fact]
    public void TrainedVocabulariesGoThrough()
    {
        string text = string.Concat(Enumerable.Repeat($"It's 2024: the cat's hat, 31 cats\n\n{End}and  a  hat.\n{End}", 5));
        Tokenizer tokenizer = TokenizerChoice.Bpe(300).Make(text);
        int end = tokenizer.IdOf(End)!.Value;
        using (LanguageModel made = LanguageModel.Create(_backend, Tiny.Family("llama"), Config(tokenizer.VocabSize) with { EosTokenIds = [end] }, seed: 1, tokenizer))
            made.Save(_folder["m"]);
        Assert.True(Converter.Convert(_folder["m"], _folder["m.gguf"], new ConversionOptions(), _backend).Sample!.SameGreedy);
        using LanguageModel read = LanguageModel.Load(_folder["m.gguf"], _backend);
        using (GgufFile file = GgufFile.Open(_folder["m.gguf"]))
            Assert.Equal(("ufakzeka", true, (long)end, (long)end), (file.Metadata.String("tokenizer.ggml.pre"), file.Metadata.Bool("tokenizer.ggml.add_bos_token"),
                file.Metadata.Integer("tokenizer.ggml.bos_token_id"), file.Metadata.Integer("tokenizer.ggml.eos_token_id")));
        Assert.Equal([end], read.Tokenizer!.Before);
        foreach (string some in UnicodeTexts.Fixed.Concat(UnicodeTexts.Random(seed: 7, count: 200)).Append(text))
            Assert.Equal(tokenizer.Encode(some), read.Tokenizer.Encode(some));
        Converter.Convert(_folder["m.gguf"], _folder["back"], new ConversionOptions(), _backend);
        using LanguageModel back = LanguageModel.Load(_folder["back"], _backend);
        Assert.Equal(tokenizer.Encode(text), back.Tokenizer!.Encode(text));
    }

    /// <summary>What comes after a text is what the file says ends one, and that may come from generation_config.json.</summary>
    [Theory]
    [InlineData(7, true)]
    [InlineData(6, false)]
    public void TheEndAfterATextIsTheFiles(int end, bool goes)
    {
        Tokenizer ends = Tokenizer.Parse("""
            {"added_tokens":[{"id":7,"content":"</s>","special":true}],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"},
            "post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"</s>"}}],"special_tokens":{"</s>":{"ids":[7]}}},
            "model":{"type":"BPE","vocab":{"a":0},"merges":[]}}
            """);
        using (LanguageModel made = LanguageModel.Create(_backend, Tiny.Family("llama"), Config(9), seed: 1, ends))
            made.Save(_folder["m"]);
        File.WriteAllText(Path.Combine(_folder["m"], "generation_config.json"), $$"""{"eos_token_id":[{{end}},5]}""");
        if (!goes)
        {
            Assert.Contains("puts other tokens around a text", Assert.Throws<ArgumentException>(() =>
                Converter.Convert(_folder["m"], _folder["m.gguf"], new ConversionOptions(), _backend)).Message, StringComparison.Ordinal);
            return;
        }
        Converter.Convert(_folder["m"], _folder["m.gguf"], new ConversionOptions(), _backend);
        using LanguageModel read = LanguageModel.Load(_folder["m.gguf"], _backend);
        Assert.Equal([0, 7], read.Tokenizer!.Encode("a"));
        Assert.Equal([7, 5], read.Config.EosTokenIds);
    }

    public static TheoryData<RopeScaling> Scalings =>
    [
        new LinearRopeScaling(4), new YarnRopeScaling(4, 64, 32, 1, YarnRopeScaling.Growth(4)), new Llama3RopeScaling(8, 1, 4, 8192),
        new LongRopeScaling(Factors(), Factors(), 64),
    ];

    private static PairwiseRopeScaling Factors() => new([1, 1, 1.5f, 2, 2.5f, 3, 7, 20], 1);

    /// <summary>Stretched frequencies are in the file, as keys or as divisors: logits far along are those of the model.</summary>
    [Theory]
    [MemberData(nameof(Scalings))]
    public void RopeScalingGoesThrough(RopeScaling scaling)
    {
        using LanguageModel made = LanguageModel.Create(_backend, Tiny.Family("llama"), Config(40, scaling), seed: 1);
        made.Save(_folder["m"]);
        using LanguageModel plain = LanguageModel.Create(_backend, Tiny.Family("llama"), Config(40), seed: 1);
        GgufExport.Write(made, _folder["m.gguf"]);
        using LanguageModel read = LanguageModel.Load(_folder["m.gguf"], _backend);
        int[] ids = [.. Enumerable.Range(0, 100).Select(static i => i * 7 % 40)];
        float[] expected = Tiny.Logits(made, ids, 100), actual = Tiny.Logits(read, ids, 100), without = Tiny.Logits(plain, ids, 100);
        float largest = expected.Max(MathF.Abs);
        Assert.All(expected.Zip(actual), pair => Assert.InRange(MathF.Abs(pair.First - pair.Second), 0, 1e-4f * largest));
        Assert.Contains(expected.Zip(without), pair => MathF.Abs(pair.First - pair.Second) > 1e-2f * largest);
    }

    [Theory]
    [InlineData("chat_template.jinja", "{{ a }}")]
    [InlineData("chat_template.json", """{"chat_template":"{{ a }}"}""")]
    [InlineData("tokenizer_config.json", """{"chat_template":"{{ a }}"}""")]
    [InlineData("tokenizer_config.json", """{"chat_template":[{"name":"tools","template":"x"},{"name":"default","template":"{{ a }}"}]}""")]
    [InlineData("tokenizer_config.json", """{"chat_template":[{"name":"tools","template":"x"}]}""", null)]
    [InlineData("tokenizer_config.json", """{"chat_template":null}""", null)]
    public void ChatTemplatesGoThrough(string file, string content, string? template = "{{ a }}")
    {
        using (LanguageModel made = LanguageModel.Create(_backend, Tiny.Family("llama"), Config(9), seed: 1))
            made.Save(_folder["m"]);
        File.WriteAllText(Path.Combine(_folder["m"], file), content);
        Converter.Convert(_folder["m"], _folder["m.gguf"], new ConversionOptions(), _backend);
        using (GgufFile written = GgufFile.Open(_folder["m.gguf"]))
            Assert.Equal(template, written.Metadata.Has("tokenizer.chat_template") ? written.Metadata.String("tokenizer.chat_template") : null);
        Converter.Convert(_folder["m.gguf"], _folder["back"], new ConversionOptions(), _backend);
        string jinja = Path.Combine(_folder["back"], "chat_template.jinja");
        Assert.Equal(template, File.Exists(jinja) ? File.ReadAllText(jinja) : null);
    }

    [Fact]
    public void TheFirstOfSeveralTemplatesIsTaken()
    {
        Directory.CreateDirectory(_folder["t"]);
        foreach ((string file, string content) in ((string, string)[])[("tokenizer_config.json", """{"chat_template":"third"}"""), ("chat_template.json", """{"chat_template":"second"}"""),
            ("chat_template.jinja", "first")])
        {
            File.WriteAllText(Path.Combine(_folder["t"], file), content);
            Assert.Equal(content.Contains('"', StringComparison.Ordinal) ? content.Split('"')[3] : content, ChatTemplate.Find(_folder["t"]));
        }
        File.Delete(Path.Combine(_folder["t"], "chat_template.jinja"));
        File.WriteAllText(Path.Combine(_folder["t"], "chat_template.json"), """{"chat_template":7}""");
        TemporaryFolder.AssertRefused("chat_template.json: is not a file with a chat template", () => ChatTemplate.Find(_folder["t"]));
    }

    /// <summary>
    /// Where llama.cpp looks for it: within a head of queries, neighbouring rows are half a head apart in the checkpoint; experts follow each other in their
    /// order; lengths and ids are unsigned, tokens' types signed.
    /// </summary>
    [Fact]
    public void ElementsLieWhereLlamaCppLooksForThem()
    {
        Converter.Convert(Golden.Folder("mixtral"), _folder["m.gguf"], new ConversionOptions { To = DType.F32 }, _backend);
        using GgufFile file = GgufFile.Open(_folder["m.gguf"]);
        using TensorFiles source = TensorFiles.Open(Golden.Folder("mixtral"));
        const int Head = 12, Width = 48, Experts = 4;
        foreach ((string theirs, string ours) in ((string, string)[])[("attn_q", "q_proj"), ("attn_k", "k_proj")])
        {
            Tensor x = file.Get($"blk.1.{theirs}.weight"), y = source.Get($"model.layers.1.self_attn.{ours}.weight");
            for (int row = 0; row < x.Rows; row++)
                Assert.Equal(y.Floats.Slice((row / Head * Head + row % 2 * (Head / 2) + row % Head / 2) * Width, Width).ToArray(), x.Floats.Slice(row * Width, Width).ToArray());
        }
        Assert.Equal(source.Get("model.layers.1.self_attn.v_proj.weight").Floats.ToArray(), file.Get("blk.1.attn_v.weight").Floats.ToArray());
        foreach ((string theirs, string ours) in ((string, string)[])[("ffn_gate_exps", "w1"), ("ffn_down_exps", "w2"), ("ffn_up_exps", "w3")])
            Assert.Equal([.. Enumerable.Range(0, Experts).SelectMany(e => source.Get($"model.layers.1.block_sparse_moe.experts.{e}.{ours}.weight").Floats.ToArray())],
                file.Get($"blk.1.{theirs}.weight").Floats.ToArray());
        foreach (string key in (string[])["llama.context_length", "llama.expert_count", "llama.attention.head_count_kv", "llama.rope.dimension_count", "tokenizer.ggml.bos_token_id", "general.file_type"])
            Assert.Equal(GgufType.U32, file.Metadata.TypeOf(key));
        Assert.Equal((GgufType.F32, GgufType.F32), (file.Metadata.TypeOf("llama.rope.freq_base"), file.Metadata.TypeOf("llama.attention.layer_norm_rms_epsilon")));
    }

    /// <summary>Blocks that nothing is converted to are copied from file to file.</summary>
    [Theory]
    [InlineData(DType.Q4_K)]
    [InlineData(DType.Q6_K)]
    public void BlocksOfOtherFilesStayAsTheyAre(DType type)
    {
        ModelConfig config = Config(9) with { HiddenSize = 256, Layers = [new DenseConfig(256)] };
        using (LanguageModel made = LanguageModel.Create(_backend, Tiny.Family("llama"), config, seed: 1))
            GgufExport.Write(made, _folder["a.gguf"], wrap: all => [.. all.Select(t => t.Shape.Rank == 2 && t.Shape.Cols == 256 ? t with { DType = type, Write = stream => Random(type, t, stream) } : t)]);
        Assert.Empty(Converter.Convert(_folder["a.gguf"], _folder["b.gguf"], new ConversionOptions(), _backend).Notes);
        using GgufFile a = GgufFile.Open(_folder["a.gguf"]), b = GgufFile.Open(_folder["b.gguf"]);
        Assert.Equal(a.Entries, b.Entries, static (x, y) => (x.Name, x.DType, x.Begin, x.End) == (y.Name, y.DType, y.Begin, y.End));
        Assert.Contains(b.Entries, e => e.DType == type.ToString());
        foreach (TensorEntry entry in a.Entries)
            TemporaryFolder.AssertEqual(a.Get(entry.Name), b.Get(entry.Name));
        Assert.Equal(type == DType.Q4_K ? 15 : 18, b.Metadata.Integer("general.file_type"));
        Assert.Contains("not as Q4_K", Assert.Throws<ArgumentException>(() =>
            Converter.Convert(_folder["a.gguf"], _folder["c.gguf"], new ConversionOptions { To = DType.Q4_K }, _backend)).Message, StringComparison.Ordinal);
    }

    /// <summary>Any bits, with scales that are small numbers.</summary>
    private static void Random(DType type, PlannedTensor tensor, Stream stream)
    {
        byte[] bytes = new byte[tensor.Shape.Count / 256 * type.BlockBytes()];
        new Random(tensor.Name.Length).NextBytes(bytes);
        for (int at = 0; at < bytes.Length; at += type.BlockBytes())
            foreach (int scale in type == DType.Q4_K ? (int[])[0, 2] : [208])
                BitConverter.TryWriteBytes(bytes.AsSpan(at + scale), (Half)0.001f);
        stream.Write(bytes);
    }
}
