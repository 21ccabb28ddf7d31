namespace ILGPU.Algorithms;

/// <summary>.NET's functions; a device's may be less exact.</summary>
public static class XMath
{
    public const float PI = MathF.PI;
    public const float E = MathF.E;

    public static float Abs(float value) => MathF.Abs(value);
    public static float Acos(float value) => MathF.Acos(value);
    public static float Asin(float value) => MathF.Asin(value);
    public static float Atan(float value) => MathF.Atan(value);
    public static float Ceiling(float value) => MathF.Ceiling(value);
    public static float Cos(float value) => MathF.Cos(value);
    public static float Cosh(float value) => MathF.Cosh(value);
    public static float Exp(float value) => MathF.Exp(value);
    public static float Floor(float value) => MathF.Floor(value);
    public static float Log(float value) => MathF.Log(value);
    public static float Log10(float value) => MathF.Log10(value);
    public static float Log2(float value) => MathF.Log2(value);
    public static float Sin(float value) => MathF.Sin(value);
    public static float Sinh(float value) => MathF.Sinh(value);
    public static float Sqrt(float value) => MathF.Sqrt(value);
    public static float Tan(float value) => MathF.Tan(value);
    public static float Tanh(float value) => MathF.Tanh(value);
    public static float Truncate(float value) => MathF.Truncate(value);
    public static float Exp2(float value) => MathF.Pow(2, value);
    public static float Rcp(float value) => 1 / value;
    public static float Rsqrt(float value) => 1 / MathF.Sqrt(value);
    public static float Pow(float @base, float exp) => MathF.Pow(@base, exp);
    public static float RoundToEven(float value) => MathF.Round(value);
    public static int Sign(float value) => Math.Sign(value);
    public static bool IsNaN(float value) => float.IsNaN(value);
    public static bool IsInfinity(float value) => float.IsInfinity(value);
    public static bool IsFinite(float value) => float.IsFinite(value);
    public static double Exp(double value) => Math.Exp(value);
    public static double Log(double value) => Math.Log(value);
    public static double Sqrt(double value) => Math.Sqrt(value);
    public static int DivRoundUp(int numerator, int denominator) => IntrinsicMath.DivRoundUp(numerator, denominator);
    public static long DivRoundUp(long numerator, long denominator) => IntrinsicMath.DivRoundUp(numerator, denominator);
    public static float Min(float first, float second) => Math.Min(first, second);
    public static float Max(float first, float second) => Math.Max(first, second);
    public static float Clamp(float value, float min, float max) => IntrinsicMath.Clamp(value, min, max);
    public static int Min(int first, int second) => Math.Min(first, second);
    public static int Max(int first, int second) => Math.Max(first, second);
    public static int Clamp(int value, int min, int max) => IntrinsicMath.Clamp(value, min, max);
    public static long Min(long first, long second) => Math.Min(first, second);
    public static long Max(long first, long second) => Math.Max(first, second);
    public static long Clamp(long value, long min, long max) => IntrinsicMath.Clamp(value, min, max);
    public static uint Min(uint first, uint second) => Math.Min(first, second);
    public static uint Max(uint first, uint second) => Math.Max(first, second);
    public static uint Clamp(uint value, uint min, uint max) => IntrinsicMath.Clamp(value, min, max);
    public static ulong Min(ulong first, ulong second) => Math.Min(first, second);
    public static ulong Max(ulong first, ulong second) => Math.Max(first, second);
    public static ulong Clamp(ulong value, ulong min, ulong max) => IntrinsicMath.Clamp(value, min, max);
    public static int Abs(int value) => Math.Abs(value);
    public static void SinCos(float value, out float sin, out float cos) => (sin, cos) = MathF.SinCos(value);
}
