namespace MoeFromScratch.Model.Tokenizers;

/// <summary>What a word is in well-known vocabularies, as regular expressions.</summary>
internal static class KnownWords
{
    private const string Endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", Letters = @"[^\r\n\p{L}\p{N}]?\p{L}+", Rest = @" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string Upper = @"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", Lower = @"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", Before = @"[^\r\n\p{L}\p{N}]?";
    private const string RestWithSlash = @" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>GPT-4's and Llama 3's: up to three digits are a word.</summary>
    public const string Gpt4 = $@"{Endings}|{Letters}|\p{{N}}{{1,3}}|{Rest}";

    /// <summary>Qwen's: the same with single digits.</summary>
    public const string Qwen = $@"{Endings}|{Letters}|\p{{N}}|{Rest}";

    /// <summary>Those of the vocabularies that are trained here: Qwen's without English endings after an apostrophe.</summary>
    public const string Trained = $@"{Letters}|\p{{N}}|{Rest}";

    /// <summary>GPT-4o's: words of two cases part where the case rises.</summary>
    public const string Gpt4o = $@"{Before}{Upper}*{Lower}+{Endings}?|{Before}{Upper}+{Lower}*{Endings}?|\p{{N}}{{1,3}}|{RestWithSlash}";

    /// <summary>Mistral's Tekken: the same without endings, and with single digits.</summary>
    public const string Tekken = $@"{Before}{Upper}*{Lower}+|{Before}{Upper}+{Lower}*|\p{{N}}|{RestWithSlash}";
}
