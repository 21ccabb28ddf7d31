using System.Buffers.Binary;
using System.Text;
using Xunit;

namespace MoeFromScratch.Contract;

/// <summary>A record of TensorBoard's file, read by a reader that shares nothing with its writer.</summary>
public sealed record Event(double Time, long Step, string? Version, IReadOnlyList<(string Tag, float Value)> Scalars)
{
    public static IReadOnlyList<Event> Read(byte[] file) => [.. Records(file).Select(static r => Parse(r.Message))];

    /// <summary>Where each record ends.</summary>
    public static IReadOnlyList<long> Ends(byte[] file) => [.. Records(file).Select(static r => r.End)];

    private static List<(byte[] Message, long End)> Records(byte[] file)
    {
        List<(byte[], long)> records = [];
        for (int at = 0; at < file.Length;)
        {
            int length = (int)BitConverter.ToUInt64(file, at);
            Assert.Equal(Masked(file.AsSpan(at, 8)), BitConverter.ToUInt32(file, at + 8));
            byte[] message = file[(at + 12)..(at + 12 + length)];
            Assert.Equal(Masked(message), BitConverter.ToUInt32(file, at + 12 + length));
            at += 16 + length;
            records.Add((message, at));
        }
        return records;
    }

    /// <summary>Bit by bit, by the reflected polynomial of Castagnoli.</summary>
    public static uint Crc(ReadOnlySpan<byte> bytes)
    {
        uint crc = 0xffffffff;
        foreach (byte b in bytes)
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ ((((crc ^ ((uint)b >> bit)) & 1) != 0) ? 0x82f63b78 : 0);
        return ~crc;
    }

    private static uint Masked(ReadOnlySpan<byte> bytes)
    {
        uint crc = Crc(bytes);
        return unchecked(((crc >> 15) | (crc << 17)) + 0xa282ead8);
    }

    private static Event Parse(byte[] message)
    {
        double time = double.NaN;
        long step = 0;
        string? version = null;
        List<(string, float)> scalars = [];
        foreach ((int field, object value) in Fields(message))
            switch (field)
            {
                case 1:
                    time = BitConverter.ToDouble((byte[])value);
                    break;
                case 2:
                    step = (long)(ulong)value;
                    break;
                case 3:
                    version = Encoding.UTF8.GetString((byte[])value);
                    break;
                case 5:
                    foreach ((int of, object one) in Fields((byte[])value))
                    {
                        Assert.Equal(1, of);
                        List<(int Field, object Value)> parts = Fields((byte[])one);
                        Assert.Equal([1, 2], parts.Select(static p => p.Field));
                        scalars.Add((Encoding.UTF8.GetString((byte[])parts[0].Value), BinaryPrimitives.ReadSingleLittleEndian((byte[])parts[1].Value)));
                    }
                    break;
                default:
                    Assert.Fail($"field {field}");
                    break;
            }
        return new Event(time, step, version, scalars);
    }

    private static List<(int Field, object Value)> Fields(byte[] message)
    {
        List<(int, object)> fields = [];
        int at = 0;
        while (at < message.Length)
        {
            ulong key = Varint();
            int bytes = (key & 7) switch
            {
                0 => -1,
                1 => 8,
                2 => (int)Varint(),
                5 => 4,
                _ => throw new InvalidDataException($"wire type {key & 7}"),
            };
            fields.Add(((int)(key >> 3), bytes < 0 ? Varint() : message[at..(at += bytes)]));
        }
        return fields;

        ulong Varint()
        {
            ulong value = 0;
            for (int shift = 0; ; shift += 7)
            {
                byte b = message[at++];
                value |= (ulong)(b & 0x7f) << shift;
                if (b < 0x80)
                    return value;
            }
        }
    }
}
