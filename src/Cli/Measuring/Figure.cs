using System.Diagnostics;

namespace MoeFromScratch.Cli.Measuring;

/// <summary>One rate, measured in turns with its neighbours: shared machines drift by a third from minute to minute.</summary>
/// <param name="Unit">Of the rate, such as "GFLOP/s".</param>
/// <param name="Work">Does it once and returns how much it was, in units · seconds.</param>
internal sealed record Figure(string Name, string Unit, Func<double> Work)
{
    private readonly List<double> _rates = [];

    public double Median => _rates.Order().ElementAt(_rates.Count / 2);

    public double Best => _rates.Max();

    /// <summary>Each figure once a round, after rounds that do not count.</summary>
    /// <param name="progress">Told before each round how many there are to come.</param>
    public static void Measure(IReadOnlyList<Figure> figures, int rounds, Action<int> progress, int warmup = 2)
    {
        for (int round = -warmup; round < rounds; round++)
        {
            progress(rounds - round);
            foreach (Figure figure in figures)
            {
                long start = Stopwatch.GetTimestamp();
                double amount = figure.Work();
                double rate = amount / Stopwatch.GetElapsedTime(start).TotalSeconds;
                if (round >= 0)
                    figure._rates.Add(rate);
            }
        }
    }
}
