namespace MoeFromScratch.KernelCheck;

internal sealed unsafe partial class Machine
{
    /// <summary>An asynchronous copy: what it brings, and in which of its thread's batches.</summary>
    private readonly record struct Copy(nint Target, int Bytes, ulong Low, ulong High, int Batch, int Site);

    private readonly Queue<Copy>[] _copies = new Queue<Copy>[MaxThreads];
    private readonly int[] _batch = new int[MaxThreads];

    /// <summary>From here until it arrives nobody may touch the target. Its source is read now.</summary>
    private void BeginCopy(byte* target, PtxOperand from, int bytes, int given)
    {
        if (Arena.BlockAt(target) is { } block && block != _shared && block != _dynamic)
            throw FaultHere(FaultKind.OutOfBounds, $"copies asynchronously to {Describe(target)}, which is not shared memory");
        if (given < 0 || given > bytes)
            throw FaultHere(FaultKind.OutOfBounds, $"copies {given} of {bytes} bytes");
        ulong* data = stackalloc ulong[2];
        if (given > 0)
        {
            byte* source = Place(from, bytes);
            Shadow.Read(source, given, this, Site);
            Buffer.MemoryCopy(source, data, 16, given);
        }
        Shadow.Begin(target, bytes, this, Site);
        (_copies[Linear] ??= new()).Enqueue(new((nint)target, bytes, data[0], data[1], _batch[Linear], Site));
    }

    /// <summary>The running thread has waited for its batches before this one.</summary>
    private void Arrive(int batch)
    {
        Queue<Copy>? copies = _copies[Linear];
        ulong* data = stackalloc ulong[2];
        while (copies is not null && copies.TryPeek(out Copy copy) && copy.Batch < batch)
        {
            copies.Dequeue();
            (data[0], data[1]) = (copy.Low, copy.High);
            Buffer.MemoryCopy(data, (byte*)copy.Target, copy.Bytes, copy.Bytes);
            Shadow.Arrive((byte*)copy.Target, copy.Bytes, this, copy.Site);
        }
    }

    /// <summary>What a group has not waited for goes with its shared memory.</summary>
    private void ForgetCopies()
    {
        foreach (Queue<Copy>? copies in _copies)
            copies?.Clear();
        Array.Clear(_batch);
    }

    public KernelFault UnderWay(byte* address, string does, int site)
    {
        Site = site;
        for (int thread = 0; thread < MaxThreads; thread++)
            foreach (Copy copy in _copies[thread] ?? [])
                if ((byte*)copy.Target <= address && address < (byte*)copy.Target + copy.Bytes)
                    return FaultHere(FaultKind.UnderWay, $"{does} {Describe(address)}, which thread {ThreadName(thread)} copies asynchronously{_kernel!.LineOf(copy.Site)} and has not waited for");
        return FaultHere(FaultKind.UnderWay, $"{does} {Describe(address)}, which is being copied asynchronously");
    }
}
