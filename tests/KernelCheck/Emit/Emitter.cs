using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace MoeFromScratch.KernelCheck;

/// <summary>
/// Re-emits a kernel, with all it calls inlined, as one method that returns where its threads wait and goes on from there by a switch:
/// <c>int body(Machine m, ref TFrame frame, ref TArgs args)</c>. Three walks: the first finds out
/// which arguments need a variable of their own, the second what must live in the frame.
/// </summary>
internal sealed partial class Emitter
{
    private readonly Facts _facts;
    private readonly MethodInfo _kernel;
    private readonly Type _frame, _argsType;
    private readonly DynamicMethod _method;
    private readonly ILGenerator _il;
    private readonly List<Value> _stack = [];
    private readonly List<SyncPoint> _syncs = [];
    private readonly List<Site> _sites = [];
    private readonly List<Label> _resume = [];
    private readonly List<(MethodBase Method, int Offset)> _calls = [];
    private readonly Dictionary<Type, Stack<Variable>> _free = [];
    private readonly List<Variable> _active = [], _held = [];
    private readonly List<Frame> _frames = [];
    private readonly int _walk;
    private bool IsLast => _walk == 3;
    private int _variables, _bindings;

    /// <summary>Structs of more bytes are read where the launch has them.</summary>
    private const int SmallArgument = 32;

    private Emitter(MethodInfo kernel, Type argsType, Facts facts, int walk, Type frame)
    {
        (_kernel, _argsType, _facts, _walk, _frame) = (kernel, argsType, facts, walk, frame);
        _method = new DynamicMethod(kernel.Name, typeof(int), [typeof(Machine), frame.MakeByRefType(), argsType.MakeByRefType()],
            typeof(Emitter).Module, skipVisibility: true)
        {
            InitLocals = false,   // C# assigns before it reads
        };
        _il = _method.GetILGenerator(4096);
    }

    public static Emitted Emit(MethodInfo kernel, Type argsType)
    {
        // Compiled once and for all: what is constant by then is a constant in the code.
        RuntimeHelpers.RunClassConstructor(typeof(Arena).TypeHandle);
        RuntimeHelpers.RunClassConstructor(typeof(Shadow).TypeHandle);
        Facts facts = new();
        new Emitter(kernel, argsType, facts, 1, typeof(ValueTuple)).Emit();
        facts = new() { Changed = facts.Changed, Escaped = facts.Escaped };
        Emitter second = new(kernel, argsType, facts, 2, typeof(ValueTuple));
        second.Emit();
        if (second._syncs.Count == 0)
        {
            facts.Saved.Clear();
            facts.Resident.Clear();
        }
        // Arguments that nobody changes are found where the launch has them.
        foreach (int number in facts.ArgumentAt.Where(a => !facts.ChangedArguments.Contains(a.Value)).Select(a => a.Key))
            facts.Saved.Remove(number);
        foreach (int number in facts.Resident)
            facts.Saved.TryAdd(number, facts.Types[number]);
        List<Type> types = [];
        foreach ((int number, Type type) in facts.Saved)
        {
            facts.Fields.Add(number);
            types.Add(Kept(type));
        }
        Type frame = Tuples.Of(types.ToArray());
        Emitter last = new(kernel, argsType, facts, 3, frame);
        last.Emit();
        return new(last._method, ViewChecks.Of(argsType), frame, last._syncs, last._sites, last._programs, last._ptx.Registers);
    }

    /// <summary>References and pointers are kept as addresses: what they refer to does not move.</summary>
    private static Type Kept(Type type) => type.IsByRef || type.IsPointer ? typeof(nint) : type;

    private void Emit()
    {
        ParameterInfo[] parameters = _kernel.GetParameters();
        Binding[] args = new Binding[parameters.Length];
        for (int i = 0; i < args.Length; i++)
        {
            Type type = parameters[i].ParameterType;
            args[i] = Own(new(_bindings++, type));
            args[i].Variable!.Argument = i;
            _facts.ArgumentAt[args[i].Variable!.Number] = i;
            if (!_facts.ChangedArguments.Contains(i) && !IsInArgs(args[i].Variable!))
                LoadArgument(args[i].Variable!);
        }
        Label start = _il.DefineLabel(), table = _il.DefineLabel();
        _il.Emit(OpCodes.Br, table);
        _il.MarkLabel(start);
        foreach (Binding arg in args)
            if (_facts.ChangedArguments.Contains(arg.Variable!.Argument))
                LoadArgument(arg.Variable);

        Walk(_kernel, args);
        _il.Emit(OpCodes.Ldc_I4_0);
        _il.Emit(OpCodes.Ret);

        _il.MarkLabel(table);
        if (_resume.Count > 0)
        {
            _il.Emit(OpCodes.Ldarg_0);
            _il.Emit(OpCodes.Ldfld, typeof(Machine).GetField(nameof(Machine.State))!);
            _il.Emit(OpCodes.Ldc_I4_1);
            _il.Emit(OpCodes.Sub);
            _il.Emit(OpCodes.Switch, _resume.ToArray());
        }
        _il.Emit(OpCodes.Br, start);
    }

    private void LoadArgument(Variable variable)
    {
        ArgumentAddress(variable);
        _il.Emit(OpCodes.Ldobj, variable.Type);
        Store(variable);
    }

    private void ArgumentAddress(Variable variable)
    {
        _il.Emit(OpCodes.Ldarg_2);
        Tuples.EmitAddress(_il, _argsType, variable.Argument);
    }

    // variables

    private Variable Take(Type type)
    {
        Variable variable = _free.TryGetValue(type, out Stack<Variable>? free) && free.TryPop(out Variable? again)
            ? again : new(_variables++, type, _il.DeclareLocal(type));
        variable.Owner = -1;
        _facts.Types[variable.Number] = type;
        _active.Add(variable);
        return variable;
    }

    private Binding Own(Binding binding)
    {
        binding.Variable = Take(binding.Type);
        binding.Variable.Owner = binding.Number;
        return binding;
    }

    private void Release(Variable variable)
    {
        Forget(variable);
        _active.Remove(variable);
        if (!_free.TryGetValue(variable.Type, out Stack<Variable>? free))
            _free[variable.Type] = free = new();
        free.Push(variable);
    }

    private bool IsResident(Variable variable) => IsLast && _facts.Resident.Contains(variable.Number);

    /// <summary>A large argument that nobody changes needs no copy.</summary>
    private bool IsInArgs(Variable variable) => IsLast && IsFixed(variable) && Layout.SizeOf(variable.Type) > SmallArgument;

    private void FieldAddress(Variable variable)
    {
        _il.Emit(OpCodes.Ldarg_1);
        Tuples.EmitAddress(_il, _frame, _facts.Fields.IndexOf(variable.Number));
    }

    private void Load(Variable variable)
    {
        if (IsResident(variable))
        {
            FieldAddress(variable);
            _il.Emit(OpCodes.Ldobj, Kept(variable.Type));
        }
        else if (IsInArgs(variable))
        {
            ArgumentAddress(variable);
            _il.Emit(OpCodes.Ldobj, variable.Type);
        }
        else
            _il.Emit(OpCodes.Ldloc, variable.Local);
    }

    private void Store(Variable variable)
    {
        Forget(variable);
        _il.Emit(OpCodes.Stloc, variable.Local);
        if (IsResident(variable))
            Save(variable);
    }

    private void Save(Variable variable)
    {
        FieldAddress(variable);
        _il.Emit(OpCodes.Ldloc, variable.Local);
        if (variable.Type.IsByRef)
            _il.Emit(OpCodes.Conv_U);
        _il.Emit(OpCodes.Stobj, Kept(variable.Type));
    }

    private void Restore(Variable variable)
    {
        FieldAddress(variable);
        _il.Emit(OpCodes.Ldobj, Kept(variable.Type));
        _il.Emit(OpCodes.Stloc, variable.Local);
    }

    private void Address(Place place)
    {
        if (IsResident(place.Variable))
            FieldAddress(place.Variable);
        else if (IsInArgs(place.Variable))
            ArgumentAddress(place.Variable);
        else
            _il.Emit(OpCodes.Ldloca, place.Variable.Local);
        foreach (FieldInfo field in place.Path)
            _il.Emit(OpCodes.Ldflda, field);
    }

    /// <summary>The address goes where it cannot be followed: the variable must not move.</summary>
    private void Escape(Value value)
    {
        if (value.Place is not { } place)
            return;
        _facts.Resident.Add(place.Variable.Number);
        if (_walk == 1)
            _facts.Escaped.Add(place.Variable.Owner);
        Change(place);
    }

    /// <summary>What lies there is about to be another value.</summary>
    private void Change(Place? place)
    {
        if (place is null)
            return;
        if (_walk == 1)
            _facts.Changed.Add(place.Variable.Owner);
        if (place.Variable.Argument >= 0)
            _facts.ChangedArguments.Add(place.Variable.Argument);
        Forget(place.Variable);
    }

    /// <summary>No value on the stack can be read again from this variable.</summary>
    private void Forget(Variable variable)
    {
        for (int n = 0; n < _stack.Count; n++)
            if (_stack[n].From?.Variable == variable)
                _stack[n] = _stack[n] with { From = null };
    }

    // the evaluation stack

    private void Push(Type type, bool constant = false, Place? place = null, Place? from = null) =>
        _stack.Add(new(type, constant, place, from));

    private Value Pop()
    {
        Value value = _stack[^1];
        _stack.RemoveAt(_stack.Count - 1);
        return value;
    }

    /// <summary>Empties the stack into variables; the result goes to <see cref="Reload"/>.</summary>
    private List<(Value Value, Variable? Variable)> Spill()
    {
        List<(Value, Variable?)> spilled = [];
        while (_stack.Count > 0)
        {
            Value value = Pop();
            if (value.Place is not null)
            {
                _il.Emit(OpCodes.Pop);
                _held.Add(value.Place.Variable);
                spilled.Add((value, null));
                continue;
            }
            Variable variable = Take(value.Type);
            Store(variable);
            spilled.Add((value with { From = null }, variable));
        }
        return spilled;
    }

    private void Reload(List<(Value Value, Variable? Variable)> spilled)
    {
        for (int i = spilled.Count - 1; i >= 0; i--)
        {
            (Value value, Variable? variable) = spilled[i];
            if (variable is null)
            {
                Address(value.Place!);
                _held.Remove(value.Place!.Variable);
            }
            else
            {
                Load(variable);
                Release(variable);
            }
            _stack.Add(value);
        }
    }

    /// <summary>The thread waits here: everything it needs goes to the frame, and comes back when it goes on.</summary>
    private void Wait(SyncKind kind, string name, int site, PtxProgram? program = null)
    {
        List<(Value, Variable?)> spilled = Spill();
        HashSet<Variable> live = Live();
        foreach (Variable variable in live)
            _facts.Saved.TryAdd(variable.Number, variable.Type);
        _syncs.Add(new(kind, name, site, program));
        Variable[] kept = IsLast ? [.. live.Where(v => !IsResident(v) && !IsFixed(v))] : [];
        foreach (Variable variable in kept)
            Save(variable);
        _il.Emit(OpCodes.Ldc_I4, _syncs.Count);
        _il.Emit(OpCodes.Ret);
        Label resume = _il.DefineLabel();
        _il.MarkLabel(resume);
        _resume.Add(resume);
        foreach (Variable variable in kept)
            Restore(variable);
        Reload(spilled);
    }

    /// <summary>What the methods that are on their way may still read, and what stands for values on the stack.</summary>
    private HashSet<Variable> Live()
    {
        HashSet<Variable> live = [.. _held, .. _active.Where(v => v.Owner < 0)];
        foreach (Frame frame in _frames)
        {
            HashSet<int> slots = Liveness.Of(frame.Method, frame.Code, frame.Args.Length).GetValueOrDefault(frame.Next, []);
            foreach (int slot in slots)
            {
                Binding binding = slot < frame.Args.Length ? frame.Args[slot] : frame.Locals[slot - frame.Args.Length];
                live.Add((binding.Alias ?? binding.Copy)?.Variable ?? binding.Variable!);
            }
        }
        return live;
    }

    /// <summary>An argument that nobody changes is loaded at each turn.</summary>
    private bool IsFixed(Variable variable) => variable.Argument >= 0 && !_facts.ChangedArguments.Contains(variable.Argument);

    private int NewSite(MethodBase method, int offset)
    {
        if (_sites.Count == 65535)
            throw Refuse(method, offset, "a kernel of more than 65535 places");
        _sites.Add(new(method, offset));
        return _sites.Count - 1;
    }

    private KernelFault Refuse(MethodBase method, int offset, string why) => Rules.Refuse(_kernel, method, offset, why);
}
