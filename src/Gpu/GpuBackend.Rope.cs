using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    public void Rope(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y) => Turn(x, positions, frequencies, layout, y, back: false);

    public void RopeGrad(Tensor dy, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor dx) => Turn(dy, positions, frequencies, layout, dx, back: true);

    private void Turn(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y, bool back)
    {
        Check.Same(y, x);
        Check.Rope(x, positions, frequencies, layout);
        Rows<RopeStep>(x.Rows, x.Cols, new Step
        {
            A = View<float>(x),
            I = View<int>(positions),
            B = View<float>(frequencies),
            Y = View<float>(y),
            F = layout.Magnitude,
            G = back ? -1 : 1,
            ToRow = back ? 1 : 0,
            N = layout.HeadDim,
            M = layout.Pairs,
            P = layout.Interleaved ? 1 : 0,
            Q = layout.First,
        });
    }
}

/// <summary>
/// Turns the pairs of a row's heads. P says whether a pair's elements are neighbours, M how many pairs a head has, Q where they begin,
/// N the size of a head, F the magnitude, G the direction.
/// </summary>
internal struct RopeStep : IStep
{
    public static int Code => 13;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        long row = (long)item * s.Cols;
        for (int i = Group.IdxX; i < s.Cols; i += Group.DimX)
        {
            int j = i % s.N - s.Q;                                         // the column among those that turn
            float x = s.A[row + i];
            if (j >= 0 && j < s.M + s.M)
            {
                int pair = s.P == 1 ? j >> 1 : j < s.M ? j : j - s.M, distance = s.P == 1 ? 1 : s.M;
                bool first = s.P == 1 ? (j & 1) == 0 : j < s.M;
                float other = s.A[first ? row + i + distance : row + i - distance];
                float angle = s.I[item] * s.B[pair];
                float cos = s.F * Angles.Cos(angle), sin = s.F * s.G * Angles.Sin(angle);
                x = first ? x * cos - other * sin : x * cos + other * sin;
            }
            s.Y[row + i] = s.ToRow == 0 ? x : s.Y[row + i] + x;
        }
    }
}

/// <summary>
/// Sine and cosine of angles of any size: devices' own are approximations for small ones. The angle less the nearest multiple of π/2,
/// in double, goes into the series of the one or the other.
/// </summary>
internal static class Angles
{
    private const double TwoOverPi = 0.63661977236758134, HalfPi = 1.5707963267948966;

    public static float Sin(float angle) => Turned(angle, 0);

    public static float Cos(float angle) => Turned(angle, 1);

    private static float Turned(float angle, int quarters)
    {
        double turns = Math.Floor(angle * TwoOverPi + 0.5), r = angle - turns * HalfPi, z = r * r;
        int quadrant = (int)((long)turns + quarters) & 3;
        double sin = r * (1 + z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z * (1.0 / 39916800))))));
        double cos = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 - z * (1.0 / 3628800 - z * (1.0 / 479001600))))));
        float value = (float)((quadrant & 1) == 0 ? sin : cos);
        return quadrant >= 2 ? -value : value;
    }
}
