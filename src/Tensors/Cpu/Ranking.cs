namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Hands out indices in order of falling score, equal scores in order of rising index, NaNs last: a heap of sortable keys in
/// memory of the caller, so asking for the first few of many costs little.
/// </summary>
internal unsafe ref struct Ranking
{
    private readonly ulong* _heap;
    private int _count;

    /// <param name="scores">What to rank.</param>
    /// <param name="count">How many.</param>
    /// <param name="heap">Room for <paramref name="count"/> keys.</param>
    public Ranking(float* scores, int count, ulong* heap)
    {
        _heap = heap;
        _count = count;
        for (int i = 0; i < count; i++)
            heap[i] = Key(scores[i], i);
        for (int i = count / 2 - 1; i >= 0; i--)
            Sink(i);
    }

    /// <summary>The next index; there must be one.</summary>
    public int Next()
    {
        ulong top = _heap[0];
        _heap[0] = _heap[--_count];
        Sink(0);
        return (int)~(uint)top;
    }

    /// <summary>
    /// Upper half: the score's bits, made to compare as unsigned (negatives flipped, positives lifted above them, NaN 0, −0
    /// as 0). Lower half: the index, counted down.
    /// </summary>
    private static ulong Key(float score, int index)
    {
        uint bits = BitConverter.SingleToUInt32Bits(score + 0f);
        uint order = float.IsNaN(score) ? 0 : (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
        return ((ulong)order << 32) | ~(uint)index;
    }

    private readonly void Sink(int i)
    {
        ulong key = _count > i ? _heap[i] : 0;
        for (int child; (child = 2 * i + 1) < _count; i = child)
        {
            if (child + 1 < _count && _heap[child + 1] > _heap[child])
                child++;
            if (_heap[child] <= key)
                break;
            _heap[i] = _heap[child];
        }
        if (_count > i)
            _heap[i] = key;
    }
}
