namespace MoeFromScratch.Bench.Gpu;

/// <summary>A layer of gated experts.</summary>
/// <param name="Hidden">D</param>
/// <param name="Width">F</param>
internal sealed record MoeShape(string Name, int Hidden, int Width, int Experts, int TopK);

/// <summary>How large everything is.</summary>
/// <param name="Seconds">How long a kernel is repeated for one figure.</param>
/// <param name="Copied">Elements of the copy that is the memory's ceiling.</param>
/// <param name="Square">Sides of the product that is the arithmetic's.</param>
internal sealed record Sizes(
    double Seconds, int Copied, int Square, int Hidden, int Wide, int Tokens, int[] MoeTokens, int Vocabulary, int Heads, int KvHeads, int HeadDim, MoeShape[] Moe,
    string[] Models, int Prompt, int Decoded)
{
    public static Sizes Full { get; } = new(
        0.05, 1 << 28, 4096, 4096, 14336, 4096, [1, 8, 512, 4096], 32000, 32, 8, 128,
        [
            new("Mixtral 8x7B", 4096, 14336, 8, 2),
            new("OLMoE 1B-7B", 2048, 1024, 64, 8),
            new("Qwen3-30B-A3B", 2048, 768, 128, 8),
        ],
        ["S", "M"], 512, 64);

    public static Sizes Small { get; } = new(0, 256, 64, 32, 48, 12, [1, 12], 40, 2, 1, 16, [new("a small layer", 32, 48, 4, 2)], ["T"], 1, 1);
}
