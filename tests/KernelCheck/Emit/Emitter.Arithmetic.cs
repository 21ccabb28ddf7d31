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
                Push(AsInt(shifted.Type), by.Constant && shifted.Constant);
                return true;
            case "conv.u" when _stack[^1].Type.IsByRef:
                PointTo(frame, i);
                return true;
            case "neg" or "not":
                Value operand = Pop();
                if (operand.IsTruth)
                    throw Refuse(frame.Method, i.Offset, $"{name} of a truth value, which ILGPU leaves one: say c ? a : b with the numbers themselves");
                _il.Emit(i.Code);
                Push(operand.Type, operand.Constant);
                return true;
            case "ceq" or "cgt" or "cgt.un" or "clt" or "clt.un":
                (Value first, Value second) = Compared(frame, i);
                _il.Emit(i.Code);
                Push(typeof(bool), first.Constant && second.Constant);
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
        if (value.IsTruth && name.StartsWith("conv.r", StringComparison.Ordinal))
            throw Refuse(frame.Method, i.Offset, "a truth value that becomes a float by way of an integer, "
                + "of which ILGPU makes the float with the bits of 1: say c ? 1f : 0f");
        _il.Emit(i.Code);
        Push(type, value.Constant);
        return true;
    }

    private void Binary(Frame frame, Instruction i)
    {
        Value second = Pop(), first = Pop();
        if (IsAddress(first.Type) || IsAddress(second.Type))
            throw Refuse(frame.Method, i.Offset, "arithmetic on a reference or a pointer");
        _il.Emit(i.Code);
        bool isTruth = first.IsTruth && second.IsTruth && Name(i) is "and" or "or" or "xor";
        Push(isTruth ? typeof(bool) : first.Type == typeof(double) || second.Type == typeof(double) ? typeof(double)
            : AsInt(first.Type), first.Constant && second.Constant);
    }

    private static bool IsAddress(Type type) => type.IsByRef || type.IsPointer;

    private static Type AsInt(Type type) => type == typeof(bool) ? typeof(int) : type;

    /// <summary>Two values that are compared: ILGPU turns the second into what the first is.</summary>
    private (Value First, Value Second) Compared(Frame frame, Instruction i)
    {
        Value second = Pop(), first = Pop();
        if (first.IsTruth && !second.IsTruth && !second.Bit)
            throw Refuse(frame.Method, i.Offset, "a truth value that is compared with an integer, which ILGPU turns into a truth value: "
                + "put the integer first");
        return (first, second);
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
