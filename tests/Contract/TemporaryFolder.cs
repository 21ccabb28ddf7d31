using System.Buffers.Binary;
using System.Text;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;
using Xunit;

namespace MoeFromScratch.Contract;

/// <summary>A folder of its own for each test, gone afterwards, and the files that go into it.</summary>
public sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("moe-checkpoints-").FullName;

    public string this[string file] => System.IO.Path.Combine(Path, file);

    public IEnumerable<string> Files =>
        Directory.EnumerateFiles(Path).Select(file => System.IO.Path.GetFileName(file)).Order(StringComparer.Ordinal);

    public void Dispose() => Directory.Delete(Path, recursive: true);

    /// <summary>A safetensors file with this header, whatever it says, and that many bytes of data: 0, 1, 2, …</summary>
    public string Put(string file, string header, int dataBytes)
    {
        File.WriteAllBytes(this[file], Bytes(header, dataBytes));
        return this[file];
    }

    public static byte[] Bytes(string header, int dataBytes)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        byte[] length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        return [.. length, .. json, .. Enumerable.Range(0, dataBytes).Select(i => (byte)i)];
    }

    /// <summary>A tensor with recognisable bytes; its memory is left to the finalizer.</summary>
    public static Tensor Filled(DType dtype, Shape shape, int seed = 1)
    {
        var tensor = new Tensor(shape, dtype, new NativeStorage(shape.Count * dtype.Size()));
        Span<byte> bytes = tensor.Host<byte>();
        for (int i = 0; i < bytes.Length; i++)
            bytes[i] = (byte)(i * 31 + seed);
        return tensor;
    }

    public static void AssertEqual(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.DType, actual.DType);
        Assert.Equal(expected.Shape, actual.Shape);
        Assert.True(expected.Host<byte>().SequenceEqual(actual.Host<byte>()), $"the bytes of {actual.Describe()} differ");
    }

    /// <summary>Refused in one line that contains <paramref name="rule"/>.</summary>
    public static CheckpointException AssertRefused(string rule, Action action)
    {
        CheckpointException refusal = Assert.Throws<CheckpointException>(action);
        Assert.Contains(rule, refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refusal.Message);
        return refusal;
    }
}
