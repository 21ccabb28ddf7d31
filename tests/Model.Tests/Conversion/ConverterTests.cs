using MoeFromScratch.Contract;
using MoeFromScratch.Model.Conversion;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Conversion;

/// <summary>What a conversion leaves alone: its source, what lies beside a model, and everything when it is stopped.</summary>
public sealed class ConverterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly IBackend _backend = CpuBackend.Create(1);

    public void Dispose()
    {
        _backend.Dispose();
        _folder.Dispose();
    }

    private static readonly ConversionOptions Overwrite = new() { Overwrite = true };

    private ConversionReport Convert(string source, string target, ConversionOptions? options = null) => Converter.Convert(source, target, options ?? Overwrite, _backend);

    private string Model(string name)
    {
        string folder = _folder[name];
        Directory.CreateDirectory(folder);
        foreach (string file in (string[])["config.json", "model.safetensors"])
            File.Copy(Path.Combine(Golden.Folder("dense-llama"), file), Path.Combine(folder, file));
        return folder;
    }

    private void RefusesAndKeeps(string source, string target, string rule)
    {
        string[] before = Everything();
        Assert.Contains(rule, Assert.Throws<ArgumentException>(() => Convert(source, target)).Message, StringComparison.Ordinal);
        Assert.Equal(before, Everything());

        string[] Everything() => [.. Directory.EnumerateFileSystemEntries(_folder.Path, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public void TheSourceIsNotReplaced()
    {
        string model = Model("m");
        Convert(model, Path.Combine(model, "m.gguf"));
        RefusesAndKeeps(Path.Combine(model, "m.gguf"), model, "holds the source");
        RefusesAndKeeps(model, model + Path.DirectorySeparatorChar, "is the source");
        RefusesAndKeeps(Path.Combine(model, "..", "m"), model, "is the source");
        Directory.CreateSymbolicLink(_folder["link"], model);
        RefusesAndKeeps(model, _folder["link"], "is the source");
        RefusesAndKeeps(_folder["link"], model, "is the source");
        File.CreateSymbolicLink(_folder["link.gguf"], Path.Combine(model, "m.gguf"));
        RefusesAndKeeps(Path.Combine(model, "m.gguf"), _folder["link.gguf"], "is the source");
        RefusesAndKeeps(_folder["link.gguf"], model, "holds the source");
    }

    /// <summary>A weight of a million is no F16, as which Q4_0's scales are stored too: the message blames the type, not the source, and nothing is left.</summary>
    [Theory]
    [InlineData(1e6f, DType.F16, "the result's logits are not numbers", "--to")]
    [InlineData(1e6f, DType.Q4_0, "the result's logits are not numbers", "--to")]
    [InlineData(float.NaN, DType.F32, "the source's logits are not numbers", "damaged")]
    public void ItIsSaidWhoseNumbersBreak(float weight, DType type, string whose, string why)
    {
        string source = Model("m");
        Upcycling.Workshop.Rewrite(source, (name, i, value) => i < 48 && name == "model.layers.0.self_attn.v_proj.weight" ? weight : value);
        ArithmeticException e = Assert.Throws<ArithmeticException>(() => Convert(source, _folder["r.gguf"], new ConversionOptions { To = type }));
        Assert.Contains(whose, e.Message, StringComparison.Ordinal);
        Assert.Contains(why, e.Message, StringComparison.Ordinal);
        Assert.Equal([source], Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void WhatLiesBesideAModelIsNotReplaced()
    {
        string source = Model("m"), target = Model("t");
        File.WriteAllText(Path.Combine(target, "generation_config.json"), "{}");
        Convert(source, target);
        File.WriteAllText(Path.Combine(target, "notes.txt"), "mine");
        RefusesAndKeeps(source, target, "holds notes.txt beside a model, which would be gone");
        File.Delete(Path.Combine(target, "notes.txt"));
        Directory.CreateDirectory(Path.Combine(target, "checkpoint-000100"));
        RefusesAndKeeps(source, target, "holds checkpoint-000100 beside a model");
        File.Delete(Path.Combine(target, "config.json"));
        RefusesAndKeeps(source, target, "holds something other than a model");
    }

    /// <summary>The message names the place that was asked for, and nothing of the name beside it.</summary>
    [Fact]
    public void APlaceThatCannotBeWrittenIsNamed()
    {
        string target = Path.Combine(_folder.Path, "none", "m.gguf");
        Assert.StartsWith($"{target} cannot be written: ", Assert.Throws<IOException>(() => Convert(Golden.Folder("dense-llama"), target)).Message, StringComparison.Ordinal);
        File.WriteAllText(_folder["file"], "x");
        target = Path.Combine(_folder["file"], "m");
        Assert.StartsWith($"{target} cannot be written: ", Assert.Throws<IOException>(() => Convert(Golden.Folder("dense-llama"), target)).Message, StringComparison.Ordinal);
        Assert.Equal(["file"], _folder.Files);
    }

    /// <summary>Told to stop before, between or after the tensors are written, it leaves nothing.</summary>
    [Theory]
    [InlineData("out", 1)]
    [InlineData("out", 30)]
    [InlineData("out.gguf", 1)]
    [InlineData("out.gguf", 30)]
    public void AStopLeavesNothing(string target, int after)
    {
        using CancellationTokenSource stop = new();
        int all = 0;
        Assert.Throws<OperationCanceledException>(() => Converter.Convert(Golden.Folder("dense-llama"), _folder[target], Overwrite, _backend, (done, of) =>
        {
            all = of;
            if (done == after)
                stop.Cancel();
        }, stop.Token));
        Assert.Equal(30, all);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }
}
