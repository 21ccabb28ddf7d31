using System.Numerics;
using System.Text.Json;
using System.Text.Json.Serialization;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tracing;

/// <summary>The token ids of a trace: B sequences of S tokens each, with an optional padding mask.</summary>
/// <param name="Ids">[B · S]</param>
/// <param name="Mask">[B · S] 1 for tokens, 0 for padding; null when nothing is padding.</param>
/// <param name="TokenWeights">[B · S] what each token counts in the router losses; null for all the same.</param>
/// <param name="Tasks">[B] task of each sequence; null where there are none.</param>
public sealed partial record TraceInput(int[] Ids, int Sequences, int[]? Mask = null, float[]? TokenWeights = null, int[]? Tasks = null)
{
    public int Length => Ids.Length / Sequences;

    /// <summary>Reads JSON <c>[[…], […]]</c>: rows of equal length.</summary>
    /// <exception cref="CheckpointException">No such file, not such JSON, or an id outside the vocabulary.</exception>
    public static TraceInput Read(string idsFile, int vocabSize, string? maskFile = null, string? tokenWeightsFile = null)
    {
        int[][] ids = ReadRows<int>(idsFile, max: vocabSize - 1, "a token id of the model");
        int[]? mask = maskFile is null ? null : ReadBeside<int>(maskFile, ids, max: 1, "0 or 1");
        if (mask is not null && !mask.Contains(1))
            throw new CheckpointException(maskFile!, "masks every token");
        float[]? weights = tokenWeightsFile is null ? null : ReadBeside(tokenWeightsFile, ids, max: 1e6f, "a weight");
        if (weights is not null && !weights.Where((w, t) => w > 0 && mask?[t] != 0).Any())
            throw new CheckpointException(tokenWeightsFile!, "gives no token a weight");
        return new TraceInput([.. ids.SelectMany(static r => r)], ids.Length, mask, weights);
    }

    /// <summary>A number for each id.</summary>
    private static T[] ReadBeside<T>(string path, int[][] ids, T max, string what) where T : INumber<T>
    {
        T[][] rows = ReadRows(path, max, what);
        return rows.Length == ids.Length && rows[0].Length == ids[0].Length
            ? [.. rows.SelectMany(static r => r)]
            : throw new CheckpointException(path, $"has {rows.Length} rows of {rows[0].Length}, the ids have {ids.Length} of {ids[0].Length}");
    }

    private static T[][] ReadRows<T>(string path, T max, string what) where T : INumber<T>
    {
        T[][]? rows;
        try
        {
            rows = (T[][]?)JsonSerializer.Deserialize(File.ReadAllBytes(path), typeof(T[][]), Rows.Default);
        }
        catch (JsonException e)
        {
            throw new CheckpointException(path, $"is not a list of lists of {(typeof(T) == typeof(int) ? "integers" : "numbers")}, like [[3, 17, 5]]", inner: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(path, e.Message, inner: e);
        }
        if (rows is null || rows.Length == 0 || rows.Any(r => r is null || r.Length == 0 || r.Length != rows[0].Length))
            throw new CheckpointException(path, "needs one or more rows of equal length, at least 1");
        foreach (T value in rows.SelectMany(static r => r))
            if (!(value >= T.Zero && value <= max))
                throw new CheckpointException(path, $"{value} is not {what} (0 to {max})");
        return rows;
    }

    [JsonSerializable(typeof(int[][]))]
    [JsonSerializable(typeof(float[][]))]
    private sealed partial class Rows : JsonSerializerContext;
}
