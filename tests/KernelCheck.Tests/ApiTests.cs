using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>Sources that compile against KernelCheck compile against ILGPU: each member declared in its namespaces is one of ILGPU's.</summary>
public class ApiTests
{
    private static string Here([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;

    private static readonly Dictionary<string, HashSet<string>> s_listed = Read(Path.Combine(Here(), "api-1.5.3.txt"));

    private static IEnumerable<Type> Declared => typeof(KernelFault).Assembly.GetTypes()
        .Where(t => t.IsVisible && t.Namespace!.StartsWith("ILGPU", StringComparison.Ordinal));

    private const BindingFlags Own = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    /// <summary>Type name → its lines, the first of them its own.</summary>
    private static Dictionary<string, HashSet<string>> Read(string path)
    {
        Dictionary<string, HashSet<string>> types = [];
        HashSet<string> current = [];
        foreach (string line in File.ReadLines(path).Where(l => l.Length > 0 && l[0] != '#'))
            if (line[0] != ' ')
                types[line.Split(" : ")[0].Split(" where ")[0]] = current = [line];
            else
                current.Add(line.Trim());
        return types;
    }

    [Fact]
    public void EveryDeclaredTypeIsListed() => Assert.All(Declared, t =>
    {
        Assert.True(s_listed.TryGetValue(Header(t), out HashSet<string>? lines), Header(t));
        string header = lines.First(), bases = header.Contains(" : ", StringComparison.Ordinal) ? header.Split(" : ")[1] : "";
        // Interfaces that nobody but us would notice, such as IEquatable, need no listing.
        foreach (Type i in t.GetInterfaces().Where(i => i.Namespace!.StartsWith("ILGPU", StringComparison.Ordinal)))
            Assert.True(bases.Contains(Print(i), StringComparison.Ordinal), $"{Header(t)}: {Print(i)}");
    });

    [Fact]
    public void EveryDeclaredMemberIsListed() => Assert.All(Declared.Where(t => !t.IsEnum), t => Assert.All(Members(t), line =>
    {
        bool found = false;
        for (Type? on = t; on is not null && !found; on = on.BaseType)
            found = s_listed.TryGetValue(Header(on.IsGenericType ? on.GetGenericTypeDefinition() : on), out HashSet<string>? lines) && lines.Contains(line);
        Assert.True(found, $"{Header(t)}: {line}");
    }));

    /// <summary>Constructors are not inherited.</summary>
    [Fact]
    public void EveryDeclaredConstructorIsListed() => Assert.All(Declared.Where(t => !t.IsEnum),
        t => Assert.All(Members(t).Where(l => l.StartsWith(".ctor", StringComparison.Ordinal)), l => Assert.Contains(l, s_listed[Header(t)])));

    /// <summary>They hold their buffer: sources that take them for unmanaged do not compile against ILGPU.</summary>
    [Fact]
    public void ViewsAreManaged()
    {
        Assert.True(RuntimeHelpers.IsReferenceOrContainsReferences<ArrayView<float>>());
        Assert.True(RuntimeHelpers.IsReferenceOrContainsReferences<ArrayView1D<float, Stride1D.Dense>>());
    }

    /// <summary>A conversion that ILGPU has and KernelCheck has not could make a call ambiguous there.</summary>
    [Fact]
    public void EveryListedConversionBetweenDeclaredTypesIsDeclared() => Assert.All(Declared.Where(t => !t.IsEnum), t =>
    {
        HashSet<string> own = [.. Members(t)];
        Assert.All(s_listed[Header(t)].Where(l => l.Contains("op_Implicit", StringComparison.Ordinal)
            && !l.Contains("LongIndex2D", StringComparison.Ordinal) && !l.Contains("LongIndex3D", StringComparison.Ordinal)), l => Assert.Contains(l, own));
    });

    [Fact]
    public void EnumsHaveTheirValues() => Assert.All(Declared.Where(t => t.IsEnum), t =>
    {
        string[] values = s_listed[Header(t)].Last().Split(", ");
        Assert.All(t.GetFields(Own).Where(f => f.IsLiteral), f => Assert.Contains($"{f.Name}={Convert.ToInt64(f.GetRawConstantValue(), CultureInfo.InvariantCulture)}", values));
    });

    [Fact]
    public void TheCopyIsPartOfTheSharedList()
    {
        string shared = Path.Combine(Here(), "..", "..", "..", "shared", "ilgpu-optional", "api-1.5.3.txt");
        if (!File.Exists(shared))
            return;
        Dictionary<string, HashSet<string>> all = Read(shared);
        Assert.All(s_listed, type => Assert.Subset(all[type.Key], type.Value));
    }

    private static string Header(Type t)
    {
        string kind = t.IsEnum ? "enum" : t.IsInterface ? "interface" : t.IsValueType ? "struct"
            : t.IsAbstract && t.IsSealed ? "static class" : t.IsAbstract ? "abstract class" : t.IsSealed ? "sealed class" : "class";
        return $"{kind} {Print(t)}";
    }

    private static IEnumerable<string> Members(Type t)
    {
        foreach (ConstructorInfo c in t.GetConstructors(Own))
            yield return $".ctor({Parameters(c)})";
        foreach (FieldInfo f in t.GetFields(Own))
            yield return f.IsLiteral ? $"const {Print(f.FieldType)} {f.Name} = {Convert.ToString(f.GetRawConstantValue(), CultureInfo.InvariantCulture)}"
                : $"{(f.IsStatic ? "static " : "")}{Print(f.FieldType)} {f.Name}";
        foreach (PropertyInfo p in t.GetProperties(Own))
        {
            MethodInfo get = p.GetMethod!;
            string index = p.GetIndexParameters().Length > 0 ? $"this[{Parameters(get)}]" : p.Name;
            yield return $"{Modifier(get)}{Print(p.PropertyType)} {index} {{ get;{(p.SetMethod is { IsPublic: true } ? " set;" : "")} }}";
        }
        foreach (MethodInfo m in t.GetMethods(Own))
            if ((!m.IsSpecialName || m.Name.StartsWith("op_", StringComparison.Ordinal)) && m.GetBaseDefinition().DeclaringType != typeof(object)
                && m.GetBaseDefinition().DeclaringType != typeof(ValueType))
                yield return Modifier(m) + Print(m.ReturnType) + " " + m.Name
                    + (m.IsGenericMethod ? $"<{string.Join(",", m.GetGenericArguments().Select(Print))}>" : "")
                    + $"({Parameters(m)})" + string.Concat(m.GetGenericArguments().Select(Constraint));
    }

    private static string Modifier(MethodInfo m) =>
        m.IsStatic ? "static " : m.IsAbstract && !m.DeclaringType!.IsInterface ? "abstract " : "";

    private static string Parameters(MethodBase m) => string.Join(", ", m.GetParameters().Select(p =>
        (p.Position == 0 && m.IsDefined(typeof(ExtensionAttribute)) ? "this " : "")
        + (p.IsOut ? "out " + Print(p.ParameterType.GetElementType()!) : p.IsIn ? "in " + Print(p.ParameterType.GetElementType()!) : Print(p.ParameterType))
        + " " + p.Name));

    private static string Constraint(Type t)
    {
        List<string> parts = [];
        GenericParameterAttributes flags = t.GenericParameterAttributes;
        if (t.CustomAttributes.Any(a => a.AttributeType.Name == "IsUnmanagedAttribute"))
            parts.Add("unmanaged");
        else if (flags.HasFlag(GenericParameterAttributes.NotNullableValueTypeConstraint))
            parts.Add("struct");
        parts.AddRange(t.GetGenericParameterConstraints().Where(c => c != typeof(ValueType)).Select(Print));
        return parts.Count == 0 ? "" : $" where {t.Name} : {string.Join(", ", parts)}";
    }

    private static string Print(Type t)
    {
        if (t.IsByRef)
            return "ref " + Print(t.GetElementType()!);
        if (t.IsArray)
            return Print(t.GetElementType()!) + "[]";
        if (t.IsGenericParameter)
            return t.Name;
        string plain = t == typeof(void) ? "void" : t == typeof(string) ? "string" : t == typeof(object) ? "object" : t.IsPrimitive && t != typeof(nint) ? Names.Of(t) : "";
        if (plain.Length > 0)
            return plain;
        string name = t.Name.Split('`')[0];
        Type[] args = t.GetGenericArguments();
        if (t.Name.Contains('`', StringComparison.Ordinal))
            name += $"<{string.Join(",", args.Select(Print))}>";
        if (t.IsNested)
            return Print(t.DeclaringType!) + "." + name;
        string space = t.Namespace!;
        return space is "System" or "ILGPU" ? name : (space.StartsWith("ILGPU.", StringComparison.Ordinal) ? space[6..] : space) + "." + name;
    }
}
