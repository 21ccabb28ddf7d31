namespace ILGPU;

public static class IntrinsicMath
{
    public static float Abs(float value) => Math.Abs(value);
    public static double Abs(double value) => Math.Abs(value);
    public static int Abs(int value) => Math.Abs(value);
    public static long Abs(long value) => Math.Abs(value);
    public static float Min(float first, float second) => Math.Min(first, second);
    public static float Max(float first, float second) => Math.Max(first, second);
    public static float Clamp(float value, float min, float max) => Math.Max(Math.Min(value, max), min);
    public static double Min(double first, double second) => Math.Min(first, second);
    public static double Max(double first, double second) => Math.Max(first, second);
    public static double Clamp(double value, double min, double max) => Math.Max(Math.Min(value, max), min);
    public static int Min(int first, int second) => Math.Min(first, second);
    public static int Max(int first, int second) => Math.Max(first, second);
    public static int Clamp(int value, int min, int max) => Math.Max(Math.Min(value, max), min);
    public static long Min(long first, long second) => Math.Min(first, second);
    public static long Max(long first, long second) => Math.Max(first, second);
    public static long Clamp(long value, long min, long max) => Math.Max(Math.Min(value, max), min);
    public static uint Min(uint first, uint second) => Math.Min(first, second);
    public static uint Max(uint first, uint second) => Math.Max(first, second);
    public static uint Clamp(uint value, uint min, uint max) => Math.Max(Math.Min(value, max), min);
    public static ulong Min(ulong first, ulong second) => Math.Min(first, second);
    public static ulong Max(ulong first, ulong second) => Math.Max(first, second);
    public static ulong Clamp(ulong value, ulong min, ulong max) => Math.Max(Math.Min(value, max), min);
    public static float CopySign(float x, float y) => MathF.CopySign(x, y);
    public static int PopCount(int value) => System.Numerics.BitOperations.PopCount((uint)value);
    public static int LeadingZeroCount(int value) => System.Numerics.BitOperations.LeadingZeroCount((uint)value);
    public static int TrailingZeroCount(int value) => System.Numerics.BitOperations.TrailingZeroCount(value);
    public static int PopCount(long value) => System.Numerics.BitOperations.PopCount((ulong)value);
    public static int LeadingZeroCount(long value) => System.Numerics.BitOperations.LeadingZeroCount((ulong)value);
    public static int TrailingZeroCount(long value) => System.Numerics.BitOperations.TrailingZeroCount(value);
    public static int PopCount(uint value) => System.Numerics.BitOperations.PopCount(value);
    public static int LeadingZeroCount(uint value) => System.Numerics.BitOperations.LeadingZeroCount(value);
    public static int TrailingZeroCount(uint value) => System.Numerics.BitOperations.TrailingZeroCount(value);
    public static int PopCount(ulong value) => System.Numerics.BitOperations.PopCount(value);
    public static int LeadingZeroCount(ulong value) => System.Numerics.BitOperations.LeadingZeroCount(value);
    public static int TrailingZeroCount(ulong value) => System.Numerics.BitOperations.TrailingZeroCount(value);
    public static int DivRoundUp(int numerator, int denominator) => (numerator + denominator - 1) / denominator;
    public static int DivRoundDown(int numerator, int denominator) => numerator / denominator;
    public static long DivRoundUp(long numerator, long denominator) => (numerator + denominator - 1) / denominator;
    public static long DivRoundDown(long numerator, long denominator) => numerator / denominator;
}
