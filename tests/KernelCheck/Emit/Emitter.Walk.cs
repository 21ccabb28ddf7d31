using System.Reflection;
using System.Reflection.Emit;

namespace MoeFromScratch.KernelCheck;

internal sealed partial class Emitter
{
    private const int DeepestCall = 64;

    /// <summary>One method, inlined where its call was.</summary>
    private sealed class Frame(MethodBase method, Binding[] args, List<Instruction> code)
    {
        public MethodBase Method { get; } = method;
        public Binding[] Args { get; } = args;
        public List<Instruction> Code { get; } = code;
        public Binding[] Locals { get; set; } = [];
        public Dictionary<int, Label> Labels { get; } = [];
        public Dictionary<int, Value[]> StackAt { get; } = [];
        public Type Result { get; } = method is MethodInfo m ? m.ReturnType : typeof(void);
        public Label End { get; set; }
        public bool IsSimple { get; set; }
        public bool EndIsUsed { get; set; }

        /// <summary>Where the instruction after the current one is.</summary>
        public int Next { get; set; }
        public Variable? Returned { get; set; }
    }

    /// <summary>Emits the body. Its arguments are bound; what it returns is left on the stack if it is simple, in a variable otherwise.</summary>
    private Variable? Walk(MethodBase method, Binding[] args)
    {
        MethodBody body = Rules.BodyOf(_kernel, method, _calls);
        if (_calls.Count > DeepestCall)
            throw Refuse(method, 0, $"calls nested more than {DeepestCall} deep");
        _calls.Add((method, 0));
        Frame frame = new(method, args, Il.Read(method, body.GetILAsByteArray()!))
        {
            End = _il.DefineLabel(),
        };
        frame.IsSimple = IsSimple(frame.Code);
        frame.Locals = [.. body.LocalVariables.Select(l => new Binding(_bindings++, l.LocalType))];
        CountStores(frame);
        foreach (Binding local in frame.Locals)
        {
            Rules.CheckType(_kernel, method, 0, local.Type, "a local");
            Own(local);
        }
        if (!frame.IsSimple && frame.Result != typeof(void))
            frame.Returned = Take(frame.Result);

        foreach (Instruction i in frame.Code)
            foreach (int target in i.Operand as int[] ?? (i.Code.OperandType is OperandType.InlineBrTarget or OperandType.ShortInlineBrTarget ? [i.Target] : []))
                frame.Labels.TryAdd(target, _il.DefineLabel());

        _frames.Add(frame);
        bool reachable = true;
        foreach (Instruction i in frame.Code)
        {
            if (frame.Labels.TryGetValue(i.Offset, out Label label))
            {
                Merge();
                if (reachable)
                    Join(frame, i.Offset);
                // Not simple, so nothing of the caller is on the stack.
                _stack.Clear();
                _stack.AddRange(frame.StackAt.GetValueOrDefault(i.Offset, []));
                _il.MarkLabel(label);
                reachable = true;
            }
            frame.Next = i.Next;
            if (reachable)
                reachable = Step(frame, i);
        }
        _frames.RemoveAt(_frames.Count - 1);
        if (frame.EndIsUsed)
            _il.MarkLabel(frame.End);
        foreach (Binding local in frame.Locals)
            if (local.Variable is not null)
                Release(local.Variable);
        _calls.RemoveAt(_calls.Count - 1);
        return frame.Returned;
    }

    private static bool IsSimple(List<Instruction> code) =>
        code.All(i => i.Code.FlowControl is not (FlowControl.Branch or FlowControl.Cond_Branch)) && code.Count(i => i.Code == OpCodes.Ret) == 1;

    /// <summary>An argument that is never assigned, or a local that is assigned once, is as constant as its value.</summary>
    private static void CountStores(Frame frame)
    {
        int[] stores = new int[frame.Locals.Length], argStores = new int[frame.Args.Length];
        foreach (Instruction i in frame.Code)
        {
            string name = Name(i);
            if (name.StartsWith("stloc", StringComparison.Ordinal))
                stores[Number(i)]++;
            else if (name == "ldloca")
                stores[Number(i)] += frame.Locals[Number(i)].Type.IsByRef ? 2 : 1;
            else if (name == "starg")
                argStores[Number(i)] += 2;
            else if (name == "ldarga")
                argStores[Number(i)]++;
        }
        for (int n = 0; n < stores.Length; n++)
            frame.Locals[n].Single = stores[n] <= 1;
        for (int n = 0; n < argStores.Length; n++)
        {
            frame.Args[n].Single = argStores[n] == 0;
            frame.Args[n].Constant &= argStores[n] == 0;
        }
    }

    /// <summary>Where ways part or meet, nothing is known but types, and texts, which cannot be chosen.</summary>
    private void Merge()
    {
        for (int n = 0; n < _stack.Count; n++)
        {
            Escape(_stack[n]);
            _stack[n] = new(_stack[n].Type, Bit: _stack[n].Bit, Text: _stack[n].Text);
        }
    }

    private void Branch(Frame frame, OpCode code, int target)
    {
        Merge();
        Join(frame, target);
        _il.Emit(code, frame.Labels[target]);
    }

    /// <summary>What is on the stack now is there too.</summary>
    private void Join(Frame frame, int target)
    {
        if (frame.StackAt.TryAdd(target, [.. _stack]))
            return;
        Value[] there = frame.StackAt[target];
        for (int n = 0; n < there.Length; n++)
        {
            (Value a, Value b) = (there[n], _stack[n]);
            if (a.IsTruth != b.IsTruth && !a.Bit && !b.Bit)
                throw Refuse(frame.Method, target, "a choice of an integer or a truth value (c ? n : d ? 1 : 0), of which ILGPU may make a truth value: "
                    + "keep the truth value's number in a variable first, or say d ? 1 : 0 with if and else");
            there[n] = a.IsTruth ? a : b with { Bit = false };
        }
    }

    /// <summary>The name without its short form: "ldloc.s" and "ldloc" are one.</summary>
    public static string Name(Instruction i) => i.Code.Name!.EndsWith(".s", StringComparison.Ordinal) ? i.Code.Name[..^2] : i.Code.Name;

    /// <summary>The number of a local or argument, spelled out or within the name.</summary>
    public static int Number(Instruction i) => i.Operand is int n ? n : i.Code.Name![^1] - '0';

    private static readonly Dictionary<string, OpCode> s_long = typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(f => (OpCode)f.GetValue(null)!).Where(c => !c.Name!.EndsWith(".s", StringComparison.Ordinal)).ToDictionary(c => c.Name!);

    /// <returns>Whether what follows is reached from here.</returns>
    private bool Step(Frame frame, Instruction i)
    {
        string name = Name(i);
        _calls[^1] = (frame.Method, i.Offset);
        switch (name)
        {
            case "nop" or "break":
                return true;

            case "ldarg.0" or "ldarg.1" or "ldarg.2" or "ldarg.3" or "ldarg":
                LoadBinding(frame.Args[Number(i)]);
                return true;
            case "ldarga":
                LoadAddress(frame.Args[Number(i)]);
                return true;
            case "starg":
                StoreBinding(frame.Args[Number(i)]);
                return true;
            case "ldloc.0" or "ldloc.1" or "ldloc.2" or "ldloc.3" or "ldloc":
                LoadBinding(frame.Locals[Number(i)]);
                return true;
            case "ldloca":
                LoadAddress(frame.Locals[Number(i)]);
                return true;
            case "stloc.0" or "stloc.1" or "stloc.2" or "stloc.3" or "stloc":
                StoreBinding(frame.Locals[Number(i)]);
                return true;

            case "ldc.i4":
                _il.Emit(OpCodes.Ldc_I4, i.Index);
                Push(typeof(int), constant: true);
                return true;
            case "ldc.i8":
                _il.Emit(OpCodes.Ldc_I8, (long)i.Operand!);
                Push(typeof(long), constant: true);
                return true;
            case "ldc.r4":
                _il.Emit(OpCodes.Ldc_R4, (float)i.Operand!);
                Push(typeof(float), constant: true);
                return true;
            case "ldc.r8":
                _il.Emit(OpCodes.Ldc_R8, (double)i.Operand!);
                Push(typeof(double), constant: true);
                return true;
            case "ldstr" when IsForPtx(frame):
                _il.Emit(OpCodes.Ldnull);
                _stack.Add(new(typeof(string), Constant: true, Text: (string)i.Operand!));
                return true;
            case "dup":
                _il.Emit(OpCodes.Dup);
                _stack.Add(_stack[^1]);
                return true;
            case "pop":
                _il.Emit(OpCodes.Pop);
                Pop();
                return true;

            case "ret":
                Return(frame, last: i.Next == frame.Code[^1].Next);
                return false;
            case "br":
                Branch(frame, OpCodes.Br, i.Target);
                return false;
            case "brtrue" or "brfalse":
                Pop();
                Branch(frame, s_long[name], i.Target);
                return true;
            case "beq" or "bge" or "bgt" or "ble" or "blt" or "bne.un" or "bge.un" or "bgt.un" or "ble.un" or "blt.un":
                Compared(frame, i);
                Branch(frame, s_long[name], i.Target);
                return true;
            case "switch":
                Pop();
                Merge();
                foreach (int target in (int[])i.Operand!)
                    Join(frame, target);
                _il.Emit(OpCodes.Switch, ((int[])i.Operand!).Select(t => frame.Labels[t]).ToArray());
                return true;

            case "constrained.":
                _constrained = (Type)i.Operand!;
                return true;
            case "call" or "callvirt":
                Call(frame, i, (MethodBase)i.Operand!);
                return true;
            case "newobj":
                NewObject(frame, i, (ConstructorInfo)i.Operand!);
                return true;

            case "tail." or "readonly.":
                return true;
        }
        if (name.StartsWith("ldc.i4.", StringComparison.Ordinal))
        {
            _il.Emit(i.Code);
            _stack.Add(new(typeof(int), Constant: true, Bit: name is "ldc.i4.0" or "ldc.i4.1"));
            return true;
        }
        if (!Memory(frame, i, name) && !Arithmetic(frame, i, name))
            throw Refuse(frame.Method, i.Offset, Rules.WhyNot(i));
        return true;
    }

    private void Return(Frame frame, bool last)
    {
        if (frame.Result != typeof(void) && !frame.IsSimple)
        {
            Escape(Pop());
            Store(frame.Returned!);
        }
        if (!last)
        {
            _il.Emit(OpCodes.Br, frame.End);
            frame.EndIsUsed = true;
        }
    }

    private void LoadBinding(Binding binding)
    {
        if (binding.Alias is { } alias)
        {
            Address(alias);
            Push(binding.Type, place: alias);
            return;
        }
        Place place = binding.Copy ?? new(binding.Variable!, []);
        if (place.Path.Length == 0)
            Load(place.Variable);
        else
        {
            Address(place);
            _il.Emit(OpCodes.Ldobj, binding.Type);
        }
        Push(binding.Type, binding.Constant, from: Copyable(place, binding.Type));
    }

    private void LoadAddress(Binding binding)
    {
        Place place = binding.Copy ?? new(binding.Variable!, []);
        Address(place);
        Push(binding.Type.MakeByRefType(), place: place);
    }

    private void StoreBinding(Binding binding)
    {
        Value value = Pop();
        if (binding.Type.IsByRef && value.Place is not null && binding.Single)
        {
            // Assigned once: the name stands for the place itself.
            _il.Emit(OpCodes.Pop);
            binding.Alias = value.Place;
            if (binding.Variable is not null)
                Release(binding.Variable);
            binding.Variable = null;
            return;
        }
        Escape(value);
        binding.Constant = binding.Single && value.Constant;
        Change(new(binding.Variable!, []));
        Store(binding.Variable!);
    }
}
