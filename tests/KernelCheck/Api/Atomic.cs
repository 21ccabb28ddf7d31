namespace ILGPU;

/// <summary>Threads take turns: nothing here can be interrupted. What instrumented code adds is the mark of an atomic access.</summary>
public static class Atomic
{
    private static int Set(ref int target, int value)
    {
        int before = target;
        target = value;
        return before;
    }

    public static int Add(ref int target, int value) => Set(ref target, target + value);
    public static int Max(ref int target, int value) => Set(ref target, Math.Max(target, value));
    public static int Min(ref int target, int value) => Set(ref target, Math.Min(target, value));
    public static int And(ref int target, int value) => Set(ref target, target & value);
    public static int Or(ref int target, int value) => Set(ref target, target | value);
    public static int Xor(ref int target, int value) => Set(ref target, target ^ value);
    public static int Exchange(ref int target, int value) => Set(ref target, value);
    public static int CompareExchange(ref int target, int compare, int value) => Set(ref target, target == compare ? value : target);

    private static long Set(ref long target, long value)
    {
        long before = target;
        target = value;
        return before;
    }

    public static long Add(ref long target, long value) => Set(ref target, target + value);
    public static long Max(ref long target, long value) => Set(ref target, Math.Max(target, value));
    public static long Min(ref long target, long value) => Set(ref target, Math.Min(target, value));
    public static long And(ref long target, long value) => Set(ref target, target & value);
    public static long Or(ref long target, long value) => Set(ref target, target | value);
    public static long Xor(ref long target, long value) => Set(ref target, target ^ value);
    public static long Exchange(ref long target, long value) => Set(ref target, value);
    public static long CompareExchange(ref long target, long compare, long value) => Set(ref target, target == compare ? value : target);

    private static uint Set(ref uint target, uint value)
    {
        uint before = target;
        target = value;
        return before;
    }

    public static uint Add(ref uint target, uint value) => Set(ref target, target + value);
    public static uint Max(ref uint target, uint value) => Set(ref target, Math.Max(target, value));
    public static uint Min(ref uint target, uint value) => Set(ref target, Math.Min(target, value));
    public static uint And(ref uint target, uint value) => Set(ref target, target & value);
    public static uint Or(ref uint target, uint value) => Set(ref target, target | value);
    public static uint Xor(ref uint target, uint value) => Set(ref target, target ^ value);
    public static uint Exchange(ref uint target, uint value) => Set(ref target, value);
    public static uint CompareExchange(ref uint target, uint compare, uint value) => Set(ref target, target == compare ? value : target);

    private static ulong Set(ref ulong target, ulong value)
    {
        ulong before = target;
        target = value;
        return before;
    }

    public static ulong Add(ref ulong target, ulong value) => Set(ref target, target + value);
    public static ulong Max(ref ulong target, ulong value) => Set(ref target, Math.Max(target, value));
    public static ulong Min(ref ulong target, ulong value) => Set(ref target, Math.Min(target, value));
    public static ulong And(ref ulong target, ulong value) => Set(ref target, target & value);
    public static ulong Or(ref ulong target, ulong value) => Set(ref target, target | value);
    public static ulong Xor(ref ulong target, ulong value) => Set(ref target, target ^ value);
    public static ulong Exchange(ref ulong target, ulong value) => Set(ref target, value);
    public static ulong CompareExchange(ref ulong target, ulong compare, ulong value) => Set(ref target, target == compare ? value : target);

    private static float Set(ref float target, float value)
    {
        float before = target;
        target = value;
        return before;
    }

    public static float Add(ref float target, float value) => Set(ref target, target + value);
    public static float Max(ref float target, float value) => Set(ref target, Math.Max(target, value));
    public static float Min(ref float target, float value) => Set(ref target, Math.Min(target, value));
    public static float Exchange(ref float target, float value) => Set(ref target, value);
    public static float CompareExchange(ref float target, float compare, float value) => Set(ref target, target == compare ? value : target);

    private static double Set(ref double target, double value)
    {
        double before = target;
        target = value;
        return before;
    }

    public static double Add(ref double target, double value) => Set(ref target, target + value);
    public static double Max(ref double target, double value) => Set(ref target, Math.Max(target, value));
    public static double Min(ref double target, double value) => Set(ref target, Math.Min(target, value));
    public static double Exchange(ref double target, double value) => Set(ref target, value);
    public static double CompareExchange(ref double target, double compare, double value) => Set(ref target, target == compare ? value : target);
}
