using System.CommandLine;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Gpu;
using MoeFromScratch.Model;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli;

/// <summary>Options that several verbs share.</summary>
internal static class Common
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    public static readonly Option<bool> Verbose = new("--verbose") { Description = "Show stack traces of errors.", Recursive = true };

    public static Option<string> Device() => new("--device")
    {
        Description = "auto, cpu, reference (slow, exact), cuda, opencl or ilgpu-cpu.",
        DefaultValueFactory = _ => "auto",
        HelpName = "DEVICE",
    };

    public static Option<string> Precision() => new("--precision")
    {
        Description = "f32; or tf32 or bf16, to which a CUDA device's tensor cores round what they multiply, a router's products excepted.",
        DefaultValueFactory = _ => "f32",
        HelpName = "TYPE",
    };

    public static Option<string> KvCache() => new("--kv-cache")
    {
        Description = "What the key-value cache holds: f32, or f16 or bf16 in half the memory.",
        DefaultValueFactory = _ => "f32",
        HelpName = "TYPE",
    };

    /// <summary>See <see cref="Model.Generation.GenerateOptions.CacheType"/>.</summary>
    /// <exception cref="ArgumentException">No such type.</exception>
    public static DType CacheType(string name) => name switch
    {
        "f32" => DType.F32,
        "f16" => DType.F16,
        "bf16" => DType.BF16,
        _ => throw new ArgumentException($"--kv-cache is f32, f16 or bf16, not '{name}'"),
    };

    public static Option<int> Threads() => new("--threads")
    {
        Description = "Threads of the cpu device; 0 takes all cores. Results do not depend on it.",
        DefaultValueFactory = _ => 0,
        HelpName = "N",
    };

    public static Option<ulong> Seed() => new("--seed")
    {
        Description = "Seed of all random numbers.",
        DefaultValueFactory = _ => 0,
        HelpName = "N",
    };

    public static Option<bool> Json(string what) => new("--json") { Description = $"Print {what} as JSON, and nothing else, on standard output." };

    public static Argument<string> Checkpoint() => new("CHECKPOINT") { Description = "Folder with config.json and safetensors." };

    /// <exception cref="ArgumentException">No such device or precision, or a negative number of threads.</exception>
    /// <exception cref="NotSupportedException">The device is not there, or does not round; the message says why.</exception>
    public static IBackend Backend(string device, int threads, string precision = "f32")
    {
        if (threads is < 0 or > 1024)
            throw new ArgumentException($"--threads must lie between 0 and 1024, not be {threads}");
        Precision wanted = precision switch
        {
            "f32" => Gpu.Precision.F32,
            "tf32" => Gpu.Precision.Tf32,
            "bf16" => Gpu.Precision.Bf16,
            _ => throw new ArgumentException($"--precision is f32, tf32 or bf16, not '{precision}'"),
        };
        return device switch
        {
            "auto" or "cpu" or "reference" when wanted != Gpu.Precision.F32 =>
                throw new NotSupportedException($"--precision {precision} needs a CUDA device's tensor cores; the device {(device == "auto" ? "cpu" : device)} computes in f32"),
            "auto" or "cpu" => CpuBackend.Create(threads),
            "reference" => new ReferenceBackend(),
            _ when GpuDevices.Knows(device) => GpuDevices.Open(device, wanted),
            _ => throw new ArgumentException($"there is no device '{device}'; 'moe devices' lists them"),
        };
    }

    /// <summary>The model that comes with the tool, beside its executable.</summary>
    public static string BuiltInFolder()
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "built-in");
        return Directory.Exists(folder) ? folder : throw new ArgumentException($"there is no built-in model at {folder}; name one");
    }

    public static void PrintJson(JsonNode json) => Console.Out.WriteLine(json.ToJsonString(Indented));

    /// <summary>Refuses what could not be written at the end: nobody should learn that after an hour's work.</summary>
    /// <exception cref="ArgumentException">A folder, a file in none, or one that may not be written; the message names the option.</exception>
    public static void RequireWritable(string option, string path)
    {
        if (path.Length == 0)
            throw new ArgumentException($"{option} needs a file");
        try
        {
            if (Directory.Exists(path))
                throw new IOException("it is a folder");
            string target = Target(path);
            new FileStream(target, FileMode.OpenOrCreate, FileAccess.Write).Dispose();
            if (target != path)
                File.Delete(target);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ArgumentException($"{option} '{path}' cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Refuses an output that is, or lies in, what the run reads.</summary>
    /// <exception cref="ArgumentException">The message names the option and the input.</exception>
    public static void RequireUnread(string option, string path, IEnumerable<string> inputs)
    {
        foreach (string input in inputs)
            if (RealPath.Holds(input, path))
                throw new ArgumentException($"{option} {path} {(RealPath.Of(input) == RealPath.Of(path) ? "is" : "is in")} {input}, which is read: choose another file");
    }

    public static void WriteJson(string path, JsonNode json) => WriteFile(path, stream => stream.Write(Encoding.UTF8.GetBytes(json.ToJsonString(Indented) + "\n")));

    /// <summary>Writes a file that takes its place when it is whole.</summary>
    public static void WriteFile(string path, Action<Stream> write)
    {
        string target = Target(path);
        try
        {
            using (FileStream stream = new(target, FileMode.Create, FileAccess.Write))
                write(stream);
            if (target != path)
                File.Move(target, path, overwrite: true);
        }
        catch when (target != path)
        {
            File.Delete(target);
            throw;
        }
    }

    /// <summary>Beside its place; but what is there and empty is written into, as it may be a device.</summary>
    private static string Target(string path) => new FileInfo(path) is { Exists: true, Length: 0 } ? path : path + ".tmp";
}
