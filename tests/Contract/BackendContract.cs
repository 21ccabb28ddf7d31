using System.Reflection;
using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

/// <summary>
/// What any <see cref="IBackend"/> promises: each method, on random inputs of awkward sizes, agrees with the reference
/// backend. A test is named Method_what_it_shows, and the suite fails where a method of the seam has no test.
/// </summary>
public abstract partial class BackendContract
{
    /// <summary>
    /// Largest |difference| / max(1, |expected|) that is let through. F32 keeps 6e-8; slopes multiply the rounding of
    /// 1 − σ by up to 20; e^(x − lse) after lse was rounded, or a sum of a few dozen terms, loses a few 1e-6.
    /// </summary>
    protected const double Exact = 0, Elementwise = 1e-6, Slopes = 4e-6, Sums = 1e-5, AttentionSums = 2e-5;

    /// <summary>
    /// For a sum of so many products of normal numbers: partial sums grow as √n and each step rounds them, so n steps in
    /// F32 deviate by about 2e-8 · n; five times that.
    /// </summary>
    protected static double SumOf(int terms) => Elementwise + 1e-7 * terms;

    /// <summary>Lengths around every vector width, and none of them a multiple of one.</summary>
    protected static readonly int[] Sizes = [1, 3, 7, 13, 17, 33, 65];

    /// <summary>The backend under test; its owner disposes it.</summary>
    protected abstract IBackend Subject { get; }

    /// <summary>What the subject is compared with.</summary>
    protected virtual IBackend Oracle { get; } = new ReferenceBackend(poison: true);

    /// <summary>The tolerance a test states, or a stricter one.</summary>
    protected virtual double Within(double stated) => stated;

    public static TheoryData<Type> Functors => [.. typeof(IUnary).Assembly.GetTypes().Where(t => t.IsValueType && t.IsAssignableTo(typeof(IUnary)))];

    public static TheoryData<DType> WeightTypes => [DType.F32, DType.BF16, DType.F16];

    [Fact]
    public void Every_method_of_the_seam_has_a_test()
    {
        HashSet<string> tested = [.. typeof(BackendContract).GetMethods()
            .Where(m => m.GetCustomAttribute<FactAttribute>() is not null)
            .Select(m => m.Name.Split('_')[0])];
        IEnumerable<string> methods = typeof(IBackend).GetMethods().Where(m => !m.IsSpecialName).Select(m => m.Name);
        Assert.Empty(methods.Except(tested));
    }

    /// <summary>Runs the call on the oracle and on the subject and compares all outputs.</summary>
    protected void Agree(double tolerance, Action<Trial> call, ulong seed = 1) => Outcome.AssertClose(
        Trial.Run(Oracle, seed, call),
        Trial.Run(Subject, seed, call),
        Within(tolerance));

    /// <summary>Calls a generic test body of this class with a functor.</summary>
    private void With(Type functor, string body, params object[] arguments) => typeof(BackendContract)
        .GetMethod(body, BindingFlags.Instance | BindingFlags.NonPublic)!
        .MakeGenericMethod(functor)
        .Invoke(this, BindingFlags.DoNotWrapExceptions, null, arguments, null);
}
