namespace MoeFromScratch.Contract;

/// <summary>Numbers of the reference implementations, in tests/golden; its README says what each file holds.</summary>
public static class Golden
{
    private static readonly string Root = Find();

    /// <summary>The folder of a case, such as "mixtral".</summary>
    /// <exception cref="DirectoryNotFoundException">There is no such case.</exception>
    public static string Folder(string caseName)
    {
        string folder = Path.Combine(Root, caseName);
        return Directory.Exists(folder) ? folder : throw new DirectoryNotFoundException($"no golden case at {folder}");
    }

    /// <summary>Every case, in ordinal order.</summary>
    public static IReadOnlyList<string> Cases { get; } =
        [.. Directory.EnumerateDirectories(Root).Select(folder => Path.GetFileName(folder)).Order(StringComparer.Ordinal)];

    private static string Find()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            string folder = Path.Combine(at.FullName, "tests", "golden");
            if (Directory.Exists(folder))
                return folder;
        }
        throw new DirectoryNotFoundException($"no tests/golden above {AppContext.BaseDirectory}");
    }
}
