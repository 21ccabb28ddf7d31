using System.Collections.Concurrent;
using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace MoeFromScratch.KernelCheck;

/// <summary>Where a place in the code is in the sources, as far as a portable PDB tells.</summary>
internal static class Lines
{
    private static readonly ConcurrentDictionary<Assembly, MetadataReader?> s_symbols = [];

    public static string Of(Site site)
    {
        string method = Names.Of(site.Method);
        return s_symbols.GetOrAdd(site.Method.Module.Assembly, Open) is { } reader && Find(reader, site) is { } line
            ? $"{line} ({method})" : $"{method} IL_{site.Offset:x4}";
    }

    private static string? Find(MetadataReader reader, Site site)
    {
        if (MetadataTokens.EntityHandle(site.Method.MetadataToken) is not { Kind: HandleKind.MethodDefinition } handle)
            return null;
        MethodDebugInformation method = reader.GetMethodDebugInformation(((MethodDefinitionHandle)handle).ToDebugInformationHandle());
        SequencePoint found = default;
        foreach (SequencePoint point in method.GetSequencePoints())
            if (!point.IsHidden && (point.Offset <= site.Offset || found.Document.IsNil))
                found = point;
        return found.Document.IsNil ? null
            : $"{Path.GetFileName(reader.GetString(reader.GetDocument(found.Document).Name))}:{found.StartLine}";
    }

    /// <summary>The file beside the assembly, or what is embedded in it; kept open for as long as the process lives.</summary>
    private static MetadataReader? Open(Assembly assembly)
    {
        if (assembly.IsDynamic || string.IsNullOrEmpty(assembly.Location))
            return null;
        PEReader image = new(File.OpenRead(assembly.Location), PEStreamOptions.PrefetchEntireImage);
        return image.TryOpenAssociatedPortablePdb(assembly.Location, path => File.Exists(path) ? File.OpenRead(path) : null,
            out MetadataReaderProvider? provider, out _) ? provider!.GetMetadataReader() : null;
    }
}
