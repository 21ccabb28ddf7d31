using System.Buffers.Binary;
using MoeFromScratch.Contract;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Tensors.Tests.Checkpoints;

/// <summary>
/// Small valid files, damaged at random in and around the header: each is either refused with a
/// <see cref="CheckpointException"/> or good for every byte of every tensor it lists.
/// </summary>
public sealed class MutationTests : IDisposable
{
    private const int Cases = 10_000;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void DamagedFilesAreRefusedOrWhole()
    {
        byte[][] originals = [.. Originals()];
        var random = new Random(20250101);
        int refused = 0;
        for (int i = 0; i < Cases; i++)
        {
            byte[] damaged = Damage(originals[i % originals.Length], random);
            File.WriteAllBytes(_folder["x"], damaged);
            try
            {
                refused += Use(_folder["x"]) ? 0 : 1;
            }
            catch (Exception e)
            {
                Assert.Fail($"case {i}: {e}\n{Convert.ToHexString(damaged)}");
            }
        }
        Assert.InRange(refused, Cases / 2, Cases - 1);
    }

    private static IEnumerable<byte[]> Originals()
    {
        yield return TemporaryFolder.Bytes("""{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}""", 8);
        yield return TemporaryFolder.Bytes(
            """{"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"I64","shape":[],"data_offsets":[2,10]}}  """, 10);
        yield return TemporaryFolder.Bytes(
            """{"__metadata__":{"format":"pt"},"ä\n":{"dtype":"F16","shape":[1,1,1,3],"data_offsets":[0,6]},"z":{"dtype":"U8","shape":[0,7],"data_offsets":[6,6]}}""", 6);
    }

    /// <summary>One to three flips, bytes from JSON's alphabet, insertions, removals, copies; sometimes the length is kept true.</summary>
    private static byte[] Damage(byte[] original, Random random)
    {
        List<byte> bytes = [.. original];
        for (int edits = random.Next(1, 4); edits > 0 && bytes.Count > 0; edits--)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(6))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = Interesting(random);
                    break;
                case 2:
                    bytes.Insert(at, Interesting(random));
                    break;
                case 3:
                    bytes.RemoveAt(at);
                    break;
                case 4:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                default:
                    bytes.InsertRange(at, bytes.GetRange(at, random.Next(Math.Min(64, bytes.Count - at) + 1)));
                    break;
            }
        }
        byte[] damaged = [.. bytes];
        if (damaged.Length >= 8 && random.Next(3) > 0)
        {
            long dataBytes = original.Length - 8 - BinaryPrimitives.ReadInt64LittleEndian(original);
            BinaryPrimitives.WriteInt64LittleEndian(damaged, Math.Max(0, damaged.Length - 8 - dataBytes));
        }
        return damaged;
    }

    private static byte Interesting(Random random)
    {
        ReadOnlySpan<byte> alphabet = "{}[]\",:\\0123456789-+.eE \n\0ßuIFB"u8;
        return alphabet[random.Next(alphabet.Length)];
    }

    /// <returns>Whether the file was opened; its tensors may still be refused one by one.</returns>
    private static bool Use(string path)
    {
        try
        {
            using var file = SafetensorsFile.Open(path);
            foreach (TensorEntry entry in file.Entries)
                Touch(file, entry);
            return true;
        }
        catch (CheckpointException)
        {
            return false;
        }
    }

    private static void Touch(SafetensorsFile file, TensorEntry entry)
    {
        try
        {
            Tensor tensor = file.Get(entry.Name);
            Assert.Equal(entry.Bytes, tensor.Bytes);
            Assert.True(tensor.Storage.Bytes >= tensor.ByteOffset + tensor.Bytes);
            int sum = 0;
            foreach (byte b in tensor.Host<byte>())
                sum += b;
            Assert.InRange(sum, 0, 255 * tensor.Host<byte>().Length);
        }
        catch (CheckpointException refusal)
        {
            Assert.Equal(entry.Name, refusal.Tensor);
        }
    }
}
