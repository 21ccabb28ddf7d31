using System.Globalization;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Upcycling;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Training;

/// <summary>
/// The folder of a run. <c>checkpoint-000500/</c> holds everything after step 500: the model as it is exported and
/// <c>state.safetensors</c>, from which the run goes on. The folder itself is a checkpoint too, the newest model.
/// <para>
/// No moment leaves a checkpoint that does not load, however the process ends. A numbered folder is written under another
/// name, each file flushed, and gets its name when it is complete; it loses the name before it is deleted. The folder's own
/// files are replaced one by one, each as a whole, and only the weights ever change (and, with them, the type they are stored in).
/// </para>
/// </summary>
/// <param name="limit">Numbered checkpoints to keep, the newest ones; at least 1.</param>
/// <param name="export">What models are stored in; the state from which a run goes on is F32 always.</param>
public sealed class TrainingFolder(string path, int limit, DType export = DType.F32)
{
    private const string Prefix = "checkpoint-", StateFile = "state.safetensors";
    private const string Saving = ".saving", Deleting = ".deleting";   // names that no reader takes for a checkpoint

    /// <summary>A step whose checkpoint is kept beside the newest ones; null for none.</summary>
    public int? Kept { get; set; }

    public string LogFile => Path.Combine(path, "train.jsonl");

    /// <summary>Whether there is a model, whole, sharded or in part, or a checkpoint that a new run would replace.</summary>
    public bool IsUsed => Checkpoints().Count > 0 || ModelFiles().Any();

    /// <summary>The newest numbered checkpoint, or null.</summary>
    public string? Newest => Checkpoints().LastOrDefault().Folder;

    /// <summary>The folder's own model: its weights, in one file or in shards with an index, then what describes them.</summary>
    private IEnumerable<string> ModelFiles() => !Directory.Exists(path) ? []
        :
        [
            .. Directory.EnumerateFiles(path, "model*.safetensors"), .. Directory.EnumerateFiles(path, "model*.index.json"),
            .. Directory.EnumerateFiles(path, "pytorch_model*.bin"), .. Directory.EnumerateFiles(path, "pytorch_model*.index.json"),
            .. Directory.EnumerateFiles(path, "config.json"), .. TokenizerSource.FilesIn(path),
        ];

    /// <summary>Makes the folder, and removes an earlier run: first what makes it a checkpoint.</summary>
    public void Start()
    {
        Directory.CreateDirectory(path);
        foreach ((_, string folder) in Checkpoints())
            Remove(folder);
        foreach (string file in ModelFiles().Concat(Companions.Names.Append(Receipt.FileName).Select(name => Path.Combine(path, name))))
            File.Delete(file);
        RemoveLeftovers();
    }

    /// <summary>Continues from the newest checkpoint, if there is one.</summary>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="Tensors.Checkpoints.CheckpointException">As for <see cref="Trainer.LoadState"/>.</exception>
    /// <exception cref="ArgumentException">There is a model without a state to continue from.</exception>
    public bool Resume(Trainer trainer)
    {
        if (Newest is not { } folder)
            return !IsUsed ? false : throw new ArgumentException($"{path} holds a model, but no {Prefix}N with a {StateFile} to resume from");
        trainer.LoadState(Path.Combine(folder, StateFile));
        RemoveLeftovers();
        trainer.Model.Save(path, export);       // the process may have ended between the numbered folder and this
        return true;
    }

    /// <summary>Saves the run as it is now, then deletes the checkpoints beyond the limit.</summary>
    /// <exception cref="ArithmeticException">A parameter is not finite; nothing was saved or deleted.</exception>
    public void Save(Trainer trainer)
    {
        string temporary = Path.Combine(path, Saving);
        string folder = FolderOf(trainer.StepsTaken);
        if (Directory.Exists(folder))
            return;
        RemoveLeftovers();
        Directory.CreateDirectory(temporary);
        trainer.SaveState(Path.Combine(temporary, StateFile));
        trainer.Model.Save(temporary, export);
        Directory.Move(temporary, folder);
        trainer.Model.Save(path, export);
        foreach ((int step, string old) in Checkpoints().SkipLast(limit))
            if (step != Kept)
                Remove(old);
    }

    /// <summary>Whether there is a numbered checkpoint of a step.</summary>
    public bool Has(int step) => Directory.Exists(FolderOf(step));

    /// <summary>Makes the model of a numbered checkpoint the folder's own.</summary>
    public void Export(int step)
    {
        Companions.CopyFile(LanguageModel.ConfigFile, FolderOf(step), path);    // says in what type the weights are
        Companions.CopyFile(LanguageModel.WeightsFile, FolderOf(step), path);
    }

    private string FolderOf(int step) => Path.Combine(path, Prefix + step.ToString("D6", CultureInfo.InvariantCulture));

    /// <summary>From the oldest to the newest.</summary>
    private List<(int Step, string Folder)> Checkpoints() => !Directory.Exists(path) ? [] :
        [.. Directory.EnumerateDirectories(path, Prefix + "*")
            .Select(static folder => (Known: int.TryParse(Path.GetFileName(folder)[Prefix.Length..], NumberStyles.None,
                CultureInfo.InvariantCulture, out int step), step, folder))
            .Where(static c => c.Known).Select(static c => (c.step, c.folder)).OrderBy(static c => c.step)];

    /// <summary>Keeps other runs out of the folder, which it makes, until it is disposed of or the process ends, however it does.</summary>
    /// <exception cref="IOException">Another run is in it.</exception>
    public IDisposable Lock()
    {
        Directory.CreateDirectory(path);
        string file = Path.Combine(path, ".lock");
        try
        {
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 1, FileOptions.DeleteOnClose);
        }
        catch (IOException e) when (File.Exists(file))
        {
            throw new IOException($"another run is writing into {path}: let it end, or choose another folder", e);
        }
    }

    private void Remove(string folder)
    {
        string gone = Path.Combine(path, Deleting);
        if (Directory.Exists(gone))
            Directory.Delete(gone, recursive: true);
        Directory.Move(folder, gone);
        Directory.Delete(gone, recursive: true);
    }

    private void RemoveLeftovers()
    {
        foreach (string name in new[] { Saving, Deleting })
            if (Path.Combine(path, name) is var leftover && Directory.Exists(leftover))
                Directory.Delete(leftover, recursive: true);
    }
}
