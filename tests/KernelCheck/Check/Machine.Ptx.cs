namespace MoeFromScratch.KernelCheck;

internal sealed unsafe partial class Machine
{
    private const int MostArguments = 8;

    private readonly ulong[] _arguments = new ulong[MaxThreads * MostArguments];
    private uint[] _registers = [];
    private bool[] _assigned = [];
    private int _registersEach;

    /// <summary>An argument of the inline PTX that the running thread is about to carry out.</summary>
    public static void Bring<T>(T value, int number, Machine m) where T : unmanaged
    {
        ulong bits = 0;
        *(T*)&bits = value;
        m._arguments[m.Linear * MostArguments + number] = bits;
    }

    /// <summary>Inline PTX of the running thread alone.</summary>
    public static void Carry(int program, Machine m, int site)
    {
        m.Site = site;
        foreach (PtxInstruction instruction in m._kernel!.Programs[program].Instructions)
            m.Carry(instruction);
    }

    /// <summary>A new group's registers hold nothing.</summary>
    private void ForgetRegisters(KernelCode kernel, int threads)
    {
        _registersEach = kernel.Registers;
        if (_registers.Length < threads * _registersEach)
            (_registers, _assigned) = (new uint[threads * _registersEach], new bool[threads * _registersEach]);
        Array.Clear(_assigned);
    }

    /// <summary>Inline PTX that all lanes of a warp have come to.</summary>
    private void Carry(SyncPoint point, int first, int lanes)
    {
        Site = point.Site;
        if (lanes < Warp)
        {
            Enter(first);
            throw FaultHere(FaultKind.Divergence, $"\"{point.Program!.Instructions[0].Text}\" with {lanes} lanes, where all {Warp} of a warp multiply together");
        }
        foreach (PtxInstruction instruction in point.Program!.Instructions)
            if (instruction.Code is PtxCode.MmaBf16 or PtxCode.MmaTf32)
                Multiply(instruction, first);
            else
                for (int lane = 0; lane < lanes; lane++)
                {
                    Enter(first + lane);
                    Carry(instruction);
                }
        _inThread = false;
    }

    private void Carry(PtxInstruction i)
    {
        if (i.Guard >= 0 && (byte)_arguments[Linear * MostArguments + i.Guard] == 0)
            return;
        switch (i.Code)
        {
            case PtxCode.Move:
                Assign(i.Operands[0], Value(i, 1));
                break;
            case PtxCode.RoundTf32:
                Assign(i.Operands[0], RoundTf32(Value(i, 1)));
                break;
            case PtxCode.PackBf16:
                Assign(i.Operands[0], RoundBf16(Value(i, 1)) & 0xffff0000 | RoundBf16(Value(i, 2)) >> 16);
                break;
            case PtxCode.StoreGlobal:
                byte* target = Place(i.Operands[0], 4);
                Shadow.WriteWord(target, this, Site);
                *(uint*)target = Value(i, 1);
                break;
            case PtxCode.Copy:
                BeginCopy(Place(i.Operands[0], i.Operands[2].Value), i.Operands[1], i.Operands[2].Value, (int)Value(i, 3));
                break;
            case PtxCode.Commit:
                _batch[Linear]++;
                break;
            case PtxCode.WaitGroups:
                Arrive(_batch[Linear] - i.Operands[0].Value);
                break;
            case PtxCode.WaitAll:
                Arrive(++_batch[Linear]);
                break;
        }
    }

    private uint Value(PtxInstruction i, int operand)
    {
        PtxOperand o = i.Operands[operand];
        if (o.Place == PtxPlace.Constant)
            return (uint)o.Value;
        if (o.Place == PtxPlace.Argument)
            return (uint)_arguments[Linear * MostArguments + o.Value];
        return _assigned[Linear * _registersEach + o.Value] ? _registers[Linear * _registersEach + o.Value]
            : throw FaultHere(FaultKind.Uninitialised, $"\"{i.Text}\" reads a register (operand {operand}) that was never assigned");
    }

    private void Assign(PtxOperand o, uint value)
    {
        _registers[Linear * _registersEach + o.Value] = value;
        _assigned[Linear * _registersEach + o.Value] = true;
    }

    /// <summary>The bytes an operand points to: within one allocation, and at a multiple of their number.</summary>
    private byte* Place(PtxOperand o, int bytes)
    {
        byte* place = (byte*)_arguments[Linear * MostArguments + o.Value] + o.Offset;
        if (place < Arena.Start || place >= Arena.Start + Arena.Bytes || Arena.BlockAt(place) is not { } block || place + bytes > block.Start + block.Bytes)
            throw FaultHere(FaultKind.OutOfBounds, "an address that is in no allocation");
        return (nint)place % bytes == 0 ? place
            : throw FaultHere(FaultKind.Misaligned, $"{bytes} bytes at once at {Describe(place)}, {(nint)place % bytes} bytes past a multiple of {bytes}");
    }

    /// <summary>To the nearest of 11 bits, ties away from zero.</summary>
    private static uint RoundTf32(uint x) => (x & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : (x & 0x7f800000) == 0x7f800000 ? x : x + 0x1000 & 0xffffe000;

    /// <summary>To the nearest of 8 bits, ties to even, in the upper half.</summary>
    private static uint RoundBf16(uint x) => (x & 0x7fffffff) > 0x7f800000 ? 0x7fff0000 : x + 0x7fff + (x >> 16 & 1);

    /// <summary>
    /// d = a · b + c of a warp, 16 × 8, each lane with its part. With g = lane / 4 and t = lane % 4: c0 and c1 are row g, columns 2t and
    /// 2t + 1; c2 and c3 row g + 8. Of a, a1 is 8 rows below a0, and a2 and a3 half of the columns behind them; so is b1. bf16 holds two
    /// neighbours each (2t, 2t + 1), tf32 one (t), of which the lowest 13 bits are ignored.
    /// </summary>
    private void Multiply(PtxInstruction i, int first)
    {
        bool pairs = i.Code == PtxCode.MmaBf16;
        int columns = pairs ? 16 : 8;
        Span<float> a = stackalloc float[16 * 16], b = stackalloc float[8 * 16], d = stackalloc float[4 * Warp];
        for (int lane = 0; lane < Warp; lane++)
        {
            Enter(first + lane);
            int g = lane >> 2, t = lane & 3;
            for (int n = 0; n < 4; n++)
                Spread(a[((g + (n & 1) * 8) * columns)..], (n >> 1) * columns / 2, t, Value(i, 4 + n), pairs);
            for (int n = 0; n < 2; n++)
                Spread(b[(g * columns)..], n * columns / 2, t, Value(i, 8 + n), pairs);
        }
        for (int lane = 0; lane < Warp; lane++)
        {
            Enter(first + lane);
            for (int n = 0; n < 4; n++)
            {
                int row = (lane >> 2) + (n >> 1) * 8, column = 2 * (lane & 3) + (n & 1);
                float sum = BitConverter.UInt32BitsToSingle(Value(i, 10 + n));
                for (int k = 0; k < columns; k++)
                    sum += a[row * columns + k] * b[column * columns + k];
                d[lane * 4 + n] = sum;
            }
        }
        for (int lane = 0; lane < Warp; lane++)
        {
            Enter(first + lane);
            for (int n = 0; n < 4; n++)
                Assign(i.Operands[n], BitConverter.SingleToUInt32Bits(d[lane * 4 + n]));
        }
    }

    private static void Spread(Span<float> row, int from, int t, uint bits, bool pairs)
    {
        if (pairs)
        {
            row[from + 2 * t] = BitConverter.UInt32BitsToSingle(bits << 16);
            row[from + 2 * t + 1] = BitConverter.UInt32BitsToSingle(bits & 0xffff0000);
        }
        else
            row[from + t] = BitConverter.UInt32BitsToSingle(bits & 0xffffe000);
    }
}
