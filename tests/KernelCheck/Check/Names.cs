using System.Reflection;

namespace MoeFromScratch.KernelCheck;

/// <summary>Types, methods and threads as a reader of C# would write them.</summary>
internal static class Names
{
    public static string Of(Type type)
    {
        if (type.IsByRef)
            return "ref " + Of(type.GetElementType()!);
        string name = Type.GetTypeCode(type) switch
        {
            _ when type.IsEnum => type.Name,
            TypeCode.Single => "float",
            TypeCode.Double => "double",
            TypeCode.Int32 => "int",
            TypeCode.UInt32 => "uint",
            TypeCode.Int64 => "long",
            TypeCode.UInt64 => "ulong",
            TypeCode.Int16 => "short",
            TypeCode.UInt16 => "ushort",
            TypeCode.Byte => "byte",
            TypeCode.SByte => "sbyte",
            TypeCode.Boolean => "bool",
            _ => type.Name,
        };
        int tick = name.IndexOf('`', StringComparison.Ordinal);
        return tick < 0 ? name : $"{name[..tick]}<{string.Join(", ", type.GetGenericArguments().Select(Of))}>";
    }

    public static string Of(MethodBase method)
    {
        string generic = method.IsGenericMethod ? $"<{string.Join(", ", method.GetGenericArguments().Select(Of))}>" : "";
        return method.DeclaringType is { } type ? $"{Of(type)}.{method.Name}{generic}" : method.Name + generic;
    }

    /// <summary>(x, y, z), without the axes that have one place only.</summary>
    public static string Of(int linear, int dimX, int dimY, int dimZ)
    {
        int x = linear % dimX, y = linear / dimX % dimY, z = linear / dimX / dimY;
        return dimZ > 1 ? $"({x}, {y}, {z})" : dimY > 1 ? $"({x}, {y})" : $"{x}";
    }
}
