using System.Diagnostics;
using System.IO.Compression;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Emit;
using MoeFromScratch.Contract;

namespace MoeFromScratch.Cli.Tests;

/// <summary>
/// The package ILGPU is taken where the package sources have it and done without where they do not, whichever came first:
/// src/Gpu's project file and door, beside a seam of one line, built and run by the SDK with folders as package sources.
/// </summary>
public sealed class OptionalPackageTests : IDisposable
{
    private static readonly string Root = Path.GetFullPath(Path.Combine(Golden.Folder("mixtral"), "..", "..", ".."));

    private const string Program = """
        using MoeFromScratch.Gpu;
        Console.WriteLine(string.Join('\n', GpuDevices.List().Select(static d => d.Description)));
        """;

    /// <summary>Takes the place of the files that need the package; says where it was found.</summary>
    private const string NeedsPackage = """
        namespace MoeFromScratch.Gpu;
        public static partial class GpuDevices
        {
        #if ILGPU
            static partial void Find(List<GpuDevice> found) => found.Add(new("stub", true, $"with {ILGPU.Stub.Name} and {ILGPU.Algorithms.Stub.Name}"));
        #endif
        }
        """;

    private readonly Folder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ThePackageIsTakenWhereASourceHasItAndOnlyThere()
    {
        string props = Read("Directory.Packages.props");
        string version = props.Split("<IlgpuVersion>")[1].Split('<')[0];
        Write("Directory.Packages.props", props);
        Write("Directory.Build.props", Read("Directory.Build.props"));
        foreach (string file in new[] { "Gpu.csproj", "GpuDevices.cs", "Package/Ilgpu.targets", "Package/Ilgpu.optional.proj" })
            Write($"src/Gpu/{file}", Read($"src/Gpu/{file}"));
        Write("src/Gpu/NeedsPackage.cs", NeedsPackage);
        Write("src/Tensors/Tensors.csproj", """<Project Sdk="Microsoft.NET.Sdk" />""");
        Write("src/Tensors/IBackend.cs", "namespace MoeFromScratch.Tensors;\npublic interface IBackend;\n");
        Write("App/App.csproj", """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup><OutputType>Exe</OutputType></PropertyGroup>
              <ItemGroup><ProjectReference Include="../src/Gpu/Gpu.csproj" /></ItemGroup>
            </Project>
            """);
        Write("App/Program.cs", Program);
        Directory.CreateDirectory(folder["empty"]);
        Pack("ILGPU", version, "");
        Pack("ILGPU.Algorithms", version, $"""<dependency id="ILGPU" version="{version}" />""");

        Assert.Contains("built without the package ILGPU", BuildAndRun("empty"), StringComparison.Ordinal);
        Assert.Contains("with ILGPU and ILGPU.Algorithms", BuildAndRun("empty", "stubs"), StringComparison.Ordinal);
        Directory.Delete(folder["packages"], recursive: true);
        Assert.Contains("built without the package ILGPU", BuildAndRun("empty"), StringComparison.Ordinal);
        Assert.False(File.Exists(folder["App/bin/Debug/net10.0/ILGPU.dll"]), "the package is still beside the program");
    }

    private static string Read(string file) => File.ReadAllText(Path.Combine(Root, file));

    private void Write(string file, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(folder[file])!);
        File.WriteAllText(folder[file], text);
    }

    /// <summary>A package with a library of one class, in the folder <c>stubs</c>.</summary>
    private void Pack(string id, string version, string dependency)
    {
        Directory.CreateDirectory(folder["stubs"]);
        using ZipArchive package = ZipFile.Open(folder[$"stubs/{id}.{version}.nupkg"], ZipArchiveMode.Create);
        using (StreamWriter nuspec = new(package.CreateEntry($"{id}.nuspec").Open()))
            nuspec.Write($"""
                <package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"><metadata>
                  <id>{id}</id><version>{version}</version><authors>nobody</authors><description>A stub.</description>
                  <dependencies><group targetFramework="net8.0">{dependency}</group></dependencies>
                </metadata></package>
                """);
        CSharpCompilation compilation = CSharpCompilation.Create(
            id,
            [CSharpSyntaxTree.ParseText($"namespace {id}; public static class Stub {{ public static string Name => \"{id}\"; }}")],
            [MetadataReference.CreateFromFile(typeof(object).Assembly.Location)],
            new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary));
        using MemoryStream assembly = new();
        EmitResult result = compilation.Emit(assembly);
        Assert.True(result.Success, string.Join('\n', result.Diagnostics));
        using Stream entry = package.CreateEntry($"lib/net8.0/{id}.dll").Open();
        entry.Write(assembly.ToArray());
    }

    /// <summary>What the program says when restored from these folders, with packages in a folder of its own.</summary>
    private string BuildAndRun(params string[] sources)
    {
        Write("nuget.config", $"""
            <configuration>
              <config><add key="globalPackagesFolder" value="packages" /></config>
              <packageSources><clear />{string.Concat(sources.Select(static s => $"""<add key="{s}" value="{s}" />"""))}</packageSources>
            </configuration>
            """);
        string build = Dotnet("build", "App", "-nodeReuse:false", "-p:UseSharedCompilation=false", "-p:RunAnalyzers=false", "-p:NuGetAudit=false");
        Assert.Contains("0 Warning(s)", build, StringComparison.Ordinal);
        return Dotnet(folder["App/bin/Debug/net10.0/MoeFromScratch.App.dll"]);
    }

    private string Dotnet(params string[] args)
    {
        ProcessStartInfo start = new("dotnet", args) { RedirectStandardOutput = true, WorkingDirectory = folder.Path };
        foreach (string inherited in new[] { "NUGET_PACKAGES", "IlgpuMode", "MSBuildSDKsPath", "MSBuildExtensionsPath", "MSBUILD_EXE_PATH" })
            start.Environment.Remove(inherited);
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, output);
        return output;
    }
}
