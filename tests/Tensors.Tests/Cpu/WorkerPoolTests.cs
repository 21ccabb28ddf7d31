using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors.Tests;

public sealed unsafe class WorkerPoolTests
{
    [Theory, InlineData(1), InlineData(2), InlineData(5), InlineData(17)]
    public void Every_piece_runs_once_and_worker_numbers_are_never_shared(int threads)
    {
        using WorkerPool pool = new(threads);
        int* runs = stackalloc int[1000], busy = stackalloc int[threads];
        for (int round = 1; round <= 200; round++)
        {
            pool.Run(1000, new CountJob { Runs = runs, Busy = busy, Threads = threads });
            for (int i = 0; i < 1000; i++)
                Assert.Equal(round, runs[i]);
        }
    }

    [Fact]
    public void Sleeping_workers_wake_for_the_next_job()
    {
        using WorkerPool pool = new(3);
        int* runs = stackalloc int[64], busy = stackalloc int[3];
        for (int round = 1; round <= 10; round++)
        {
            Thread.Sleep(2);
            pool.Run(64, new CountJob { Runs = runs, Busy = busy, Threads = 3 });
            Assert.Equal(round, runs[63]);
        }
    }

    [Theory, InlineData(2), InlineData(3), InlineData(8)]
    public void Who_is_done_takes_the_pieces_of_who_is_held_up(int threads)
    {
        using WorkerPool pool = new(threads);
        int done = 0;
        pool.Run(40, new HeldUpJob { Done = &done, Pieces = 40 });
        Assert.Equal(40, done);
    }

    [Theory, InlineData(2), InlineData(7), InlineData(16)]
    public void Fewer_pieces_than_threads_run_once(int pieces)
    {
        using WorkerPool pool = new(17);
        int* runs = stackalloc int[17], busy = stackalloc int[17];
        for (int round = 1; round <= 100; round++)
            pool.Run(pieces, new CountJob { Runs = runs, Busy = busy, Threads = 17 });
        for (int i = 0; i < 17; i++)
            Assert.Equal(i < pieces ? 100 : 0, runs[i]);
    }

    [Fact]
    public void An_exception_comes_out_and_the_pool_goes_on()
    {
        using WorkerPool pool = new(4);
        int* runs = stackalloc int[8], busy = stackalloc int[4];
        for (int round = 0; round < 50; round++)
            Assert.Throws<InvalidOperationException>(() => pool.Run(100, new ThrowingJob { At = 50 }));
        pool.Run(8, new CountJob { Runs = runs, Busy = busy, Threads = 4 });
        Assert.Equal(1, runs[7]);
    }

    private struct CountJob : IJob
    {
        public int* Runs, Busy;
        public int Threads;

        public readonly void Run(int index, int worker)
        {
            if (worker < 0 || worker >= Threads || Interlocked.Exchange(ref Busy[worker], 1) != 0)
                throw new InvalidOperationException("two threads share a worker number");
            Runs[index]++;
            Volatile.Write(ref Busy[worker], 0);
        }
    }

    /// <summary>Its first piece waits for all others.</summary>
    private struct HeldUpJob : IJob
    {
        public int* Done;
        public int Pieces;

        public readonly void Run(int index, int worker)
        {
            int* done = Done;
            int others = Pieces - 1;
            if (index == 0 && !SpinWait.SpinUntil(() => Volatile.Read(ref *done) == others, TimeSpan.FromSeconds(30)))
                throw new InvalidOperationException("the other pieces wait for this one");
            Interlocked.Increment(ref *Done);
        }
    }

    private struct ThrowingJob : IJob
    {
        public int At;

        public readonly void Run(int index, int worker)
        {
            if (index == At)
                throw new InvalidOperationException("planted");
        }
    }
}
