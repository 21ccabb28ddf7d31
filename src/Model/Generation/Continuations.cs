using System.Runtime.InteropServices;
using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Generation;

/// <summary>
/// Prompts that are continued together: each is fed by itself, then all that still go on take a step at a time. A text that
/// outgrows the context goes on from the last half of it.
/// </summary>
internal sealed class Continuations
{
    /// <summary>One text as it grows.</summary>
    private sealed class Text(int index, IReadOnlyList<int> prompt, GenerateOptions options, Tokenizer? tokenizer)
    {
        private readonly StreamingDecoder? _decoder = Decoder(prompt, tokenizer);
        private readonly StopStrings _stop = new(options.Stop);

        public int Index => index;
        public List<int> Tokens { get; } = [.. prompt];
        public Sampler Sampler { get; } = Aware(prompt, options.Sampler with { Seed = unchecked(options.Sampler.Seed + (ulong)index) });

        /// <summary>First token that the model still sees.</summary>
        public int Start { get; set; }

        public bool Ended { get; set; }

        public TextPiece Push(GeneratedToken token)
        {
            Tokens.Add(token.Id);
            Sampler.See(token.Id);
            string text = _decoder is not null && tokenizer!.Contains(token.Id) ? _stop.Push(_decoder.Append(token.Id)) : "";
            Ended = _stop.Stopped || Tokens.Count - prompt.Count == options.MaxNewTokens;
            return new TextPiece(text, token);
        }

        public TextPiece End() => new(_decoder is null || _stop.Stopped ? "" : _stop.Push(_decoder.End()) + _stop.Flush(), null);

        private static Sampler Aware(IReadOnlyList<int> prompt, SamplerOptions options)
        {
            Sampler sampler = new(options);
            sampler.See([.. prompt]);
            return sampler;
        }

        private static StreamingDecoder? Decoder(IReadOnlyList<int> prompt, Tokenizer? tokenizer)
        {
            if (tokenizer is null)
                return null;
            StreamingDecoder decoder = new(tokenizer);
            foreach (int id in prompt.Where(tokenizer.Contains))     // a model's vocabulary may be padded with ids that mean no text
                decoder.Append(id);                                  // the text goes on where the prompt ends
            return decoder;
        }
    }

    private readonly LanguageModel _model;
    private readonly GenerateOptions _options;
    private readonly Text[] _texts;
    private readonly int _capacity;
    private readonly IReadOnlyList<int> _eos;

    public Continuations(LanguageModel model, IReadOnlyList<IReadOnlyList<int>> prompts, GenerateOptions options, Tokenizer? tokenizer)
    {
        (_model, _options) = (model, options);
        _texts = [.. prompts.Select((prompt, i) => new Text(i, prompt, options, tokenizer) { Ended = options.MaxNewTokens == 0 })];
        _capacity = (int)Math.Min((long)prompts.Max(static p => p.Count) + options.MaxNewTokens, model.Config.MaxPositions);
        _eos = options.IgnoreEos ? [] : model.Generation.EosTokenIds is { Count: > 0 } theirs ? theirs : model.Config.EosTokenIds;
    }

    public IEnumerable<(int Prompt, TextPiece Piece)> Run()
    {
        int[] tasks = _options.Task is { } task ? [.. Enumerable.Repeat(task, _texts.Length)] : [];
        using Generator generator = new(_model.Transformer, _model.Backend, _capacity, _texts.Length, _options.CacheType, tasks);
        List<(int, TextPiece)> pieces = [];
        foreach (Text text in _texts.Where(static t => t.Ended))
            yield return (text.Index, text.End());
        while (Array.Exists(_texts, static t => !t.Ended))
        {
            Round(generator, pieces);
            foreach ((int, TextPiece) piece in pieces)
                yield return piece;
            pieces.Clear();
        }
    }

    /// <summary>One more token for every text that goes on.</summary>
    private void Round(Generator generator, List<(int, TextPiece)> pieces)
    {
        List<Text> step = [];
        foreach (Text text in _texts.Where(static t => !t.Ended))
        {
            if (text.Tokens.Count - text.Start > _capacity)
                text.Start = text.Tokens.Count - Math.Max(_capacity / 2, 1);
            int length = text.Tokens.Count - text.Start, cached = generator.Length(text.Index);
            if (_options.NoCache || cached >= length || !ReferenceEquals(Form(cached), Form(length)))
                generator.Clear(text.Index);    // what is cached was turned for a shorter context
            ReadOnlySpan<int> unseen = CollectionsMarshal.AsSpan(text.Tokens)[(text.Start + generator.Length(text.Index))..];
            if (unseen.Length == 1)
                step.Add(text);
            else
            {
                generator.Feed(unseen, text.Index);
                Take([text], generator, pieces);
            }
        }
        foreach (IGrouping<RopeScaling?, Text> alike in step.GroupBy(text => Form(text.Tokens.Count - text.Start)))
            Step([.. alike], generator, pieces);
    }

    private RopeScaling? Form(int context) => _model.Config.Attention.RopeScaling?.In(context);

    private void Step(List<Text> step, Generator generator, List<(int, TextPiece)> pieces)
    {
        generator.Step([.. step.Select(static t => t.Tokens[^1])], [.. step.Select(static t => t.Index)]);
        Take(step, generator, pieces);
    }

    /// <summary>The next tokens of the texts whose last ones were just fed.</summary>
    private void Take(List<Text> texts, Generator generator, List<(int, TextPiece)> pieces)
    {
        ReadOnlySpan<int> next = generator.Sample([.. texts.Select(static t => t.Sampler)]);
        foreach ((int i, Text text) in texts.Index())
        {
            if (_eos.Contains(next[i]))
                text.Ended = true;
            else
            {
                int[] experts = new int[generator.MoeLayers];
                generator.CountExperts(experts, i);
                pieces.Add((text.Index, text.Push(new GeneratedToken(next[i], experts))));
            }
            if (text.Ended)
                pieces.Add((text.Index, text.End()));
        }
    }
}
