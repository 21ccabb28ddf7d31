using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace MoeFromScratch.KernelCheck;

/// <summary>Sizes of types that are known at run time only.</summary>
internal static class Layout
{
    private static readonly ConcurrentDictionary<Type, (int Size, bool References)> s_known = [];

    public static int SizeOf(Type type) => Of(type).Size;

    public static bool HoldsReferences(Type type) => Of(type).References;

    private static (int Size, bool References) Of(Type type) => s_known.GetOrAdd(type, static type =>
        ((int, bool))typeof(Layout).GetMethod(nameof(Measure), BindingFlags.Static | BindingFlags.NonPublic)!.MakeGenericMethod(type).Invoke(null, null)!);

    private static (int, bool) Measure<T>() => (Unsafe.SizeOf<T>(), RuntimeHelpers.IsReferenceOrContainsReferences<T>());
}
