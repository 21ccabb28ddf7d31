using System.Buffers.Binary;

namespace MoeFromScratch.Model.Evaluation;

/// <summary>
/// The end of a gzip file: CRC-32 and length of what its last member holds, both little-endian (RFC 1952, 2.3.1). .NET's stream
/// takes the place where a file is cut off for its end, and a download that broke off would be a smaller task.
/// </summary>
internal static class GzipEnd
{
    private const int Size = 2 * sizeof(uint);
    private const uint Polynomial = 0xedb88320;

    private static readonly uint[] Table = [.. Enumerable.Range(0, 256).Select(static i => Enumerable.Range(0, 8).Aggregate((uint)i, static (c, _) => c >> 1 ^ (c & 1) * Polynomial))];

    /// <summary>Whether a file ends as what was read from it says.</summary>
    /// <param name="file">Moved to its end.</param>
    /// <param name="content">Of all members; less than 4 GiB.</param>
    public static bool Fits(Stream file, ReadOnlySpan<byte> content)
    {
        Span<byte> end = stackalloc byte[Size];
        if (file.Length < Size)
            return false;
        file.Seek(-Size, SeekOrigin.End);
        file.ReadExactly(end);
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(end[sizeof(uint)..]);
        return length <= content.Length && Crc(content[^(int)length..]) == BinaryPrimitives.ReadUInt32LittleEndian(end);
    }

    private static uint Crc(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in bytes)
            crc = crc >> 8 ^ Table[(byte)crc ^ b];
        return ~crc;
    }
}
