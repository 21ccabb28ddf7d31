using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>Kernels with inline PTX, sound and not.</summary>
internal static unsafe class PtxKernels
{
    private struct Address
    {
        public void* Pointer;
    }

    private static Address Of<T>(ref T element) where T : unmanaged
    {
        fixed (T* pointer = &element)
            return new Address { Pointer = pointer };
    }

    public static string Line(string mark, [CallerFilePath] string path = "") =>
        $"PtxTests.cs:{Array.FindIndex(File.ReadAllLines(path), line => line.EndsWith("// " + mark, StringComparison.Ordinal)) + 1}";

    private static void Copy(ArrayView<float> s, int i, ArrayView<float> x, int j, int bytes) =>
        CudaAsm.Emit("cp.async.cg.shared.global [%0], [%1], 16, %2;", Of(ref s[i]), Of(ref x[j]), bytes); // copies

    /// <summary>Two tiles after each other, the second on its way while the first is used; of the second only two elements.</summary>
    public static void Doubles(ArrayView<float> x, ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(256);
        int t = Group.IdxX;
        Copy(s, 4 * t, x, 4 * t, 16);
        CudaAsm.Emit("cp.async.commit_group;");
        CudaAsm.Emit("cp.async.ca.shared.global [%0], [%1], 16, %2;", Of(ref s[128 + 4 * t]), Of(ref x[t < 32 ? 4 * t : 0]), t < 32 ? 8 : 0);
        CudaAsm.Emit("cp.async.commit_group;");
        CudaAsm.Emit("cp.async.wait_group 1;");
        Group.Barrier();
        y[t] = s[127 - t];
        CudaAsm.Emit("cp.async.wait_all;");
        Group.Barrier();
        y[32 + t] = s[255 - t];
    }

    public static void NoWait(ArrayView<float> x, ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(128);
        Copy(s, 4 * Group.IdxX, x, 4 * Group.IdxX, 16);
        CudaAsm.Emit("cp.async.commit_group;");
        CudaAsm.Emit("cp.async.wait_group 1;");
        Group.Barrier();
        y[Group.IdxX] = s[127 - Group.IdxX]; // too early
    }

    public static void NoBarrier(ArrayView<float> x, ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(128);
        Copy(s, 4 * Group.IdxX, x, 4 * Group.IdxX, 16);
        CudaAsm.Emit("cp.async.wait_all;");
        y[Group.IdxX] = s[4 * (Group.IdxX >> 1)]; // no barrier
    }

    /// <summary>What others may still read is overwritten by the copy itself, whenever it arrives.</summary>
    public static void CopiesOverReads(ArrayView<float> x, ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(128);
        Copy(s, 4 * Group.IdxX, x, 4 * Group.IdxX, 16);
        CudaAsm.Emit("cp.async.wait_all;");
        Group.Barrier();
        y[Group.IdxX] = s[127 - Group.IdxX];
        Copy(s, 4 * Group.IdxX, x, 4 * Group.IdxX, 16);
    }

    public static void WritesUnderCopy(ArrayView<float> x, ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(128);
        Copy(s, 4 * Group.IdxX, x, 4 * Group.IdxX, 16);
        s[4 * Group.IdxX + 1] = 1;
        y[0] = 0;
    }

    public static void OddPlace(ArrayView<float> x, ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(132);
        Copy(s, 4 * Group.IdxX + 1, x, 4 * Group.IdxX, 16);
        y[0] = 0;
    }

    public static void OddSource(ArrayView<float> x, ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(132);
        Copy(s, 4 * Group.IdxX, x, 4 * Group.IdxX + 2, 16);
        y[0] = 0;
    }

    /// <summary>y = a · b + 1 with a [16, 8] and b [8, 8] by columns, of tf32.</summary>
    public static void Multiplies(ArrayView<float> x, ArrayView<float> y)
    {
        CudaAsm.Emit(".reg .b32 a<4>;\n.reg .b32 b<2>;\n.reg .f32 c<4>;\n mov.f32 c0, 0f3F800000; mov.f32 c1, c0; mov.f32 c2, c0; mov.f32 c3, c0;");
        int g = Warp.LaneIdx >> 2, t = Warp.LaneIdx & 3;
        CudaAsm.Emit("cvt.rna.tf32.f32 a0, %0; cvt.rna.tf32.f32 a1, %1; cvt.rna.tf32.f32 a2, %2; cvt.rna.tf32.f32 a3, %3;",
            x[8 * g + t], x[8 * (g + 8) + t], x[8 * g + t + 4], x[8 * (g + 8) + t + 4]);
        CudaAsm.Emit("cvt.rna.tf32.f32 b0, %0; cvt.rna.tf32.f32 b1, %1;", x[128 + 8 * g + t], x[128 + 8 * g + t + 4]);
        CudaAsm.Emit("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {c0, c1, c2, c3}, {a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3};");
        CudaAsm.Emit("st.global.f32 [%0], c0; st.global.f32 [%0+4], c1;", Of(ref y[8 * g + 2 * t]));
        CudaAsm.Emit("@%1 st.global.f32 [%0], c2; @%1 st.global.f32 [%0+4], c3;", Of(ref y[8 * (g + 8) + 2 * t]), g < 7);
    }

    /// <summary>The same of bf16, with a [16, 16] and b [16, 8].</summary>
    public static void MultipliesPairs(ArrayView<float> x, ArrayView<float> y)
    {
        CudaAsm.Emit(".reg .b32 a<4>;\n.reg .b32 b<2>;\n.reg .f32 c<4>;\n mov.f32 c0, 0f3F800000; mov.f32 c1, c0; mov.f32 c2, c0; mov.f32 c3, c0;");
        int g = Warp.LaneIdx >> 2, t = 2 * (Warp.LaneIdx & 3);
        CudaAsm.Emit("cvt.rn.bf16x2.f32 a0, %1, %0; cvt.rn.bf16x2.f32 a1, %3, %2; cvt.rn.bf16x2.f32 a2, %5, %4; cvt.rn.bf16x2.f32 a3, %7, %6;",
            x[16 * g + t], x[16 * g + t + 1], x[16 * (g + 8) + t], x[16 * (g + 8) + t + 1],
            x[16 * g + t + 8], x[16 * g + t + 9], x[16 * (g + 8) + t + 8], x[16 * (g + 8) + t + 9]);
        CudaAsm.Emit("cvt.rn.bf16x2.f32 b0, %1, %0; cvt.rn.bf16x2.f32 b1, %3, %2;",
            x[256 + 16 * g + t], x[256 + 16 * g + t + 1], x[256 + 16 * g + t + 8], x[256 + 16 * g + t + 9]);
        CudaAsm.Emit("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {c0, c1, c2, c3}, {a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3};");
        CudaAsm.Emit("st.global.f32 [%0], c0; st.global.f32 [%0+4], c1;", Of(ref y[8 * g + t]));
        CudaAsm.Emit("st.global.f32 [%0], c2; st.global.f32 [%0+4], c3;", Of(ref y[8 * (g + 8) + t]));
    }

    private static void Begin() => CudaAsm.Emit(".reg .b32 a<4>; .reg .b32 b<2>; .reg .f32 c<4>;"
        + "mov.b32 a0, 0; mov.b32 a1, 0; mov.b32 a2, 0; mov.b32 a3, 0; mov.b32 b0, 0; mov.b32 b1, 0; mov.f32 c0, 0; mov.f32 c1, 0; mov.f32 c2, 0; mov.f32 c3, 0;");

    private static void Multiply() =>
        CudaAsm.Emit("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {c0, c1, c2, c3}, {a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3};"); // multiplies

    public static void SomeLanes(ArrayView<float> y)
    {
        Begin();
        if (Group.IdxX < 16)
            Multiply();
        y[Group.IdxX] = 0;
    }

    public static void FewLanes(ArrayView<float> y)
    {
        Begin();
        Multiply();
        y[Group.IdxX] = 0;
    }

    public static void Unassigned(ArrayView<float> y)
    {
        CudaAsm.Emit(".reg .f32 c<2>;");
        if (Group.IdxX != 5)
            CudaAsm.Emit("mov.f32 c1, 0;");
        CudaAsm.Emit("st.global.f32 [%0], c1;", Of(ref y[Group.IdxX])); // unassigned
    }

    public static void Unknown(ArrayView<float> y)
    {
        y[0] = 1;
        CudaAsm.Emit("bar.warp.sync 0;"); // unknown
    }

    public static void Undeclared(ArrayView<float> y) => CudaAsm.Emit("st.global.f32 [%0], c1;", Of(ref y[0]));

    public static void DeclaredTwice(ArrayView<float> y)
    {
        Begin();
        Begin();
        y[0] = 1;
    }

    public static void PointsToVariable(ArrayView<float> y)
    {
        float x = y[0];
        CudaAsm.Emit("st.global.f32 [%0], %1;", Of(ref x), 1f);
    }

    public static void Reads(ArrayView<float> y)
    {
        fixed (float* p = &y[0])
            y[1] = *p;
    }
}

/// <summary>What inline PTX does here, and which faults are found.</summary>
public class PtxTests
{
    private static float[] Run(Action<ArrayView<float>, ArrayView<float>> kernel, float[] x, int length)
    {
        using Device d = new();
        using MemoryBuffer1D<float, Stride1D.Dense> from = d.New(x), to = d.Raw<float>(length);
        to.View.MemSetToZero();
        d.Accelerator.LoadStreamKernel(kernel)((1, 32), from.View, to.View);
        return to.GetAsArray1D();
    }

    private static void Expect(FaultKind kind, Action<ArrayView<float>, ArrayView<float>> kernel, params string[] parts) =>
        Expect(kind, d => d.Accelerator.LoadStreamKernel(kernel)((1, 32), d.New(Device.Noise(136, 1)).Named("x").View, d.Raw<float>(64).View), parts);

    private static void Expect(FaultKind kind, Action<ArrayView<float>> kernel, int threads, params string[] parts) =>
        Expect(kind, d => d.Accelerator.LoadStreamKernel(kernel)((1, threads), d.New(new float[64]).Named("y").View), parts);

    private static void Expect(FaultKind kind, Action<Device> act, string[] parts)
    {
        using IDisposable _ = (KernelCheckOptions.Current with { Leaks = false }).Use();
        using Device device = new();
        KernelFault fault = Assert.Throws<KernelFault>(() => act(device));
        Assert.True(kind == fault.Kind, fault.Message);
        Assert.All(parts, part => Assert.Contains(part, fault.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void CopiesArrive()
    {
        float[] x = Device.Noise(128, 1), halves = [.. x.Select((v, i) => i % 4 < 2 ? v : 0)];
        foreach (ThreadOrder order in Enum.GetValues<ThreadOrder>())
        {
            using IDisposable _ = new KernelCheckOptions { Order = order }.Use();
            Assert.Equal([.. Enumerable.Reverse(x).Take(32), .. Enumerable.Reverse(halves).Take(32)], Run(PtxKernels.Doubles, x, 64));
        }
    }

    [Fact]
    public void CopiesThatAreUsedTooEarly()
    {
        Expect(FaultKind.UnderWay, PtxKernels.NoWait, "kernel PtxKernels.NoWait", "thread 0 of group 0", "reads element 127 of shared memory float[128]",
            "which thread 31 copies asynchronously", PtxKernels.Line("copies"), PtxKernels.Line("too early"));
        Expect(FaultKind.RaceInGroup, PtxKernels.NoBarrier, "reads element", "no barrier between", PtxKernels.Line("no barrier"));
        Expect(FaultKind.RaceInGroup, PtxKernels.CopiesOverReads, "writes element", "read", PtxKernels.Line("copies"));
        Expect(FaultKind.UnderWay, PtxKernels.WritesUnderCopy, "writes element 1 of shared memory");
    }

    [Fact]
    public void CopiesAtOddPlaces()
    {
        Expect(FaultKind.Misaligned, PtxKernels.OddPlace, "16 bytes at once at element 1 of shared memory", "4 bytes past", PtxKernels.Line("copies"));
        Expect(FaultKind.Misaligned, PtxKernels.OddSource, "element 2 of buffer", "8 bytes past");
    }

    [Fact]
    public void WarpsMultiply()
    {
        float[] x = Device.Noise(192, 2), y = Run(PtxKernels.Multiplies, x, 128);
        float tf32(float v) => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(v) + 0x1000 & 0xffffe000);
        Assert.All(Enumerable.Range(0, 128), i => Assert.Equal(i / 8 == 15 ? 0 : 1 + Enumerable.Range(0, 8).Sum(k => tf32(x[i / 8 * 8 + k]) * tf32(x[128 + i % 8 * 8 + k])), y[i], 1e-5));
        x = Device.Noise(384, 3);
        y = Run(PtxKernels.MultipliesPairs, x, 128);
        float bf16(float v) => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(v) + 0x7fff + (BitConverter.SingleToUInt32Bits(v) >> 16 & 1) & 0xffff0000);
        Assert.All(Enumerable.Range(0, 128), i => Assert.Equal(1 + Enumerable.Range(0, 16).Sum(k => bf16(x[i / 8 * 16 + k]) * bf16(x[256 + i % 8 * 16 + k])), y[i], 1e-5));
    }

    [Fact]
    public void LanesThatDoNotMultiplyTogether()
    {
        Expect(FaultKind.Divergence, PtxKernels.SomeLanes, 32, "waits at \"mma.sync", "thread 16 has ended", PtxKernels.Line("multiplies"));
        Expect(FaultKind.Divergence, PtxKernels.FewLanes, 48, "thread 32", "with 16 lanes", PtxKernels.Line("multiplies"));
    }

    [Fact]
    public void Registers()
    {
        Expect(FaultKind.Uninitialised, PtxKernels.Unassigned, 32, "thread 5 of group 0", "st.global.f32", "never assigned", PtxKernels.Line("unassigned"));
        Expect(FaultKind.Refused, PtxKernels.Undeclared, 1, "c1 in the PTX", "no declared register");
        Expect(FaultKind.Refused, PtxKernels.DeclaredTwice, 1, "second declaration of the register a0");
    }

    [Fact]
    public void Refusals()
    {
        Expect(FaultKind.Refused, PtxKernels.Unknown, 1, "bar.warp.sync 0", "does not know", PtxKernels.Line("unknown"));
        Expect(FaultKind.Refused, PtxKernels.PointsToVariable, 1, "a pointer to a variable of the thread");
        Expect(FaultKind.Refused, PtxKernels.Reads, 1, "by way of a pointer");
    }
}
