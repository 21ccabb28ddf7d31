using System.Text.Json;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tracing;

/// <summary>The token ids of a trace: B sequences of S tokens each, with an optional padding mask.</summary>
/// <param name="Ids">[B · S]</param>
/// <param name="Mask">[B · S] 1 for tokens, 0 for padding; null when nothing is padding.</param>
public sealed record TraceInput(int[] Ids, int Sequences, int[]? Mask = null)
{
    public int Length => Ids.Length / Sequences;

    /// <summary>Reads JSON <c>[[…], […]]</c>: rows of equal length.</summary>
    /// <exception cref="CheckpointException">No such file, not such JSON, or an id outside the vocabulary.</exception>
    public static TraceInput Read(string idsFile, int vocabSize, string? maskFile = null)
    {
        int[][] ids = ReadRows(idsFile, max: vocabSize - 1, "a token id of the model");
        int[]? mask = null;
        if (maskFile is not null)
        {
            int[][] rows = ReadRows(maskFile, max: 1, "0 or 1");
            if (rows.Length != ids.Length || rows[0].Length != ids[0].Length)
                throw new CheckpointException(maskFile, $"has {rows.Length} rows of {rows[0].Length}, the ids have {ids.Length} of {ids[0].Length}");
            mask = [.. rows.SelectMany(static r => r)];
            if (!mask.Contains(1))
                throw new CheckpointException(maskFile, "masks every token");
        }
        return new TraceInput([.. ids.SelectMany(static r => r)], ids.Length, mask);
    }

    private static int[][] ReadRows(string path, int max, string what)
    {
        int[][]? rows;
        try
        {
            rows = JsonSerializer.Deserialize<int[][]>(File.ReadAllBytes(path));
        }
        catch (JsonException e)
        {
            throw new CheckpointException(path, "is not a list of lists of integers", inner: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(path, e.Message, inner: e);
        }
        if (rows is null || rows.Length == 0 || rows.Any(r => r is null || r.Length == 0 || r.Length != rows[0].Length))
            throw new CheckpointException(path, "needs one or more rows of equal length, at least 1");
        foreach (int value in rows.SelectMany(static r => r))
            if (value < 0 || value > max)
                throw new CheckpointException(path, $"{value} is not {what} (0 to {max})");
        return rows;
    }
}
