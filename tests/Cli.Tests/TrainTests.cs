using System.Diagnostics;
using System.Text.Json.Nodes;

namespace MoeFromScratch.Cli.Tests;

public sealed class TrainTests
{
    /// <summary>Enough text for the preset's windows, easy enough to learn in a few steps.</summary>
    private static readonly string Text = string.Concat(Enumerable.Repeat("the cat sat on the mat.\n", 100));

    [Fact]
    public void TrainsSavesAndGenerates()
    {
        using Folder folder = new();
        string text = folder.Write("text.txt", Text), model = folder["model"];
        Outcome train = Tool.Run("train", "--data", text, "--out", model, "--steps", "40", "--batch-size", "4", "--seed", "3", "--json");
        Assert.True(train.ExitCode == 0, train.Error);
        Assert.Equal(40, (int)train.Json["steps"]!);
        Assert.InRange((float)train.Json["validation_loss"]!, 0, 2);
        Assert.Equal(4, train.Json["experts_per_token"]!.AsArray().Count);

        Outcome generate = Tool.Run("generate", "the cat", "--model", model, "--greedy", "--max-new-tokens", "100");
        Assert.Equal(0, generate.ExitCode);
        Assert.StartsWith("the cat", generate.Output, StringComparison.Ordinal);
        Assert.Contains("at", generate.Output["the cat".Length..], StringComparison.Ordinal);
        Tool.Run("generate", "Zebra", "--model", model).RequireError("'Z'");

        Outcome inspect = Tool.Run("inspect", model, "--json");
        Assert.Equal("dynamic-moe", (string?)inspect.Json["family"]);
        Assert.Equal("top-p 0.4", (string?)inspect.Json["router"]);

        Tool.Run("train", "--data", text, "--out", model, "--steps", "1").RequireError("already holds a checkpoint", "--overwrite");
    }

    /// <summary>Two files are two documents; the model that was trained on them knows where a text ends.</summary>
    [Fact]
    public void ATokenizerIsTrainedOrTaken()
    {
        using Folder folder = new();
        string one = folder.Write("one.txt", Text), two = folder.Write("two.txt", "“42 dogs” — naïve.<|endoftext|>" + Text);
        string[] args = ["train", "--data", one, two, "--steps", "1", "--batch-size", "1", "--out"];
        Assert.Equal(0, Tool.Run([.. args, folder["a"], "--tokenizer", "bpe:280"]).ExitCode);
        Model.Tokenizers.Tokenizer tokenizer = Model.Tokenizers.Tokenizer.Load(Path.Combine(folder["a"], "tokenizer.json"));
        JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(folder["a"], "config.json")))!;
        Assert.Equal((tokenizer.VocabSize, tokenizer.IdOf("<|endoftext|>")), ((int)config["vocab_size"]!, (int)config["eos_token_id"]!));

        Assert.Equal(0, Tool.Run([.. args, folder["b"], "--tokenizer", Path.Combine(folder["a"], "tokenizer.json")]).ExitCode);
        Assert.Equal(File.ReadAllText(Path.Combine(folder["a"], "tokenizer.json")), File.ReadAllText(Path.Combine(folder["b"], "tokenizer.json")));
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder["a"], "model.safetensors")), File.ReadAllBytes(Path.Combine(folder["b"], "model.safetensors")));
        string ends = folder.Write("ends.txt", Text + "<|endoftext|>\n");
        Assert.Equal(0, Tool.Run("train", "--data", ends, one, "--steps", "1", "--batch-size", "1", "--tokenizer", "bpe:280", "--out", folder["d"]).ExitCode);
        Model.Tokenizers.Tokenizer several = Model.Tokenizers.Tokenizer.Load(Path.Combine(folder["d"], "tokenizer.json"));
        Assert.Equal(several.IdOf("<|endoftext|>"), several.Encode("the cat")[0]);
        Assert.Equal(0, Tool.Run("train", "--data", one, "--steps", "1", "--batch-size", "1", "--tokenizer", "bpe:280", "--out", folder["e"]).ExitCode);
        Model.Tokenizers.Tokenizer single = Model.Tokenizers.Tokenizer.Load(Path.Combine(folder["e"], "tokenizer.json"));
        Assert.DoesNotContain(single.IdOf("<|endoftext|>")!.Value, single.Encode("the cat"));    // a mark that the text never had
        Tool.Run([.. args, folder["c"], "--tokenizer", "bpe:100"]).RequireError("bpe:100", "257");
        Tool.Run([.. args, folder["c"], "--tokenizer", "words"]).RequireError("'words'", "bpe:SIZE");
    }

    [SkippableTheory]
    [InlineData("-INT")]    // Ctrl-C
    [InlineData("-TERM")]
    public void AnInterruptSavesWhatWasLearned(string signal)
    {
        Skip.If(OperatingSystem.IsWindows(), "sends a signal with kill");
        using Folder folder = new();
        string text = folder.Write("text.txt", Text), model = folder["model"];
        using Process process = Tool.Start("train", "--data", text, "--out", model, "--steps", "1000000", "--batch-size", "2");
        string? line;
        while ((line = process.StandardError.ReadLine()) is not null && !line.StartsWith("step 1/", StringComparison.Ordinal))
        {
        }
        Assert.NotNull(line);
        using (Process kill = Process.Start("kill", [signal, process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]))
            kill.WaitForExit();
        Tool.RequireExit(process);
        Assert.Equal(Program.Interrupted, process.ExitCode);
        Assert.Equal(0, Tool.Run("inspect", model).ExitCode);
    }

    [Fact]
    public void BadDataAndOptionsGetOneLine()
    {
        using Folder folder = new();
        string text = folder.Write("text.txt", Text), empty = folder.Write("empty.txt", ""), tiny = folder.Write("tiny.txt", "too short");
        File.WriteAllBytes(folder["binary"], [0x61, 0xFF, 0xFE, 0x61]);
        string Out() => folder[Guid.NewGuid().ToString()];
        Tool.Run("train", "--data", folder["none"], "--out", Out()).RequireError("none");
        Tool.Run("train", "--data", empty, "--out", Out()).RequireError("empty.txt", "is empty");
        Tool.Run("train", "--data", tiny, "--out", Out()).RequireError("too few");
        Tool.Run("train", "--data", folder["binary"], "--out", Out()).RequireError("not UTF-8");
        File.WriteAllText(folder["wide"], Text, System.Text.Encoding.Unicode);
        Tool.Run("train", "--data", folder["wide"], "--out", Out()).RequireError("not UTF-8");
        Tool.Run("train", "--data", folder.Path, "--out", Out()).RequireError("is a folder");
        Tool.Run("train", "--data", text, "--out", Out(), "--preset", "nope").RequireError("nope", "shakespeare-char");
        Tool.Run("train", "--data", text, "--out", Out(), "--steps", "0").RequireError("--steps", "0");
        Tool.Run("train", "--data", text, "--out", Out(), "--learning-rate", "-1").RequireError("--learning-rate");
        Tool.Run("train", "--data", text, "--out", Out(), "--learning-rate", "fast").RequireError("--learning-rate takes a number, not 'fast'");
        Tool.Run("train", "--data", text, "--out", Out(), "--steps", "99999999999").RequireError("--steps takes a whole number in range");
        Tool.Run("train", "--data", text, "--out", Out(), "--batch-size", "2000000000").RequireError("--batch-size", "--accumulate");
        Tool.Run("train", "--data", text, "--out", "").RequireError("--out '' is no folder");
        Tool.Run("train", "--data", text, "--out", text).RequireError("is no folder");
        Tool.Run("train", "--data", text).RequireError("--out");
        Tool.Run("train", "--out", Out()).RequireError("shakespeare-char", "--data");
    }

    /// <summary>A dense model of one's own is a checkpoint that others read.</summary>
    [Fact]
    public void ADenseModelOfOnesOwnIsALlama()
    {
        using Folder folder = new();
        string config = folder.Write("dense.json", """
            { "layers": 2, "hidden_size": 16, "heads": 2, "intermediate_size": 24, "context": 16, "batch_size": 2, "steps": 4, "learning_rate": 0.01 }
            """);
        Outcome train = Tool.Run("train", "--data", folder.Write("text.txt", Text), "--config", config, "--out", folder["run"], "--tokenizer", "bpe:280");
        Assert.True(train.ExitCode == 0, train.Error);
        JsonNode json = JsonNode.Parse(File.ReadAllText(Path.Combine(folder["run"], "config.json")))!;
        Assert.Equal(("llama", "LlamaForCausalLM"), ((string?)json["model_type"], (string?)json["architectures"]![0]));
        Outcome upcycle = Tool.Run("upcycle", folder["run"], "--out", folder["mixture"], "--experts", "2");
        Assert.True(upcycle.ExitCode == 0, upcycle.Error);
        Assert.Contains("a mixtral checkpoint", upcycle.Output, StringComparison.Ordinal);
        Assert.Equal(0, Tool.Run("generate", "the", "--model", folder["run"], "--max-new-tokens", "2").ExitCode);
        Tool.Run("train", "--data", folder["text.txt"], "--config", config, "--out", folder["none"], "--load-balance", "0.1").RequireError("--load-balance", "dense");
    }

    /// <summary>What cannot be written is found before what is there is taken away.</summary>
    [Fact]
    public void AFileInTheWayOfTheEventsChangesNothing()
    {
        using Folder folder = new();
        string text = folder.Write("text.txt", Text), run = folder["run"];
        Assert.Equal(0, Tool.Run("train", "--data", text, "--out", run, "--steps", "1", "--batch-size", "1").ExitCode);
        byte[] model = File.ReadAllBytes(Path.Combine(run, "model.safetensors"));
        File.WriteAllText(Path.Combine(run, "runs"), "");
        Tool.Run("train", "--data", text, "--out", run, "--steps", "1", "--batch-size", "1", "--seed", "1", "--overwrite", "--report-to", "tensorboard").RequireError(Path.Combine(run, "runs"));
        Assert.Equal(model, File.ReadAllBytes(Path.Combine(run, "model.safetensors")));
        Assert.True(Directory.Exists(Path.Combine(run, "checkpoint-000001")));
    }

    /// <summary>Somebody's sharded checkpoint is a checkpoint, too.</summary>
    [Fact]
    public void LeavesAForeignCheckpointAlone()
    {
        using Folder folder = new();
        foreach (string file in Directory.EnumerateFiles(Contract.Golden.Folder("mixtral-bf16-sharded")))
            File.Copy(file, folder[Path.GetFileName(file)]);
        string config = File.ReadAllText(folder["config.json"]), text = folder.Write("text.txt", Text);
        Tool.Run("train", "--data", text, "--out", folder.Path, "--steps", "1").RequireError("already holds a checkpoint");
        Assert.Equal(config, File.ReadAllText(folder["config.json"]));

        Assert.Equal(0, Tool.Run("train", "--data", text, "--out", folder.Path, "--steps", "1", "--batch-size", "1", "--overwrite").ExitCode);
        Assert.Equal(0, Tool.Run("inspect", folder.Path).ExitCode);
        Assert.Single(Directory.EnumerateFiles(folder.Path, "model*"));
    }
}
