using MoeFromScratch.Model.Gguf;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Conversion;

/// <summary>
/// Checkpoints from one format into another: a folder or a GGUF file into a folder of safetensors or a GGUF file. The result is
/// made beside its place, held against the source, tensor by tensor in names and as a model in numbers, and then takes the place.
/// </summary>
public static class Converter
{
    private const string Unfinished = ".part", Replaced = ".old";

    /// <param name="source">A checkpoint's folder, or a GGUF file.</param>
    /// <param name="target">A folder, or a file whose name ends in .gguf.</param>
    /// <param name="progress">Told the tensors written so far, and how many there are.</param>
    /// <exception cref="ArgumentException">The target exists, or its format has no words for the model.</exception>
    /// <exception cref="CheckpointException">The source cannot be read.</exception>
    /// <exception cref="ArithmeticException">The source's logits are not numbers, or the result's are not, whose type holds no weights that large.</exception>
    /// <exception cref="IOException">The result cannot be written; nothing is left behind.</exception>
    /// <exception cref="OperationCanceledException">Stopped; nothing is left behind.</exception>
    public static ConversionReport Convert(string source, string target, ConversionOptions options, IBackend backend,
        Action<int, int>? progress = null, CancellationToken stop = default)
    {
        bool toFile = IsGguf(target);
        RequireTarget(source, target, toFile, options);
        string place = Path.GetFullPath(target).TrimEnd(Path.DirectorySeparatorChar);
        string made = toFile ? place[..^GgufModel.Extension.Length] + Unfinished + GgufModel.Extension : place + Unfinished;
        RequireFree(made);
        if (!toFile)
            RequireFree(place + Replaced);
        try
        {
            Track track = new(progress, stop);
            using LanguageModel before = LanguageModel.Load(source, backend);
            IReadOnlyList<string> notes;
            try
            {
                notes = toFile ? GgufExport.Write(before, made, options.To, options.Tokenizer, track.Wrap) : FolderExport.Write(before, source, made, options, track.Wrap);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new IOException($"{target} cannot be written: {e.Message}", e);
            }
            stop.ThrowIfCancellationRequested();
            ConversionReport report = Check(before, source, made, notes, options, backend);
            stop.ThrowIfCancellationRequested();
            if (report.Missing.Count == 0)
                Replace(made, place, toFile);
            return report;
        }
        finally
        {
            Discard(made);
        }
    }

    internal static bool IsGguf(string path) => path.EndsWith(GgufModel.Extension, StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a name is that of a file that belongs to a model's folder.</summary>
    public static bool IsPart(string name) => FolderExport.IsPart(name);

    /// <summary>Only what this run has made is ever removed.</summary>
    private static void RequireFree(string path)
    {
        if (Path.Exists(path))
            throw new ArgumentException($"{path} is in the way, left by a conversion that was killed or put there by you: remove or rename it");
    }

    private static void RequireTarget(string source, string target, bool toFile, ConversionOptions options)
    {
        if (RealPath.Holds(target, source))
            throw new ArgumentException($"{target} {(RealPath.Of(target) == RealPath.Of(source) ? "is" : "holds")} the source; choose another place for the result");
        if (toFile ? Directory.Exists(target) : File.Exists(target))
            throw new ArgumentException($"{target} is a {(toFile ? "folder" : "file")}, but the result is a {(toFile ? "file" : "folder")}");
        if (!options.Overwrite && (toFile ? File.Exists(target) : Directory.Exists(target) && Directory.EnumerateFileSystemEntries(target).Any()))
            throw new ArgumentException($"{target} is there already; replace it with --overwrite, or choose another place");
        if (!toFile && Directory.Exists(target) && Directory.EnumerateFileSystemEntries(target).Select(static path => Path.GetFileName(path)).ToArray() is [_, ..] names)
        {
            if (!names.Contains(LanguageModel.ConfigFile))
                throw new ArgumentException($"{target} holds something other than a model; choose another folder");
            if (names.FirstOrDefault(name => Directory.Exists(Path.Combine(target, name)) || !FolderExport.IsPart(name)) is { } other)
                throw new ArgumentException($"{target} holds {other} beside a model, which would be gone: move it, or choose another folder");
        }
        if (!toFile && options.To is { } type && !type.IsWeight())
            throw new ArgumentException($"safetensors files hold F32, F16 and BF16, not {type}; a result whose name ends in {GgufModel.Extension} can hold it");
    }

    /// <summary>Opens the result, looks for every tensor of the source in it by name, and runs both.</summary>
    private static ConversionReport Check(LanguageModel before, string source, string made, IReadOnlyList<string> notes, ConversionOptions options, IBackend backend)
    {
        using LanguageModel after = LanguageModel.Load(made, backend);
        HashSet<string> present = [.. after.Weights.All.Concat(after.Weights.Buffers).Select(static p => p.Name!)];
        (int count, List<string> missing) = Missing(before, present);
        return new ConversionReport(count, missing, notes, Size(made), missing.Count == 0 ? Sample.Compare(before, after, options.NewTokens) : null);
    }

    /// <summary>The source's tensors, by its names for them, with a parameter that the result has not.</summary>
    internal static (int Count, List<string> Missing) Missing(LanguageModel before, IReadOnlySet<string> present)
    {
        ILookup<string, string> parameters = before.Weights.All.Concat(before.Weights.Buffers)
            .ToLookup(p => before.NameInSource(p.Name!), static p => p.Name!);
        List<string> missing = [];
        IReadOnlyList<string> names = before.NamesInSource;
        foreach (string name in names)
            if (!before.IsComputed(name) && (!parameters[name].Any() || parameters[name].Any(p => !present.Contains(p))))
                missing.Add(name);
        return (names.Count, missing);
    }

    private static long Size(string made) => File.Exists(made) ? new FileInfo(made).Length
        : Directory.EnumerateFiles(made).Sum(static file => new FileInfo(file).Length);

    private static void Replace(string made, string place, bool toFile)
    {
        if (toFile)
        {
            File.Move(made, place, overwrite: true);
            return;
        }
        string old = place + Replaced;
        if (Directory.Exists(place))
            Directory.Move(place, old);
        Directory.Move(made, place);
        Discard(old);
    }

    private static void Discard(string path)
    {
        if (Directory.Exists(path))
            Directory.Delete(path, recursive: true);
        else if (File.Exists(path))
            File.Delete(path);
    }

    /// <summary>Reports each tensor that was written, and stops between two.</summary>
    private sealed class Track(Action<int, int>? progress, CancellationToken stop)
    {
        public IReadOnlyList<PlannedTensor> Wrap(IReadOnlyList<PlannedTensor> tensors)
        {
            int done = 0;
            return [.. tensors.Select(t => t with
            {
                Write = stream =>
                {
                    stop.ThrowIfCancellationRequested();
                    t.Write(stream);
                    progress?.Invoke(++done, tensors.Count);
                },
            })];
        }
    }
}
