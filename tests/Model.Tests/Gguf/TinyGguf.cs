using MoeFromScratch.Contract;

namespace MoeFromScratch.Model.Tests.Gguf;

/// <summary>The smallest model of the architecture llama that a GGUF file can hold, written byte by byte: one layer, two columns, eight tokens.</summary>
internal static class TinyGguf
{
    private const int Normal = 1, Unknown = 2, Control = 3, Unused = 5;

    /// <param name="tokenizer">none, gpt2 or llama.</param>
    /// <param name="key">The metadata to write otherwise, or to add.</param>
    /// <param name="instead">How; null to leave the key out.</param>
    public static byte[] Bytes(string tokenizer = "none", string? key = null, Action<GgufBytes, string>? instead = null)
    {
        GgufBytes file = new();
        bool known = false;
        foreach ((string name, Action<GgufBytes, string> add) in Metadata(tokenizer))
            if (name != key)
                add(file, name);
            else
            {
                known = true;
                instead?.Invoke(file, name);
            }
        if (!known && key is not null)
            instead?.Invoke(file, key);
        file.Floats("token_embd.weight", [2, 8], [.. Enumerable.Range(0, 16).Select(static i => 0.25f * (i % 5 - 2))]).Floats("output_norm.weight", [2], 1, 1);
        foreach (string norm in (string[])["attn_norm", "ffn_norm"])
            file.Floats($"blk.0.{norm}.weight", [2], 1, 1);
        foreach (string matrix in (string[])["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"])
            file.Floats($"blk.0.{matrix}.weight", [2, 2], 1, 0.5f, -0.5f, 1);
        return file.Bytes();
    }

    private static IEnumerable<(string, Action<GgufBytes, string>)> Metadata(string tokenizer)
    {
        yield return ("general.architecture", static (f, k) => f.String(k, "llama"));
        foreach ((string key, uint value) in ((string, uint)[])[("context_length", 32), ("embedding_length", 2), ("block_count", 1), ("feed_forward_length", 2), ("attention.head_count", 1)])
            yield return ($"llama.{key}", (f, k) => f.U32(k, value));
        yield return ("llama.attention.layer_norm_rms_epsilon", static (f, k) => f.F32(k, 1e-5f));
        yield return ("llama.rope.freq_base", static (f, k) => f.F32(k, 10_000));
        if (tokenizer == "none")
            yield break;
        bool pieces = tokenizer == "llama";
        yield return ("tokenizer.ggml.model", (f, k) => f.String(k, tokenizer));
        yield return ("tokenizer.ggml.tokens", (f, k) => Texts(f, k, pieces ? "<unk> <s> </s> ▁ a b ab ▁a" : "a b ab Ġ <s> Ġa c [PAD7]"));
        yield return ("tokenizer.ggml.token_type", (f, k) => Ints(f, k, pieces ? [Unknown, Control, Control, Normal, Normal, Normal, Normal, Normal]
            : [Normal, Normal, Normal, Normal, Control, Normal, Normal, Unused]));
        yield return ("tokenizer.ggml.bos_token_id", (f, k) => f.U32(k, pieces ? 1u : 4));
        yield return ("tokenizer.ggml.eos_token_id", (f, k) => f.U32(k, pieces ? 2u : 4));
        yield return ("tokenizer.ggml.add_bos_token", static (f, k) => f.Value(k, 7, 1));
        if (pieces)
            yield return ("tokenizer.ggml.scores", static (f, k) => f.Array(k, 6, [.. ((float[])[0, 0, 0, -1, -2, -3, -0.5f, -0.25f]).Select(BitConverter.GetBytes)]));
        else
        {
            yield return ("tokenizer.ggml.pre", static (f, k) => f.String(k, "gpt-2"));
            yield return ("tokenizer.ggml.merges", static (f, k) => f.Array(k, 8, GgufBytes.Text("a b"), GgufBytes.Text("Ġ a")));
        }
    }

    public static void Texts(GgufBytes file, string key, string spaced) => file.Array(key, 8, [.. spaced.Split(' ').Select(GgufBytes.Text)]);

    public static void Ints(GgufBytes file, string key, params int[] values) => file.Array(key, 5, [.. values.Select(BitConverter.GetBytes)]);
}
