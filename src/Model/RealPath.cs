namespace MoeFromScratch.Model;

/// <summary>Where a path leads: two names of one folder are the same place, whatever links they go by.</summary>
public static class RealPath
{
    /// <summary>The full path with every link in it followed, as far as it is there.</summary>
    public static string Of(string path)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (Path.GetDirectoryName(full) is not { } parent)
            return full;
        DirectoryInfo here = new(Path.Combine(Of(parent), Path.GetFileName(full)));
        return here.LinkTarget is not null && here.ResolveLinkTarget(returnFinalTarget: true) is { } target ? Of(target.FullName) : here.FullName;
    }

    /// <summary>Whether a folder is, or holds, what is at another path.</summary>
    public static bool Holds(string folder, string other) => Inside(Of(other)).StartsWith(Inside(Of(folder)), StringComparison.Ordinal);

    private static string Inside(string folder) => Path.EndsInDirectorySeparator(folder) ? folder : folder + Path.DirectorySeparatorChar;
}
