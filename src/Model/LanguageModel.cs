using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Gguf;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model;

/// <summary>A model with what belongs to it: its family, its parameters and its tokenizer; loaded from a folder or made anew.</summary>
public sealed class LanguageModel : IDisposable
{
    internal const string ConfigFile = "config.json", WeightsFile = "model.safetensors";
    internal static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    private readonly TensorFiles? _files;
    private readonly ConfigJson _json;
    private readonly TokenizerSource? _tokenizerSource;
    private GgufModel? _gguf;
    private Tokenizer? _tokenizer;

    private LanguageModel(Family family, ConfigJson json, ModelConfig config, WeightStore weights, TensorFiles? files, TokenizerSource? tokenizer)
    {
        (Family, _json, Weights, _files, _tokenizerSource) = (family, json, weights, files, tokenizer);
        Transformer = new Transformer(config, weights);
    }

    public Family Family { get; }
    public Transformer Transformer { get; }
    public ModelConfig Config => Transformer.Config;
    public WeightStore Weights { get; }
    public IBackend Backend => Weights.Backend;

    /// <summary>How the checkpoint's authors want it sampled.</summary>
    public GenerationDefaults Generation { get; private init; } = new();

    /// <summary>Where it was loaded from; null for a new model.</summary>
    internal string? Folder { get; private init; }

    /// <summary>Null where the checkpoint has none. Read when first asked for, since token ids do without.</summary>
    /// <exception cref="CheckpointException">A tokenizer of a kind that is not supported.</exception>
    public Tokenizer? Tokenizer => _tokenizer ??= _tokenizerSource is not null ? Fitting(_tokenizerSource.Load(), _tokenizerSource.Path)
        : _gguf is not null ? Fitting(GgufTokenizer.Read(_gguf.Metadata), _gguf.Metadata.Path) : null;

    /// <summary>How a conversation becomes a text, in the Jinja that comes with the checkpoint; null where there is none.</summary>
    /// <exception cref="CheckpointException">The file that has it is broken.</exception>
    internal string? ChatTemplate => _gguf is null ? Folder is null ? null : Model.ChatTemplate.Find(Folder)
        : _gguf.Metadata.Has(GgufTokenizer.Template) ? _gguf.Metadata.String(GgufTokenizer.Template) : null;

    /// <summary>Reads a checkpoint folder, or a GGUF file.</summary>
    /// <param name="trainable">Widen the parameters to F32 and give each a gradient; otherwise they stay mapped as they are stored.</param>
    /// <param name="routing">Another choice of experts for this run; null for the checkpoint's own.</param>
    /// <exception cref="CheckpointException">A file is missing or breaks a rule; the message names it and the tensor or key.</exception>
    /// <exception cref="ArgumentException">The routing does not fit the model.</exception>
    public static LanguageModel Load(string folder, IBackend backend, bool trainable = false, RoutingOptions? routing = null)
    {
        if (File.Exists(folder) && folder.EndsWith(GgufModel.Extension, StringComparison.OrdinalIgnoreCase))
            return LoadGguf(folder, backend, trainable, routing);
        if (!Directory.Exists(folder))
            throw new CheckpointException($"'{folder}'", File.Exists(folder) ? $"a checkpoint is a folder or a {GgufModel.Extension} file, this is another file" : "there is no such folder");
        ConfigJson json = ConfigJson.Read(Path.Combine(folder, ConfigFile));
        Family family = Family.Recognise(json);
        ModelConfig config = family.Read(json);
        config = routing?.Apply(config) ?? config;
        GenerationDefaults generation = GenerationDefaults.Read(folder);
        TokenizerSource? tokenizer = TokenizerSource.Find(folder);

        TensorFiles files = TensorFiles.Open(folder);
        CheckpointWeights source = new(files, family, json);
        WeightStore weights = new(backend, source, trainable);
        LanguageModel? model = null;
        try
        {
            model = new LanguageModel(family, json, config, weights, files, tokenizer)
            {
                Generation = generation,
                Folder = folder,
            };
            source.RequireAllUsed(config);
            return model;
        }
        catch (Exception e)
        {
            model?.Transformer.Dispose();
            weights.Dispose();
            files.Dispose();
            if (e is ArgumentException && routing is null or { IsEmpty: true })     // otherwise it may be the routing's
                throw new CheckpointException(json.Path, e.Message, inner: e);
            throw;
        }
    }

    private static LanguageModel LoadGguf(string path, IBackend backend, bool trainable, RoutingOptions? routing)
    {
        GgufModel source = GgufModel.Open(path);
        WeightStore weights = new(backend, source, trainable);
        LanguageModel? model = null;
        try
        {
            ModelConfig config = source.ReadConfig();
            config = routing?.Apply(config) ?? config;
            model = new LanguageModel(source.Family, source.Json, config, weights, null, null) { _gguf = source };
            source.RequireAllUsed(config);
            return model;
        }
        catch (Exception e)
        {
            model?.Transformer.Dispose();
            weights.Dispose();
            source.Dispose();
            if (e is ArgumentException && routing is null or { IsEmpty: true })     // otherwise it may be the routing's
                throw new CheckpointException(path, e.Message, inner: e);
            throw;
        }
    }

    /// <summary>A new trainable model with drawn parameters.</summary>
    public static LanguageModel Create(IBackend backend, Family family, ModelConfig config, ulong seed, Tokenizer? tokenizer = null) =>
        Create(backend, family, config, new RandomWeights(seed), trainable: true, tokenizer);

    /// <summary>A new model with parameters from elsewhere.</summary>
    /// <param name="folder">A checkpoint whose tokenizer's and generation's files go with it when it is saved; null for none.</param>
    public static LanguageModel Create(IBackend backend, Family family, ModelConfig config, IWeightSource source, bool trainable, Tokenizer? tokenizer = null,
        string? folder = null)
    {
        WeightStore weights = new(backend, source, trainable);
        try
        {
            ConfigJson json = ConfigJson.Parse(ConfigFile, family.Write(config).ToJsonString(Indented));
            return new LanguageModel(family, json, config, weights, null, null) { _tokenizer = tokenizer, Folder = folder };
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Writes config.json, model.safetensors and, where there is one, the tokenizer's files, and what else belonged to the checkpoint that it
    /// was loaded from, each flushed and then replaced as a whole; a tokenizer of another kind that would be taken for ours goes first. The
    /// weights come last, so that a folder with weights is a complete one.
    /// </summary>
    /// <param name="type">What to store parameters in; null for what they were loaded from, F32 once they could change. Buffers keep their type.</param>
    public void Save(string folder, DType? type = null)
    {
        Directory.CreateDirectory(folder);
        Write(Path.Combine(folder, ConfigFile), Encoding.UTF8.GetBytes(ConfigFor(type)));
        IReadOnlyList<TokenizerFile> tokenizer = TokenizerFiles;
        if (tokenizer.Count > 0 && tokenizer[0].Name != Tokenizer.FileName)
            foreach (string other in TokenizerSource.FilesIn(folder).Where(path => tokenizer.All(file => file.Name != Path.GetFileName(path))).ToArray())
                File.Delete(other);
        if (Folder is not null)
            Companions.Copy(Folder, folder);
        foreach (TokenizerFile file in tokenizer)
            Write(Path.Combine(folder, file.Name), file.Bytes);
        List<(string, Tensor)> tensors = [.. Buffers()];
        foreach (Tensor p in Weights.All)
            tensors.Add((Family.NameInFile(p.Name!), Weights.Stored(p, type)));
        foreach (Tensor b in Weights.Buffers)
            tensors.Add((Family.NameInFile(b.Name!), Weights.Stored(b)));
        SafetensorsWriter.Write(Path.Combine(folder, WeightsFile), tensors, new Dictionary<string, string> { ["format"] = "pt" });
    }

    /// <summary>config.json, as loaded or as a folder with this model has it.</summary>
    internal string ConfigText => _json.Text;

    /// <summary>The tensors of what was loaded, by its own names.</summary>
    internal IReadOnlyList<string> NamesInSource => _files?.Names ?? [.. _gguf?.Names ?? []];

    /// <summary>The name in what was loaded of a parameter with our path.</summary>
    internal string NameInSource(string path) => _gguf is null ? Family.NameInFile(path) : GgufNames.Theirs(path)!.Value.Name;

    /// <summary>Whether a tensor of what was loaded is no parameter: a buffer, a copy of a tied matrix, a part of the configuration.</summary>
    internal bool IsComputed(string nameInSource) => _gguf is not null ? nameInSource == GgufNames.RopeFactors
        : Family.Ignores(nameInSource, _json) || (Config.TieWordEmbeddings && nameInSource == "lm_head.weight");

    /// <summary>SHA-256 of what the weights mean.</summary>
    public (string Config, string Tokenizer) Fingerprints =>
        (Hash(Encoding.UTF8.GetBytes(_json.Text)), Hash([.. TokenizerFiles.SelectMany(static file => file.Bytes)]));

    private static string Hash(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));

    public void Dispose()
    {
        Transformer.Dispose();
        Weights.Dispose();
        _files?.Dispose();
        _gguf?.Dispose();
    }

    /// <summary>The config as it was read or made, less what it says of the parameters' type where they are stored in another.</summary>
    private string ConfigFor(DType? type)
    {
        string? stored = (type ?? (Weights.All.Any(static p => p.RequiresGrad) ? DType.F32 : null)) switch
        {
            DType.F32 => "float32",
            DType.BF16 => "bfloat16",
            DType.F16 => "float16",
            _ => null,
        };
        if (stored is null || JsonNode.Parse(_json.Text) is not JsonObject json)
            return _json.Text;
        bool changed = false;
        foreach (string key in new[] { "torch_dtype", "dtype" })
            if (json[key] is JsonValue value && value.GetValueKind() == JsonValueKind.String && value.GetValue<string>() != stored)
                (json[key], changed) = (stored, true);
        return changed ? json.ToJsonString(Indented) : _json.Text;
    }

    /// <summary>The files that make its tokenizer, to the letter where it was loaded; none where it has none.</summary>
    internal IReadOnlyList<TokenizerFile> TokenizerFiles => _tokenizerSource?.Read() ?? Tokenizer?.Files ?? [];

    /// <summary>A loaded checkpoint's own, to the last bit; a new model's as the family computes them.</summary>
    private IEnumerable<(string, Tensor)> Buffers() => _files is { } files
        ? files.Names.Where(name => Family.Ignores(name, _json)).Select(name => (name, files.Get(name)))
        : Family.Buffers(Config).Select(static b => (b.NameInFile, Host(b.Values)));

    private Tokenizer? Fitting(Tokenizer? tokenizer, string file) => tokenizer is null || tokenizer.VocabSize <= Config.VocabSize
        ? tokenizer
        : throw new CheckpointException(file, $"has {tokenizer.VocabSize} tokens, the model's vocabulary {Config.VocabSize}");

    private static Tensor Host(float[] values)
    {
        Tensor host = new([values.Length], DType.F32, new NativeStorage(values.Length * sizeof(float)));
        values.CopyTo(host.Floats);
        return host;
    }

    private static void Write(string path, byte[] content)
    {
        string temporary = path + ".tmp";
        using (FileStream stream = new(temporary, FileMode.Create, FileAccess.Write))
        {
            stream.Write(content);
            stream.Flush(flushToDisk: true);
        }
        File.Move(temporary, path, overwrite: true);
    }
}
