using System.Reflection;
using System.Reflection.Emit;

namespace MoeFromScratch.KernelCheck;

internal sealed partial class Emitter
{
    /// <summary>Loads and stores through references and of fields. Those of a thread's own variables need no check.</summary>
    private bool Memory(Frame frame, Instruction i, string name)
    {
        switch (name)
        {
            case "ldobj":
                LoadThrough(frame, i, (Type)i.Operand!);
                return true;
            case "stobj":
                StoreThrough(frame, i, (Type)i.Operand!);
                return true;
            case "initobj":
                Type zero = (Type)i.Operand!;
                Mark(frame, i, zero, "Write", _stack[^1]);
                Change(_stack[^1].Place);
                _il.Emit(OpCodes.Initobj, zero);
                Pop();
                return true;
            case "sizeof":
                _il.Emit(OpCodes.Sizeof, (Type)i.Operand!);
                Push(typeof(int), constant: true);
                return true;
            case "ldfld":
                LoadField(frame, i, (FieldInfo)i.Operand!);
                return true;
            case "ldflda":
                FieldInfo part = (FieldInfo)i.Operand!;
                Value whole = Pop();
                if (!whole.Type.IsByRef)
                    throw Refuse(frame.Method, i.Offset, $"a field of the reference type {Names.Of(whole.Type)}");
                _il.Emit(OpCodes.Ldflda, part);
                Push(part.FieldType.MakeByRefType(), place: whole.Place?.Field(part));
                return true;
            case "stfld":
                StoreField(frame, i, (FieldInfo)i.Operand!);
                return true;
            case "ldsfld":
                FieldInfo field = (FieldInfo)i.Operand!;
                if (!field.IsInitOnly)
                    throw Refuse(frame.Method, i.Offset, $"the static field {Names.Of(field.DeclaringType!)}.{field.Name}, which is not readonly");
                Rules.CheckType(_kernel, frame.Method, i.Offset, field.FieldType, $"the static field {field.Name}");
                _il.Emit(OpCodes.Ldsfld, field);
                Push(field.FieldType, constant: true);
                return true;
        }
        Type? type = name switch
        {
            "ldind.i1" or "stind.i1" => typeof(sbyte),
            "ldind.u1" => typeof(byte),
            "ldind.i2" or "stind.i2" => typeof(short),
            "ldind.u2" => typeof(ushort),
            "ldind.i4" or "stind.i4" => typeof(int),
            "ldind.u4" => typeof(uint),
            "ldind.i8" or "stind.i8" => typeof(long),
            "ldind.r4" or "stind.r4" => typeof(float),
            "ldind.r8" or "stind.r8" => typeof(double),
            _ => null,
        };
        if (type is null)
            return false;
        if (name[0] == 'l')
            LoadThrough(frame, i, type);
        else
            StoreThrough(frame, i, type);
        return true;
    }

    private void LoadThrough(Frame frame, Instruction i, Type type)
    {
        Mark(frame, i, type, "Read", _stack[^1]);
        Value address = Pop();
        _il.Emit(OpCodes.Ldobj, type);
        Push(OnStack(address.Type == typeof(bool).MakeByRefType() ? typeof(bool) : type), from: Copyable(address.Place, type));
    }

    /// <summary>Structs are worth reading again instead of being copied.</summary>
    private static Place? Copyable(Place? place, Type type) => type is { IsValueType: true, IsPrimitive: false, IsEnum: false } ? place : null;

    private void StoreThrough(Frame frame, Instruction i, Type type)
    {
        Pop();
        Value address = _stack[^1];
        if (address.Place is null)
        {
            Variable value = Take(type);
            _il.Emit(OpCodes.Stloc, value.Local);
            Mark(frame, i, type, "Write", address);
            _il.Emit(OpCodes.Ldloc, value.Local);
            Release(value);
        }
        Change(address.Place);
        Pop();
        _il.Emit(OpCodes.Stobj, type);
    }

    private void LoadField(Frame frame, Instruction i, FieldInfo field)
    {
        Value whole = _stack[^1];
        if (whole.Type.IsByRef && whole.Place is null)
        {
            _il.Emit(OpCodes.Ldflda, field);
            Pop();
            Push(field.FieldType.MakeByRefType());
            LoadThrough(frame, i, field.FieldType);
            return;
        }
        if (!whole.Type.IsByRef && !whole.Type.IsValueType)
            throw Refuse(frame.Method, i.Offset, $"a field of the reference type {Names.Of(whole.Type)}");
        Pop();
        _il.Emit(OpCodes.Ldfld, field);
        Push(OnStack(field.FieldType), whole.Constant, from: Copyable((whole.Place ?? whole.From)?.Field(field), field.FieldType));
    }

    private void StoreField(Frame frame, Instruction i, FieldInfo field)
    {
        Value value = Pop(), whole = Pop();
        if (!whole.Type.IsByRef)
            throw Refuse(frame.Method, i.Offset, $"a field of the reference type {Names.Of(whole.Type)}");
        Escape(value);
        if (whole.Place is not null)
        {
            Change(whole.Place);
            _il.Emit(OpCodes.Stfld, field);
            return;
        }
        Variable kept = Take(field.FieldType);
        _il.Emit(OpCodes.Stloc, kept.Local);
        _il.Emit(OpCodes.Ldflda, field);
        _il.Emit(OpCodes.Ldloc, kept.Local);
        Release(kept);
        Push(field.FieldType.MakeByRefType());
        Push(field.FieldType);
        StoreThrough(frame, i, field.FieldType);
    }

    /// <summary>The reference on top of the stack is about to be read or written through.</summary>
    private void Mark(Frame frame, Instruction i, Type type, string access, Value address)
    {
        if (address.Type.IsPointer)
            throw Refuse(frame.Method, i.Offset, "an access by way of a pointer");
        if (!address.Type.IsByRef)
            throw Refuse(frame.Method, i.Offset, $"a reference that is computed as a {Names.Of(address.Type)}");
        // A view cannot lie in device memory.
        if (address.Place is not null || Layout.HoldsReferences(type))
            return;
        int bytes = Layout.SizeOf(type);
        _il.Emit(OpCodes.Dup);
        _il.Emit(OpCodes.Conv_U);
        if (bytes != 4)
            _il.Emit(OpCodes.Ldc_I4, bytes);
        _il.Emit(OpCodes.Ldarg_0);
        _il.Emit(OpCodes.Ldc_I4, NewSite(frame.Method, i.Offset));
        _il.Emit(OpCodes.Call, typeof(Shadow).GetMethod(bytes == 4 ? access + "Word" : access)!);
    }

    /// <summary>What a value is once it is on the stack: small integers grow to 32 bits. What is declared bool stays one.</summary>
    private static Type OnStack(Type type) => type.IsEnum ? OnStack(type.GetEnumUnderlyingType()) : Type.GetTypeCode(type) switch
    {
        TypeCode.Char or TypeCode.SByte or TypeCode.Byte or TypeCode.Int16 or TypeCode.UInt16 or TypeCode.UInt32 => typeof(int),
        TypeCode.UInt64 => typeof(long),
        _ => type,
    };
}
