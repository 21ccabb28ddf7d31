using System.Diagnostics;
using System.Runtime.ExceptionServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>Work that falls into independent pieces. A struct without references, so that handing it out allocates nothing.</summary>
internal interface IJob
{
    /// <summary>Does one piece.</summary>
    /// <param name="index">Which piece; each is run once, by any worker, in any order.</param>
    /// <param name="worker">Who runs it, from 0 to Threads − 1: names scratch memory nobody else touches meanwhile.</param>
    void Run(int index, int worker);
}

/// <summary>
/// Threads that share the pieces of one job at a time; the caller is one of them. Idle workers spin for some microseconds,
/// because the next kernel usually comes at once, then sleep.
/// <para>
/// A job is open while <see cref="_state"/> says so; workers enter and leave by counting themselves in it. Who sleeps
/// through a job simply misses it: the caller waits only for those who entered, so more threads than cores do no harm.
/// </para>
/// </summary>
internal sealed unsafe class WorkerPool : IDisposable
{
    private const long Open = 1L << 31, EpochStep = 1L << 32, InsideMask = Open - 1;
    private static readonly long s_spinTicks = Stopwatch.Frequency * 30 / 1_000_000;

    private readonly Lock _caller = new();
    private readonly object _gate = new();
    private readonly Thread[] _threads;
    private long _state;                         // epoch | Open | workers inside
    private int _sleeping;
    private volatile bool _stopped;

    private delegate*<void*, int, int, void> _invoke;
    private void* _job;
    private int _count;
    private int _next;
    private Exception? _error;

    /// <param name="threads">How many share the work, the caller included.</param>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _threads = new Thread[threads - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i;
            _threads[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"moe worker {i}" };
            _threads[i].Start();
        }
    }

    public int Threads => _threads.Length + 1;

    /// <summary>Runs all pieces 0 … count − 1 and returns when all are done. An exception of a piece comes out here.</summary>
    /// <param name="count">Number of pieces.</param>
    /// <param name="job">Copied; every worker runs the same copy.</param>
    /// <param name="alone">The work is too small to share.</param>
    public void Run<TJob>(int count, TJob job, bool alone = false) where TJob : unmanaged, IJob
    {
        if (count <= 1 || alone || _threads.Length == 0)
        {
            for (int i = 0; i < count; i++)
                job.Run(i, Threads - 1);
            return;
        }

        ObjectDisposedException.ThrowIf(_stopped, this);
        lock (_caller)
        {
            _invoke = &Invoke<TJob>;
            _job = &job;
            _count = count;
            _next = 0;
            Interlocked.Add(ref _state, EpochStep + Open);
            if (Volatile.Read(ref _sleeping) > 0)
                lock (_gate)
                    Monitor.PulseAll(_gate);
            TakePieces(Threads - 1);
            Interlocked.Add(ref _state, -Open);
            WaitUntilAllLeft();
            _job = null;
            if (Interlocked.Exchange(ref _error, null) is Exception error)
                ExceptionDispatchInfo.Throw(error);
        }
    }

    public void Dispose()
    {
        _stopped = true;
        lock (_gate)
            Monitor.PulseAll(_gate);
        foreach (Thread thread in _threads)
            thread.Join();
    }

    private static void Invoke<TJob>(void* job, int index, int worker) where TJob : unmanaged, IJob => ((TJob*)job)->Run(index, worker);

    private void TakePieces(int worker)
    {
        try
        {
            for (int i; (i = Interlocked.Increment(ref _next) - 1) < _count;)
                _invoke(_job, i, worker);
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref _error, e, null);
            Volatile.Write(ref _next, _count);   // what is left makes no sense any more
        }
    }

    private void WaitUntilAllLeft()
    {
        for (int turn = 0; (Volatile.Read(ref _state) & InsideMask) != 0; turn++)
        {
            if (turn < 1000)
                Thread.SpinWait(1);
            else
                Thread.Yield();
        }
    }

    private void Work(int worker)
    {
        long seen = 0;
        while (WaitForJob(seen))
        {
            long state = Volatile.Read(ref _state);
            seen = state / EpochStep;
            while ((state & Open) != 0)
            {
                long before = Interlocked.CompareExchange(ref _state, state + 1, state);
                if (before == state)
                {
                    seen = state / EpochStep;
                    TakePieces(worker);
                    Interlocked.Decrement(ref _state);
                    break;
                }
                state = before;
            }
        }
    }

    /// <summary>Waits for a job later than <paramref name="seen"/>; false when the pool stops.</summary>
    private bool WaitForJob(long seen)
    {
        long start = Stopwatch.GetTimestamp();
        do
        {
            for (int i = 0; i < 16; i++)
            {
                if (IsNews(seen))
                    return !_stopped;
                Thread.SpinWait(1);
            }
        }
        while (Stopwatch.GetTimestamp() - start < s_spinTicks);

        lock (_gate)
        {
            Interlocked.Increment(ref _sleeping);
            while (!IsNews(seen))
                Monitor.Wait(_gate);
            Interlocked.Decrement(ref _sleeping);
        }
        return !_stopped;
    }

    private bool IsNews(long seen) => _stopped || Volatile.Read(ref _state) / EpochStep != seen;
}
