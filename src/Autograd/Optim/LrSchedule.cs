namespace MoeFromScratch.Autograd.Optim;

/// <summary>What the learning rate does after its warm-up.</summary>
public enum LrDecay
{
    /// <summary>Stays at the peak.</summary>
    Constant,
    /// <summary>Falls on a line.</summary>
    Linear,
    /// <summary>Falls on half a cosine.</summary>
    Cosine,
}

/// <summary>
/// Learning rate by step: a line from 0 up to <see cref="Peak"/> over <see cref="WarmupSteps"/>, then a fall to
/// <see cref="Final"/> at <see cref="TotalSteps"/>, and level from there on.
/// </summary>
public sealed record LrSchedule(LrDecay Decay, float Peak, int WarmupSteps, int TotalSteps, float Final = 0)
{
    /// <param name="step">Counts from 1, like the optimiser's steps.</param>
    public float At(int step)
    {
        if (step <= WarmupSteps)
            return Peak * step / WarmupSteps;
        double progress = TotalSteps <= WarmupSteps ? 1 : Math.Min(1, (step - WarmupSteps) / (double)(TotalSteps - WarmupSteps));
        double share = Decay switch
        {
            LrDecay.Constant => 1,
            LrDecay.Linear => 1 - progress,
            _ => 0.5 * (1 + Math.Cos(Math.PI * progress)),
        };
        return Decay == LrDecay.Constant ? Peak : (float)(Final + (Peak - Final) * share);
    }
}
