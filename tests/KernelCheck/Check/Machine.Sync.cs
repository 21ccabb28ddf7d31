using System.Runtime.InteropServices;

namespace MoeFromScratch.KernelCheck;

internal sealed unsafe partial class Machine
{
    private const int Slot = 64;   // bytes of a value that travels between threads

    private readonly byte* _offered = (byte*)NativeMemory.AllocZeroed(MaxThreads * Slot);
    private readonly byte* _received = (byte*)NativeMemory.AllocZeroed(MaxThreads * Slot);
    private readonly int[] _operand = new int[MaxThreads];
    private readonly int[] _width = new int[MaxThreads];
    private int _slotBytes;

    ~Machine()
    {
        NativeMemory.Free(_offered);
        NativeMemory.Free(_received);
    }

    /// <summary>What the running thread brings to the place where it is about to wait.</summary>
    public static void Offer<T>(T value, int operand, int width, Machine m, int site) where T : unmanaged
    {
        m.Site = site;
        if (sizeof(T) > Slot)
            throw m.FaultHere(FaultKind.Refused, $"{Names.Of(typeof(T))} is too wide to travel between threads: {sizeof(T)} bytes");
        if (width is < 1 or > Warp || (width & width - 1) != 0)
            throw m.FaultHere(FaultKind.Launch, $"a shuffle over {width} lanes: only powers of two up to {Warp}");
        *(T*)(m._offered + m.Linear * Slot) = value;
        (m._operand[m.Linear], m._width[m.Linear], m._slotBytes) = (operand, width, sizeof(T));
    }

    public static T Receive<T>(Machine m) where T : unmanaged => *(T*)(m._received + m.Linear * Slot);

    /// <summary>All threads of the group have come to this point.</summary>
    internal void Meet(SyncPoint point, int threads)
    {
        switch (point.Kind)
        {
            case SyncKind.And or SyncKind.Or or SyncKind.PopCount:
                int count = 0;
                for (int t = 0; t < threads; t++)
                    count += *(bool*)(_offered + t * Slot) ? 1 : 0;
                for (int t = 0; t < threads; t++)
                    if (point.Kind == SyncKind.PopCount)
                        *(int*)(_received + t * Slot) = count;
                    else
                        *(bool*)(_received + t * Slot) = point.Kind == SyncKind.And ? count == threads : count > 0;
                break;
            case SyncKind.GroupBroadcast:
                for (int t = 0; t < threads; t++)
                    Deliver(_operand[t], t, 0, threads, point, sameForAll: _operand[0]);
                break;
        }
        Tick();
        Since = _now;
        WarpSince = _now;
    }

    /// <summary>All lanes of a warp have come to this point.</summary>
    internal void MeetLanes(SyncPoint point, int first, int lanes)
    {
        if (point.Kind == SyncKind.Ptx)
        {
            Carry(point, first, lanes);
            return;
        }
        for (int lane = 0; lane < lanes && point.Kind != SyncKind.WarpBarrier; lane++)
        {
            int operand = _operand[first + lane], width = _width[first + lane], segment = lane & ~(width - 1);
            int from = point.Kind switch
            {
                SyncKind.Shuffle => segment + (operand & width - 1),
                SyncKind.ShuffleUp => lane - operand < segment ? lane : lane - operand,
                SyncKind.ShuffleDown => lane + operand >= segment + width ? lane : lane + operand,
                SyncKind.ShuffleXor => (lane ^ operand) >= segment + width ? lane : lane ^ operand,
                _ => operand,
            };
            Deliver(from, lane, first, lanes, point, point.Kind == SyncKind.WarpBroadcast ? _operand[first] : operand);
        }
        if (point.Kind == SyncKind.WarpBarrier)
            Tick();
    }

    /// <summary>What a lane that does not exist would give is undefined on a device; here it is all ones: NaN, or −1.</summary>
    private void Deliver(int from, int to, int first, int count, SyncPoint point, int sameForAll)
    {
        if (point.Kind is SyncKind.WarpBroadcast or SyncKind.GroupBroadcast && (_operand[first + to] != sameForAll || from < 0 || from >= count))
        {
            (Linear, Site) = (first + to, point.Site);
            throw FaultHere(FaultKind.Divergence, $"{point.Name} from {from}, of {count}, where another thread asks for {sameForAll}");
        }
        byte* target = _received + (first + to) * Slot;
        if (from < 0 || from >= count)
            NativeMemory.Fill(target, (nuint)_slotBytes, 0xff);
        else if (_slotBytes == 4)
            *(int*)target = *(int*)(_offered + (first + from) * Slot);
        else
            NativeMemory.Copy(_offered + (first + from) * Slot, target, (nuint)_slotBytes);
    }
}
