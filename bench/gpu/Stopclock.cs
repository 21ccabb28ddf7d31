using System.Diagnostics;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Gpu;

/// <summary>Times work that a device queues: it is done when something can be read back.</summary>
internal sealed class Stopclock(IBackend backend, double seconds) : IDisposable
{
    private const int Rounds = 5, MostTimes = 2000;

    private readonly Tensor _probe = backend.Zeros([1]);
    private readonly float[] _read = new float[1];

    /// <summary>Seconds of one run: the median of rounds, each as many runs as fill the time, after one that does not count.</summary>
    public double Time(Action run)
    {
        Once(run, 1);
        int times = (int)Math.Clamp(seconds / Once(run, 1), 1, MostTimes);
        return Enumerable.Range(0, seconds > 0 ? Rounds : 1).Select(_ => Once(run, times) / times).Order().ElementAt(seconds > 0 ? Rounds / 2 : 0);
    }

    public void Dispose() => backend.Free(_probe);

    private double Once(Action run, int times)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < times; i++)
            run();
        backend.Download<float>(_probe, _read);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
