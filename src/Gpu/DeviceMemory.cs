using ILGPU;
using ILGPU.Runtime;
#if KERNELCHECK
using MoeFromScratch.KernelCheck;
#endif
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>
/// Buffers of a device by size class, as <see cref="BufferPool"/> keeps the host's: allocating on a device waits for it, so what comes
/// back is kept for the next of its size. Everything is used in the order of one stream, so memory may be handed out again before it has been read.
/// </summary>
internal sealed class DeviceMemory(Accelerator accelerator) : IDisposable
{
    private readonly Dictionary<long, Stack<DeviceStorage>> _free = [];
    private readonly HashSet<DeviceStorage> _all = [];
    private readonly List<DeviceStorage> _leaving = [];

    /// <summary>Buffers handed out and not yet returned.</summary>
    public int LiveBuffers { get; private set; }

    /// <summary>This storage, if it is this device's.</summary>
    /// <exception cref="ArgumentException">It is the host's, or another device's.</exception>
    public DeviceStorage Mine(Storage storage) => storage switch
    {
        DeviceStorage mine when mine.Owner == this => mine,
        DeviceStorage => throw new ArgumentException("the tensor lies on another device: Download it there and Import it here"),
        _ => throw new ArgumentException("the tensor lies in host memory: Import it first"),
    };

    /// <exception cref="InvalidOperationException">The device has no room left.</exception>
    public DeviceStorage Rent(long bytes)
    {
        long size = BufferPool.SizeClass(bytes);
        if (!_free.TryGetValue(size, out Stack<DeviceStorage>? list) || !list.TryPop(out DeviceStorage? storage))
            _all.Add(storage = new DeviceStorage(this, New(size)));
#if KERNELCHECK
        storage.View(0, size).Forget();
#endif
        LiveBuffers++;
        return storage;
    }

    /// <summary>Takes it back: to be used again once what waits to be launched, and may read it, has been.</summary>
    public void Return(DeviceStorage storage)
    {
        LiveBuffers--;
        _leaving.Add(storage);
    }

    /// <summary>All that was queued is launched.</summary>
    public void Launched()
    {
        foreach (DeviceStorage storage in _leaving)
        {
            if (!_free.TryGetValue(storage.Bytes, out Stack<DeviceStorage>? list))
                _free.Add(storage.Bytes, list = []);
            list.Push(storage);
        }
        _leaving.Clear();
    }

    /// <summary>Moves storages of one size into one buffer, one behind the other, so that one view reaches them all.</summary>
    /// <exception cref="InvalidOperationException">The device has no room for it beside them.</exception>
    public void Stack(ReadOnlySpan<DeviceStorage> storages) => DeviceStorage.Stack(storages, New(storages.Length * storages[0].Bytes), accelerator.DefaultStream);

    public void Dispose()
    {
        foreach (DeviceStorage storage in _all)
            storage.Dispose();
        _all.Clear();
        _free.Clear();
    }

    /// <summary>A new buffer; where there is no room, once more after all that wait to be used again are given up.</summary>
    private MemoryBuffer1D<byte, Stride1D.Dense> New(long size)
    {
        try
        {
            return accelerator.Allocate1D<byte>(size);
        }
        catch (Exception e) when (e is not ArgumentException)
        {
            GiveUpFree();
        }
        try
        {
            return accelerator.Allocate1D<byte>(size);
        }
        catch (Exception e) when (e is not ArgumentException)
        {
            throw new InvalidOperationException(
                $"{accelerator.Name} has no room for {size >> 20:n0} MB more beside {_all.Sum(static s => s.Bytes) >> 20:n0} MB in use", e);
        }
    }

    private void GiveUpFree()
    {
        accelerator.Synchronize();
        foreach (DeviceStorage storage in _free.Values.SelectMany(static list => list))
        {
            _all.Remove(storage);
            storage.Dispose();
        }
        _free.Clear();
    }
}

/// <summary>Memory on a device: a buffer of its own or, once stacked with others, a part of a common one.</summary>
internal sealed class DeviceStorage : Storage, IDisposable
{
    private SharedBuffer _buffer;

    public DeviceStorage(DeviceMemory owner, MemoryBuffer1D<byte, Stride1D.Dense> buffer)
    {
        (Owner, _buffer, Bytes) = (owner, new SharedBuffer(buffer), buffer.Length);
        _buffer.Users++;
    }

    public DeviceMemory Owner { get; }

    public override long Bytes { get; }

    /// <summary>Its first byte in the buffer.</summary>
    public long Start { get; private set; }

    public bool IsStacked => _buffer.Users > 1;

    public bool SharesBufferWith(DeviceStorage other) => _buffer == other._buffer;

    /// <summary>Bytes from <paramref name="offset"/> on; beyond its own where others are stacked behind it.</summary>
    public ArrayView<byte> View(long offset, long bytes) => _buffer.View(Start + offset, bytes);

    /// <summary>Moves storages of one size into a buffer of all their bytes.</summary>
    public static void Stack(ReadOnlySpan<DeviceStorage> storages, MemoryBuffer1D<byte, Stride1D.Dense> buffer, AcceleratorStream stream)
    {
        long size = storages[0].Bytes;
        SharedBuffer common = new(buffer);
        for (int i = 0; i < storages.Length; i++)
        {
            common.View(i * size, size).CopyFrom(stream, storages[i].View(0, size));
            storages[i].MoveTo(common, i * size);
        }
    }

    public void Dispose() => _buffer.Leave();

    private void MoveTo(SharedBuffer buffer, long start)
    {
        _buffer.Leave();
        (_buffer, Start) = (buffer, start);
        buffer.Users++;
    }

    /// <summary>A buffer that lives until the last storage in it is gone.</summary>
    private sealed class SharedBuffer(MemoryBuffer1D<byte, Stride1D.Dense> buffer)
    {
        public int Users;

        public ArrayView<byte> View(long start, long bytes)
        {
            ArrayView<byte> all = buffer.View;
            return all.SubView(start, bytes);
        }

        public void Leave()
        {
            if (--Users == 0)
                buffer.Dispose();
        }
    }
}
