using System.Numerics;
using System.Reflection;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck.Tests;

public struct WithFlag
{
    public int N;
    public bool On;
}

public interface IApply
{
    float Apply(float x);
}

public struct Doubler : IApply
{
    public readonly float Apply(float x) => 2 * x;
}

/// <summary>What ILGPU's compiler refuses, one kernel each.</summary>
internal static class Refused
{
    public struct Hidden
    {
        public int N { get; set; }
    }

    private static int s_counter;
    private static readonly float[] s_table = [1, 2];
    private static readonly float s_factor = 3;

    public static void Throws(ArrayView<float> y)
    {
        if (y.Length == 0)
            throw new InvalidOperationException();
        y[0] = 1;
    }

    public static void Tries(ArrayView<float> y)
    {
        try
        {
            y[0] = 1;
        }
        finally
        {
            y[0] = 2;
        }
    }

    public static void StackAlloc(ArrayView<float> y)
    {
        unsafe
        {
            float* p = stackalloc float[4];
            y[0] = p[0];
        }
    }

    public static void SpanLocal(ArrayView<float> y)
    {
        Span<float> s = stackalloc float[4];
        y[0] = s[0];
    }

    public static void Array(ArrayView<float> y)
    {
        float[] a = [y[0], 1, 2, y[1]];
        y[0] = a[Group.IdxX];
    }

    public static void NewClass(ArrayView<float> y) => y[0] = new object().GetHashCode();

    public static void Boxes(ArrayView<float> y) => y[0] = ((object)y.IntLength).GetHashCode();

    public static void Text(ArrayView<float> y) => y[0] = "abc".Length;

    public static void Lambda(ArrayView<float> y)
    {
        float a = y[0];
        Func<float, float> f = x => x + a;
        y[0] = f(1);
    }

    public static void Virtual(ArrayView<float> y) => y[0] = ((IApply)new Doubler()).Apply(1);

    public static void StaticField(ArrayView<float> y) => y[0] = s_counter++;

    public static void StaticTable(ArrayView<float> y) => y[0] = s_table[0];

    public static void StaticReadonly(ArrayView<float> y) => y[0] = s_factor;

    public static void Fma(ArrayView<float> y) => y[0] = MathF.FusedMultiplyAdd(y[0], 2, 3);

    public static void Round(ArrayView<float> y) => y[0] = MathF.Round(y[0]);

    public static void SystemHalf(ArrayView<float> y) => y[0] = (float)(System.Half)y[0];

    public static void Vector(ArrayView<float> y) => y[0] = Vector4.Dot(Vector4.One, Vector4.One);

    public static void Truncating(ArrayView<float> y) => y[0] = Convert<float>(y.IntLength);

    private static T Convert<T>(int x) where T : INumber<T> => T.CreateTruncating(x);

    public static void Recursion(ArrayView<float> y) => y[0] = Down(3);

    private static int Down(int n) => n == 0 ? 0 : Down(n - 1) + 1;

    public static void Checked(ArrayView<int> y) => y[0] = checked(y[0] + 1);

    public static void TypeOf<T>(ArrayView<int> y) => y[0] = typeof(T) == typeof(float) ? 1 : 0;

    public static void Pointer(ArrayView<int> y)
    {
        unsafe
        {
            fixed (int* p = &y[0])
                p[1] = 1;
        }
    }

    public static void Reinterpret(ArrayView<float> y) => y[0] = Unsafe.As<float, int>(ref y[0]);

    public static void Flag(ArrayView<int> y, bool on) => y[0] = on ? 1 : 0;

    public static void FlagInStruct(ArrayView<int> y, WithFlag f) => y[0] = f.N;

    public static void HiddenStruct(ArrayView<int> y, Hidden h) => y[0] = h.N;
}

public class RefusalTests
{
    private static void Expect(Delegate kernel, params string[] parts)
    {
        Type args = Tuples.Of([.. kernel.Method.GetParameters().Select(p => p.ParameterType)]);
        MethodInfo load = typeof(Kernel<>).MakeGenericType(args).GetMethod(nameof(Kernel<>.Of))!;
        KernelFault fault = Assert.IsType<KernelFault>(Assert.Throws<TargetInvocationException>(() => load.Invoke(null, [kernel])).InnerException);
        Assert.Equal(FaultKind.Refused, fault.Kind);
        Assert.All(parts, part => Assert.Contains(part, fault.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Exceptions()
    {
        Expect(Refused.Throws, "kernel Refused.Throws", "InvalidOperationException", "RefusalTests.cs:", "IL_");
        Expect(Refused.Tries, "exception handler");
    }

    [Fact]
    public void ReferenceTypes()
    {
        Expect(Refused.Array, "Refused.Array", "reference type");
        Expect(Refused.NewClass, "new Object");
        Expect(Refused.Boxes, "boxing of int");
        Expect(Refused.Text, "a string");
        Expect(Refused.Lambda, "reference type");
        Expect(Refused.Virtual, "oubler");
        Expect((Action<ArrayView<float>>)(y => y[0] = 1), "a lambda or an instance method");
    }

    [Fact]
    public void Memory()
    {
        Expect(Refused.StackAlloc, "pointer");
        Expect(Refused.SpanLocal, "Span<float> is a ref struct");
        Expect(Refused.Pointer, "pointer");
        Expect(Refused.Reinterpret, "Unsafe.As<float, int>");
        Expect(Refused.StaticField, "static field");
        Expect(Refused.StaticTable, "static field s_table");
    }

    [Fact]
    public void Functions()
    {
        Expect(Refused.Fma, "MathF.FusedMultiplyAdd, which ILGPU does not map");
        Expect(Refused.Round, "MathF.Round");
        Expect(Refused.SystemHalf, "System.Half is not supported, ILGPU.Half is");
        Expect(Refused.Vector, "Vector4");
        Expect(Refused.Truncating, "CreateTruncating", "within Refused.Convert<float>");
        Expect(Refused.Recursion, "Refused.Down calls itself");
        Expect(Refused.Checked, "checked arithmetic");
        Expect(Refused.TypeOf<float>, "typeof");
    }

    [Fact]
    public void Parameters()
    {
        Expect(Refused.Flag, "the parameter on: bool is not blittable");
        Expect(Refused.FlagInStruct, "the parameter f: its field On: bool is not blittable");
        Expect(Refused.HiddenStruct, "the parameter h: Hidden is not public");
    }

    [Fact]
    public void ReadonlyStaticsOfValueTypesAreConstants()
    {
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> y = device.Raw<float>(1);
        device.Accelerator.LoadStreamKernel<ArrayView<float>>(Refused.StaticReadonly)((1, 1), y.View);
        Assert.Equal([3], y.GetAsArray1D());
    }
}
