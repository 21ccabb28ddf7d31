using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Training;

/// <summary>Models of one's own, and whose checkpoints they become.</summary>
public sealed class TrainConfigTests : IDisposable
{
    private const string Run = "\"context\": 16, \"batch_size\": 2, \"steps\": 3, \"learning_rate\": 0.01";
    private const string InShort = "{ \"layers\": 2, \"hidden_size\": 16, \"heads\": 2, \"intermediate_size\": 24, " + Run + " }";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>A model in full, with dense layers unless said otherwise.</summary>
    private static string InFull(string model = "", string attention = "", string layer = "\"type\": \"dense\", \"intermediate_size\": 24", string run = "") =>
        $"{{ {Run}{run}, \"model\": {{ \"hidden_size\": 16, \"attention\": {{ \"heads\": 4, \"kv_heads\": 2, \"head_dim\": 6{attention} }}, "
        + $"\"layers\": [{{ {layer} }}, {{ {layer} }}]{model} }} }}";

    private Preset Read(string json)
    {
        File.WriteAllText(_folder["own.json"], json);
        return TrainConfig.Read(_folder["own.json"]);
    }

    /// <summary>
    /// A dense model becomes a llama: its folder has llama's keys and tensor names, and what is loaded from it computes the trained
    /// model's logits, which are those of the same model trained as one of ours, to the last bit.
    /// </summary>
    [Theory]
    [InlineData(InShort, null)]
    [InlineData(null, "")]
    [InlineData(null, ", \"qkv_bias\": true, \"output_bias\": true, \"rope_theta\": 5e5")]
    public void APlainDenseModelIsALlama(string? inShort, string? attention)
    {
        Preset preset = Read(inShort ?? InFull(", \"tie_word_embeddings\": true, \"rms_norm_eps\": 1e-6", attention!));
        Assert.Equal("llama", preset.Family.Name);
        Tokenizer tokenizer = Tokenizer.TrainCharacters(Texts.Repetitive);
        ModelConfig config = preset.Model(tokenizer.VocabSize) with { BosTokenId = 1, EosTokenIds = [1] };
        int[] tokens = tokenizer.Encode("the cat sat; ");
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        float[] llama = Trained(preset.Family, "llama"), ours = Trained(new FromScratch(), "ours");
        Bits.Equal("logits", llama, ours);

        using LanguageModel loaded = LanguageModel.Load(_folder["llama"], backend);
        Assert.Equal("llama", loaded.Family.Name);
        Bits.Equal("logits", llama, Tiny.Logits(loaded, tokens, tokens.Length));
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(_folder["llama"], "config.json")))!.AsObject();
        Assert.Equal(("LlamaForCausalLM", "llama", 1, 1), ((string?)json["architectures"]![0], (string?)json["model_type"], (int)json["bos_token_id"]!, (int)json["eos_token_id"]!));
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(_folder["llama"], "model.safetensors"));
        string[] names = [.. file.Entries.Select(static e => e.Name)];
        string[] expected =
        [
            "model.embed_tokens.weight", "model.norm.weight", "model.layers.1.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight",
            "model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.o_proj.weight", "model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.down_proj.weight",
        ];
        Assert.Empty(expected.Except(names));
        Assert.Equal(inShort is not null, names.Contains("lm_head.weight"));

        float[] Trained(Family family, string folder)
        {
            using LanguageModel model = LanguageModel.Create(backend, family, config, seed: 4, tokenizer);
            using Trainer trainer = new(model, Texts.Data(model, context: 16), preset.Training);
            trainer.Run(static _ => { });
            model.Save(_folder[folder]);
            return Tiny.Logits(model, tokens, tokens.Length);
        }
    }

    /// <summary>What llama has no words for is another's, or ours.</summary>
    [Theory]
    [InlineData("", ", \"qkv_bias\": true", "qwen2")]
    [InlineData("", ", \"window\": 8", "moe_from_scratch")]
    [InlineData("", ", \"rope_interleaved\": true", "moe_from_scratch")]
    [InlineData(", \"layer_norm\": true", "", "moe_from_scratch")]
    [InlineData(", \"logits_scaling\": 2", "", "moe_from_scratch")]
    [InlineData(", \"head_bias\": true", "", "moe_from_scratch")]
    public void WhatLlamaCannotSayIsAnothers(string model, string attention, string family) => Assert.Equal(family, Read(InFull(model, attention)).Family.Name);

    [Fact]
    public void AMixtureIsNoLlama()
    {
        const string Mixture = "\"type\": \"moe\", \"router\": { \"type\": \"top_k\", \"top_k\": 2 }, \"banks\": [{ \"type\": \"ffn\", \"count\": 4, \"intermediate_size\": 8 }]";
        Assert.Equal("moe_from_scratch", Read(InFull(layer: Mixture)).Family.Name);
        Assert.Equal("dynamic-moe", Read(InShort.Replace("\"heads\": 2", "\"heads\": 2, \"experts\": 4, \"top_p\": 0.4", StringComparison.Ordinal)).Family.Name);
        Assert.Equal("mixtral", Read(InShort.Replace("\"heads\": 2", "\"heads\": 2, \"experts\": 4, \"top_k\": 2", StringComparison.Ordinal)).Family.Name);
    }

    /// <summary>Keys that would do nothing are refused, in short and in full.</summary>
    [Fact]
    public void WhatIsAboutRoutersNeedsOne()
    {
        Refused(InShort.Replace("\"heads\": 2", "\"heads\": 2, \"load_balance\": 0.01", StringComparison.Ordinal), "load_balance is about routers, and the model is dense");
        Refused(InFull(", \"router_losses\": [{ \"type\": \"router_z\", \"coefficient\": 0.01 }]"), "router_z is about routers, and the model is dense");
        Refused(InFull(run: ", \"estimate_choice\": true"), "estimate_choice is for DCMoE's routers, and the model has none");
        Refused(InShort.Replace("\"heads\": 2", "\"heads\": 2, \"top_p\": 0.4", StringComparison.Ordinal), "experts is missing");
        Refused(InShort.Replace("\"heads\": 2", "\"heads\": 2, \"experts\": 4", StringComparison.Ordinal), "exactly one of top_p and top_k");

        void Refused(string json, string rule) => Assert.Contains(rule, Assert.Throws<CheckpointException>(() => Read(json)).Message, StringComparison.Ordinal);
    }
}
