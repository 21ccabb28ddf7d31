using System.Reflection.Emit;

namespace MoeFromScratch.KernelCheck;

/// <summary>Frames and arguments are nested value tuples: no type has to be made for them.</summary>
internal static class Tuples
{
    private static readonly Type[] s_open =
    [
        typeof(ValueTuple), typeof(ValueTuple<>), typeof(ValueTuple<,>), typeof(ValueTuple<,,>), typeof(ValueTuple<,,,>),
        typeof(ValueTuple<,,,,>), typeof(ValueTuple<,,,,,>), typeof(ValueTuple<,,,,,,>), typeof(ValueTuple<,,,,,,,>),
    ];

    public static Type Of(ReadOnlySpan<Type> items) => items.Length switch
    {
        0 => s_open[0],
        <= 7 => s_open[items.Length].MakeGenericType(items.ToArray()),
        _ => s_open[8].MakeGenericType([.. items[..7], Of(items[7..])]),
    };

    /// <summary>From the address of a tuple to the address of an item.</summary>
    public static void EmitAddress(ILGenerator il, Type tuple, int item)
    {
        for (; item >= 7; item -= 7)
        {
            il.Emit(OpCodes.Ldflda, tuple.GetField("Rest")!);
            tuple = tuple.GetField("Rest")!.FieldType;
        }
        il.Emit(OpCodes.Ldflda, tuple.GetField($"Item{item + 1}")!);
    }
}
