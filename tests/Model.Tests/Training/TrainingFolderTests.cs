using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Training;

public sealed class TrainingFolderTests : IDisposable
{
    private const int Context = 16;
    private readonly TemporaryFolder _root = new();
    private readonly IBackend _backend = Machines.Make(Machines.Cpu(8, 1));
    private readonly LanguageModel _model;
    private readonly Trainer _trainer;

    public TrainingFolderTests()
    {
        _model = Texts.Model(_backend, "dynamic-moe");
        _trainer = new Trainer(_model, Texts.Data(_model, Context), Texts.Options(Context));
    }

    private IEnumerable<string> Folders => Directory.EnumerateDirectories(_root.Path).Select(static f => Path.GetFileName(f)).Order(StringComparer.Ordinal);

    public void Dispose()
    {
        _trainer.Dispose();
        _model.Dispose();
        _backend.Dispose();
        _root.Dispose();
    }

    [Fact]
    public void TheOldestCheckpointsGo()
    {
        TrainingFolder folder = new(_root.Path, limit: 2);
        folder.Start();
        Assert.False(folder.IsUsed);
        for (int step = 1; step <= 4; step++)
        {
            _trainer.Step();
            folder.Save(_trainer);
            Assert.Equal(Enumerable.Range(Math.Max(1, step - 1), Math.Min(step, 2)).Select(static n => $"checkpoint-{n:D6}"), Folders);
            foreach (string loads in Folders.Select(f => _root[f]).Append(_root.Path))
                LanguageModel.Load(loads, _backend).Dispose();
        }
        Assert.Equal(File.ReadAllBytes(_root["model.safetensors"]), File.ReadAllBytes(Path.Combine(folder.Newest!, "model.safetensors")));
        folder.Save(_trainer);
        folder.Start();
        Assert.False(folder.IsUsed);
        Assert.Empty(Folders);
    }

    /// <summary>A checkpoint may be kept beside the newest ones, until another is, and its model become the folder's own, of whatever type.</summary>
    [Fact]
    public void AKeptCheckpointStays()
    {
        TrainingFolder folder = new(_root.Path, limit: 1), narrow = new(_root.Path, limit: 1, DType.BF16);
        for (int step = 1; step <= 3; step++)
        {
            _trainer.Step();
            folder.Kept = step < 3 ? 1 : null;
            (step == 1 ? narrow : folder).Save(_trainer);
            Assert.Equal(step switch { 1 => ["checkpoint-000001"], 2 => ["checkpoint-000001", "checkpoint-000002"], _ => ["checkpoint-000003"] }, Folders);
            if (step == 2)
            {
                Assert.True(folder.Has(1) && !folder.Has(3));
                folder.Export(1);
                foreach (string file in new[] { "config.json", "model.safetensors" })
                    Assert.Equal(File.ReadAllBytes(Path.Combine(_root["checkpoint-000001"], file)), File.ReadAllBytes(_root[file]));
                LanguageModel.Load(_root.Path, _backend).Dispose();
            }
        }
    }

    /// <summary>What a process leaves that ended while it saved or deleted is no checkpoint, and goes with the next save.</summary>
    [Fact]
    public void HalfASaveIsNoCheckpoint()
    {
        TrainingFolder folder = new(_root.Path, limit: 1);
        foreach (string half in new[] { ".saving", ".deleting" })
        {
            Directory.CreateDirectory(_root[half]);
            File.WriteAllText(Path.Combine(_root[half], "state.safetensors"), "half");
        }
        Assert.False(folder.IsUsed);
        Assert.False(folder.Resume(_trainer));
        _trainer.Step();
        folder.Save(_trainer);
        Assert.Equal(["checkpoint-000001"], Folders);
    }

    /// <summary>The process ended after the numbered checkpoint and before the folder's own weights.</summary>
    [Fact]
    public void ResumingBringsTheFoldersOwnModelUpToDate()
    {
        TrainingFolder folder = new(_root.Path, limit: 2);
        _trainer.Step();
        folder.Save(_trainer);
        File.Copy(_root["model.safetensors"], _root["old"]);
        _trainer.Step();
        folder.Save(_trainer);
        File.Copy(_root["old"], _root["model.safetensors"], overwrite: true);
        Assert.True(folder.Resume(_trainer));
        Assert.Equal(2, _trainer.StepsTaken);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder.Newest!, "model.safetensors")), File.ReadAllBytes(_root["model.safetensors"]));
    }

    [Fact]
    public void OneRunAtATime()
    {
        TrainingFolder folder = new(_root["run"], limit: 1);
        using (folder.Lock())
            Assert.Contains("another run is writing into", Assert.Throws<IOException>(() => new TrainingFolder(_root["run"], limit: 1).Lock()).Message, StringComparison.Ordinal);
        folder.Lock().Dispose();
        Assert.Empty(Directory.EnumerateFileSystemEntries(_root["run"]));
    }

    [Fact]
    public void AModelWithoutAStateIsNotResumed()
    {
        _model.Save(_root.Path);
        Assert.Contains("no checkpoint-N", Assert.Throws<ArgumentException>(() => new TrainingFolder(_root.Path, 2).Resume(_trainer)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheLogIsCutWhereTheRunContinues()
    {
        TrainStep Step(int n) => new(n, Loss: 1f / n, GradNorm: 2, LearningRate: 3, RouterLosses: [0.5f], ExpertsPerToken: [1.5f, 2], TokensPerSecond: 1234);
        string file = _root["train.jsonl"];
        using (TrainingLog log = new(file, 0, ["load_balance"]))
            for (int n = 1; n <= 5; n++)
                log.Write(Step(n), n == 2 ? 0.25f : null);
        byte[] whole = File.ReadAllBytes(file);
        File.AppendAllText(file, "{\"step\":6,\"lo");
        using (TrainingLog log = new(file, 1, []))
            Assert.Empty(log.Evaluations);
        File.WriteAllBytes(file, whole);
        File.AppendAllText(file, "{\"step\":6,\"lo");
        using (TrainingLog log = new(file, 3, ["load_balance"]))
        {
            Assert.Equal([(2, 0.25f)], log.Evaluations);
            for (int n = 4; n <= 5; n++)
                log.Write(Step(n), null);
        }
        Assert.Equal(whole, File.ReadAllBytes(file));

        JsonObject[] lines = [.. File.ReadLines(file).Select(static l => JsonNode.Parse(l)!.AsObject())];
        Assert.Equal(
            ["step", "loss", "router_losses", "grad_norm", "learning_rate", "tokens_per_second", "experts_per_token", "validation_loss"], lines[1].Select(static p => p.Key));
        Assert.Equal(1f / 3, (float)lines[2]["loss"]!);
        Assert.False(lines[2].ContainsKey("validation_loss"));
        Assert.Equal(0.5f, (float)lines[2]["router_losses"]!["load_balance"]!);
        using (new TrainingLog(file, 0, []))
        {
        }
        Assert.Equal(0, new FileInfo(file).Length);
    }
}
