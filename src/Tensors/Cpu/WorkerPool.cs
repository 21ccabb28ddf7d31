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
/// <para>
/// Each worker begins with a run of neighbouring pieces of its own, so that what it reads is one run of memory as well, which the
/// processor fetches ahead across pieces (two workers who take turns get 0.85 of the bytes); then it helps the others.
/// </para>
/// </summary>
internal sealed unsafe class WorkerPool : IDisposable
{
    private const int Apart = 128 / sizeof(long);
    private const long Open = 1L << 31, EpochStep = 1L << 32, InsideMask = Open - 1;
    private static readonly long s_spinTicks = Stopwatch.Frequency * 30 / 1_000_000;

    private readonly Lock _caller = new();
    private readonly object _gate = new();
    private readonly Thread[] _threads;
    private readonly long[] _next;               // each worker's next piece, in a cache line of its own
    private long _state;                         // epoch | Open | workers inside
    private int _sleeping;
    private volatile bool _stopped;

    private delegate*<void*, int, int, void> _invoke;
    private void* _job;
    private int _count;
    private Exception? _error;

    /// <param name="threads">How many share the work, the caller included.</param>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _threads = new Thread[threads - 1];
        _next = new long[(threads + 1) * Apart];
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
            for (int owner = 0; owner < Threads; owner++)
                Next(owner) = First(owner);
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
            for (int turn = 0, owner = worker; turn < Threads; turn++, owner = (owner + 1) % Threads)
            {
                long end = First(owner + 1);
                for (long i; (i = Interlocked.Increment(ref Next(owner)) - 1) < end;)
                    _invoke(_job, (int)i, worker);
            }
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref _error, e, null);
            for (int owner = 0; owner < Threads; owner++)
                Volatile.Write(ref Next(owner), _count);   // what is left makes no sense any more
        }
    }

    /// <summary>The first of a worker's pieces; those of the last worker end where a further one's would begin.</summary>
    private long First(int owner) => (long)_count * owner / Threads;

    private ref long Next(int owner) => ref _next[(owner + 1) * Apart];

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
