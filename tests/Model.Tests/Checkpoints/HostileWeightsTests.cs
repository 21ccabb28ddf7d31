using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>Golden models whose weight file was tampered with: one line that names the file and the tensor, and nothing kept.</summary>
public sealed class HostileWeightsTests : IDisposable
{
    private const string Gate = "model.layers.1.mlp.router.weight", Head = "lm_head.weight";

    private readonly TemporaryFolder _folder = new();
    private readonly IBackend _backend = Machines.Make(Machines.Cpu(8, 1));

    public HostileWeightsTests()
    {
        foreach (string file in Directory.EnumerateFiles(Golden.Folder("dynamic-moe")))
            File.Copy(file, _folder[Path.GetFileName(file)]);
    }

    private string Weights => _folder["model.safetensors"];

    public void Dispose()
    {
        Assert.Equal(0, _backend.LiveBuffers);
        _backend.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void AMissingTensorIsNamed()
    {
        Rewrite(tensors => tensors.RemoveAll(static t => t.Name == Gate));
        AssertRefused("is missing", Gate);
    }

    [Fact]
    public void AnUnexpectedTensorIsNamed()
    {
        Rewrite(static tensors => tensors.Add(("model.layers.9.extra", TemporaryFolder.Filled(DType.F32, [3]))));
        AssertRefused("is no part of a dynamic-moe model with this config", "model.layers.9.extra");
    }

    [Theory]
    [InlineData(DType.I64)]
    [InlineData(DType.I32)]
    [InlineData(DType.F64)]
    public void AWrongTypeIsNamed(DType dtype)
    {
        Rewrite(tensors => tensors[tensors.FindIndex(static t => t.Name == Gate)] = (Gate, TemporaryFolder.Filled(dtype, [6, 40])));
        AssertRefused($"holds {dtype}", Gate);
    }

    [Fact]
    public void AnUnsupportedTypeIsNamed()
    {
        EditHeader(Head, static (entry, _) => (entry["dtype"], entry["shape"]) = ("F8_E4M3", new JsonArray(96, 160)));
        AssertRefused("has shape [96, 160]", Head);
        EditHeader(Head, static (entry, _) => (entry["dtype"], entry["shape"]) = ("U32", new JsonArray(96, 40)));
        AssertRefused("dtype U32 is not supported", Head);
    }

    [Fact]
    public void AWrongShapeIsNamed()
    {
        EditHeader(Head, static (entry, _) => entry["shape"] = new JsonArray(40, 96));
        AssertRefused("has shape [40, 96], the config asks for [96, 40]", Head);
    }

    [Fact]
    public void TenClaimedGigabytesAllocateNothing()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        EditHeader(Head, static (entry, _) => entry["shape"] = new JsonArray(2_500_000_000, 1));
        AssertRefused("takes 10000000000 bytes", Head);
        EditHeader(Head, static (entry, begin) => (entry["shape"], entry["data_offsets"]) = (new JsonArray(2_500_000_000, 1), new JsonArray(begin, begin + 10_000_000_000)));
        AssertRefused("", null);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 64 << 20);
    }

    [Fact]
    public void OverlappingAndOutlyingDataAreNamed()
    {
        EditHeader(Head, static (entry, begin) => entry["data_offsets"] = new JsonArray(begin + 4, begin + 4 + 96 * 40 * 4));
        AssertRefused("", null);
        EditHeader(Head, static (entry, _) => entry["data_offsets"] = new JsonArray(1L << 40, (1L << 40) + 96 * 40 * 4));
        AssertRefused("bytes before its data belong to no tensor", null);
        EditHeader(Head, static (entry, _) => entry["data_offsets"] = new JsonArray(-4, 96 * 40 * 4 - 4));
        AssertRefused("data_offsets holds something that is not an integer", Head);
    }

    [Fact]
    public void DuplicateNamesAreRefused()
    {
        (string header, byte[] data) = Split();
        Put(header.Replace(Gate, Head, StringComparison.Ordinal), data);
        AssertRefused($"the key '{Head}' appears twice", null);
    }

    [Fact]
    public void ForgedLengthsAreRefused()
    {
        byte[] whole = File.ReadAllBytes(Weights);
        foreach (ulong length in new ulong[] { 0, 1, (ulong)whole.Length, 99_999_999, 100_000_001, 1UL << 63, ulong.MaxValue })
        {
            BinaryPrimitives.WriteUInt64LittleEndian(whole, length);
            File.WriteAllBytes(Weights, whole);
            AssertRefused("", null);
        }
    }

    [Fact]
    public void TruncatedFilesAreRefused()
    {
        byte[] whole = File.ReadAllBytes(Golden.Folder("dynamic-moe") + "/model.safetensors");
        foreach (int length in new[] { 0, 7, 8, 100, whole.Length / 2, whole.Length - 1 })
        {
            File.WriteAllBytes(Weights, whole[..length]);
            AssertRefused("", null);
        }
        File.WriteAllBytes(Weights, [.. whole, 0]);
        AssertRefused("the last 1 bytes belong to no tensor", null);
    }

    /// <summary>A vocabulary for other ids than the model's is refused when somebody asks for it; ids do without.</summary>
    [Fact]
    public void ATokenizerLargerThanTheVocabularyIsRefused()
    {
        string text = string.Concat(Enumerable.Range(0, 97).Select(static i => (char)('!' + i + (i > 93 ? 100 : 0))));
        File.WriteAllText(_folder["tokenizer.json"], Model.Tokenizers.Tokenizer.TrainCharacters(text).ToJson());
        CheckpointException refusal = TemporaryFolder.AssertRefused("97 tokens", AskForTokenizer);
        Assert.Contains("tokenizer.json", refusal.Message, StringComparison.Ordinal);
        File.WriteAllText(_folder["tokenizer.json"], "{}");
        TemporaryFolder.AssertRefused("tokenizer.json", AskForTokenizer);

        void AskForTokenizer()
        {
            using LanguageModel model = LanguageModel.Load(_folder.Path, _backend);
            Assert.NotNull(model.Tokenizer);
        }
    }

    private void AssertRefused(string rule, string? tensor)
    {
        foreach (bool trainable in new[] { false, true })
        {
            CheckpointException refusal = TemporaryFolder.AssertRefused(rule, () => LanguageModel.Load(_folder.Path, _backend, trainable).Dispose());
            Assert.StartsWith(_folder.Path, refusal.Message, StringComparison.Ordinal);
            if (tensor is not null)
                Assert.Contains($"tensor '{tensor}'", refusal.Message, StringComparison.Ordinal);
        }
    }

    private void Rewrite(Action<List<(string Name, Tensor Value)>> change)
    {
        using SafetensorsFile file = SafetensorsFile.Open(Weights);
        List<(string Name, Tensor Value)> tensors = [.. file.Entries.Select(e => (e.Name, file.Get(e.Name)))];
        change(tensors);
        SafetensorsWriter.Write(Weights, tensors);
    }

    /// <summary>Changes a tensor's entry, given where its data begin, in the golden file's header.</summary>
    private void EditHeader(string name, Action<JsonObject, long> change)
    {
        File.Copy(Path.Combine(Golden.Folder("dynamic-moe"), "model.safetensors"), Weights, overwrite: true);
        (string text, byte[] data) = Split();
        JsonObject header = JsonNode.Parse(text)!.AsObject();
        JsonObject entry = header[name]!.AsObject();
        change(entry, entry["data_offsets"]![0]!.GetValue<long>());
        Put(header.ToJsonString(), data);
    }

    private (string Header, byte[] Data) Split()
    {
        byte[] whole = File.ReadAllBytes(Weights);
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(whole);
        return (Encoding.UTF8.GetString(whole, 8, length), whole[(8 + length)..]);
    }

    private void Put(string header, byte[] data)
    {
        byte[] text = Encoding.UTF8.GetBytes(header), length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, text.Length);
        File.WriteAllBytes(Weights, [.. length, .. text, .. data]);
    }
}
