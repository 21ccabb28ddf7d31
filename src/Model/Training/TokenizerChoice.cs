using System.Globalization;
using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Training;

/// <summary>Where a training run's tokenizer comes from, and what stands between two documents.</summary>
/// <param name="Separator">Ends a document: <see cref="EndOfText"/> where the tokenizer has it as a token, else a line break.</param>
/// <param name="Make">The tokenizer for a text; the same text gives the same one.</param>
public sealed record TokenizerChoice(string Separator, Func<string, Tokenizer> Make)
{
    /// <summary>Cuts documents apart in the training text, and ends a generated one.</summary>
    public const string EndOfText = "<|endoftext|>";

    /// <summary>One token per character that the text has.</summary>
    public static TokenizerChoice Characters { get; } = new("\n", Tokenizer.TrainCharacters);

    /// <summary>
    /// Byte-level BPE trained on the text: any text can be encoded; digits stand alone; documents end. Where the text has several,
    /// a prompt begins where another document ended, as they do.
    /// </summary>
    public static TokenizerChoice Bpe(int vocabSize) => new(EndOfText, text => BpeTrainer.Train(
        [text], vocabSize, [EndOfText], KnownWords.Trained, before: text.Contains(EndOfText, StringComparison.Ordinal) ? EndOfText : null));

    /// <summary>A choice from a word.</summary>
    /// <param name="text"><c>characters</c>, <c>bpe:SIZE</c>, the path of a tokenizer.json or of another of <see cref="TokenizerSource"/>'s files, or a folder with one.</param>
    /// <exception cref="ArgumentException">Neither; the message says what would do.</exception>
    /// <exception cref="Tensors.Checkpoints.CheckpointException">The file is no tokenizer that is supported.</exception>
    public static TokenizerChoice Parse(string text)
    {
        const string Kind = "bpe:";
        if (text == "characters")
            return Characters;
        if (text.StartsWith(Kind, StringComparison.Ordinal))
            return int.TryParse(text.AsSpan(Kind.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int size) && size is > 256 and <= 1 << 20
                ? Bpe(size)
                : throw new ArgumentException($"'{text}': the size of a byte-level vocabulary lies between 257 and 1048576, as in bpe:1024");
        TokenizerSource? source = File.Exists(text) ? TokenizerSource.Of(text) : Directory.Exists(text) ? TokenizerSource.Find(text) : null;
        if (source is null)
            throw new ArgumentException($"'{text}' is no tokenizer: give 'characters', 'bpe:SIZE', or the path of a file or of a folder with {TokenizerSource.Kinds}");
        Tokenizer tokenizer = source.Load();
        return new TokenizerChoice(tokenizer.IdOf(EndOfText) is null ? "\n" : EndOfText, _ => tokenizer);
    }
}
