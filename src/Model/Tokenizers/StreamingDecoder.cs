using System.Text;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>Ids to text while they come: what has been appended, joined, is what <see cref="Tokenizer.Decode"/> gives for all of them.</summary>
public sealed class StreamingDecoder
{
    private readonly Tokenizer _tokenizer;
    private readonly StringBuilder _text = new();
    private readonly Decoder[] _steps;

    public StreamingDecoder(Tokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        _steps = tokenizer.MakeDecoders((text, _) => _text.Append(text));
    }

    /// <summary>The text that this id completes; empty while a character still lacks bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is not in the vocabulary.</exception>
    public string Append(int id)
    {
        string token = _tokenizer.Token(id);
        if (_steps.Length == 0)
            return token;
        _steps[0].Push(token, true);
        return Take();
    }

    /// <summary>What is left: an unfinished character as U+FFFD. Nothing may be appended afterwards.</summary>
    public string End()
    {
        foreach (Decoder step in _steps)
            step.End();
        return Take();
    }

    private string Take()
    {
        string text = _text.ToString();
        _text.Clear();
        return text;
    }
}
