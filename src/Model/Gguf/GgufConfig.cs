using System.Text.Json.Nodes;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Gguf;

/// <summary>
/// A model's description in a GGUF file's metadata, and the config.json that says the same: so the families read both, and a
/// model from a GGUF file can be saved as a folder.
/// </summary>
internal static class GgufConfig
{
    public const string Bos = "tokenizer.ggml.bos_token_id";

    /// <summary>The ids that end a text: the first is the end of the sequence, the others ends of a turn and of a message.</summary>
    public static readonly string[] Eos = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

    private const string Context = "context_length", Width = "embedding_length", Layers = "block_count", Ffn = "feed_forward_length",
        Heads = "attention.head_count", KvHeads = "attention.head_count_kv", KeyLength = "attention.key_length", ValueLength = "attention.value_length",
        Eps = "attention.layer_norm_rms_epsilon", RopeDim = "rope.dimension_count", Theta = "rope.freq_base", Vocab = "vocab_size",
        Experts = "expert_count", Used = "expert_used_count", ExpertFfn = "expert_feed_forward_length", SharedFfn = "expert_shared_feed_forward_length";

    /// <summary>Keys that change the results and that none of the architectures here has, with the value that changes nothing.</summary>
    private static readonly (string Key, float Neutral)[] Foreign =
    [
        ("attention.sliding_window", 0), ("attention.clamp_kqv", 0), ("attention.max_alibi_bias", 0), ("attention.scale", 0), ("logit_scale", 1),
        ("residual_scale", 1), ("embedding_scale", 1), ("expert_weights_scale", 1), ("expert_gating_func", 1), ("expert_group_count", 1),
        ("expert_shared_count", 0), ("leading_dense_block_count", 0), ("nextn_predict_layers", 0), ("attn_logit_softcapping", 0), ("final_logit_softcapping", 0),
        ("rope.scaling.attn_factor", 1), ("rope.scaling.yarn_attn_factor", 1),
    ];

    /// <summary>What the tensors of a file say about the model.</summary>
    /// <param name="VocabSize">Rows of the embedding.</param>
    /// <param name="Has">Whether there is a tensor of this name.</param>
    /// <param name="RopeFactors">rope_freqs.weight, or null.</param>
    public sealed record Tensors(int VocabSize, Func<string, bool> Has, float[]? RopeFactors, string Type);

    /// <exception cref="CheckpointException">A key is missing, out of range, or asks for what is not supported.</exception>
    public static ConfigJson Read(GgufMetadata metadata, GgufArchitecture a, Tensors tensors)
    {
        foreach ((string key, float neutral) in Foreign)
            if (metadata.Has(a.Key(key)) && metadata.Number(a.Key(key)) is var value && value != neutral && value != 0)
                throw new CheckpointException(metadata.Path, $"{a.Key(key)} is not supported");
        if (!metadata.Bool(a.Key("attention.causal"), absent: true))
            throw new CheckpointException(metadata.Path, $"{a.Key("attention.causal")} must be true");

        long width = Size(Width), heads = Int(Heads, ConfigJson.MaxExperts), ffn = 0;
        if (!metadata.Has(a.Key(KeyLength)) && width % heads != 0)
            throw new CheckpointException(metadata.Path, $"{a.Key(Width)} {width} is no multiple of {a.Key(Heads)} {heads}, and there is no {a.Key(KeyLength)}");
        long headDim = Size(KeyLength, width / heads), context = Int(Context, int.MaxValue);
        foreach (string key in (string[])[ValueLength, RopeDim])
            if (Size(key, headDim) is var other && other != headDim)
                throw new CheckpointException(metadata.Path, $"{a.Key(key)} must be that of the keys, {headDim}, not {other}");
        if (metadata.Has(a.Key(Vocab)) && Size(Vocab) != tensors.VocabSize)
            throw new CheckpointException(metadata.Path, $"{a.Key(Vocab)} is {Size(Vocab)}, but {GgufNames.Embedding} has {tensors.VocabSize} rows");
        if (!a.NamesExpertWidth || !metadata.Has(a.Key(ExpertFfn)) || metadata.Has(a.Key(Ffn)))
            ffn = Size(Ffn);
        float theta = metadata.Number(a.Key(Theta), absent: 10_000);

        JsonObject json = new()
        {
            ["architectures"] = new JsonArray(a.Family.Architecture),
            ["bos_token_id"] = Id(Bos),
            ["eos_token_id"] = new JsonArray([.. Eos.Select(Id).Where(static id => id is not null).Distinct().Select(static id => (JsonNode)id!.Value)]),
            ["head_dim"] = headDim,
            ["hidden_act"] = "silu",
            ["hidden_size"] = width,
            ["max_position_embeddings"] = context,
            ["model_type"] = a.ModelType,
            ["num_attention_heads"] = heads,
            ["num_hidden_layers"] = Int(Layers, ConfigJson.MaxLayers),
            ["num_key_value_heads"] = Int(KvHeads, ConfigJson.MaxExperts, heads),
            ["rms_norm_eps"] = metadata.Number(a.Key(Eps)),
            ["rope_scaling"] = GgufRope.Read(metadata, a, tensors.RopeFactors, (int)headDim, theta, context),
            ["rope_theta"] = theta,
            ["tie_word_embeddings"] = a.MayTie && !tensors.Has(GgufNames.Output),
            ["torch_dtype"] = tensors.Type switch
            {
                "BF16" => "bfloat16",
                "F16" => "float16",
                _ => "float32",
            },
            ["vocab_size"] = tensors.VocabSize,
        };
        ReadFeedForward();
        return ConfigJson.Parse(metadata.Path, json.ToJsonString());

        long Int(string key, long max, long? absent = null) => metadata.Integer(a.Key(key), 1, max, absent);
        long Size(string key, long? absent = null) => Int(key, ConfigJson.MaxDimension, absent);
        int? Id(string key) => metadata.Has(key) ? (int)metadata.Integer(key, max: int.MaxValue) : null;

        void ReadFeedForward()
        {
            bool bias = tensors.Has("blk.0.attn_q.bias");
            json["intermediate_size"] = ffn == 0 ? Size(ExpertFfn) : ffn;
            if (a.HasExperts)
            {
                json[a.Family is Mixtral ? "num_local_experts" : "num_experts"] = Int(Experts, ConfigJson.MaxExperts);
                json["num_experts_per_tok"] = Int(Used, ConfigJson.MaxExperts);
            }
            if (a.NamesExpertWidth)
            {
                json["moe_intermediate_size"] = Size(ExpertFfn, ffn == 0 ? null : Math.Max(1, ffn / Int(Used, ConfigJson.MaxExperts)));
                json["decoder_sparse_step"] = 1;
                json["mlp_only_layers"] = new JsonArray();
            }
            switch (a.Family)
            {
                case Llama:
                    json["attention_bias"] = bias;
                    json["mlp_bias"] = tensors.Has("blk.0.ffn_up.bias");
                    break;
                case Qwen2Moe:
                    json["norm_topk_prob"] = false;
                    json["qkv_bias"] = bias;
                    json["shared_expert_intermediate_size"] = Size(SharedFfn, ffn == 0 ? null : ffn);
                    break;
                case Qwen3Moe:
                    json["norm_topk_prob"] = true;
                    break;
                case Olmoe:
                    json["norm_topk_prob"] = false;
                    break;
            }
        }
    }

    /// <summary>The metadata that say the same, and the divisors of the rotary frequencies where a tensor has to hold them.</summary>
    /// <exception cref="ArgumentException">GGUF files have no words for something in it.</exception>
    public static float[]? Write(ModelConfig c, GgufArchitecture a, GgufMetadataBuilder metadata)
    {
        RequireSayable(c, a);
        metadata.Add("general.architecture", a.Name);
        Add(Vocab, c.VocabSize);
        Add(Context, c.MaxPositions);
        Add(Width, c.HiddenSize);
        Add(Layers, c.Layers.Count);
        Add(Heads, c.Attention.Heads);
        Add(KvHeads, c.Attention.KvHeads);
        Add(KeyLength, c.Attention.HeadDim);
        Add(ValueLength, c.Attention.HeadDim);
        Add(RopeDim, c.Attention.HeadDim);
        metadata.Add(a.Key(Theta), c.Attention.RopeTheta);
        metadata.Add(a.Key(Eps), c.RmsNormEps);
        if (c.Layers[0] is DenseConfig dense)
            Add(Ffn, dense.IntermediateSize);
        else
        {
            MoeConfig moe = (MoeConfig)c.Layers[0];
            int width = ((FfnExpertsConfig)moe.Banks[0]).IntermediateSize;
            Add(Ffn, width);
            Add(Experts, moe.NumExperts);
            Add(Used, ((TopKRouterConfig)moe.Router).TopK);
            if (a.NamesExpertWidth)
                Add(ExpertFfn, width);
            if (moe.Banks[^1] is SharedExpertConfig shared)
                Add(SharedFfn, shared.IntermediateSize);
        }
        return GgufRope.Write(metadata, a, c.Attention);

        void Add(string key, int value) => metadata.Add(a.Key(key), (uint)value);
    }

    /// <summary>The ids that begin and end texts.</summary>
    /// <param name="bos">That the tokenizer puts before a text, or the config's.</param>
    /// <returns>Those that the format has no key for.</returns>
    public static IReadOnlyList<int> WriteEnds(GgufMetadataBuilder metadata, int? bos, IReadOnlyList<int> eos)
    {
        if (bos is { } id)
            metadata.Add(Bos, (uint)id);
        foreach ((string key, int end) in Eos.Zip(eos))
            metadata.Add(key, (uint)end);
        return [.. eos.Skip(Eos.Length)];
    }

    /// <summary>The things that have no key, by their names; what is left is found by reading back what was written.</summary>
    private static void RequireSayable(ModelConfig c, GgufArchitecture a)
    {
        if (c.Layers.Distinct().Count() != 1)
            throw Refuse("layers that differ from each other");
        if (c.Attention.Window > 0 && c.Layers.Select((_, i) => c.WindowOf(i)).Any(w => w > 0 && w < c.MaxPositions))
            throw Refuse("attention with a window");
        if (c.Attention.ClipQkv > 0)
            throw Refuse("clip_qkv");
        if (c.Attention.OutputBias && a.Family is not Llama)
            throw Refuse("attention_bias");
        if (a.Family is Qwen2 && c.Attention.Heads * c.Attention.HeadDim != c.HiddenSize)
            throw Refuse($"{c.Attention.Heads} heads of {c.Attention.HeadDim} in a width of {c.HiddenSize}");
        if (c.Layers[0] is MoeConfig { Router: TopKRouterConfig router } && a.Family is Qwen2Moe or Qwen3Moe or Olmoe
            && ((TopKRouterConfig)((MoeConfig)c.Layers[0]).Router).Renormalize != a.Family is Qwen3Moe)
            throw Refuse($"norm_topk_prob {(router.Renormalize ? "true" : "false")}");

        ArgumentException Refuse(string what) => new($"GGUF's architecture {a.Name} has no words for {what}");
    }

    /// <summary>Refuses to write what would be read as another model.</summary>
    /// <exception cref="ArgumentException">It would.</exception>
    public static void RequireFaithful(ModelConfig c, GgufArchitecture a, GgufMetadata metadata, Tensors tensors)
    {
        ModelConfig read = a.Family.Read(Read(metadata, a, tensors));
        ModelConfig plain = c with
        {
            RouterLosses = read.RouterLosses,   // of training: no key
            InitStd = read.InitStd,
            BosTokenId = read.BosTokenId,
            EosTokenIds = read.EosTokenIds,
            TieWordEmbeddings = read.TieWordEmbeddings,
            FullAttentionLayers = [],
            Attention = c.Attention with { Window = 0, RopeScaling = null },
        };
        if (!(read with { Attention = read.Attention with { RopeScaling = null } }).Describes(plain))
            throw new ArgumentException($"a GGUF file of the architecture {a.Name} cannot describe this model");
    }
}
