using System.Reflection;
using System.Reflection.Emit;
using ILGPU.Runtime.Cuda;

namespace MoeFromScratch.KernelCheck;

internal sealed partial class Emitter
{
    private readonly PtxReader _ptx = new();
    private readonly List<PtxProgram> _programs = [];

    /// <summary>A constant text may be in a method that hands it to <see cref="CudaAsm"/>.</summary>
    private static bool IsForPtx(Frame frame) => frame.Code.Exists(i => i.Operand is MethodInfo method && method.DeclaringType == typeof(CudaAsm));

    /// <summary>The address of an element in device or shared memory, for inline PTX.</summary>
    private void PointTo(Frame frame, Instruction i)
    {
        if (_stack[^1].Place is not null)
            throw Refuse(frame.Method, i.Offset, "a pointer to a variable of the thread");
        Pop();
        _il.Emit(OpCodes.Conv_U);
        Push(typeof(void*));
    }

    /// <summary>The arguments go to the machine, which carries the text out: at once, or where it concerns a warp when all lanes have come.</summary>
    private void CallPtx(Frame frame, Instruction i, MethodInfo method, int site)
    {
        Type[] types = method.GetGenericArguments();
        for (int n = types.Length - 1; n >= 0; n--)
        {
            if (!types[n].IsPrimitive && !IsPointer(types[n]))
                throw Refuse(frame.Method, i.Offset, $"{Names.Of(types[n])} as an operand of inline PTX");
            Pop();
            _il.Emit(OpCodes.Ldc_I4, n);
            _il.Emit(OpCodes.Ldarg_0);
            _il.Emit(OpCodes.Call, typeof(Machine).GetMethod(nameof(Machine.Bring))!.MakeGenericMethod(types[n]));
        }
        string text = Pop().Text ?? throw Refuse(frame.Method, i.Offset, "inline PTX of a text that is no constant");
        _il.Emit(OpCodes.Pop);
        PtxProgram program;
        try
        {
            program = _ptx.Read(text, types.Length);
        }
        catch (FormatException e)
        {
            throw Refuse(frame.Method, i.Offset, e.Message);
        }
        if (program.OfWarp)
        {
            Wait(SyncKind.Ptx, $"\"{program.Instructions[0].Text}\"", site, program);
            return;
        }
        _programs.Add(program);
        _il.Emit(OpCodes.Ldc_I4, _programs.Count - 1);
        _il.Emit(OpCodes.Ldarg_0);
        _il.Emit(OpCodes.Ldc_I4, site);
        _il.Emit(OpCodes.Call, typeof(Machine).GetMethod(nameof(Machine.Carry), [typeof(int), typeof(Machine), typeof(int)])!);
    }

    /// <summary>ILGPU takes a struct of one field for that field.</summary>
    private static bool IsPointer(Type type) =>
        type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic) is [{ FieldType.IsPointer: true }];
}
