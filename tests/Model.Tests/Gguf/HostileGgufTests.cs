using MoeFromScratch.Contract;
using MoeFromScratch.Tensors;
using Xunit.Abstractions;

namespace MoeFromScratch.Model.Tests.Gguf;

/// <summary>GGUF files whose container is sound and whose model or tokenizer is not: one line each, which names the key.</summary>
public sealed class HostileGgufTests(ITestOutputHelper output) : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly IBackend _backend = CpuBackend.Create(1);

    public void Dispose()
    {
        _backend.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("none", 0)]
    [InlineData("gpt2", 7)]
    [InlineData("llama", 8)]
    public void TheSoundOneIsRead(string tokenizer, int tokens)
    {
        using LanguageModel model = Load(TinyGguf.Bytes(tokenizer));
        Assert.Equal((8, 2, "llama", true), (model.Config.VocabSize, model.Config.HiddenSize, model.Family.Name, model.Config.TieWordEmbeddings));
        Assert.Equal(tokens, model.Tokenizer?.VocabSize ?? 0);
        if (tokens > 0)
            Assert.Equal(tokenizer == "gpt2" ? (int[])[4, 2, 5] : [1, 7, 5, 7], model.Tokenizer!.Encode("ab a"));
    }

    /// <summary>Without a base the frequencies are RoFormer's, as in llama.cpp.</summary>
    [Fact]
    public void TheBaseOfTheFrequenciesHasADefault()
    {
        using LanguageModel model = Load(TinyGguf.Bytes("none", "llama.rope.freq_base"));
        Assert.Equal(10_000, model.Config.Attention.RopeTheta);
    }

    public static TheoryData<string, string, Action<GgufBytes, string>?, string> Broken => new()
    {
        { "none", "general.architecture", null, "general.architecture is missing" },
        { "none", "general.architecture", static (f, k) => f.String(k, "bert"), "the architecture 'bert' is not supported; supported are llama, qwen2" },
        { "none", "llama.rope.freq_base", static (f, k) => f.F32(k, float.NaN), "llama.rope.freq_base must be a finite number, not NaN" },
        { "none", "llama.rope.freq_base", static (f, k) => f.Value(k, 12, BitConverter.GetBytes(1e300)), "llama.rope.freq_base must be a finite number" },
        { "none", "llama.attention.layer_norm_rms_epsilon", static (f, k) => f.F32(k, float.PositiveInfinity), "llama.attention.layer_norm_rms_epsilon must be a finite number" },
        { "none", "llama.attention.layer_norm_rms_epsilon", static (f, k) => f.F32(k, -1), "rms_norm_eps must be a finite number" },
        { "none", "llama.context_length", static (f, k) => f.U32(k, 0), "llama.context_length must be an integer from 1 to 2147483647, not 0" },
        { "none", "llama.block_count", static (f, k) => f.F32(k, 1), "llama.block_count must be an integer" },
        { "none", "llama.block_count", static (f, k) => f.U32(k, 2), "tensor 'blk.1.attn_norm.weight': is missing" },
        { "none", "llama.feed_forward_length", static (f, k) => f.U32(k, 4), "tensor 'blk.0.ffn_gate.weight': has shape [2, 2]" },
        { "none", "llama.attention.head_count", static (f, k) => f.U32(k, 3), "llama.embedding_length 2 is no multiple of llama.attention.head_count 3" },
        { "none", "llama.vocab_size", static (f, k) => f.U32(k, 9), "llama.vocab_size is 9, but token_embd.weight has 8 rows" },
        { "none", "llama.attention.value_length", static (f, k) => f.U32(k, 4), "llama.attention.value_length must be that of the keys, 2, not 4" },
        { "none", "llama.expert_count", static (f, k) => f.U32(k, 2), "llama.expert_used_count is missing" },
        { "none", "llama.attention.causal", static (f, k) => f.Value(k, 7, 0), "llama.attention.causal must be true" },
        { "none", "llama.logit_scale", static (f, k) => f.F32(k, 0.5f), "llama.logit_scale is not supported" },
        { "none", "llama.rope.scaling.attn_factor", static (f, k) => f.F32(k, 2), "llama.rope.scaling.attn_factor is not supported" },
        { "none", "llama.rope.scaling.type", static (f, k) => f.String(k, "longrope"), "llama.rope.scaling.type 'longrope' is not supported; supported are none, linear, yarn and the tensor rope_freqs.weight" },
        { "none", "llama.rope.scaling.factor", static (f, k) => f.F32(k, 0.5f), "llama.rope.scaling.factor must be at least 1, not 0.5" },
        { "none", "split.count", static (f, k) => f.Value(k, 2, 3, 0), "is one of 3 parts of a model; join them" },
        { "gpt2", "tokenizer.ggml.bos_token_id", static (f, k) => f.U32(k, 8), "tokenizer.ggml.bos_token_id must be an integer from 0 to 7, not 8" },
        { "gpt2", "tokenizer.ggml.bos_token_id", static (f, k) => f.U32(k, 7), "the template has the id 7, which is no token's" },
        { "gpt2", "tokenizer.ggml.tokens", static (f, k) => TinyGguf.Texts(f, k, "a b ab Ġ <s> a c d"), "tokenizer.ggml.tokens has 'a' twice" },
        { "gpt2", "tokenizer.ggml.token_type", static (f, k) => TinyGguf.Ints(f, k, 1, 1), "tokenizer.ggml.token_type has 2 values, tokenizer.ggml.tokens 8" },
        { "gpt2", "tokenizer.ggml.merges", static (f, k) => f.Array(k, 8, GgufBytes.Text("a z")), "the merge \"a z\" has a part or a result that is not in the vocabulary" },
        { "gpt2", "tokenizer.ggml.tokens", static (f, k) => TinyGguf.Texts(f, k, "a b ab Ġ <s> Ġa c d e"), "tokenizer.ggml.token_type has 8 values, tokenizer.ggml.tokens 9" },
        { "llama", "tokenizer.ggml.scores", null, "tokenizer.ggml.scores is missing" },
        { "llama", "tokenizer.ggml.scores", static (f, k) => f.Array(k, 6, new byte[4]), "tokenizer.ggml.scores has 1 values for 8 tokens" },
        { "llama", "tokenizer.ggml.scores", static (f, k) => f.Array(k, 6, [.. Enumerable.Repeat(BitConverter.GetBytes(float.NaN), 8)]), "the score of piece 0 '<unk>' is not a number" },
        { "llama", "tokenizer.ggml.tokens", static (f, k) => TinyGguf.Texts(f, k, "<unk> <s> </s> ▁ a b ab a"), "the piece 'a' appears twice" },
    };

    [Theory]
    [MemberData(nameof(Broken), DisableDiscoveryEnumeration = true)]
    public void BrokenOnesAreRefused(string tokenizer, string key, Action<GgufBytes, string>? instead, string rule) => TemporaryFolder.AssertRefused(rule, () =>
    {
        using LanguageModel model = Load(TinyGguf.Bytes(tokenizer, key, instead));
        Assert.NotNull(model.Tokenizer);
    });

    /// <summary>llama.cpp does not ask whether a piece is unused before it merges to it; at the end of the list it is room in the model's vocabulary.</summary>
    [Fact]
    public void UnusedPiecesMergeAndTrailingOnesAreNone()
    {
        using LanguageModel model = Load(TinyGguf.Bytes("llama", "tokenizer.ggml.token_type", static (f, k) => TinyGguf.Ints(f, k, 2, 3, 3, 1, 1, 1, 5, 5)));
        Assert.Equal(6, model.Tokenizer!.VocabSize);
        using LanguageModel between = Load(TinyGguf.Bytes("llama", "tokenizer.ggml.token_type", static (f, k) => TinyGguf.Ints(f, k, 2, 3, 3, 1, 1, 1, 5, 1)));
        Assert.Equal([1, 3, 5, 6], between.Tokenizer!.Encode("bab"));
    }

    /// <summary>Where no kind says which piece is for unknown characters, it is the first one.</summary>
    [Fact]
    public void TheUnknownPieceIsTheFirst()
    {
        using LanguageModel model = Load(TinyGguf.Bytes("llama", "tokenizer.ggml.token_type", static (f, k) => TinyGguf.Ints(f, k, 1, 3, 3, 1, 1, 1, 1, 1)));
        Assert.Equal([1, 3, 0], model.Tokenizer!.Encode("z"));
    }

    /// <summary>Damaged files, header and all: refused in a line, or a model whose tokenizer can be used.</summary>
    [Fact]
    public void DamagedOnesAreRefusedOrWhole()
    {
        Mutations.Tally tally = Mutations.Run(new MutatedFormat("GGUF models", [TinyGguf.Bytes("gpt2"), TinyGguf.Bytes("llama")], Use) { FileName = "x.gguf", Constant = 1 << 20 });
        output.WriteLine($"{tally}");
        Assert.Equal(Mutations.Cases, tally.Used + tally.Refused);
        Assert.InRange(tally.Refused, Mutations.Cases / 4, Mutations.Cases - 1);
    }

    private long Use(string path)
    {
        using LanguageModel model = LanguageModel.Load(path, _backend);
        if (model.Tokenizer is not { } tokenizer)
            return 0;
        foreach (string text in (string[])["", "ab a", "bab\u00e4<s>"])
            try
            {
                int[] ids = tokenizer.Encode(text);
                Assert.All(ids, id => Assert.InRange(id, 0, model.Config.VocabSize - 1));
                tokenizer.Decode(ids);
            }
            catch (ArgumentException e) when (e.Message.Contains("has no character", StringComparison.Ordinal))
            {
                // a text with a character that the vocabulary lacks
            }
        return 0;
    }

    private LanguageModel Load(byte[] bytes)
    {
        File.WriteAllBytes(_folder["m.gguf"], bytes);
        return LanguageModel.Load(_folder["m.gguf"], _backend);
    }
}
