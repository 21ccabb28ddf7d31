using System.Buffers.Binary;
using System.Text;
using MoeFromScratch.Contract;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>
/// Folders with a config.json or a safetensors header damaged at random: loading ends in a model or in a
/// <see cref="CheckpointException"/> of one line, and allocates little either way.
/// </summary>
public sealed class MutationTests : IDisposable
{
    private const int Cases = 5_000;
    private const long MostBytesPerLoad = 4 << 20;

    private readonly TemporaryFolder _folder = new();
    private readonly IBackend _backend = Machines.Make(Machines.Cpu(8, 1));

    public static TheoryData<string, string> Files => new()
    {
        { "dynamic-moe p 0.0, every 2nd layer", "config.json" },
        { "mixtral window 1", "config.json" },
        { "dynamic-moe one layer, one expert", "model.safetensors" },
        { "mixtral window 1", "model.safetensors" },
    };

    public void Dispose()
    {
        _backend.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void DamagedFoldersLoadOrAreRefused(string variant, string file)
    {
        using (LanguageModel model = LanguageModel.Create(_backend, Tiny.Family(Variants.FamilyOf(variant)), Variants.All[variant], seed: 1))
            model.Save(_folder.Path);
        byte[] original = File.ReadAllBytes(_folder[file]);
        int reach = file == "config.json" ? original.Length : 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(original);
        Random random = new(20250601);
        int loaded = 0;
        for (int i = 0; i < Cases / 2; i++)
        {
            byte[] damaged = Damage(original, reach, random);
            File.WriteAllBytes(_folder[file], damaged);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                using LanguageModel model = LanguageModel.Load(_folder.Path, _backend);
                loaded++;
            }
            catch (CheckpointException e)
            {
                Assert.StartsWith(_folder.Path, e.Message, StringComparison.Ordinal);
                Assert.DoesNotContain('\n', e.Message);
            }
            catch (Exception e)
            {
                Assert.Fail($"case {i}: {e}\n{Encoding.UTF8.GetString(damaged.AsSpan(0, Math.Min(damaged.Length, reach + 64)))}");
            }
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, MostBytesPerLoad);
            Assert.Equal(0, _backend.LiveBuffers);
        }
        Assert.InRange(loaded, 1, Cases / 2 - 1);
    }

    /// <summary>One to three flips, bytes from JSON's alphabet, insertions, removals, copies or a cut, in the first <paramref name="reach"/> bytes.</summary>
    private static byte[] Damage(byte[] original, int reach, Random random)
    {
        ReadOnlySpan<byte> alphabet = "{}[]\",:\\0123456789-+.eE \n\0ßutruefalsnIF"u8;
        List<byte> bytes = [.. original];
        for (int edits = random.Next(1, 4); edits > 0; edits--)
        {
            int end = Math.Min(reach, bytes.Count);
            if (end == 0)
                break;
            int at = random.Next(end);
            byte other = alphabet[random.Next(alphabet.Length)];
            switch (random.Next(12))
            {
                case < 3:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case < 6:
                    bytes[at] = other;
                    break;
                case < 8:
                    bytes.Insert(at, other);
                    break;
                case < 10:
                    bytes.RemoveAt(at);
                    break;
                case 10:
                    bytes.InsertRange(at, bytes.GetRange(at, random.Next(Math.Min(64, bytes.Count - at) + 1)));
                    break;
                default:
                    bytes.RemoveRange(at, random.Next(8) == 0 ? bytes.Count - at : Math.Min(bytes.Count - at, random.Next(32)));
                    break;
            }
        }
        return [.. bytes];
    }
}
