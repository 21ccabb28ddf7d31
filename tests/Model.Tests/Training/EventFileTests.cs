using MoeFromScratch.Contract;
using MoeFromScratch.Model.Training;

namespace MoeFromScratch.Model.Tests.Training;

/// <summary>TensorBoard's file, read by a reader that shares nothing with its writer.</summary>
public sealed class EventFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string File1 => Assert.Single(Directory.GetFiles(_folder.Path));

    private static readonly TrainStep Step = new(300, Loss: 1.25f, GradNorm: 2, LearningRate: 1e-3f, RouterLosses: [0.5f], ExpertsPerToken: [1.5f, 2], TokensPerSecond: 1234)
    {
        DroppedPerToken = [0, 0.25f],
    };

    [Fact]
    public void ScalarsComeBack()
    {
        double before = (DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds;
        using (EventFile file = new(_folder["runs/x"], afterStep: 0))
        {
            file.Write(1, [("train/loss", 3.5f)]);
            file.Write(300, EventFile.Scalars(Step, 0.75f, ["load_balance"]));
        }
        string path = Assert.Single(Directory.GetFiles(_folder["runs/x"]));
        Assert.Matches(@"events\.out\.tfevents\.\d{10}\.moe$", path);
        IReadOnlyList<Event> events = Event.Read(File.ReadAllBytes(path));
        Assert.Equal(["brain.Event:2", null, null], events.Select(static e => e.Version));
        Assert.Equal([0L, 1, 300], events.Select(static e => e.Step));
        Assert.All(events, e => Assert.InRange(e.Time, before - 1, before + 600));
        Assert.Equal([("train/loss", 3.5f)], events[1].Scalars);
        Assert.Equal(
            [("train/loss", 1.25f), ("train/grad_norm", 2), ("train/learning_rate", 1e-3f), ("train/tokens_per_second", 1234), ("router_losses/load_balance", 0.5f),
                ("experts_per_token/layer_0", 1.5f), ("experts_per_token/layer_1", 2), ("dropped_per_token/layer_1", 0.25f), ("eval/loss", 0.75f)],
            events[2].Scalars);
    }

    /// <summary>Where the run goes on, later steps and half a record are gone; the name and what came before stay.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(200)]
    [InlineData(1000)]
    public void TheFileIsCutWhereTheRunContinues(int afterStep)
    {
        int[] steps = [1, 100, 127, 128, 200, 201, 16384];
        using (EventFile file = new(_folder.Path, 0))
            foreach (int step in steps)
                file.Write(step, [("a", step)]);
        string path = File1;
        byte[] whole = File.ReadAllBytes(path);
        IReadOnlyList<long> ends = Event.Ends(whole);
        File.WriteAllBytes(path, [.. whole, .. whole.AsSpan(0, 20)]);
        using (EventFile file = new(_folder.Path, afterStep))
            file.Write(5000, [("b", 1)]);
        Assert.Equal(path, File1);
        byte[] cut = File.ReadAllBytes(path);
        int kept = 1 + steps.Count(s => s <= afterStep);
        Assert.Equal(whole[..(int)ends[kept - 1]], cut[..(int)ends[kept - 1]]);
        Assert.Equal([0, .. steps.Where(s => s <= afterStep), 5000], Event.Read(cut).Select(static e => e.Step));
    }

    [Theory]
    [InlineData(3)]
    [InlineData(30)]
    [InlineData(-1)]
    public void ABrokenRecordEndsWhatIsKept(int flip)
    {
        using (EventFile file = new(_folder.Path, 0))
            file.Write(1, [("a", 1)]);
        byte[] bytes = File.ReadAllBytes(File1);
        long first = Event.Ends(bytes)[0];
        bytes[flip < 0 ? ^1 : flip] ^= 0x40;
        File.WriteAllBytes(File1, bytes);
        using (new EventFile(_folder.Path, 10))
        {
        }
        IReadOnlyList<Event> events = Event.Read(File.ReadAllBytes(File1));
        Assert.Equal("brain.Event:2", Assert.Single(events).Version);
        Assert.True(flip >= first || new FileInfo(File1).Length == first);
    }

    /// <summary>The reader's own checksum against RFC 3720, B.4.</summary>
    [Theory]
    [InlineData("0000000000000000000000000000000000000000000000000000000000000000", 0x8a9136aau)]
    [InlineData("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", 0x62a8ab43u)]
    [InlineData("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 0x46dd794eu)]
    [InlineData("1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100", 0x113fdb5cu)]
    [InlineData("313233343536373839", 0xe3069283u)]
    public void TheReadersChecksumIsTheStandards(string hex, uint crc) => Assert.Equal(crc, Event.Crc(Convert.FromHexString(hex)));
}
