using ILGPU;

namespace MoeFromScratch.KernelCheck;

/// <summary>One turn of the running thread: until it waits (the number of the place) or ends (0).</summary>
internal delegate int Body<TArgs, TFrame>(Machine m, ref TFrame frame, ref TArgs args);

internal sealed unsafe partial class Machine
{
    private const int Ended = 0, Fresh = -1;

    private readonly Dictionary<KernelCode, Array> _frames = [];
    private readonly int[] _states = new int[MaxThreads];
    private readonly ulong[] _warpSince = new ulong[MaxThreads / Warp];
    private int[] _order = [], _groupOrder = [], _turns = [];
    private readonly (int X, int Y, int Z)[] _places = new (int, int, int)[MaxThreads];
    private bool _inThread;

    public void Run<TArgs, TFrame>(Kernel<TArgs> kernel, Body<TArgs, TFrame> body, KernelConfig config, ref TArgs args)
    {
        ObjectDisposedException.ThrowIf(Accelerator.IsDisposed, Accelerator);
        lock (_lock)
        {
            if (s_running is not null)
                throw new InvalidOperationException("a kernel cannot launch a kernel");
            (s_running, _kernel, _options) = (this, kernel, KernelCheckOptions.Current);
            try
            {
                Begin(config);
                kernel.CheckViews?.Invoke(this, ref args);
                TFrame[] frames = Frames<TFrame>(kernel, DimX * DimY * DimZ);
                foreach (int group in _groupOrder.AsSpan(0, GridDimX * GridDimY * GridDimZ))
                {
                    BeginGroup(group);
                    if (kernel.Syncs.Count == 0)
                        RunFree(body, frames, ref args);
                    else
                        RunMeeting(kernel, body, frames, ref args);
                    _inThread = false;
                }
            }
            catch (NullReferenceException e)
            {
                throw FaultHere(FaultKind.OutOfBounds, "follows a reference to nothing: " + e.Message);
            }
            finally
            {
                (s_running, _kernel, _inThread) = (null, null, false);
                Tick();
                Launch = _now;
            }
        }
    }

    private TFrame[] Frames<TFrame>(KernelCode kernel, int threads)
    {
        if (_frames.TryGetValue(kernel, out Array? found) && found.Length >= threads)
            return (TFrame[])found;
        // Pinned: references to variables that live in frames stay good.
        TFrame[] frames = GC.AllocateArray<TFrame>(kernel.Syncs.Count == 0 ? 1 : threads, pinned: true);
        if (kernel.Syncs.Count != 0)
            _frames[kernel] = frames;
        return frames;
    }

    private void Begin(KernelConfig config)
    {
        Index3D grid = config.GridDim, group = config.GroupDim;
        (GridDimX, GridDimY, GridDimZ) = grid;
        (DimX, DimY, DimZ) = group;
        if (group.X < 1 || group.Y < 1 || group.Z < 1 || group.LongSize > MaxThreads)
            throw FaultHere(FaultKind.Launch, $"a group of {group} threads, a device takes up to {MaxThreads}");
        if (grid.X < 1 || grid.Y < 1 || grid.Z < 1 || grid.Y > 65535 || grid.Z > 65535 || grid.LongSize > int.MaxValue)
            throw FaultHere(FaultKind.Launch, $"a grid of {grid} groups");
        _groups.Clear();
        BeginShared(config.SharedMemoryConfig.ArraySize);
        Tick();
        Launch = Group = Since = _now;

        Random? random = _options.Order == ThreadOrder.Seeded ? new(_options.Seed + (int)(_clock & 0xffff)) : null;
        SetOrder(ref _groupOrder, grid.Size, random);
        SetOrder(ref _order, (group.Size + Warp - 1) / Warp, random);
        SetOrder(ref _turns, Warp, random);
        for (int t = 0; t < group.Size; t++)
            _places[t] = (t % DimX, t / DimX % DimY, t / DimX / DimY);
    }

    private void SetOrder(ref int[] order, int count, Random? random)
    {
        if (order.Length < count)
            order = new int[count];
        for (int i = 0; i < count; i++)
            order[i] = _options.Order == ThreadOrder.Reversed ? count - 1 - i : i;
        random?.Shuffle(order.AsSpan(0, count));
    }

    private void BeginGroup(int group)
    {
        GridX = group % GridDimX;
        GridY = group / GridDimX % GridDimY;
        GridZ = group / GridDimX / GridDimY;
        Tick();
        Group = Since = WarpSince = _now;
        _groups.Add((_now, group));
        ForgetShared();
        ForgetCopies();
        ForgetRegisters(_kernel!, DimX * DimY * DimZ);
    }

    private void Enter(int thread)
    {
        Linear = thread;
        (IdxX, IdxY, IdxZ) = _places[thread];
        Me = _now | (ulong)thread << Mark.ThreadShift;
        _inThread = true;
    }

    private void RunFree<TArgs, TFrame>(Body<TArgs, TFrame> body, TFrame[] frames, ref TArgs args)
    {
        int threads = DimX * DimY * DimZ;
        for (int warp = 0; warp < (threads + Warp - 1) / Warp; warp++)
            foreach (int lane in _turns)
                if (_order[warp] * Warp + lane is int thread && thread < threads)
                {
                    Enter(thread);
                    State = Fresh;
                    body(this, ref frames[0], ref args);
                }
    }

    private void RunMeeting<TArgs, TFrame>(KernelCode kernel, Body<TArgs, TFrame> body, TFrame[] frames, ref TArgs args)
    {
        int threads = DimX * DimY * DimZ, warps = (threads + Warp - 1) / Warp;
        Array.Fill(_states, Fresh, 0, threads);
        Array.Fill(_warpSince, Group, 0, warps);
        while (true)
        {
            for (int warp = 0; warp < warps; warp++)
                Advance(kernel, body, frames, ref args, _order[warp], threads);
            int state = _states[0];
            if (_states.AsSpan(0, threads).ContainsAnyExcept(state))
                throw Diverged(kernel, 0, threads);
            if (state == Ended)
                return;
            Meet(kernel.Syncs[state - 1], threads);
            Array.Fill(_warpSince, Since, 0, warps);
        }
    }

    /// <summary>Lanes of one warp take turns until each has ended or waits for its group.</summary>
    private void Advance<TArgs, TFrame>(KernelCode kernel, Body<TArgs, TFrame> body, TFrame[] frames, ref TArgs args, int warp, int threads)
    {
        int first = warp * Warp, lanes = Math.Min(Warp, threads - first);
        if (_states[first] == Ended && !_states.AsSpan(first, lanes).ContainsAnyExcept(Ended))
            return;
        while (true)
        {
            WarpSince = _warpSince[warp];
            foreach (int lane in _turns)
            {
                int thread = first + lane;
                if (lane >= lanes || _states[thread] == Ended)
                    continue;
                Enter(thread);
                State = _states[thread];
                _states[thread] = body(this, ref frames[thread], ref args);
            }
            int state = _states[first];
            bool same = !_states.AsSpan(first, lanes).ContainsAnyExcept(state);
            if (same && (state == Ended || kernel.Syncs[state - 1].OfGroup))
                return;
            if (!same)
                throw Diverged(kernel, first, lanes);
            SyncPoint point = kernel.Syncs[state - 1];
            MeetLanes(point, first, lanes);
            if (point.Kind == SyncKind.WarpBarrier)
                _warpSince[warp] = _now;
        }
    }

    private KernelFault Diverged(KernelCode kernel, int first, int count)
    {
        int odd = first + 1;
        while (odd < first + count && _states[odd] == _states[first])
            odd++;
        // The one that waits is where the fault is; the other went elsewhere.
        (int waits, int other) = _states[first] == Ended ? (odd, first) : (first, odd);
        Enter(waits);
        SyncPoint point = kernel.Syncs[_states[waits] - 1];
        Site = point.Site;
        string went = _states[other] == Ended ? "has ended"
            : $"waits at {kernel.Syncs[_states[other] - 1].Name}{kernel.LineOf(kernel.Syncs[_states[other] - 1].Site)}";
        return FaultHere(FaultKind.Divergence, $"waits at {point.Name}, but thread {ThreadName(other)} {went}");
    }
}
