namespace MoeFromScratch.Autograd.Weights;

/// <summary>How a parameter starts when no checkpoint supplies it: mean + std · N(0, 1).</summary>
public readonly record struct Init(float Mean, float Std)
{
    public static Init Ones => new(1, 0);
    public static Init Zeros => new(0, 0);
    public static Init Normal(float std) => new(0, std);
}
