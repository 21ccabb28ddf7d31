using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Gguf;

/// <summary>
/// A value of <c>tokenizer.ggml.pre</c>: what the tokenizers that it was made for do before their merges. The key names no pattern, so
/// only names whose pattern is known can be read.
/// </summary>
/// <param name="Name">What we write.</param>
/// <param name="Pattern">What a word is; null for GPT-2's.</param>
/// <param name="Aliases">Other names that mean the same.</param>
internal sealed record GgufPreTokenizer(string Name, string? Pattern, params string[] Aliases)
{
    /// <summary>Whether texts are brought into Unicode's form NFC first. llama.cpp does not, so texts in other forms get other ids there.</summary>
    public bool Nfc { get; init; }

    /// <summary>Whether digits are words of their own before the pattern cuts.</summary>
    public bool Digits { get; init; }

    /// <summary>Whether a word that is a token is that token, whatever its merges give.</summary>
    public bool IgnoreMerges { get; init; }

    /// <summary>Whether the token for the beginning goes before a text where the file does not say.</summary>
    public bool AddsBos { get; init; }

    public static IReadOnlyList<GgufPreTokenizer> All { get; } =
    [
        new("gpt-2", null, "phi-2", "gigachat", "a.x-4.0", "mellum", "modern-bert", "jais", "trillion", "granite-docling", "exaone4"),
        new("olmo", null, "mpt") { Nfc = true },
        new("dbrx", KnownWords.Gpt4, "smaug-bpe"),
        new("llama-bpe", KnownWords.Gpt4, "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2") { IgnoreMerges = true, AddsBos = true },
        new("qwen2", KnownWords.Qwen, "deepseek-r1-qwen", "kormo", "megrez") { Nfc = true },
        new("stablelm2", KnownWords.Qwen, "hunyuan", "solar-open"),
        new("tekken", KnownWords.Tekken) { IgnoreMerges = true, AddsBos = true },
        new("ufakzeka", KnownWords.Trained),
        new("starcoder", null, "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b") { Digits = true },
    ];

    public static GgufPreTokenizer? Find(string name) => All.FirstOrDefault(p => p.Name == name || p.Aliases.Contains(name));
}
