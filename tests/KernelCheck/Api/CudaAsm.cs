namespace ILGPU.Runtime.Cuda;

/// <summary>Inline PTX: instrumented code carries it out itself.</summary>
public static class CudaAsm
{
    public static void Emit(string asm) => throw OnHost();

    public static void Emit<T0>(string asm, T0 arg0) where T0 : struct => throw OnHost();

    public static void Emit<T0, T1>(string asm, T0 arg0, T1 arg1) where T0 : struct where T1 : struct => throw OnHost();

    public static void Emit<T0, T1, T2>(string asm, T0 arg0, T1 arg1, T2 arg2) where T0 : struct where T1 : struct where T2 : struct => throw OnHost();

    public static void Emit<T0, T1, T2, T3>(string asm, T0 arg0, T1 arg1, T2 arg2, T3 arg3)
        where T0 : struct where T1 : struct where T2 : struct where T3 : struct => throw OnHost();

    public static void Emit<T0, T1, T2, T3, T4, T5>(string asm, T0 arg0, T1 arg1, T2 arg2, T3 arg3, T4 arg4, T5 arg5)
        where T0 : struct where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct => throw OnHost();

    public static void Emit<T0, T1, T2, T3, T4, T5, T6, T7>(string asm, T0 arg0, T1 arg1, T2 arg2, T3 arg3, T4 arg4, T5 arg5, T6 arg6, T7 arg7)
        where T0 : struct where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct => throw OnHost();

    private static InvalidOperationException OnHost() => new("inline PTX outside of a kernel");
}
