using System.Runtime.InteropServices;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck;

/// <summary>One allocation: a range of the arena, its name for messages, and finer marks where elements are smaller than four bytes.</summary>
internal sealed unsafe class Block
{
    private static int s_last;
    private readonly string _what;
    private MemoryBuffer? _buffer;

    public Block(Machine machine, MemoryBuffer? buffer, string what, long bytes)
    {
        (Machine, _buffer, _what, Bytes, ElementSize) = (machine, buffer, what, bytes, buffer?.ElementSize ?? 1);
        Start = Arena.Take(this, bytes);
        Id = Interlocked.Increment(ref s_last);
    }

    /// <summary>In the order of allocation.</summary>
    public int Id { get; }

    public Machine Machine { get; private set; }
    public byte* Start { get; }
    public long Bytes { get; }
    public string? Name { get; set; }
    public bool Freed { get; private set; }
    public int ElementSize { get; }
    public MemoryBuffer Buffer => _buffer ?? throw new InvalidOperationException($"{_what} has no buffer");
    public string Label => Name is null ? _what : $"{_what} \"{Name}\"";

    /// <summary>Bytes per finer mark, 0 where the words' marks serve.</summary>
    public int Grain { get; private set; }
    public Mark* Fine { get; private set; }

    public void CheckRange(long offset, long bytes, string what)
    {
        if (Freed)
            throw Fault.Of(FaultKind.UseAfterFree, $"{what} on {Label}, which was disposed of");
        if ((ulong)offset > (ulong)Bytes || (ulong)bytes > (ulong)(Bytes - offset))
            throw Fault.Of(FaultKind.OutOfBounds, $"{what} of bytes {offset} to {offset + bytes} on {Label} of {Bytes} bytes");
    }

    public void Free()
    {
        Freed = true;
        _buffer = null;
        Machine = null!;   // nothing but the name outlives it
        NativeMemory.Free(Fine);
        Fine = null;
        Grain = 0;
        Arena.Return(Start, Bytes);
    }

    /// <summary>The marks of words become marks of one or two bytes each, for good.</summary>
    public void Split(int grain)
    {
        if (Grain != 0 && Grain <= grain)
            return;
        long words = (Bytes + 3) / 4;
        Mark* fine = (Mark*)NativeMemory.AllocZeroed((nuint)(words * 4 / grain * sizeof(Mark))), word = Arena.MarkAt(Start);
        for (long i = 0; i < words * 4 / grain; i++)
            fine[i] = Fine == null ? word[i * grain / 4] : Fine[i * grain / Grain];
        new Span<Mark>(word, checked((int)words)).Fill(new() { Write = Mark.Split, Read = Mark.Split });
        NativeMemory.Free(Fine);
        Fine = fine;
        Grain = grain;
    }

    /// <summary>The range counts as written by the host, or as never written.</summary>
    public void MarkRange(byte* start, long bytes, bool written)
    {
        long offset = start - Start;
        long odd = offset | bytes;
        if ((odd & 3) != 0 && offset + bytes != Bytes || (offset & 3) != 0)
            Split((odd & 1) != 0 ? 1 : 2);
        Mark mark = new() { Write = written ? Mark.Host : 0 };
        if (Grain == 0)
            new Span<Mark>(Arena.MarkAt(start), checked((int)((bytes + 3) / 4))).Fill(mark);
        else
        {
            if (Grain == 2 && (odd & 1) != 0)
                Split(1);
            new Span<Mark>(Fine + offset / Grain, checked((int)(bytes / Grain))).Fill(mark);
        }
    }

    /// <summary>Was the byte at this offset ever written?</summary>
    public bool IsWritten(long offset) => (Grain == 0 ? Arena.MarkAt(Start + offset)->Write : Fine[offset / Grain].Write) != 0;
}
