using System.Reflection.Emit;

namespace MoeFromScratch.KernelCheck;

internal sealed partial class Emitter
{
    private bool Arithmetic(Frame frame, Instruction i, string name)
    {
        switch (name)
        {
            case "add" or "sub" or "mul" or "rem" or "rem.un" or "and" or "or" or "xor":
                Binary(frame, i);
                return true;
            case "div" or "div.un":
                Divide(frame, i);
                return true;
            case "shl" or "shr" or "shr.un":
                Value by = Pop(), shifted = Pop();
                _il.Emit(i.Code);
                Push(shifted.Type, by.Constant && shifted.Constant);
                return true;
            case "neg" or "not":
                _il.Emit(i.Code);
                return true;
            case "ceq" or "cgt" or "cgt.un" or "clt" or "clt.un":
                Value second = Pop(), first = Pop();
                _il.Emit(i.Code);
                Push(typeof(int), first.Constant && second.Constant);
                return true;
        }
        Type? type = name switch
        {
            "conv.i1" or "conv.u1" or "conv.i2" or "conv.u2" or "conv.i4" or "conv.u4" => typeof(int),
            "conv.i8" or "conv.u8" => typeof(long),
            "conv.r4" => typeof(float),
            "conv.r8" => typeof(double),
            "conv.r.un" => typeof(double),
            _ => null,
        };
        if (type is null)
            return false;
        Value value = Pop();
        if (!value.Type.IsPrimitive || value.Type == typeof(nint))
            throw Refuse(frame.Method, i.Offset, $"{i.Code.Name} of a {Names.Of(value.Type)}");
        _il.Emit(i.Code);
        Push(type, value.Constant);
        return true;
    }

    private void Binary(Frame frame, Instruction i)
    {
        Value second = Pop(), first = Pop();
        if (first.Type.IsByRef || second.Type.IsByRef)
            throw Refuse(frame.Method, i.Offset, "arithmetic on a reference");
        _il.Emit(i.Code);
        Push(first.Type == typeof(double) || second.Type == typeof(double) ? typeof(double) : first.Type, first.Constant && second.Constant);
    }

    /// <summary>By a constant, ILGPU may shift: the check knows which.</summary>
    private void Divide(Frame frame, Instruction i)
    {
        Value divisor = _stack[^1];
        bool unsigned = i.Code == OpCodes.Div_Un;
        string? check = !divisor.Constant || _stack[^2].Constant ? null
            : divisor.Type == typeof(int) ? unsigned ? nameof(Machine.DivideUnsigned) : nameof(Machine.Divide)
            : divisor.Type == typeof(long) && !unsigned ? nameof(Machine.DivideLong) : null;
        if (check is null)
        {
            Binary(frame, i);
            return;
        }
        Pop();
        Value x = Pop();
        _il.Emit(OpCodes.Ldarg_0);
        _il.Emit(OpCodes.Ldc_I4, NewSite(frame.Method, i.Offset));
        _il.Emit(OpCodes.Call, typeof(Machine).GetMethod(check)!);
        Push(x.Type);
    }
}
