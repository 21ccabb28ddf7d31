using System.Reflection;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Model;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>No op without a gradient check, found by reflection: a way back is a subclass of <see cref="Node"/>.</summary>
public sealed class GradientCoverageTests
{
    private static readonly Assembly[] Assemblies = [typeof(Tensor).Assembly, typeof(Tape).Assembly, typeof(Transformer).Assembly];

    /// <summary>All of them but the tape's own, which have no op.</summary>
    private static readonly Type[] Nodes = [.. Assemblies.SelectMany(assembly => assembly.GetTypes())
        .Where(type => type.IsSubclassOf(typeof(Node)) && !type.IsAbstract && type.DeclaringType != typeof(Tape))];

    private static readonly Type[] Functors = [.. Assemblies.SelectMany(assembly => assembly.GetTypes())
        .Where(type => type.IsValueType && type.IsAssignableTo(typeof(IUnary)))];

    public static TheoryData<string> NodeNames => [.. Nodes.Select(type => type.FullName!)];
    public static TheoryData<string> FunctorNames => [.. Functors.Select(type => type.FullName!)];
    public static TheoryData<string> Rows => Gradients.Rows;

    [Theory, MemberData(nameof(NodeNames))]
    public void Every_op_has_a_gradient_check(string node)
    {
        Type type = Nodes.Single(t => t.FullName == node);
        Assert.True(
            GradientRows.All.Where(row => row.Op == type.DeclaringType).SelectMany(row => row.RecordedNodes()).Any(t => Definition(t) == type),
            $"{node} has no gradient check: add a row for its op to GradientRows");
    }

    [Theory, MemberData(nameof(FunctorNames))]
    public void Every_functor_has_gradient_checks(string functor)
    {
        Type type = Functors.Single(t => t.FullName == functor);
        foreach (Type op in new[] { typeof(UnaryOp), typeof(GatedOp) })
            Assert.True(
                GradientRows.All.Where(row => row.Op == op).SelectMany(row => row.RecordedNodes())
                    .Any(t => t.DeclaringType == op && t.GenericTypeArguments.Contains(type)),
                $"{functor} has no gradient check with {op.Name}: add it to GradientRows");
    }

    [Theory, MemberData(nameof(Rows))]
    public void A_row_records_the_op_it_stands_for(string name)
    {
        GradientRow row = GradientRows.Named(name);
        Assert.Contains(row.Op, row.RecordedNodes().Select(t => t.DeclaringType));
    }

    private static Type Definition(Type type) => type.IsGenericType ? type.GetGenericTypeDefinition() : type;
}
