using MoeFromScratch.Contract;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Tensors.Tests.Checkpoints;

/// <summary>Files of torch.save: one of PyTorch's own, and those of a writer that follows the format's description.</summary>
public sealed class TorchFileTests : IDisposable
{
    private static readonly byte[] Sixty = [.. Enumerable.Range(0, 60).Select(static i => (byte)i)];
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void PyTorchsOwnFileHasTheTensorsThatPyTorchSees()
    {
        using TorchFile file = TorchFile.Open(Path.Combine(Golden.Folder("torch-save"), "torch-save.bin"));
        using SafetensorsFile expected = SafetensorsFile.Open(Path.Combine(Golden.Folder("torch-save"), "torch-save.safetensors"));
        Assert.Equal(14, expected.Entries.Count);
        Assert.Equal(expected.Entries.Select(static e => e.Name).Order(), file.Entries.Select(static e => e.Name).Order());
        foreach (TensorEntry entry in expected.Entries)
        {
            TemporaryFolder.AssertEqual(expected.Get(entry.Name), file.Get(entry.Name));
            Assert.Equal(entry.Shape, file.Entry(entry.Name).Shape);
            Assert.Equal(entry.Bytes, file.Entry(entry.Name).Bytes);
        }
    }

    [Fact]
    public void RowsAreMappedAndSharedAndOtherOrdersAreCopied()
    {
        using TorchFile file = TorchFile.Open(Path.Combine(Golden.Folder("torch-save"), "torch-save.bin"));
        Tensor weight = file.Get("weight"), tied = file.Get("tied"), rows = file.Get("rows"), turned = file.Get("transposed");
        Assert.IsType<MappedStorage>(weight.Storage);
        Assert.Same(weight.Storage, tied.Storage);
        Assert.Equal(weight.ByteOffset, tied.ByteOffset);
        Assert.Equal(weight.ByteOffset + 2 * 5 * sizeof(float), rows.ByteOffset);
        Assert.IsType<NativeStorage>(turned.Storage);
        Assert.Same(turned.Storage, file.Get("transposed").Storage);
    }

    [Theory]
    [InlineData(false, 64)]
    [InlineData(true, 64)]
    [InlineData(false, 1)]
    [InlineData(true, 7)]
    public void EveryLayoutOfTheArchiveGivesTheSame(bool wide, int align)
    {
        byte[] pickle = TorchPickler.Dictionary(static p =>
        {
            p.Text("a").Tensor("IntStorage", "0", 15, 3, [2, 3], [6, 1]);
            p.Text("b").Tensor("ShortStorage", "x/y", 30, 29, [], []);
            p.Text("none").Tensor("IntStorage", "0", 15, 15, [4, 0, 7], [9, 9, 9]);
        });
        File.WriteAllBytes(_folder["x.bin"], TorchArchive.Zip([("m/data.pkl", pickle), ("m/data/0", Sixty), ("m/data/x/y", Sixty), ("m/byteorder", "little"u8.ToArray())],
            wide, align: align));
        using TorchFile file = TorchFile.Open(_folder["x.bin"]);
        Assert.Equal(["a", "b", "none"], file.Entries.Select(static e => e.Name).Order());
        Assert.Equal([0x0F0E0D0C, 0x13121110, 0x17161514, 0x27262524, 0x2B2A2928, 0x2F2E2D2C], file.Get("a").Host<int>().ToArray());
        Assert.Equal(("I16", 2L), (file.Entry("b").DType, file.Entry("b").Bytes));
        Assert.Equal([4, 0, 7], file.Entry("none").Shape);
        TemporaryFolder.AssertRefused("dtype I16 is not supported", () => file.Get("b"));
        TemporaryFolder.AssertRefused("there is no such tensor", () => file.Get("c"));
    }

    /// <summary>Two of the same size, in the same storage, neither of them row by row.</summary>
    [Fact]
    public void CopiesAreEachTensorsOwn()
    {
        byte[] pickle = TorchPickler.Dictionary(static p =>
        {
            p.Text("a").Tensor("IntStorage", "0", 15, 0, [2, 2], [1, 2]);
            p.Text("b").Tensor("IntStorage", "0", 15, 4, [2, 2], [1, 2]);
        });
        File.WriteAllBytes(_folder["x.bin"], TorchArchive.Make(pickle, ("0", Sixty)));
        using TorchFile file = TorchFile.Open(_folder["x.bin"]);
        Assert.Equal([0x03020100, 0x0B0A0908, 0x07060504, 0x0F0E0D0C], file.Get("a").Host<int>().ToArray());
        Assert.Equal([0x13121110, 0x1B1A1918, 0x17161514, 0x1F1E1D1C], file.Get("b").Host<int>().ToArray());
    }

    /// <summary>The opcodes that newer protocols have for the same: short texts, a frame, memoising by order, globals by name.</summary>
    [Fact]
    public void NewerProtocolsMeanTheSame()
    {
        byte[] text = "collections"u8.ToArray(), name = "OrderedDict"u8.ToArray();
        TorchPickler p = new();
        p.Op(0x80, 5).Op([0x95, 40, 0, 0, 0, 0, 0, 0, 0]);
        p.Op([0x8c, (byte)text.Length, .. text, 0x94, 0x8c, (byte)name.Length, .. name, 0x94, 0x93, 0x94]).Op((byte)')', (byte)'R', 0x94, (byte)'(');
        p.Op([0x8d, 1, 0, 0, 0, 0, 0, 0, 0, (byte)'w']).Global("torch._utils", "_rebuild_parameter");
        p.Tensor("FloatStorage", "0", 15, 0, [15], [1]).Op(0x88).Op((byte)'h', 2, (byte)')', (byte)'R', 0x87, (byte)'R');
        p.Text("again").Op((byte)'h', 9).Op((byte)'u', (byte)'.');
        p.Op();
        byte[] pickle = p.Bytes;
        // remember the parameter as number 9: BINPUT behind its REDUCE
        int at = pickle.AsSpan().LastIndexOf("X"u8);
        File.WriteAllBytes(_folder["x.bin"], TorchArchive.Make([.. pickle[..at], (byte)'q', 9, .. pickle[at..]], ("0", Sixty)));
        using TorchFile file = TorchFile.Open(_folder["x.bin"]);
        Assert.Equal(["again", "w"], file.Entries.Select(static e => e.Name).Order());
        Assert.Equal(Sixty, file.Get("again").Host<byte>().ToArray());
    }

    [Fact]
    public void FoldersHoldOneFileOrShards()
    {
        File.WriteAllBytes(_folder["pytorch_model-00001-of-00002.bin"], One("a"));
        File.WriteAllBytes(_folder["pytorch_model-00002-of-00002.bin"], One("b"));
        File.WriteAllText(_folder["pytorch_model.bin.index.json"],
            """{"metadata":{},"weight_map":{"a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin"}}""");
        using (TensorFiles files = TensorFiles.Open(_folder.Path))
        {
            Assert.Equal(["a", "b"], files.Names);
            Assert.Equal(_folder["pytorch_model-00002-of-00002.bin"], files.FileOf("b"));
            Assert.Equal(Sixty, files.Get("b").Host<byte>().ToArray());
        }
        File.WriteAllBytes(_folder["pytorch_model.bin"], One("single"));
        using (TensorFiles files = TensorFiles.Open(_folder.Path))
            Assert.Equal(["single"], files.Names);
        SafetensorsWriter.Write(_folder["model.safetensors"], [("safe", TemporaryFolder.Filled(DType.F32, [2]))]);
        using (TensorFiles files = TensorFiles.Open(_folder.Path))
            Assert.Equal(["safe"], files.Names);
        using (TensorFiles files = TensorFiles.Open(_folder["pytorch_model.bin"]))
            Assert.Equal(["single"], files.Names);
    }

    [Theory]
    [InlineData("""{"weight_map":{"a":"b.safetensors"}}""", "not the plain name of a .bin file")]
    [InlineData("""{"weight_map":{"a":"../b.bin"}}""", "not the plain name of a .bin file")]
    [InlineData("""{"weight_map":{"a":"b.bin"}}""", "its shard b.bin does not exist")]
    [InlineData("""{"weight_map":{"a":"c.bin"}}""", "its shard c.bin does not hold it")]
    [InlineData("""{"weight_map":{}}""", "")]
    public void IndexesThatLieAreRefused(string index, string rule)
    {
        File.WriteAllBytes(_folder["c.bin"], One("other"));
        File.WriteAllText(_folder["pytorch_model.bin.index.json"], index);
        if (rule.Length > 0)
            TemporaryFolder.AssertRefused(rule, () => TensorFiles.Open(_folder.Path));
        else
            TensorFiles.Open(_folder.Path).Dispose();
    }

    private static byte[] One(string name) => TorchArchive.Make(
        TorchPickler.Dictionary(p => p.Text(name).Tensor("FloatStorage", "0", 15, 0, [3, 5], [5, 1])), ("0", Sixty));
}
