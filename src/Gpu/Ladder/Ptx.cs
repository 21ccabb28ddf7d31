using ILGPU;
using ILGPU.Runtime.Cuda;

namespace MoeFromScratch.Gpu;

/// <summary>
/// Instructions of CUDA devices from sm_80 on that ILGPU does not know, as inline PTX. (PTX ISA 8.5, sections 9.7.9.25 and 9.7.14.)
/// Whatever an instruction gives stays in registers that are named in the text, since what ILGPU takes out of one goes by way of memory:
/// a0 … a7 and b0 … b7 hold the operands of a warp's tile of 32 × 32, c0 … c31 its sums. They are one thread's own; all 32 lanes of a warp
/// multiply together.
/// </summary>
internal static unsafe class Ptx
{
    /// <summary>A place in memory, as an operand: in shared memory where the compiler knows that it lies there.</summary>
    private struct Address
    {
        public void* Pointer;
    }

    private static Address Of<T>(ref T element) where T : unmanaged
    {
        fixed (T* pointer = &element)
            return new Address { Pointer = pointer };
    }

    /// <summary>
    /// target[i] = source[j], 16 bytes from device to shared memory past the registers and at some time before the wait that
    /// <see cref="Commit"/> and <see cref="WaitForAllButOne"/> speak of; zeros where it is not there.
    /// </summary>
    public static void Copy(ArrayView<F4> target, int i, ArrayView<F4> source, long j, bool isThere) =>
        CudaAsm.Emit("cp.async.cg.shared.global [%0], [%1], 16, %2;", Of(ref target[i]), Of(ref source[isThere ? j : 0]), isThere ? 16 : 0);

    /// <summary>The same with 8 bytes.</summary>
    public static void Copy(ArrayView<H4> target, int i, ArrayView<H4> source, long j, bool isThere) =>
        CudaAsm.Emit("cp.async.ca.shared.global [%0], [%1], 8, %2;", Of(ref target[i]), Of(ref source[isThere ? j : 0]), isThere ? 8 : 0);

    /// <summary>Ends a batch: the copies that this thread has begun since the last one.</summary>
    public static void Commit() => CudaAsm.Emit("cp.async.commit_group;");

    /// <summary>Waits until all batches of this thread but the last have arrived. Other threads see them behind a barrier.</summary>
    public static void WaitForAllButOne() => CudaAsm.Emit("cp.async.wait_group 1;");

    /// <summary>Names the registers, and makes the sums zero. Once in a kernel, before all else and not within a loop.</summary>
    public static void Begin() => CudaAsm.Emit(
        ".reg .b32 a<8>;\n\t.reg .b32 b<8>;\n\t.reg .f32 c<32>;\n\t"
        + Zero + "c0, 0f00000000;\n\t" + Zero + "c1, 0f00000000;\n\t" + Zero + "c2, 0f00000000;\n\t" + Zero + "c3, 0f00000000;\n\t"
        + Zero + "c4, 0f00000000;\n\t" + Zero + "c5, 0f00000000;\n\t" + Zero + "c6, 0f00000000;\n\t" + Zero + "c7, 0f00000000;\n\t"
        + Zero + "c8, 0f00000000;\n\t" + Zero + "c9, 0f00000000;\n\t" + Zero + "c10, 0f00000000;\n\t" + Zero + "c11, 0f00000000;\n\t"
        + Zero + "c12, 0f00000000;\n\t" + Zero + "c13, 0f00000000;\n\t" + Zero + "c14, 0f00000000;\n\t" + Zero + "c15, 0f00000000;\n\t"
        + Zero + "c16, 0f00000000;\n\t" + Zero + "c17, 0f00000000;\n\t" + Zero + "c18, 0f00000000;\n\t" + Zero + "c19, 0f00000000;\n\t"
        + Zero + "c20, 0f00000000;\n\t" + Zero + "c21, 0f00000000;\n\t" + Zero + "c22, 0f00000000;\n\t" + Zero + "c23, 0f00000000;\n\t"
        + Zero + "c24, 0f00000000;\n\t" + Zero + "c25, 0f00000000;\n\t" + Zero + "c26, 0f00000000;\n\t" + Zero + "c27, 0f00000000;\n\t"
        + Zero + "c28, 0f00000000;\n\t" + Zero + "c29, 0f00000000;\n\t" + Zero + "c30, 0f00000000;\n\t" + Zero + "c31, 0f00000000;");

    private const string Zero = "mov.f32 ", Pair = "cvt.rn.bf16x2.f32 ", Round = "cvt.rna.tf32.f32 ";

    // Operands. With g = lane / 4 and t = lane % 4, as the instructions want them:
    //   bf16, m16n8k16   a0: row g, k 2t and 2t + 1    a1: row g + 8    a2: row g, k + 8    a3: row g + 8, k + 8
    //                    b0: column g, k 2t and 2t + 1                  b1: column g, k + 8
    //   tf32, m16n8k8    a0: row g, k t                a1: row g + 8    a2: row g, k + 4    a3: row g + 8, k + 4
    //                    b0: column g, k t                              b1: column g, k + 4
    //   both             c0 and c1: row g, columns 2t and 2t + 1        c2 and c3: row g + 8

    /// <summary>a0 … a3, rows 0 … 15 of the tile: pairs of floats, rounded to the nearest bfloat16, the first in the lower half.</summary>
    public static void UpperRows(F2 a0, F2 a1, F2 a2, F2 a3) => CudaAsm.Emit(
        Pair + "a0, %1, %0;\n\t" + Pair + "a1, %3, %2;\n\t" + Pair + "a2, %5, %4;\n\t" + Pair + "a3, %7, %6;", a0.X, a0.Y, a1.X, a1.Y, a2.X, a2.Y, a3.X, a3.Y);

    /// <summary>a4 … a7, rows 16 … 31.</summary>
    public static void LowerRows(F2 a4, F2 a5, F2 a6, F2 a7) => CudaAsm.Emit(
        Pair + "a4, %1, %0;\n\t" + Pair + "a5, %3, %2;\n\t" + Pair + "a6, %5, %4;\n\t" + Pair + "a7, %7, %6;", a4.X, a4.Y, a5.X, a5.Y, a6.X, a6.Y, a7.X, a7.Y);

    /// <summary>b0 … b3, columns 0 … 15.</summary>
    public static void LeftColumns(F2 b0, F2 b1, F2 b2, F2 b3) => CudaAsm.Emit(
        Pair + "b0, %1, %0;\n\t" + Pair + "b1, %3, %2;\n\t" + Pair + "b2, %5, %4;\n\t" + Pair + "b3, %7, %6;", b0.X, b0.Y, b1.X, b1.Y, b2.X, b2.Y, b3.X, b3.Y);

    /// <summary>b4 … b7, columns 16 … 31.</summary>
    public static void RightColumns(F2 b4, F2 b5, F2 b6, F2 b7) => CudaAsm.Emit(
        Pair + "b4, %1, %0;\n\t" + Pair + "b5, %3, %2;\n\t" + Pair + "b6, %5, %4;\n\t" + Pair + "b7, %7, %6;", b4.X, b4.Y, b5.X, b5.Y, b6.X, b6.Y, b7.X, b7.Y);

    /// <summary>a0 … a7, all rows: floats, rounded to the nearest of 11 bits (ties away from zero).</summary>
    public static void Rows(float a0, float a1, float a2, float a3, float a4, float a5, float a6, float a7) => CudaAsm.Emit(
        Round + "a0, %0;\n\t" + Round + "a1, %1;\n\t" + Round + "a2, %2;\n\t" + Round + "a3, %3;\n\t"
        + Round + "a4, %4;\n\t" + Round + "a5, %5;\n\t" + Round + "a6, %6;\n\t" + Round + "a7, %7;", a0, a1, a2, a3, a4, a5, a6, a7);

    /// <summary>b0 … b7, all columns.</summary>
    public static void Columns(float b0, float b1, float b2, float b3, float b4, float b5, float b6, float b7) => CudaAsm.Emit(
        Round + "b0, %0;\n\t" + Round + "b1, %1;\n\t" + Round + "b2, %2;\n\t" + Round + "b3, %3;\n\t"
        + Round + "b4, %4;\n\t" + Round + "b5, %5;\n\t" + Round + "b6, %6;\n\t" + Round + "b7, %7;", b0, b1, b2, b3, b4, b5, b6, b7);

    // Four parts of 16 × 8 beside each other, and four below.
    private const string C0 = "{c0, c1, c2, c3}, {a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3};\n\t", C1 = "{c4, c5, c6, c7}, {a0, a1, a2, a3}, {b2, b3}, {c4, c5, c6, c7};\n\t",
        C2 = "{c8, c9, c10, c11}, {a0, a1, a2, a3}, {b4, b5}, {c8, c9, c10, c11};\n\t", C3 = "{c12, c13, c14, c15}, {a0, a1, a2, a3}, {b6, b7}, {c12, c13, c14, c15};\n\t",
        C4 = "{c16, c17, c18, c19}, {a4, a5, a6, a7}, {b0, b1}, {c16, c17, c18, c19};\n\t", C5 = "{c20, c21, c22, c23}, {a4, a5, a6, a7}, {b2, b3}, {c20, c21, c22, c23};\n\t",
        C6 = "{c24, c25, c26, c27}, {a4, a5, a6, a7}, {b4, b5}, {c24, c25, c26, c27};\n\t", C7 = "{c28, c29, c30, c31}, {a4, a5, a6, a7}, {b6, b7}, {c28, c29, c30, c31};";

    private const string Bf16 = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 ", Tf32 = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 ";

    /// <summary>c += a · b over 16 columns of both matrices.</summary>
    public static void MultiplyBf16() =>
        CudaAsm.Emit(Bf16 + C0 + Bf16 + C1 + Bf16 + C2 + Bf16 + C3 + Bf16 + C4 + Bf16 + C5 + Bf16 + C6 + Bf16 + C7);

    /// <summary>c += a · b over 8 columns of both matrices.</summary>
    public static void MultiplyTf32() =>
        CudaAsm.Emit(Tf32 + C0 + Tf32 + C1 + Tf32 + C2 + Tf32 + C3 + Tf32 + C4 + Tf32 + C5 + Tf32 + C6 + Tf32 + C7);

    /// <summary>y[at] and its right neighbour, and the same at y[below], from the sums of part 0 … 7 of the tile, each where it is within.</summary>
    public static void Store(int part, ArrayView<float> y, long at, long below, bool first, bool second, bool firstBelow, bool secondBelow)
    {
        Address upper = Of(ref y[first ? at : 0]), lower = Of(ref y[firstBelow ? below : 0]);
        if (part == 0)
            CudaAsm.Emit("@%2 st.global.f32 [%0], c0;\n\t@%3 st.global.f32 [%0+4], c1;\n\t@%4 st.global.f32 [%1], c2;\n\t@%5 st.global.f32 [%1+4], c3;", upper, lower, first, second, firstBelow, secondBelow);
        else if (part == 1)
            CudaAsm.Emit("@%2 st.global.f32 [%0], c4;\n\t@%3 st.global.f32 [%0+4], c5;\n\t@%4 st.global.f32 [%1], c6;\n\t@%5 st.global.f32 [%1+4], c7;", upper, lower, first, second, firstBelow, secondBelow);
        else if (part == 2)
            CudaAsm.Emit("@%2 st.global.f32 [%0], c8;\n\t@%3 st.global.f32 [%0+4], c9;\n\t@%4 st.global.f32 [%1], c10;\n\t@%5 st.global.f32 [%1+4], c11;", upper, lower, first, second, firstBelow, secondBelow);
        else if (part == 3)
            CudaAsm.Emit("@%2 st.global.f32 [%0], c12;\n\t@%3 st.global.f32 [%0+4], c13;\n\t@%4 st.global.f32 [%1], c14;\n\t@%5 st.global.f32 [%1+4], c15;", upper, lower, first, second, firstBelow, secondBelow);
        else if (part == 4)
            CudaAsm.Emit("@%2 st.global.f32 [%0], c16;\n\t@%3 st.global.f32 [%0+4], c17;\n\t@%4 st.global.f32 [%1], c18;\n\t@%5 st.global.f32 [%1+4], c19;", upper, lower, first, second, firstBelow, secondBelow);
        else if (part == 5)
            CudaAsm.Emit("@%2 st.global.f32 [%0], c20;\n\t@%3 st.global.f32 [%0+4], c21;\n\t@%4 st.global.f32 [%1], c22;\n\t@%5 st.global.f32 [%1+4], c23;", upper, lower, first, second, firstBelow, secondBelow);
        else if (part == 6)
            CudaAsm.Emit("@%2 st.global.f32 [%0], c24;\n\t@%3 st.global.f32 [%0+4], c25;\n\t@%4 st.global.f32 [%1], c26;\n\t@%5 st.global.f32 [%1+4], c27;", upper, lower, first, second, firstBelow, secondBelow);
        else
            CudaAsm.Emit("@%2 st.global.f32 [%0], c28;\n\t@%3 st.global.f32 [%0+4], c29;\n\t@%4 st.global.f32 [%1], c30;\n\t@%5 st.global.f32 [%1+4], c31;", upper, lower, first, second, firstBelow, secondBelow);
    }
}
