namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// The best balanced assignment of tokens to experts, exactly, by successive shortest paths: tokens join one by one, and each may
/// push others on, from expert to expert, until one with room is reached; the chain that costs least is taken. Chains run between
/// E experts, not T tokens, which keeps them short: a token costs E³ and the moves of the experts it touched.
/// </summary>
public static class BalancedAssignment
{
    /// <summary>The expert of each token, none with more than ⌈T / E⌉ tokens, the sum of scores as large as possible.</summary>
    /// <param name="scores">[T, E]</param>
    /// <exception cref="ArithmeticException">A score is not finite.</exception>
    public static int[] Solve(ReadOnlySpan<float> scores, int experts)
    {
        foreach (float score in scores)
            if (!float.IsFinite(score))
                throw new ArithmeticException("tokens cannot be assigned: a logit is not finite");
        int tokens = scores.Length / experts, room = (tokens + experts - 1) / experts;
        int[] expertOf = new int[tokens], load = new int[experts], from = new int[experts];
        Array.Fill(expertOf, -1);
        double[] gain = new double[experts];
        bool[] touched = new bool[experts];
        (double Gain, int Token)[] move = new (double, int)[experts * experts];     // the best token to push from a to b
        Array.Fill(move, (double.NegativeInfinity, -1));
        for (int t = 0; t < tokens; t++)
        {
            ReadOnlySpan<float> own = scores.Slice(t * experts, experts);
            int end = BestEnd(own, move, load, room, gain, from);
            load[end]++;
            Array.Clear(touched);
            while (end >= 0)        // back along the chain, everybody moves one on
            {
                int before = from[end], mover = before < 0 ? t : move[before * experts + end].Token;
                expertOf[mover] = end;
                touched[end] = true;
                end = before;
            }
            FindMoves(scores, expertOf.AsSpan(0, t + 1), touched, move);
        }
        return expertOf;
    }

    /// <summary>Bellman and Ford: the largest gain of putting the token anywhere and pushing others on, up to an expert with room.</summary>
    private static int BestEnd(ReadOnlySpan<float> own, (double Gain, int Token)[] move, int[] load, int room, double[] gain, int[] from)
    {
        int experts = own.Length;
        for (int e = 0; e < experts; e++)
            (gain[e], from[e]) = (own[e], -1);
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int a = 0; a < experts; a++)
                for (int b = 0; b < experts; b++)
                    if (load[a] == room && gain[a] + move[a * experts + b].Gain is var through && through > gain[b] + Tolerance(gain[b]))
                        (gain[b], from[b], changed) = (through, a, true);
        }
        int best = -1;
        for (int e = 0; e < experts; e++)
            if (load[e] < room && (best < 0 || gain[e] > gain[best]))
                best = e;
        return best;
    }

    /// <summary>Below it a gain is rounding, and going round in circles for it would never end.</summary>
    private static double Tolerance(double gain) => 1e-12 * (1 + Math.Abs(gain));

    /// <summary>The best move out of each expert whose tokens changed, to each other expert.</summary>
    private static void FindMoves(ReadOnlySpan<float> scores, ReadOnlySpan<int> expertOf, bool[] touched, (double Gain, int Token)[] move)
    {
        int experts = touched.Length;
        for (int a = 0; a < experts; a++)
            if (touched[a])
                move.AsSpan(a * experts, experts).Fill((double.NegativeInfinity, -1));
        for (int t = 0; t < expertOf.Length; t++)
        {
            int a = expertOf[t];
            if (!touched[a])
                continue;
            double stay = scores[t * experts + a];
            for (int b = 0; b < experts; b++)
                if (b != a && scores[t * experts + b] - stay is var gain && gain > move[a * experts + b].Gain)
                    move[a * experts + b] = (gain, t);
        }
    }
}
