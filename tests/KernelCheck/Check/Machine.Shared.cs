using System.Runtime.InteropServices;
using ILGPU;

namespace MoeFromScratch.KernelCheck;

internal sealed unsafe partial class Machine
{
    private sealed record SharedArray(int Offset, int Bytes, int ElementSize, string Element);

    private readonly List<SharedArray> _arrays = [];
    private Block? _shared, _dynamic;
    private SharedArray?[] _bySite = [];
    private int _sharedEnd, _dynamicBytes, _dynamicElement = 1;

    /// <summary>The array of this place in the code: the same for all threads of the group.</summary>
    public ArrayView<T> Shared<T>(int length, int site) where T : unmanaged
    {
        Site = site;
        if (_bySite.Length <= site)
            Array.Resize(ref _bySite, Math.Max(64, 2 * site));
        if (_bySite[site] is not { } array)
        {
            if (length < 1)
                throw FaultHere(FaultKind.SharedMemory, $"SharedMemory.Allocate of {length} elements");
            int offset = (_sharedEnd + 15) & ~15;
            array = new(offset, checked(length * sizeof(T)), sizeof(T), Names.Of(typeof(T)));
            if (offset + array.Bytes + _dynamicBytes > MaxShared)
                throw FaultHere(FaultKind.SharedMemory, $"shared memory grows to {offset + array.Bytes} bytes"
                    + $"{(_dynamicBytes > 0 ? $" beside {_dynamicBytes} dynamic ones" : "")}, a device has {MaxShared}");
            _kernel!.Constant(site, length, () => FaultHere(FaultKind.Refused, $"SharedMemory.Allocate of {length} elements, "
                + "which was another number in another launch: it must be a constant of the kernel"));
            _shared ??= new(this, null, "shared memory", MaxShared);
            _sharedEnd = offset + array.Bytes;
            Forget(_shared, offset, array.Bytes);
            _arrays.Add(array);
            _bySite[site] = array;
        }
        else if (array.Bytes != length * sizeof(T))
            throw FaultHere(FaultKind.Refused, $"SharedMemory.Allocate of {length} elements where another thread allocated "
                + $"{array.Bytes / array.ElementSize}: the size must be a constant");
        return new(_shared, _shared!.Start + array.Offset, length);
    }

    public ArrayView<T> Dynamic<T>(int site) where T : unmanaged
    {
        Site = site;
        if (_dynamicBytes == 0)
            throw FaultHere(FaultKind.SharedMemory, "SharedMemory.GetDynamic in a launch that configures no dynamic shared memory");
        _dynamicElement = sizeof(T);
        return new(_dynamic, _dynamic!.Start, _dynamicBytes / sizeof(T));
    }

    private void BeginShared(int dynamicBytes)
    {
        if (dynamicBytes > MaxShared)
            throw FaultHere(FaultKind.SharedMemory, $"{dynamicBytes} bytes of dynamic shared memory, a device has {MaxShared}");
        Array.Clear(_bySite);
        _arrays.Clear();
        (_sharedEnd, _dynamicBytes) = (0, dynamicBytes);
        if (dynamicBytes > 0)
            _dynamic ??= new(this, null, "dynamic shared memory", MaxShared);
    }

    /// <summary>Every group finds shared memory as if it had never been written.</summary>
    private void ForgetShared()
    {
        if (_sharedEnd > 0)
            Forget(_shared!, 0, _sharedEnd);
        if (_dynamicBytes > 0)
            Forget(_dynamic!, 0, _dynamicBytes);
    }

    private static void Forget(Block block, int offset, int bytes)
    {
        (int first, int end) = (offset & ~3, (offset + bytes + 3) & ~3);
        int grain = block.Grain == 0 ? 4 : block.Grain;
        Mark* marks = block.Grain == 0 ? Arena.MarkAt(block.Start) : block.Fine;
        NativeMemory.Clear(marks + first / grain, (nuint)((end - first) / grain * sizeof(Mark)));
    }
}
