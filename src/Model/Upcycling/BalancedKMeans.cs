using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>Points in clusters that have exactly equally many of them.</summary>
/// <param name="Labels">[N] the cluster of each point.</param>
/// <param name="Costs">After each round, the sum of squared distances to the means; it never rises.</param>
public sealed record BalancedKMeans(int[] Labels, IReadOnlyList<double> Costs)
{
    private const int MaxRounds = 30;

    /// <summary>
    /// K-means whose assignment step is the best one that leaves all clusters equally large, found exactly; started as k-means++
    /// (Arthur and Vassilvitskii, 2007). The same random stream gives the same clusters.
    /// </summary>
    /// <param name="points">[N, D], N a multiple of the clusters.</param>
    /// <exception cref="ArgumentException">It is not, or a number is not finite.</exception>
    public static BalancedKMeans Of(ReadOnlySpan<float> points, int size, int clusters, CounterRandom random)
    {
        int count = points.Length / size;
        if (count % clusters != 0)
            throw new ArgumentException($"{count} points do not make {clusters} equal clusters");
        foreach (float x in points)
            if (!float.IsFinite(x))
                throw new ArgumentException("the dense model has or computes numbers that are not finite: they are in no cluster");
        double[] means = Start(points, size, clusters, random);
        float[] scores = new float[count * clusters];
        int[] labels = [];
        List<double> costs = [];
        for (int round = 0; round < MaxRounds; round++)
        {
            for (int i = 0; i < count; i++)
                for (int c = 0; c < clusters; c++)
                    scores[i * clusters + c] = -(float)Distance(points.Slice(i * size, size), means.AsSpan(c * size, size));
            int[] next = BalancedAssignment.Solve(scores, clusters);
            if (labels.AsSpan().SequenceEqual(next))
                break;
            labels = next;
            Average(points, size, labels, means);
            double cost = 0;
            for (int i = 0; i < count; i++)
                cost += Distance(points.Slice(i * size, size), means.AsSpan(labels[i] * size, size));
            costs.Add(cost);
        }
        return new BalancedKMeans(labels, costs);
    }

    /// <summary>The first mean is any point, each further one a point drawn in proportion to its squared distance from those there are.</summary>
    private static double[] Start(ReadOnlySpan<float> points, int size, int clusters, CounterRandom random)
    {
        int count = points.Length / size;
        double[] means = new double[clusters * size], nearest = new double[count];
        Array.Fill(nearest, double.PositiveInfinity);
        int chosen = (int)random.Below(count, 0);
        for (int c = 0; c < clusters; c++)
        {
            Span<double> mean = means.AsSpan(c * size, size);
            for (int j = 0; j < size; j++)
                mean[j] = points[chosen * size + j];
            double sum = 0;
            for (int i = 0; i < count; i++)
                sum += nearest[i] = Math.Min(nearest[i], Distance(points.Slice(i * size, size), mean));
            double left = random.Uniform((ulong)c + 1) * sum;
            for (chosen = 0; chosen < count - 1 && left >= nearest[chosen]; chosen++)
                left -= nearest[chosen];
        }
        return means;
    }

    private static void Average(ReadOnlySpan<float> points, int size, int[] labels, double[] means)
    {
        Array.Clear(means);
        double share = (double)(means.Length / size) / labels.Length;
        for (int i = 0; i < labels.Length; i++)
            for (int j = 0; j < size; j++)
                means[labels[i] * size + j] += share * points[i * size + j];
    }

    private static double Distance(ReadOnlySpan<float> point, ReadOnlySpan<double> mean)
    {
        double sum = 0;
        for (int j = 0; j < point.Length; j++)
            sum += (point[j] - mean[j]) * (point[j] - mean[j]);
        return sum;
    }
}
