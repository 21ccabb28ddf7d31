using System.Text.Json.Nodes;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Conversion;

/// <summary>Writes a checkpoint as a folder of safetensors.</summary>
internal static class FolderExport
{
    private const long LargestShard = 5_000_000_000;

    private static readonly string[] Types = ["torch_dtype", "dtype"];

    /// <returns>What is otherwise than asked for, a line each.</returns>
    public static IReadOnlyList<string> Write(LanguageModel model, string source, string folder, ConversionOptions options,
        Func<IReadOnlyList<PlannedTensor>, IReadOnlyList<PlannedTensor>> wrap)
    {
        List<string> notes = [];
        Directory.CreateDirectory(folder);
        bool fromFolder = Directory.Exists(source);
        List<PlannedTensor> tensors = fromFolder ? SameNames(source, options, notes, out TensorFiles? files) : OurNames(model, options, out files);
        using (files)
            SafetensorsWriter.WriteSharded(folder, wrap(tensors), LargestShard, new Dictionary<string, string> { ["format"] = "pt" });
        File.WriteAllText(Path.Combine(folder, LanguageModel.ConfigFile), Config(model, options.To));
        if (fromFolder)
            CopyOthers(source, folder, options.Tokenizer);
        else
            WriteTokenizer(model, folder, options.Tokenizer);
        return notes;
    }

    /// <summary>A folder's tensors under their names, buffers and all; what is no float stays what it is.</summary>
    private static List<PlannedTensor> SameNames(string source, ConversionOptions options, List<string> notes, out TensorFiles files)
    {
        TensorFiles open = files = TensorFiles.Open(source);
        return [.. open.Names.Select(name =>
        {
            Tensor x = open.Get(name);
            DType type = options.To is { } to && TensorConversion.CanBecome(to, x.DType, x.Shape) ? to : x.DType;
            if (options.To is not null && type != options.To)
                notes.Add($"{name} stays {type}");
            return new PlannedTensor(name, type, x.Shape, stream => TensorConversion.Write(stream, x, type));
        })];
    }

    /// <summary>A GGUF file's parameters under their family's names.</summary>
    private static List<PlannedTensor> OurNames(LanguageModel model, ConversionOptions options, out TensorFiles? files)
    {
        files = null;
        return [.. model.Weights.All.Concat(model.Weights.Buffers).Select(p =>
        {
            DType stored = model.Weights.StoredType(p), type = options.To ?? (stored.IsQuantised() ? DType.F32 : stored);
            return new PlannedTensor(model.Family.NameInFile(p.Name!), type, p.Shape, stream => TensorConversion.Write(stream, model.Weights.OnHost(p), type));
        })];
    }

    /// <summary>config.json, its type that of the weights.</summary>
    private static string Config(LanguageModel model, DType? to)
    {
        JsonObject json = JsonNode.Parse(model.ConfigText)!.AsObject();
        foreach (string key in Types)
            if (to is not null && json.ContainsKey(key))
                json[key] = to == DType.F32 ? "float32" : to == DType.F16 ? "float16" : "bfloat16";
        return json.ToJsonString(LanguageModel.Indented);
    }

    /// <summary>What belongs to a model beside its weights: tokenizer, sampling defaults, chat template.</summary>
    private static void CopyOthers(string source, string folder, bool tokenizer)
    {
        foreach (string path in Directory.EnumerateFiles(source))
        {
            string name = Path.GetFileName(path);
            if (IsCompanion(name) || (IsTokenizer(name) && tokenizer))
                File.Copy(path, Path.Combine(folder, name), overwrite: true);
        }
    }

    /// <summary>Whether a name is that of a model's file, which may go when the model is replaced.</summary>
    public static bool IsPart(string name) => name == LanguageModel.ConfigFile || IsCompanion(name) || IsTokenizer(name)
        || (name.StartsWith("model", StringComparison.Ordinal) || name.StartsWith("pytorch_model", StringComparison.Ordinal))
        && (name.EndsWith(".safetensors", StringComparison.Ordinal) || name.EndsWith(".bin", StringComparison.Ordinal) || name.EndsWith(".index.json", StringComparison.Ordinal));

    private static bool IsCompanion(string name) =>
        name is "generation_config.json" or "README.md" or "LICENSE" or "chat_template.json" || name.EndsWith(".jinja", StringComparison.Ordinal);

    private static bool IsTokenizer(string name) => name is "vocab.json" or "merges.txt" or "vocab.txt" or "special_tokens_map.json" or "added_tokens.json"
        or "encoder.json" or "vocab.bpe" || name.StartsWith("tokenizer", StringComparison.Ordinal) || name.EndsWith(".tiktoken", StringComparison.Ordinal);

    private static void WriteTokenizer(LanguageModel model, string folder, bool tokenizer)
    {
        try
        {
            if (tokenizer)
                foreach (TokenizerFile file in model.Tokenizer?.Files ?? [])
                    File.WriteAllBytes(Path.Combine(folder, file.Name), file.Bytes);
        }
        catch (CheckpointException e)
        {
            throw new ArgumentException($"{e.Message}; leave the tokenizer out with --no-tokenizer", e);
        }
        if (model.ChatTemplate is { } template)
            File.WriteAllText(Path.Combine(folder, ChatTemplate.FileName), template);
    }
}
