using System.Numerics;
using System.Reflection;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck;

/// <summary>What ILGPU's compiler refuses is refused here, with kernel, construct and place. The README lists the rules.</summary>
internal static class Rules
{
    // ILGPU replaces these by its own; of Math and MathF it has nothing else.
    private static readonly HashSet<string> s_unary =
        ["Abs", "Sqrt", "Sin", "Sinh", "Asin", "Cos", "Cosh", "Acos", "Tan", "Tanh", "Atan", "Exp", "Floor", "Ceiling", "Log", "Log10"];

    private static readonly HashSet<string> s_binary = ["Min", "Max", "Atan2", "Pow", "Log"];
    private static readonly HashSet<string> s_bits = ["DoubleToInt64Bits", "Int64BitsToDouble", "SingleToInt32Bits", "Int32BitsToSingle"];
    private static readonly HashSet<string> s_counts = ["LeadingZeroCount", "PopCount", "TrailingZeroCount"];
    private static readonly HashSet<string> s_tests = ["IsNaN", "IsInfinity", "IsFinite"];

    public static KernelFault Refuse(MethodInfo kernel, MethodBase method, int offset, string why)
    {
        Site site = new(method, offset);
        string within = method == kernel ? "" : $" within {Names.Of(method)}";
        return new(FaultKind.Refused, $"{FaultKind.Refused} in kernel {Names.Of(kernel)}: {why}{within} at {Lines.Of(site)} (IL_{offset:x4})");
    }

    /// <summary>A kernel is a static method over views and public blittable structs.</summary>
    public static void CheckKernel(MethodInfo method, object? target)
    {
        if (!method.IsStatic || target is not null)
            throw Refuse(method, method, 0, "a lambda or an instance method; kernels are static methods");
        if (method.ReturnType != typeof(void))
            throw Refuse(method, method, 0, $"a kernel that returns {Names.Of(method.ReturnType)}");
        foreach (ParameterInfo parameter in method.GetParameters())
            if (Unfit(parameter.ParameterType) is { } why)
                throw Refuse(method, method, 0, $"the parameter {parameter.Name}: {why}");
    }

    private static string? Unfit(Type type)
    {
        if (type == typeof(bool) || type == typeof(char))
            return $"{Names.Of(type)} is not blittable";
        if (IsView(type) || type.Assembly == typeof(Rules).Assembly && type.IsValueType)
            return null;
        if (type.IsPrimitive || type.IsEnum)
            return type == typeof(nint) || type == typeof(nuint) ? $"{Names.Of(type)} is a pointer" : null;
        if (!type.IsValueType)
            return $"{Names.Of(type)} is a reference type";
        if (Unsupported(type) is { } what)
            return what;
        if (!type.IsVisible)
            return $"{Names.Of(type)} is not public";
        return type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic)
            .Select(f => Unfit(f.FieldType) is { } why ? $"its field {f.Name}: {why}" : null).FirstOrDefault(why => why is not null);
    }

    public static bool IsView(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() is { } open
        && (open == typeof(ArrayView<>) || open == typeof(ArrayView1D<,>));

    /// <summary>Types of locals, arguments and static fields.</summary>
    public static void CheckType(MethodInfo kernel, MethodBase method, int offset, Type type, string what)
    {
        Type itself = type.IsByRef ? type.GetElementType()! : type;
        // Pointers are operands of inline PTX: whatever else is done with one is refused there.
        if (itself.IsPointer && !type.IsByRef)
            return;
        if (itself.IsPointer)
            throw Refuse(kernel, method, offset, $"{what} of the pointer type {type}");
        if (!itself.IsValueType)
            throw Refuse(kernel, method, offset, $"{what} of the reference type {Names.Of(itself)}");
        if (Unsupported(itself) is { } why)
            throw Refuse(kernel, method, offset, $"{what}: {why}");
        if (!IsView(itself) && itself.Assembly != typeof(Rules).Assembly && !itself.IsPrimitive && !itself.IsEnum && Layout.HoldsReferences(itself))
            foreach (FieldInfo field in itself.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic))
                CheckType(kernel, method, offset, field.FieldType, $"{what} with the field {field.Name}");
    }

    private static string? Unsupported(Type type)
    {
        if (type == typeof(System.Half))
            return "System.Half is not supported, ILGPU.Half is";
        if (type.IsByRefLike)
            return $"{Names.Of(type)} is a ref struct";
        if (type == typeof(decimal) || type == typeof(Int128) || type == typeof(UInt128))
            return $"{Names.Of(type)} is not supported";
        return type.Namespace is "System.Numerics" or "System.Runtime.Intrinsics" && (type.Name.StartsWith("Vector", StringComparison.Ordinal)
            || type.Name is nameof(Matrix4x4) or nameof(Quaternion)) ? $"{Names.Of(type)} is not supported" : null;
    }

    /// <summary>Methods of .NET that ILGPU replaces; others are compiled from their IL, or refused.</summary>
    public static bool IsMapped(MethodInfo kernel, MethodBase caller, int offset, MethodBase method)
    {
        Type? type = method.DeclaringType;
        int count = method.GetParameters().Length;
        bool known = type == typeof(Math) || type == typeof(MathF) ? (count == 1 ? s_unary : s_binary).Contains(method.Name) && count <= 2
                || method.Name == "CopySign"
            : type == typeof(BitConverter) ? s_bits.Contains(method.Name)
            : type == typeof(BitOperations) ? s_counts.Contains(method.Name)
            : (type == typeof(float) || type == typeof(double)) && s_tests.Contains(method.Name);
        if (known)
            return true;
        if (type == typeof(Math) || type == typeof(MathF) || type == typeof(BitConverter) || type == typeof(BitOperations)
            || type == typeof(Interlocked) || type == typeof(Unsafe))
            throw Refuse(kernel, caller, offset, $"{Names.Of(method)}, which ILGPU does not map");
        if (method.Name is "CreateTruncating" or "CreateChecked" or "CreateSaturating" || method.Name.EndsWith(".CreateTruncating", StringComparison.Ordinal))
            throw Refuse(kernel, caller, offset, $"{Names.Of(method)}");
        if (type is not null && (Unsupported(type) is { } why))
            throw Refuse(kernel, caller, offset, $"{Names.Of(method)}: {why}");
        return false;
    }

    /// <summary>The body to inline.</summary>
    public static MethodBody BodyOf(MethodInfo kernel, MethodBase method, List<(MethodBase Method, int Offset)> calls)
    {
        (MethodBase at, int offset) = calls.Count > 0 ? calls[^1] : (method, 0);
        if (calls.Exists(c => c.Method == method))
            throw Refuse(kernel, at, offset, $"{Names.Of(method)} calls itself");
        MethodBody? body = method.GetMethodBody();
        if (body?.GetILAsByteArray() is null)
            throw Refuse(kernel, at, offset, $"{Names.Of(method)}, which has no IL");
        if (body.ExceptionHandlingClauses.Count > 0)
            throw Refuse(kernel, method, body.ExceptionHandlingClauses[0].TryOffset, "an exception handler (try, using or foreach)");
        return body;
    }

    /// <summary>What a constrained call comes to: static abstract members, and interfaces that structs implement.</summary>
    public static MethodBase Implementation(MethodInfo kernel, MethodBase caller, int offset, Type on, MethodInfo method)
    {
        if (!on.IsValueType)
            throw Refuse(kernel, caller, offset, $"a call on the reference type {Names.Of(on)}");
        Type declaring = method.DeclaringType!;
        if (!declaring.IsInterface)
            return declaring.IsValueType ? method
                : on.GetMethod(method.Name, [.. method.GetParameters().Select(p => p.ParameterType)]) is { } own && own.DeclaringType == on ? own
                : throw Refuse(kernel, caller, offset, $"{Names.Of(method)} on {Names.Of(on)}, which boxes");
        MethodInfo open = method.IsGenericMethod ? method.GetGenericMethodDefinition() : method;
        InterfaceMapping map = on.GetInterfaceMap(declaring);
        int index = Array.FindIndex(map.InterfaceMethods, m => m.MetadataToken == open.MetadataToken && m.Module == open.Module);
        MethodInfo found = index < 0 ? open : map.TargetMethods[index] ?? open;
        if (found.DeclaringType!.IsInterface && !found.IsStatic)
            throw Refuse(kernel, caller, offset, $"the default implementation {Names.Of(found)}, which boxes");
        return method.IsGenericMethod ? found.MakeGenericMethod(method.GetGenericArguments()) : found;
    }

    /// <summary>Why an instruction cannot be in a kernel.</summary>
    public static string WhyNot(Instruction i)
    {
        string name = i.Code.Name!;
        return name switch
        {
            "throw" or "rethrow" => "an exception (throw)",
            "leave" or "leave.s" or "endfinally" or "endfilter" => "an exception handler",
            "box" or "unbox" or "unbox.any" => $"boxing of {Names.Of((Type)i.Operand!)}",
            "castclass" or "isinst" => $"a cast to {Names.Of((Type)i.Operand!)} at run time",
            "ldstr" => "a string",
            "newarr" => $"a new array of {Names.Of((Type)i.Operand!)}",
            "localloc" => "stackalloc",
            "ldtoken" => "typeof or a token",
            "ldnull" => "null",
            "ldftn" or "ldvirtftn" or "calli" => "a function pointer, lambda or delegate",
            "stsfld" => $"a store to the static field {((FieldInfo)i.Operand!).Name}",
            "ldsflda" => $"a reference to the static field {((FieldInfo)i.Operand!).Name}",
            "volatile." => "a volatile access",
            "unaligned." => "an unaligned access",
            "conv.u" or "conv.i" => "a pointer",
            _ when name.StartsWith("ldelem", StringComparison.Ordinal) || name.StartsWith("stelem", StringComparison.Ordinal) || name == "ldlen" => "an array",
            _ when name.Contains(".ovf", StringComparison.Ordinal) => "checked arithmetic",
            _ => $"the instruction {name}",
        };
    }
}
