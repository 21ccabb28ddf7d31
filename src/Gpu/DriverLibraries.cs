using System.Runtime.InteropServices;
using System.Runtime.Loader;
using ILGPU;

namespace MoeFromScratch.Gpu;

/// <summary>
/// The drivers' libraries under the names they are installed by. On Linux, ILGPU asks for <c>libcuda.so</c> and <c>libOpenCL.so</c>,
/// names that only development packages install, and finds no device without them.
/// </summary>
internal static class DriverLibraries
{
    /// <summary>ILGPU's name for each, and the files to try.</summary>
    private static readonly Dictionary<string, (string Name, string[] Files)> Known =
        OperatingSystem.IsWindows() ? new() { ["cuda"] = ("nvcuda", ["nvcuda.dll"]), ["opencl"] = ("opencl", ["OpenCL.dll"]) }
        : OperatingSystem.IsMacOS() ? new() { ["cuda"] = ("cuda", ["libcuda.dylib"]), ["opencl"] = ("opencl", ["/System/Library/Frameworks/OpenCL.framework/OpenCL"]) }
        : new() { ["cuda"] = ("cuda", ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"]), ["opencl"] = ("OpenCL", ["libOpenCL.so.1"]) };

    // The event is asked after everything else; a DllImport resolver would collide with the one ILGPU installs on WSL.
    static DriverLibraries() => AssemblyLoadContext.GetLoadContext(typeof(Context).Assembly)!.ResolvingUnmanagedDll += static (assembly, name) =>
        assembly == typeof(Context).Assembly && Known.Values.FirstOrDefault(k => k.Name == name).Files is { } files ? Load(files) : 0;

    /// <summary>Whether the driver of a kind of device is installed; from here on, ILGPU finds it too.</summary>
    /// <param name="kind"><c>cuda</c> or <c>opencl</c>.</param>
    /// <param name="file">The library's usual file name.</param>
    public static bool Load(string kind, out string file)
    {
        string[] files = Known[kind].Files;
        file = files[0];
        return Load(files) != 0;
    }

    private static nint Load(string[] files)
    {
        foreach (string file in files)
            if (NativeLibrary.TryLoad(file, out nint handle))
                return handle;
        return 0;
    }
}
