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

    public static void TruthAsFloat(ArrayView<float> y, int a, int b) => y[0] = a < b ? 1 : 0;

    public static void TruthOfLocal(ArrayView<float> y, int a, int b)
    {
        bool less = a < b;
        y[1] = less ? 2f : 3f;
        y[0] = less ? 1 : 0;
    }

    public static void TruthOfCall(ArrayView<double> y, int a, int b) => y[0] = Less(a, b) ? 1 : 0;

    public static void TruthOfArgument(ArrayView<float> y, int a, int b) => y[0] = AsFloat(a < b);

    public static void TruthInSum(ArrayView<float> y, int a, int b)
    {
        float sum = 0;
        for (int i = 0; i < a; i++)
            sum += i < b ? 1 : 0;
        y[0] = sum;
    }

    public static void TruthAsUnsigned(ArrayView<float> y, int a, int b) => y[0] = (uint)(a < b ? 1 : 0);

    public static void TruthOfField(ArrayView<float> y, int a, int b)
    {
        WithFlag f = new() { On = a < b, N = a };
        if (b > 7)
            f.On = false;
        y[f.N] = f.On ? 1 : 0;
    }

    public static void ThreeWays(ArrayView<int> y, int a, int b) => y[0] = a < b ? -1 : a > b ? 1 : 0;

    public static void TruthComparedWithInt(ArrayView<int> y, int a, int b) => y[0] = (a < b ? 1 : 0) == b ? 7 : 9;

    public static void NegatedTruth(ArrayView<int> y, int a, int b) => y[0] = -(a < b ? 1 : 0);

    /// <summary>All of these come out right.</summary>
    public static void Truths(ArrayView<float> y, ArrayView<int> x, int a, int b)
    {
        y[0] = a < b ? 1f : 0f;
        int less = a < b ? 1 : 0;
        y[less] = less;
        y[2] = Number(a, b);
        y[3] = a < b && x[0] == a ? 1 : 0;
        y[4] = a < b ? 2 : 1;
        y[5] = a + (a < b ? 1 : 0);
        y[6] = (byte)(a < b ? 1 : 0);
        y[7] = (long)(a < b ? 1 : 0);
        x[1] = a < b ? 1 : 0;
        x[2] = b == (a < b ? 1 : 0) ? 7 : 9;
        x[3] = (a < b ? 1 : 0) > 0 ? 7 : 9;
        int count = 0;
        for (int i = 0; i < a; i++)
            count += i < b ? 1 : 0;
        y[8] = count;
        y[9] = (a < b ? 1 : 0) * (b < 7 ? 1 : 0) - Math.Max(a < b ? 1 : 0, b);
        bool both = (a < b) & (b < 7);
        x[4] = both ? -1 : 4;
    }

    private static bool Less(int a, int b) => a < b;

    private static int Number(int a, int b) => a < b ? 1 : 0;

    private static float AsFloat(bool on) => on ? 1 : 0;

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

    /// <summary>ILGPU compiles these, and to what is written below for a device (as its PTX shows): nothing else would tell.</summary>
    [Fact]
    public void TruthValuesAsNumbers()
    {
        // selp.b32 %f1, 0f00000001, 0f00000000, %p1
        Expect(Refused.TruthAsFloat, "Refused.TruthAsFloat", "say c ? 1f : 0f", "RefusalTests.cs:");
        Expect(Refused.TruthOfLocal, "say c ? 1f : 0f");
        Expect(Refused.TruthOfCall, "say c ? 1f : 0f");
        Expect(Refused.TruthOfArgument, "say c ? 1f : 0f", "within Refused.AsFloat");
        Expect(Refused.TruthInSum, "say c ? 1f : 0f");
        Expect(Refused.TruthAsUnsigned, "say c ? 1f : 0f");
        Expect(Refused.TruthOfField, "say c ? 1f : 0f");
        // or.pred %p3, %p1, %p2 where −1 was meant
        Expect(Refused.ThreeWays, "a choice of an integer or a truth value");
        // setp.ne.s32 %p2, %r2, 0 of the integer
        Expect(Refused.TruthComparedWithInt, "a truth value that is compared with an integer");
        // selp.b32 %r3, 1, 0, %p1 where −1 was meant
        Expect(Refused.NegatedTruth, "neg of a truth value");
    }

    [Fact]
    public void TruthValuesThatAreNumbersOnTheirWay()
    {
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> y = device.Raw<float>(10);
        using MemoryBuffer1D<int, Stride1D.Dense> x = device.New(3, 0, 0, 0, 0);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<int>, int, int>(Refused.Truths)((1, 1), y.View, x.View, 3, 5);
        Assert.Equal([1, 1, 1, 1, 2, 4, 1, 1, 3, -4], y.GetAsArray1D());
        Assert.Equal([3, 1, 9, 7, -1], x.GetAsArray1D());
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
