namespace ILGPU.Util;

public abstract class DisposeBase : IDisposable
{
    public bool IsDisposed { get; private set; }

    public void Dispose()
    {
        if (IsDisposed)
            Again();
        else
        {
            IsDisposed = true;
            Free();
        }
    }

    private protected virtual void Free() { }

    /// <summary>A second Dispose: harmless for most objects.</summary>
    private protected virtual void Again() { }
}
