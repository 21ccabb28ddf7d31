using MoeFromScratch.Contract;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Upcycling;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Upcycling;

/// <summary>Dense checkpoints in folders that go away, and what is made of them.</summary>
public sealed class Workshop : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private int _made;

    public IBackend Backend { get; } = Machines.Make(Machines.Cpu(8, 2));

    public string this[string name] => Path.Combine(_folder.Path, name);

    /// <summary>A golden case's dense model as a checkpoint folder.</summary>
    public string Golden(string name, string config = "config.json", string weights = "dense.safetensors")
    {
        string folder = this[name];
        Directory.CreateDirectory(folder);
        File.Copy(Path.Combine(Contract.Golden.Folder(name), config), Path.Combine(folder, "config.json"));
        File.Copy(Path.Combine(Contract.Golden.Folder(name), weights), Path.Combine(folder, "model.safetensors"));
        return folder;
    }

    /// <summary>A llama of our own: two layers of 24 neurons.</summary>
    public string Tiny(int width = 24)
    {
        ModelConfig config = Tests.Tiny.Config("mixtral") with { Layers = [new DenseConfig(width), new DenseConfig(width)], RouterLosses = [] };
        using LanguageModel model = LanguageModel.Create(Backend, new Llama(), config, seed: 5);
        model.Save(this["dense"]);
        return this["dense"];
    }

    /// <summary>Changes a checkpoint's numbers, by their tensor's name and their place in it.</summary>
    public static void Rewrite(string dense, Func<string, int, float, float> value)
    {
        List<(string, Tensor)> tensors = [];
        foreach ((string name, HostTensor t) in Read(dense))
        {
            Tensor copy = new(t.Shape, DType.F32, new NativeStorage(4 * t.Shape.Count));
            for (int i = 0; i < t.Floats!.Length; i++)
                copy.Floats[i] = value(name, i, t.Floats[i]);
            tensors.Add((name, copy));
        }
        SafetensorsWriter.Write(Path.Combine(dense, "model.safetensors"), tensors);
    }

    /// <summary>Upcycles into a new folder.</summary>
    public (string Folder, Receipt Receipt) Upcycle(string dense, UpcycleOptions options)
    {
        string folder = this[FormattableString.Invariant($"out{_made++}")];
        using DenseModel source = DenseModel.Load(dense, Backend);
        return (folder, Upcycler.Run(source, folder, options, Sample.Of(source.Model, null, "", seed: 1)));
    }

    public static Dictionary<string, HostTensor> Read(string folder)
    {
        using TensorFiles files = TensorFiles.Open(folder);
        return files.Names.ToDictionary(static n => n, n => HostTensor.Of(files.Get(n)));
    }

    /// <summary>A way of each kind that fits any layer whose neurons 4 divides.</summary>
    public static UpcycleMethod Way(string name)
    {
        SplitRouter router = new(2, null, TwoMatrices: true);
        return name switch
        {
            "copy" => new PlainCopy(4, new CopyRouter(2, null, Renormalize: true)),
            "copy, top-p" => new PlainCopy(4, new CopyRouter(2, 0.6f, Renormalize: true)),
            "slices" => new Slices(6, 4, 8, 0.7f, 0, SliceCopies.All),
            "no slices" => new Slices(6, 4, 8, 0, 2, SliceCopies.None),
            "random" => new RandomSplit(4, 3, router),
            "clusters" => new ClusterSplit(4, 3, router),
            "importance" => new ImportanceSplit(4, 4, 3, router),
            "groups" => new VirtualGroups(2, 4, 4, Scaling.Exact, renormalize: false),
            "groups, whole" => new VirtualGroups(4, 1, 2, Scaling.Exact, renormalize: false),
            "groups, paper" => new VirtualGroups(3, 2, 4, Scaling.Paper, renormalize: false),
            _ => throw new ArgumentException(name),
        };
    }

    public static TheoryData<string> Ways { get; } = ["copy", "copy, top-p", "slices", "no slices", "random", "clusters", "importance", "groups", "groups, whole", "groups, paper"];

    public void Dispose()
    {
        Backend.Dispose();
        _folder.Dispose();
    }
}
