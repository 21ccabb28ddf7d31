using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Cli.Tests;

/// <summary>Training on from a checkpoint, on texts and on conversations.</summary>
public sealed class FineTuneTests : IDisposable
{
    private static readonly Tokenizer Vocabulary = Tokenizer.TrainCharacters("0123456789+?ok System:UserAnt\niah");
    private readonly Folder _folder = new();
    private readonly string _talks;

    public FineTuneTests() => _talks = _folder.Write("talks.jsonl", Talks(24));

    public void Dispose() => _folder.Dispose();

    /// <summary>Sums, half of them in each of the two spellings.</summary>
    private static string Talks(int count) => string.Concat(Enumerable.Range(0, count).Select(static i => i % 2 == 0
        ? $"{{\"conversations\": [{{\"from\": \"human\", \"value\": \"{i}+1?\"}}, {{\"from\": \"gpt\", \"value\": \"{i + 1}\"}}]}}\n"
        : $"{{\"messages\": [{{\"role\": \"user\", \"content\": \"{i}+1?\"}}, {{\"role\": \"assistant\", \"content\": \"{i + 1}\"}}, {{\"role\": \"user\", \"content\": \"ok?\"}}, {{\"role\": \"assistant\", \"content\": \"ok\"}}]}}\n"));

    /// <summary>A golden checkpoint with a tokenizer of its vocabulary, and with files that go along.</summary>
    private string Checkpoint(string golden)
    {
        string folder = Directory.CreateDirectory(_folder[golden]).FullName;
        foreach (string file in Directory.EnumerateFiles(Golden.Folder(golden)).Where(static f => Path.GetFileName(f) is "config.json" || Path.GetFileName(f).StartsWith("model", StringComparison.Ordinal)))
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        Vocabulary.Save(Path.Combine(folder, "tokenizer.json"));
        File.WriteAllText(Path.Combine(folder, "generation_config.json"), """{ "temperature": 0.5 }""");
        File.WriteAllText(Path.Combine(folder, "special_tokens_map.json"), "{ }");
        return folder;
    }

    /// <summary>Loss falls; the family, its tokenizer and what goes along are in the new folder and in its checkpoints.</summary>
    [Theory]
    [InlineData("uni-moe-2")]
    [InlineData("dense-qwen2")]
    [InlineData("mixtral-bf16-sharded")]
    public void ACheckpointLearnsAnswers(string golden)
    {
        string checkpoint = Checkpoint(golden), run = _folder["run"];
        Outcome train = Tool.Run("train", "--model", checkpoint, "--data", _talks, "--out", run, "--epochs", "12", "--batch-size", "4", "--learning-rate", "1e-2",
            "--eval-strategy", "epoch", "--save-strategy", "no", "--json");
        Assert.True(train.ExitCode == 0, train.Error);
        Assert.Contains("24 conversations of ", train.Error, StringComparison.Ordinal);
        Assert.Contains("in the plain format, 72 steps", train.Error, StringComparison.Ordinal);    // 22 to train on, in 6 steps
        Assert.Equal(72, (int)train.Json["steps"]!);
        List<JsonObject> log = Log(run);
        Assert.True((float)log[^1]["loss"]! < 0.5f * (float)log[0]["loss"]!, $"{log[0]["loss"]} {log[^1]["loss"]}");
        Assert.Equal([.. Enumerable.Range(1, 12).Select(static n => 6 * n)], log.Where(static l => l["validation_loss"] is not null).Select(static l => (int)l["step"]!));
        foreach (string folder in new[] { run, Path.Combine(run, "checkpoint-000072") })
        {
            foreach (string file in new[] { "tokenizer.json", "generation_config.json", "special_tokens_map.json" })
                Assert.Equal(File.ReadAllText(Path.Combine(checkpoint, file)), File.ReadAllText(Path.Combine(folder, file)));
            using IBackend backend = CpuBackend.Create(1);
            using LanguageModel before = LanguageModel.Load(checkpoint, backend), after = LanguageModel.Load(folder, backend);
            Assert.Equal((before.Family.Name, before.Config.VocabSize), (after.Family.Name, after.Config.VocabSize));
            Assert.Equal(before.Weights.All.Select(static p => (p.Name, p.Shape)), after.Weights.All.Select(static p => (p.Name, p.Shape)));
            Assert.Equal("float32", (string?)JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!["torch_dtype"]);
        }
        Tool.Run("train", "--model", checkpoint, "--data", _talks, "--out", checkpoint, "--overwrite").RequireError("--out", "holds the checkpoint at --model");
        Tool.Run("train", "--model", Path.Combine(run, "checkpoint-000072"), "--data", _talks, "--out", run, "--overwrite").RequireError("holds the checkpoint at --model");
        Assert.Equal(0, Tool.Run("generate", "User: 1+1?", "--model", run, "--max-new-tokens", "3").ExitCode);
    }

    /// <summary>DCMoE's script, less the three options that are refused: a mixture of the dense model, as the reference makes it, trained on conversations.</summary>
    [Fact]
    public void TheSeedsCommandLineRuns()
    {
        string dense = Directory.CreateDirectory(_folder["dense"]).FullName;
        File.Copy(Path.Combine(Golden.Folder("dcmoe-upcycle"), "config.json"), Path.Combine(dense, "config.json"));
        File.Copy(Path.Combine(Golden.Folder("dcmoe-upcycle"), "dense.safetensors"), Path.Combine(dense, "model.safetensors"));
        Vocabulary.Save(Path.Combine(dense, "tokenizer.json"));
        File.WriteAllText(Path.Combine(dense, "generation_config.json"), """{ "temperature": 0.5 }""");
        string[] Script(string output, string rate, string bf16) =>
        [
            "train", "--moe_copy", "all", "--attn_implementation", "sdpa", "--initialize", "True", "--model_name_or_path", dense, "--data_path", _talks, "--fp32_gate", "True",
            "--ep_size", "1", "--dynamic_mlp_size_factor", "4", "--fixed_mlp_size_factor", "8", "--mlp_dynamic_expert_num", "4", "--mlp_dynamic_top_p", "0.7", "--mlp_dynamic_top_k", "0",
            "--mlp_fixed_expert_num", "2", "--mlp_dynamic_null_expert_num", "1", "--token_drop", "True", "--drop_policy", "probs", "--min_capacity", "8", "--capacity_factor", "3",
            "--aux_balance_weight", "10", "--l_aux_weight", "0.025", "--bf16", bf16, "--output_dir", output, "--num_train_epochs", "1", "--per_device_train_batch_size", "2",
            "--per_device_eval_batch_size", "1", "--gradient_accumulation_steps", "2", "--evaluation_strategy", "no", "--save_strategy", "steps", "--save_steps", "1000",
            "--save_total_limit", "10", "--learning_rate", rate, "--weight_decay", "0.00", "--warmup_ratio", "0.03", "--lr_scheduler_type", "cosine", "--logging_steps", "1",
            "--model_max_length", "4096", "--gradient_checkpointing", "True", "--dataloader_num_workers", "16", "--report_to", "none", "--run_name", "DC_MoE-training",
        ];
        Outcome run = Tool.Run(Script(_folder["run"], "1e-5", "True"));
        Assert.True(run.ExitCode == 0, run.Error);
        Assert.StartsWith("DC_MoE-training: ", run.Error, StringComparison.Ordinal);
        Assert.Equal(6, Log(_folder["run"]).Count);      // 24 conversations, 4 a step
        JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(_folder["run"], "config.json")))!;
        Assert.Equal("UniMoEV2Qwen2VLForConditionalGeneration", (string?)config["architectures"]![0]);
        Assert.Equal((4, 1, 2, 12, 6, 3f, 8, 0.7f, 0.025f, true, "probs", "bfloat16"),
            ((int)config["mlp_dynamic_expert_num"]!, (int)config["mlp_dynamic_null_expert_num"]!, (int)config["mlp_fixed_expert_num"]!, (int)config["dynamic_intermediate_size"]!,
            (int)config["shared_intermediate_size"]!, (float)config["capacity_factor"]!, (int)config["min_capacity"]!, (float)config["mlp_dynamic_top_p"]!, (float)config["l_aux_weight"]!,
            (bool)config["token_drop"]!, (string?)config["drop_policy"]!, (string?)config["torch_dtype"]!));
        foreach (string file in new[] { "tokenizer.json", "generation_config.json" })
            Assert.Equal(File.ReadAllText(Path.Combine(dense, file)), File.ReadAllText(Path.Combine(_folder["run"], file)));
        Assert.Equal(0, Tool.Run("generate", "User: 1+1?", "--model", _folder["run"], "--max-new-tokens", "3").ExitCode);
        Assert.Equal(0, Tool.Run([.. Script(_folder["run"], "1e-5", "True"), "--resume"]).ExitCode);

        Outcome still = Tool.Run(Script(_folder["still"], "1e-30", "False"));       // too small to move a weight
        Assert.True(still.ExitCode == 0, still.Error);
        using SafetensorsFile expected = SafetensorsFile.Open(Path.Combine(Golden.Folder("dcmoe-upcycle"), "upcycled-a.safetensors")),
            actual = SafetensorsFile.Open(Path.Combine(_folder["still"], "model.safetensors"));
        foreach (string name in expected.Entries.Select(static e => e.Name))
            Assert.True(expected.Get(name).Floats.SequenceEqual(actual.Get(name).Floats), name);
        Tool.Run([.. Script(_folder["none"], "1e-5", "True"), "--deepspeed", "zero2.conf", "--processor_path", dense, "--image_root", "x"])
            .RequireError("--deepspeed is refused", "--processor_path is refused", "--image_root is refused");
        Tool.Run("train", "--initialize", "--model", Checkpoint("uni-moe-2"), "--data", _talks, "--out", _folder["none"]).RequireError("cannot be upcycled", "there are experts already");
    }

    /// <summary>BF16 is how models are stored, not how they are trained: the same run, rounded.</summary>
    [Fact]
    public void Bf16IsForTheModelsAlone()
    {
        string checkpoint = Checkpoint("uni-moe-2");
        foreach (string name in new[] { "wide", "narrow" })
        {
            Outcome run = Tool.Run(["train", "--model", checkpoint, "--data", _talks, "--out", _folder[name], "--max_steps", "3", "--evaluation_strategy", "no", .. name == "narrow" ? ["--bf16", "true"] : Array.Empty<string>()]);
            Assert.True(run.ExitCode == 0, run.Error);
            Assert.Equal(name == "narrow", run.Error.Contains("note: models are written in BF16; training computes in F32", StringComparison.Ordinal));
        }
        Assert.Equal(Bytes("wide", "checkpoint-000003/state.safetensors"), Bytes("narrow", "checkpoint-000003/state.safetensors"));
        Assert.Equal(Bytes("narrow", "model.safetensors"), Bytes("narrow", "checkpoint-000003/model.safetensors"));
        using SafetensorsFile wide = SafetensorsFile.Open(Path.Combine(_folder["wide"], "model.safetensors")), narrow = SafetensorsFile.Open(Path.Combine(_folder["narrow"], "model.safetensors"));
        Assert.Equal(wide.Entries.Select(static e => e.Name).Order(), narrow.Entries.Select(static e => e.Name).Order());
        foreach (string name in wide.Entries.Select(static e => e.Name))
        {
            Assert.Equal((DType.F32, DType.BF16), (wide.Get(name).DType, narrow.Get(name).DType));
            Assert.Equal(Array.ConvertAll(wide.Get(name).Floats.ToArray(), ToBf16), narrow.Get(name).Host<ushort>().ToArray());
        }
        Assert.Equal("bfloat16", (string?)JsonNode.Parse(File.ReadAllText(Path.Combine(_folder["narrow"], "config.json")))!["torch_dtype"]);
        Assert.Equal(0, Tool.Run("generate", "User: ", "--model", _folder["narrow"], "--max-new-tokens", "3").ExitCode);

        static ushort ToBf16(float x)
        {
            uint bits = BitConverter.SingleToUInt32Bits(x);
            return (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
        }
    }

    /// <summary>Stopped at a checkpoint in the middle of an epoch and resumed, with all that a run may carry, it is the run that went through.</summary>
    [Fact]
    public void ResumedConversationsAreTheSameRun()
    {
        string checkpoint = Checkpoint("uni-moe-2-drop");
        string[] Args(string output, params string[] more) => ["train", "--model", checkpoint, "--data", _talks, "--out", _folder[output], "--epochs", "2", "--batch-size", "3", "--accumulate", "2",
            "--aux-balance-weight", "10", "--save-every", "3", "--save-total-limit", "9", "--eval-every", "4", "--report-to", "tensorboard", "--run-name", "r", "--bf16", .. more];
        Outcome whole = Tool.Run(Args("whole"));
        Assert.True(whole.ExitCode == 0, whole.Error);      // 22 conversations, 6 a step: 4 steps an epoch
        Directory.CreateDirectory(_folder["part"]);
        foreach (string file in Directory.EnumerateFiles(_folder["whole"], "*", SearchOption.AllDirectories).Where(static f => !f.Contains("checkpoint-000006", StringComparison.Ordinal) && !f.Contains("checkpoint-000008", StringComparison.Ordinal)))
        {
            string copy = Path.Combine(_folder["part"], Path.GetRelativePath(_folder["whole"], file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
        Outcome part = Tool.Run(Args("part", "--resume", "--gradient-checkpointing", "--threads", "1"));
        Assert.True(part.ExitCode == 0, part.Error);
        Assert.Contains("resumed after 3", part.Error, StringComparison.Ordinal);
        foreach (string file in new[] { "model.safetensors", "config.json", "checkpoint-000006/state.safetensors", "checkpoint-000008/state.safetensors", "checkpoint-000008/model.safetensors" })
            Assert.True(Bytes("whole", file).AsSpan().SequenceEqual(Bytes("part", file)), file);
        Assert.Equal(Log(_folder["whole"]).Select(WithoutTime), Log(_folder["part"]).Select(WithoutTime));
        Assert.Equal(8, Log(_folder["part"]).Count);
        foreach (string run in new[] { "whole", "part" })
        {
            IReadOnlyList<Event> events = Event.Read(File.ReadAllBytes(Assert.Single(Directory.GetFiles(Path.Combine(_folder[run], "runs", "r")))));
            Assert.Equal(Log(_folder[run]).Select(Curves), events.Skip(1).Select(static e => string.Join(' ', [$"{e.Step}", .. e.Scalars.Where(static s => s.Tag is "train/loss" or "train/learning_rate" or "eval/loss").Select(static s => $"{s.Value}")])));
        }
        Tool.Run([.. Args("part", "--resume"), "--eval-strategy", "no"]).RequireError("--eval-every counts steps");
        Tool.Run([.. Args("part", "--resume").Where(static a => a is not "--aux-balance-weight" and not "10")]).RequireError("cannot resume", "data was ");

        static string Curves(JsonObject line) => string.Join(' ', new[] { line["step"], line["loss"], line["learning_rate"], line["validation_loss"] }.Where(static n => n is not null).Select(static n => $"{(float)n!}"));

        static string WithoutTime(JsonObject line)
        {
            line.Remove("tokens_per_second");
            return line.ToJsonString();
        }
    }

    /// <summary>With a rate that does not depend on the end, a run may go on for longer, as if it had been asked for at once.</summary>
    [Fact]
    public void MoreStepsGoOnWhereTheRateAllowsIt()
    {
        string checkpoint = Checkpoint("uni-moe-2");
        Outcome Run(string output, string steps, string scheduler, params string[] more) => Tool.Run(["train", "--model", checkpoint, "--data", _talks, "--out", _folder[output], "--steps", steps,
            "--lr-scheduler-type", scheduler, "--warmup-steps", "2", "--eval-strategy", "no", .. more]);
        Assert.Equal(0, Run("whole", "6", "constant_with_warmup").ExitCode);
        Assert.Equal(0, Run("part", "4", "constant_with_warmup").ExitCode);
        Run("part", "3", "constant_with_warmup", "--resume").RequireError("cannot resume: 4 steps were taken, more than the 3 asked for");
        Outcome more = Run("part", "6", "constant_with_warmup", "--resume");
        Assert.True(more.ExitCode == 0, more.Error);
        Assert.Equal(Bytes("whole", "model.safetensors"), Bytes("part", "model.safetensors"));
        Assert.Equal(0, Run("falls", "4", "linear").ExitCode);
        Run("falls", "6", "linear", "--resume").RequireError("cannot resume: steps was 4 and is 6 now");
    }

    /// <summary>A model that learns one text by heart gets worse at another: the best is an early one, also where the run was resumed behind it.</summary>
    [Fact]
    public void TheBestModelIsTheOneAtTheEnd()
    {
        string text = _folder.Write("text.txt", string.Concat(Enumerable.Repeat("the cat sat on the mat. ", 150)) + string.Concat(Enumerable.Repeat(".tam eht no tas tac eht ", 17)));
        string config = _folder.Write("tiny.json", """
            { "layers": 1, "hidden_size": 16, "heads": 2, "experts": 4, "intermediate_size": 16, "top_p": 0.4,
              "context": 16, "batch_size": 4, "steps": 60, "learning_rate": 0.02 }
            """);
        string[] Args(string output, params string[] more) => ["train", "--config", config, "--data", text, "--out", _folder[output], "--eval-every", "10", "--save-every", "30",
            "--save-total-limit", "1", "--load_best_model_at_end", "True", .. more];
        Outcome whole = Tool.Run(Args("whole", "--json"));
        Assert.True(whole.ExitCode == 0, whole.Error);
        List<(int Step, float Loss)> evaluations = [.. Log(_folder["whole"]).Where(static l => l["validation_loss"] is not null).Select(static l => ((int)l["step"]!, (float)l["validation_loss"]!))];
        (int best, float loss) = evaluations.MinBy(static e => e.Loss);
        Assert.Equal([10, 20, 30, 40, 50, 60], evaluations.Select(static e => e.Step));
        Assert.True(best < 30, $"the best is that of step {best}, so nothing is tested");
        Assert.Equal((best, loss), ((int)whole.Json["best_step"]!, (float)whole.Json["validation_loss"]!));
        Assert.Equal([$"checkpoint-{best:D6}", "checkpoint-000060"], Directory.GetDirectories(_folder["whole"]).Select(static d => Path.GetFileName(d)).Order(StringComparer.Ordinal));
        Assert.Equal(Bytes("whole", $"checkpoint-{best:D6}/model.safetensors"), Bytes("whole", "model.safetensors"));
        Assert.NotEqual(Bytes("whole", "checkpoint-000060/model.safetensors"), Bytes("whole", "model.safetensors"));

        Directory.CreateDirectory(_folder["part"]);     // as it was after step 30
        foreach (string file in Directory.EnumerateFiles(_folder["whole"], "*", SearchOption.AllDirectories).Where(static f => !f.Contains("checkpoint-000060", StringComparison.Ordinal)))
        {
            string copy = Path.Combine(_folder["part"], Path.GetRelativePath(_folder["whole"], file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
        Outcome part = Tool.Run(Args("part", "--resume"));
        Assert.True(part.ExitCode == 0, part.Error);
        Assert.Contains($"resumed after {best}", part.Error, StringComparison.Ordinal);
        Assert.StartsWith(string.Create(CultureInfo.InvariantCulture, $"validation loss {loss:f4} at step {best}, the best, after 60 steps"), part.Output, StringComparison.Ordinal);
        foreach (string file in new[] { "model.safetensors", $"checkpoint-{best:D6}/model.safetensors", "checkpoint-000060/state.safetensors" })
            Assert.Equal(Bytes("whole", file), Bytes("part", file));
    }

    [Theory]
    [InlineData("steps", "3", new[] { 3, 6, 8 })]
    [InlineData("epoch", null, new[] { 4, 8 })]
    [InlineData("no", null, new[] { 8 })]
    public void StrategiesSayWhen(string strategy, string? steps, int[] expected)
    {
        string checkpoint = Checkpoint("uni-moe-2"), run = _folder["run"];
        string[] When(string name, string every) => [name, strategy, .. steps is null ? Array.Empty<string>() : [every, steps]];
        Outcome train = Tool.Run(["train", "--model", checkpoint, "--data", _talks, "--out", run, "--epochs", "2", "--batch-size", "6", "--save-total-limit", "9",
            .. When("--save-strategy", "--save-steps"), .. When("--logging-strategy", "--logging-steps"), .. When("--eval-strategy", "--eval-steps")]);
        Assert.True(train.ExitCode == 0, train.Error);
        Assert.Equal(expected, Directory.GetDirectories(run, "checkpoint-*").Select(static d => int.Parse(d[^6..], CultureInfo.InvariantCulture)).Order());
        Assert.Equal(expected, Log(run).Select(static l => (int)l["step"]!));
        Assert.Equal(strategy == "no" ? [] : expected, Log(run).Where(static l => l["validation_loss"] is not null).Select(static l => (int)l["step"]!));
        Assert.StartsWith(strategy == "no" ? "loss " : "validation loss ", train.Output, StringComparison.Ordinal);
    }

    /// <summary>The rate of each of four steps, by the schedules' closed forms; a warm-up's share of the steps is rounded up.</summary>
    [Theory]
    [InlineData("linear", "--warmup-steps", "1", new[] { 1, 2 / 3.0, 1 / 3.0, 0 })]
    [InlineData("cosine", "--warmup-steps", "1", new[] { 1, 0.75, 0.25, 0 })]
    [InlineData("constant", "--warmup-steps", "0", new[] { 1.0, 1, 1, 1 })]
    [InlineData("constant_with_warmup", "--warmup-ratio", "0.3", new[] { 0.5, 1, 1, 1 })]
    [InlineData("inverse_sqrt", "--warmup-steps", "1", new[] { 1, 0.70710678, 0.57735027, 0.5 })]
    [InlineData("polynomial", "--warmup-steps", "1", new[] { 1, (2 + 1e-4) / 3, (1 + 2e-4) / 3, 1e-4 })]
    public void SchedulesHaveTransformersNames(string name, string warmup, string length, double[] shares)
    {
        Outcome run = Tool.Run("train", "--model", Checkpoint("uni-moe-2"), "--data", _talks, "--out", _folder["run"], "--steps", "4", "--lr-scheduler-type", name, warmup, length,
            "--learning-rate", "1e-3", "--eval-strategy", "no");
        Assert.True(run.ExitCode == 0, run.Error);
        Assert.All(shares.Zip(Log(_folder["run"])), static s => Assert.Equal(1e-3 * s.First, (double)s.Second["learning_rate"]!, 1e-9));
        Assert.Equal(4, Log(_folder["run"]).Count);
    }

    /// <summary>A new model learns conversations too; its tokenizer's end of text ends an answer.</summary>
    [Fact]
    public void APresetLearnsConversations()
    {
        string config = _folder.Write("tiny.json", """
            { "layers": 2, "hidden_size": 16, "heads": 2, "experts": 4, "intermediate_size": 16, "top_p": 0.4,
              "context": 48, "batch_size": 4, "steps": 240, "learning_rate": 0.01, "load_balance": 0.01 }
            """);
        Outcome run = Tool.Run("train", "--config", config, "--data", _talks, "--out", _folder["new"], "--steps", "5", "--tokenizer", "bpe:280", "--aux-balance-weight", "10");
        Assert.True(run.ExitCode == 0, run.Error);
        Assert.Contains("in the plain format", run.Error, StringComparison.Ordinal);
        string list = _folder.Write("list.json", "[" + Talks(20).Trim().Replace("\n", ",\n", StringComparison.Ordinal) + "]");
        Assert.Equal(0, Tool.Run("train", "--config", config, "--data", list, "--out", _folder["list"], "--steps", "2").ExitCode);
        string documents = _folder.Write("documents.jsonl", string.Concat(Enumerable.Repeat("{\"text\": \"the cat sat on the mat\"}\n", 60)));
        Outcome text = Tool.Run("train", "--config", config, "--data", documents, "--out", _folder["text"], "--epochs", "1");
        Assert.True(text.ExitCode == 0, text.Error);
        Assert.Contains("1,379 characters in 1,379 tokens of 11 kinds, 7 steps", text.Error, StringComparison.Ordinal);     // 25 windows of 48 in 1,242 tokens, 4 a step
    }

    [Fact]
    public void WhatDoesNotGoTogetherGetsOneLine()
    {
        string checkpoint = Checkpoint("uni-moe-2"), dense = Checkpoint("dense-qwen2"), text = _folder.Write("text.txt", string.Concat(Enumerable.Repeat("ok? ", 2000)));
        string bad = _folder.Write("bad.jsonl", Talks(2) + "{\"conversations\": [{\"from\": \"robot\", \"value\": \"x\"}]}\n");
        Outcome Run(string model, string data, params string[] more) => Tool.Run(["train", "--model", model, "--data", data, "--out", _folder["none"], .. more]);
        Run(checkpoint, bad).RequireError("bad.jsonl, line 3: unknown role 'robot'");
        Run(checkpoint, _folder.Write("empty.jsonl", "")).RequireError("empty.jsonl is empty");
        Run(checkpoint, _talks, "--data", text).RequireError("texts and conversations");
        Run(checkpoint, _folder.Path).RequireError("is a folder");
        Run(checkpoint, text, "--aux-balance-weight", "10").RequireError("--aux-balance-weight", "no conversations");
        Run(dense, _talks, "--aux-balance-weight", "10").RequireError("--aux-balance-weight", "dense");
        Run(dense, _talks, "--l_aux_weight", "0.1").RequireError("--load-balance", "dense");
        Run(checkpoint, _talks, "--preset", "built-in").RequireError("--preset and --model both name a model");
        Run(checkpoint, _talks, "--tokenizer", "characters").RequireError("--tokenizer is for new models");
        Run(checkpoint, _talks, "--epochs", "1", "--steps", "2").RequireError("--steps and --epochs");
        Run(checkpoint, _talks, "--warmup-ratio", "0.1", "--warmup-steps", "2").RequireError("--warmup-ratio and --warmup-steps");
        Run(checkpoint, _talks, "--warmup-ratio", "1.5").RequireError("--warmup-ratio lies between 0 and 1, it is not 1.5");
        Run(checkpoint, _talks, "--lr-scheduler-type", "steps").RequireError("--lr-scheduler-type is linear, cosine, constant, constant_with_warmup, inverse_sqrt or polynomial, not 'steps'");
        Run(checkpoint, _talks, "--lr-scheduler-type", "polynomial", "--learning-rate", "1e-7").RequireError("polynomial falls to 1E-07: --learning-rate must be above, not 1E-07");
        Run(checkpoint, _talks, "--load-best-model-at-end", "--eval-strategy", "no").RequireError("--load-best-model-at-end", "--eval-strategy no");
        Run(checkpoint, _talks, "--data", _talks, "--lerning-rate", "1e-3").RequireError("there is no option --lerning-rate (try 'moe train --help')");
        Tool.Run("train", "--data", "--model", checkpoint, "--out", _folder["none"]).RequireError("--data needs a value before --model (try 'moe train --help')");
        Tool.Run("train", "--model", checkpoint, "--data", _talks, "--out", "--overwrite").RequireError("--out needs a value before --overwrite");
        Run(checkpoint, _talks, "--resume_from_checkpoint", "out/checkpoint-500").RequireError("takes true or false, not 'out/checkpoint-500'");
        Run(dense, _talks, "--initialize", "--moe_copy", "some").RequireError("--moe-copy is all, single or none, not 'some'");
        Run(checkpoint, _talks, "--lr-scheduler-type", "constant", "--warmup-steps", "2").RequireError("constant has no warm-up");
        Run(checkpoint, _talks, "--save-strategy", "sometimes").RequireError("--save-strategy is no, steps or epoch, not 'sometimes'");
        Run(checkpoint, _talks, "--report_to", "wandb").RequireError("--report-to is none or tensorboard, not 'wandb'");
        Run(checkpoint, _talks, "--run-name", "a/b").RequireError("--run-name 'a/b' is no name for a folder");
        Run(checkpoint, _talks, "--adam-beta1", "1").RequireError("--adam-beta1 lies between 0 and below 1, not 1");
        Run(checkpoint, _talks, "--mlp_fixed_expert_num", "2").RequireError("--mlp-fixed-expert-num describes the mixture that --initialize makes");
        Run(dense, _talks, "--initialize", "--drop_policy", "probs").RequireError("--drop-policy", "--token-drop true");
        Tool.Run("train", "--initialize", "--data", _talks, "--out", _folder["none"]).RequireError("--initialize", "--model");
        Tool.Run("train", "--model", checkpoint, "--out", _folder["none"]).RequireError("--model goes on from a checkpoint", "--data");
        File.Delete(Path.Combine(checkpoint, "tokenizer.json"));
        Run(checkpoint, _talks).RequireError("has no tokenizer (tokenizer.json, tokenizer.model, ");
        Assert.False(Directory.Exists(_folder["none"]));
    }

    /// <summary>Long conversations are cut, and how many is said; the model's positions are the limit.</summary>
    [Fact]
    public void CutConversationsAreCounted()
    {
        string checkpoint = Checkpoint("uni-moe-2");
        string data = _folder.Write("long.jsonl", Talks(4) + $"{{\"conversations\": [{{\"from\": \"human\", \"value\": \"{new string('0', 500)}\"}}, {{\"from\": \"gpt\", \"value\": \"1\"}}, {{\"from\": \"human\", \"value\": \"1\"}}]}}\n");
        Outcome run = Tool.Run("train", "--model", checkpoint, "--data", data, "--out", _folder["run"], "--steps", "1", "--model_max_length", "4096");
        Assert.True(run.ExitCode == 0, run.Error);
        Assert.Contains("note: --model-max-length 4096: the model has ", run.Error, StringComparison.Ordinal);
        Assert.Contains("note: 1 of 5 conversations were cut to ", run.Error, StringComparison.Ordinal);
        Assert.Contains("1 of them left out because no answer begins before", run.Error, StringComparison.Ordinal);
        Assert.Contains("note: 1 conversations end with a question, which was left out", run.Error, StringComparison.Ordinal);
        Assert.Contains(": 4 conversations", run.Error.Replace(" parameters, ", ": ", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    private byte[] Bytes(string run, string file) => File.ReadAllBytes(Path.Combine(_folder[run], file));

    private static List<JsonObject> Log(string run) =>
        [.. File.ReadLines(Path.Combine(run, "train.jsonl")).Select(static line => JsonNode.Parse(line)!.AsObject())];
}
