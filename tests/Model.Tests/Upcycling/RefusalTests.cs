using MoeFromScratch.Model.Upcycling;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Upcycling;

public sealed class RefusalTests : IDisposable
{
    private static readonly SplitRouter Router = new(2, null, TwoMatrices: true);
    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    [Fact]
    public void WhatDoesNotDivideIsRefused()
    {
        string dense = _shop.Tiny();
        Refused(new RandomSplit(5, 0, Router), "--experts 5 does not divide the 24 neurons of layer 0; 4 would");
        Refused(new ClusterSplit(7, 0, Router), "6 would");
        Refused(new ImportanceSplit(4, 5, 0, Router), "less --shared-neurons 5");
        Refused(new VirtualGroups(2, 5, 5, Scaling.Exact, false), "--granularity 5 does not divide");
        Refused(new VirtualGroups(2, 4, 6, Scaling.Exact, false), "--top-k 6 is no multiple of --granularity 4");
        Refused(new VirtualGroups(2, 4, 12, Scaling.Exact, false), "--top-k must lie between 1 and the number of experts 8");
        Refused(new PlainCopy(2, new CopyRouter(3, null, true)), "--top-k must lie between 1 and the number of experts 2");
        Refused(new Slices(2, 25, 1, 0.7f, 0, SliceCopies.All), "--dynamic_mlp_size_factor lies between 1 and the 24");
        Refused(new UpcycleOptions(Workshop.Way("copy")) { Every = 3 }, "--every 3 leaves no mixture in 2 layers");
        Refused(new UpcycleOptions(Workshop.Way("copy")) { Add = AddedExperts.Parse("shared:2") }, "takes 2 times 24 neurons");
        Refused(new UpcycleOptions(Workshop.Way("importance")) { Add = AddedExperts.Parse("shared") }, "leave out --add shared");
        Refused(new UpcycleOptions(Workshop.Way("groups")) { Family = Tests.Tiny.Family("mixtral") }, "--family mixtral");
        Refused(new UpcycleOptions(Workshop.Way("copy")) { Router = new RouterInit(File: Path.Combine(dense, "model.safetensors")) }, "--router takes all gates from this file");
        Assert.Equal([dense], Directory.EnumerateDirectories(Path.GetDirectoryName(dense)!));

        void Refused(object what, string because)
        {
            UpcycleOptions options = what as UpcycleOptions ?? new UpcycleOptions((UpcycleMethod)what);
            Exception e = Assert.ThrowsAny<Exception>(() => _shop.Upcycle(dense, options));
            Assert.True(e is ArgumentException or CheckpointException, e.ToString());
            Assert.Contains(because, e.Message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', e.Message);
        }
    }

    [Theory]
    [InlineData("[[0, 1]]", "splits 1 layers, the model has 2")]
    [InlineData("[[[0, 1], [24]], [[0], [1]]]", "expert 1 of layer 0 needs neurons from 0 to 23")]
    [InlineData("[[[0], [1]], [[3, 3]]]", "expert 0 of layer 1")]
    [InlineData("[[], []]", "is not a JSON list")]
    [InlineData("{}", "is not a JSON list")]
    [InlineData("[[0, -1], [0]]", "is not a JSON list")]
    [InlineData("[[0, 1, 0, 1], [[0], [1]]]", "gives 4 neurons of layer 0 an expert, there are 24")]
    [InlineData("[[0, [1]], [[0]]]", "is not a JSON list")]
    public void AFileOfNeuronsMustFit(string json, string because)
    {
        string file = _shop["neurons.json"];
        File.WriteAllText(file, json);
        CheckpointException e = Assert.Throws<CheckpointException>(() => _shop.Upcycle(_shop.Tiny(), new UpcycleOptions(GivenSplit.Read(file, Router))));
        Assert.Contains(because, e.Message, StringComparison.Ordinal);
    }

    /// <summary>A receipt that compares with nothing would be none.</summary>
    [Fact]
    public void DamagedWeightsAreRefused()
    {
        string dense = _shop.Tiny();
        Workshop.Rewrite(dense, static (name, i, value) => i == 3 && name == "model.layers.1.mlp.up_proj.weight" ? float.NaN : value);
        ArithmeticException e = Assert.Throws<ArithmeticException>(() => _shop.Upcycle(dense, new UpcycleOptions(Workshop.Way("copy"))));
        Assert.Contains("the dense model's logits are not numbers", e.Message, StringComparison.Ordinal);
        Assert.Equal([dense], Directory.EnumerateDirectories(Path.GetDirectoryName(dense)!));
    }

    [Fact]
    public void OnlyDenseModelsAreUpcycled()
    {
        CheckDense(_shop.Golden("mixtral", weights: "model.safetensors"), "it is not dense, there are experts already in layer 0");
        string biased = _shop.Tiny();
        File.WriteAllText(Path.Combine(biased, "config.json"), File.ReadAllText(Path.Combine(biased, "config.json")).Replace("\"mlp_bias\": false", "\"mlp_bias\": true", StringComparison.Ordinal));
        Assert.ThrowsAny<CheckpointException>(() => DenseModel.Load(biased, _shop.Backend));      // its weights lack them

        void CheckDense(string folder, string because) =>
            Assert.Contains(because, Assert.Throws<ArgumentException>(() => DenseModel.Load(folder, _shop.Backend)).Message, StringComparison.Ordinal);
    }

    /// <summary>A run that is stopped leaves the model that was there, to the last file; one that ends replaces it whole.</summary>
    [Fact]
    public void AStoppedRunLeavesWhatWasThere()
    {
        string dense = _shop.Tiny();
        (string folder, _) = _shop.Upcycle(dense, new UpcycleOptions(Workshop.Way("copy")));
        string[] before = Files(folder);
        using (DenseModel source = DenseModel.Load(dense, _shop.Backend))
        {
            Sample sample = Sample.Of(source.Model, null, "", seed: 1);
            UpcycleOptions other = new(new Stopping(out CancellationTokenSource stop));
            Assert.Throws<OperationCanceledException>(() => Upcycler.Run(source, folder, other, sample, overwrite: true, stop.Token));
            Assert.Equal(before, Files(folder));
            Assert.Throws<OperationCanceledException>(() => Upcycler.Run(source, _shop["new/folder"], new UpcycleOptions(new Stopping(out stop)), sample, stop: stop.Token));
            Assert.False(Directory.Exists(_shop["new"]));
            Assert.Contains("already holds a model", Assert.Throws<ArgumentException>(() => Upcycler.Run(source, folder, other, sample)).Message, StringComparison.Ordinal);
            Directory.CreateSymbolicLink(_shop["link"], Path.GetDirectoryName(dense)!);
            foreach (string holds in new[] { dense, dense + "/", Path.GetDirectoryName(dense)!, Path.Combine(_shop["link"], "dense"), _shop["link"] })
                Assert.Contains($"--out {holds} holds {dense}", Assert.Throws<ArgumentException>(() => Upcycler.Run(source, holds, other, sample, overwrite: true)).Message, StringComparison.Ordinal);
            using (new MoeFromScratch.Model.Training.TrainingFolder(folder, limit: 1).Lock())
                Assert.Contains("another run is writing into", Assert.Throws<IOException>(() => Upcycler.Run(source, folder, other, sample, overwrite: true)).Message, StringComparison.Ordinal);
            Assert.Equal(before, Files(folder));
            File.WriteAllText(Path.Combine(folder, "model.safetensors.index.json"), "of an older model, in shards");
            Upcycler.Run(source, folder, new UpcycleOptions(Workshop.Way("groups")), sample, overwrite: true);
        }
        using LanguageModel model = LanguageModel.Load(folder, _shop.Backend);
        Assert.Equal(8, Assert.IsType<MoeConfig>(model.Config.Layers[0]).NumExperts);
        Assert.Equal(["config.json", "model.safetensors", Receipt.FileName], Directory.EnumerateFileSystemEntries(folder).Select(static f => Path.GetFileName(f)).Order(StringComparer.Ordinal));

        static string[] Files(string folder) => [.. Directory.EnumerateFileSystemEntries(folder).Order(StringComparer.Ordinal).Select(static f => $"{f} {Convert.ToHexString(File.ReadAllBytes(f))}")];
    }

    /// <summary>A split whose user wants no more of it as soon as the first tensor is cut.</summary>
    private sealed class Stopping : UpcycleMethod
    {
        private readonly UpcycleMethod _inner = Workshop.Way("random");
        private readonly CancellationTokenSource _stop;

        public Stopping(out CancellationTokenSource stop) => _stop = stop = new CancellationTokenSource();

        public override string Name => "stopping";

        public override IReadOnlyList<Moe.Losses.RouterLoss> Losses(float? coefficient) => _inner.Losses(coefficient);

        public override Division Divide(DenseModel dense, int layer, IReadOnlyList<AddedExperts> added)
        {
            Division division = _inner.Divide(dense, layer, added);
            return division with { Networks = [.. division.Networks.Select(n => n with { Neurons = n.Neurons with { All = new Tripwire(n.Neurons.All, _stop) } })] };
        }
    }

    /// <summary>Plans walk through a list, cutting takes it place by place.</summary>
    private sealed class Tripwire(IReadOnlyList<int> list, CancellationTokenSource stop) : IReadOnlyList<int>
    {
        public int Count => list.Count;

        public int this[int index]
        {
            get
            {
                stop.Cancel();
                return list[index];
            }
        }

        public IEnumerator<int> GetEnumerator() => list.GetEnumerator();

        System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => GetEnumerator();
    }
}
