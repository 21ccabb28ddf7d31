namespace MoeFromScratch.KernelCheck;

/// <summary>Where a place in the code is in the sources, as far as symbols tell.</summary>
internal static class Lines
{
    public static string Of(Site site) => $"{Names.Of(site.Method)} IL_{site.Offset:x4}";
}
