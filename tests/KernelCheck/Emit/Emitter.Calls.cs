using System.Reflection;
using System.Reflection.Emit;
using ILGPU;
using ILGPU.Runtime.Cuda;

namespace MoeFromScratch.KernelCheck;

internal sealed partial class Emitter
{
    private Type? _constrained;

    private void Call(Frame frame, Instruction i, MethodBase method)
    {
        if (_constrained is { } on)
        {
            _constrained = null;
            method = Rules.Implementation(_kernel, frame.Method, i.Offset, on, (MethodInfo)method);
        }
        else if (method.IsAbstract || method.IsVirtual && !method.IsFinal && !method.DeclaringType!.IsValueType)
            throw Refuse(frame.Method, i.Offset, $"the virtual call of {Names.Of(method)}");

        if (method.DeclaringType?.Assembly == typeof(Emitter).Assembly)
            CallApi(frame, i, (MethodInfo)method);
        else if (Rules.IsMapped(_kernel, frame.Method, i.Offset, method))
            CallDirectly((MethodInfo)method);
        else
            Inline(method, Bind(method, frame, i));
    }

    /// <summary>A struct is made in a variable; of classes there are none.</summary>
    private void NewObject(Frame frame, Instruction i, ConstructorInfo constructor)
    {
        Type type = constructor.DeclaringType!;
        if (!type.IsValueType)
            throw Refuse(frame.Method, i.Offset, typeof(Delegate).IsAssignableFrom(type)
                ? $"a lambda or delegate ({Names.Of(type)})" : $"new {Names.Of(type)}, a reference type");
        if (type.Assembly == typeof(Emitter).Assembly)
        {
            for (int n = constructor.GetParameters().Length; n > 0; n--)
                Escape(Pop());
            _il.Emit(OpCodes.Newobj, constructor);
            Push(type);
            return;
        }
        Variable made = Take(type);
        Place place = new(made, []);
        Binding[] args = Bind(constructor, frame, i, place);
        Address(place);
        _il.Emit(OpCodes.Initobj, type);
        Inline(constructor, args);
        Load(made);
        Push(type);
        Release(made);
    }

    /// <summary>Takes a call's arguments off the stack. References to variables stay what they are; everything else is kept in a variable.</summary>
    private Binding[] Bind(MethodBase method, Frame frame, Instruction i, Place? self = null)
    {
        ParameterInfo[] parameters = method.GetParameters();
        int own = method.IsStatic ? 0 : 1;
        Binding[] args = new Binding[own + parameters.Length];
        HashSet<int> assigned = Assigned(method);
        Variable[] referred = [.. _stack.TakeLast(args.Length).Where(v => v.Place is not null).Select(v => v.Place!.Variable)];
        for (int n = args.Length - 1; n >= 0; n--)
        {
            bool isThis = n < own;
            if (isThis && !method.DeclaringType!.IsValueType)
                throw Refuse(frame.Method, i.Offset, $"a method of the reference type {Names.Of(method.DeclaringType)}");
            Type type = isThis ? method.DeclaringType!.MakeByRefType() : parameters[n - own].ParameterType;
            Rules.CheckType(_kernel, frame.Method, i.Offset, type, $"an argument of {Names.Of(method)}");
            if (isThis && self is not null)
            {
                args[n] = new(_bindings + n, type) { Alias = self };
                continue;
            }
            Value value = Pop();
            args[n] = new(_bindings + n, type) { Constant = value.Constant };
            if (type.IsByRef && value.Place is not null && !assigned.Contains(n))
            {
                _il.Emit(OpCodes.Pop);
                args[n].Alias = value.Place;
            }
            else if (value.From is { } from && !referred.Contains(from.Variable) && NeedsNoCopy(args[n], from))
            {
                _il.Emit(OpCodes.Pop);
                args[n].Copy = from;
            }
            else
            {
                Escape(value);
                Store(Own(args[n]).Variable!);
            }
        }
        _bindings += args.Length;
        return args;
    }

    /// <summary>An argument by value that is never changed, of a variable that only its owner can change: he waits.</summary>
    private bool NeedsNoCopy(Binding arg, Place from) => _walk > 1 && !_facts.Changed.Contains(arg.Number)
        && from.Variable.Owner >= 0 && !_facts.Escaped.Contains(from.Variable.Owner);

    private static HashSet<int> Assigned(MethodBase method) => method.GetMethodBody()?.GetILAsByteArray() is { } il
        ? [.. Il.Read(method, il).Where(x => Name(x) is "starg" or "ldarga").Select(Number)] : [];

    private void Inline(MethodBase method, Binding[] args)
    {
        byte[]? il = method.GetMethodBody()?.GetILAsByteArray();
        // Jumps need an empty stack, as a place to wait does.
        bool simple = il is not null && IsSimple(Il.Read(method, il));
        List<(Value, Variable?)>? spilled = simple || _stack.Count == 0 ? null : Spill();
        Variable? result = Walk(method, args);
        if (simple && method is MethodInfo { ReturnType: { } returned } && returned != typeof(void))
            _stack[^1] = _stack[^1] with { Type = OnStack(returned), Bit = false };
        foreach (Binding arg in args)
            if (arg.Variable is not null)
                Release(arg.Variable);
        if (spilled is not null)
            Reload(spilled);
        if (result is not null)
        {
            Load(result);
            Push(OnStack(result.Type));
            Release(result);
        }
    }

    private void CallDirectly(MethodInfo method, int extra = 0)
    {
        bool constant = true;
        ParameterInfo[] parameters = method.GetParameters();
        int count = parameters.Length - extra + (method.IsStatic ? 0 : 1);
        for (int n = count - 1; n >= 0; n--)
        {
            Value value = Pop();
            constant &= value.Constant;
            // ILGPU's structs do not change in their own methods.
            if ((method.IsStatic ? n : n - 1) is >= 0 and int p && parameters[p].ParameterType.IsByRef && !parameters[p].IsIn)
                Change(value.Place);
        }
        _il.Emit(OpCodes.Call, method);
        if (method.ReturnType != typeof(void))
            Push(OnStack(method.ReturnType), constant && count > 0);
    }

    /// <summary>ILGPU's own methods: those that need the machine are replaced, places to wait are where the thread returns.</summary>
    private void CallApi(Frame frame, Instruction i, MethodInfo method)
    {
        string type = method.DeclaringType!.Name.Split('`')[0], name = $"{type}_{method.Name}";
        int site = NewSite(frame.Method, i.Offset);
        if (method.DeclaringType == typeof(CudaAsm))
            CallPtx(frame, i, method, site);
        else if (Intrinsics.Syncs.TryGetValue(name, out SyncKind kind))
            CallSync(method, kind, $"{type}.{method.Name}", site);
        else if (type == nameof(MemoryFence))
            return;
        else if (type == nameof(Atomic))
            CallAtomic(frame, i, method);
        else if (Intrinsics.Find(name, method) is { } replacement)
        {
            _il.Emit(OpCodes.Ldarg_0);
            _il.Emit(OpCodes.Ldc_I4, site);
            CallDirectly(replacement, extra: 2);
            // A position is no constant, though it has no arguments.
            if (method.ReturnType != typeof(void))
                _stack[^1] = _stack[^1] with { Constant = false };
        }
        else
        {
            ReadArguments(frame, i, method);
            if (Intrinsics.MayFault(type))
            {
                _il.Emit(OpCodes.Ldarg_0);
                _il.Emit(OpCodes.Ldc_I4, site);
                _il.Emit(OpCodes.Stfld, typeof(Machine).GetField(nameof(Machine.Site))!);
            }
            CallDirectly(method);
        }
    }

    /// <summary>An ILGPU struct in device memory, used through a reference to it, is read.</summary>
    private void ReadArguments(Frame frame, Instruction i, MethodInfo method)
    {
        int count = method.GetParameters().Length;
        if (!method.IsStatic && count == 0 && _stack[^1] is { Place: null, Type.IsByRef: true } self)
            Mark(frame, i, method.DeclaringType!, "Read", self);
    }

    private void CallSync(MethodInfo method, SyncKind kind, string name, int site)
    {
        ParameterInfo[] parameters = method.GetParameters();
        if (parameters.Length > 0)
        {
            Type value = parameters[0].ParameterType;
            if (parameters.Length < 2)
                _il.Emit(OpCodes.Ldc_I4_0);
            if (parameters.Length < 3)
                _il.Emit(OpCodes.Ldc_I4, Machine.Warp);
            foreach (ParameterInfo _ in parameters)
                Pop();
            _il.Emit(OpCodes.Ldarg_0);
            _il.Emit(OpCodes.Ldc_I4, site);
            _il.Emit(OpCodes.Call, typeof(Machine).GetMethod(nameof(Machine.Offer))!.MakeGenericMethod(value));
        }
        Wait(kind, name, site);
        if (method.ReturnType == typeof(void))
            return;
        _il.Emit(OpCodes.Ldarg_0);
        _il.Emit(OpCodes.Call, typeof(Machine).GetMethod(nameof(Machine.Receive))!.MakeGenericMethod(method.ReturnType));
        Push(OnStack(method.ReturnType));
    }

    private void CallAtomic(Frame frame, Instruction i, MethodInfo method)
    {
        ParameterInfo[] parameters = method.GetParameters();
        Variable[] values = new Variable[parameters.Length - 1];
        for (int n = values.Length - 1; n >= 0; n--)
        {
            values[n] = Take(parameters[n + 1].ParameterType);
            Pop();
            _il.Emit(OpCodes.Stloc, values[n].Local);
        }
        if (_stack[^1].Place is not null)
            throw Refuse(frame.Method, i.Offset, $"{Names.Of(method)} on a variable of the thread");
        Mark(frame, i, parameters[0].ParameterType.GetElementType()!, "Atomic", _stack[^1]);
        foreach (Variable value in values)
        {
            _il.Emit(OpCodes.Ldloc, value.Local);
            Push(value.Type);
            Release(value);
        }
        CallDirectly(method);
    }
}
