using System.Runtime.InteropServices;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>What the host learns of a pass, in one tensor so that it crosses at once: the sampled ids [R], then for each mixture layer the experts used [R].</summary>
internal sealed class Results : IDisposable
{
    private readonly IBackend _backend;
    private readonly Tensor _all;
    private readonly Tensor[] _ids;
    private readonly Tensor[] _isFfn;
    private readonly Tensor[] _used;
    private readonly int[] _onHost;
    private readonly int _capacity;
    private int _rows;
    private int _layer;
    private bool _isRead;

    /// <param name="rows">The most sequences of a pass.</param>
    public Results(IBackend backend, IReadOnlyList<MoeLayer> layers, int rows)
    {
        (_backend, _capacity) = (backend, rows);
        _onHost = new int[checked(rows * (1 + layers.Count))];
        _all = backend.New([_onHost.Length], DType.I32);
        _ids = [.. Enumerable.Range(0, rows).Select(i => _all.View([1], i))];
        _isFfn = [.. layers.Select(l => backend.From([1, l.Banks.Sum(static b => b.Count)], IsFfn(l)))];
        _used = new Tensor[layers.Count];
    }

    public int Layers => _used.Length;

    /// <summary>Where the token of a row goes.</summary>
    public Tensor Id(int row)
    {
        _isRead = false;
        return _ids[row];
    }

    /// <summary>A pass of so many sequences begins.</summary>
    public void Begin(int rows)
    {
        (_layer, _isRead) = (0, false);
        if (rows == _rows)
            return;
        _rows = rows;
        for (int i = 0; i < _used.Length; i++)
            _used[i] = new Tensor([rows, 1], DType.F32, _all.Storage, (long)_capacity * (i + 1) * sizeof(float));
    }

    /// <summary>The next mixture layer's decision; its last rows are the sequences' last tokens.</summary>
    public void Take(in Routing r)
    {
        Tensor kept = r.Tokens == _rows ? r.Kept : r.Kept.View([_rows, r.NumExperts], (long)(r.Tokens - _rows) * r.NumExperts);
        _backend.Linear(kept, _isFfn[_layer], _used[_layer]);
        _layer++;
    }

    public ReadOnlySpan<int> Ids() => Read().AsSpan(0, _rows);

    public void CountExperts(Span<int> counts, int row)
    {
        ReadOnlySpan<float> used = MemoryMarshal.Cast<int, float>(Read());
        for (int i = 0; i < Layers; i++)
            counts[i] = (int)used[_capacity * (i + 1) + row];
    }

    public void Dispose()
    {
        _backend.Free(_all);
        foreach (Tensor isFfn in _isFfn)
            _backend.Free(isFfn);
    }

    private int[] Read()
    {
        if (!_isRead)
            _backend.Download<int>(_all, _onHost);
        _isRead = true;
        return _onHost;
    }

    private static float[] IsFfn(MoeLayer layer) => [.. layer.Banks.SelectMany(static b => Enumerable.Repeat(b.IsFfn ? 1f : 0f, b.Count))];
}
