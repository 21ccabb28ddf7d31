using System.Diagnostics;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Emit;
using MoeFromScratch.Contract;

namespace MoeFromScratch.Cli.Tests;

/// <summary>The README's program is one: compiled to the letter, and run.</summary>
public sealed partial class SnippetTests
{
    /// <summary>What a new console project opens without being told.</summary>
    private const string ImplicitUsings = """
        global using System; global using System.Collections.Generic; global using System.IO;
        global using System.Linq; global using System.Threading; global using System.Threading.Tasks;
        """;

    [Fact]
    public void TheReadmesProgramWritesText()
    {
        string readme = File.ReadAllText(Path.Combine(Golden.Folder("mixtral"), "..", "..", "..", "README.md"));
        string program = Snippet().Match(readme).Groups[1].Value;
        Assert.InRange(program.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length, 5, 10);

        string[] references = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator);
        CSharpCompilation compilation = CSharpCompilation.Create(
            "readme-program",
            [CSharpSyntaxTree.ParseText(program), CSharpSyntaxTree.ParseText(ImplicitUsings)],
            references.Select(static r => MetadataReference.CreateFromFile(r)),
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable));
        string assembly = Path.Combine(AppContext.BaseDirectory, "readme-program.dll");    // beside the libraries and the built-in model
        EmitResult result = compilation.Emit(assembly);
        Assert.Empty(result.Diagnostics.Where(static d => d.Severity > DiagnosticSeverity.Hidden));

        ProcessStartInfo start = new("dotnet") { RedirectStandardOutput = true, WorkingDirectory = AppContext.BaseDirectory };
        foreach (string arg in new[] { "exec", "--runtimeconfig", Path.Combine(AppContext.BaseDirectory, "moe.runtimeconfig.json"), assembly })
            start.ArgumentList.Add(arg);
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        Assert.InRange(output.Length, 50, 5000);
    }

    [GeneratedRegex("```csharp\r?\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Snippet();
}
