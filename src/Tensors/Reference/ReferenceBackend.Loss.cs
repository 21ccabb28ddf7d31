using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void CrossEntropy(Tensor logits, Tensor labels, Tensor y, Tensor lse)
    {
        Check.Labels(logits, labels);
        Check.Vector(y, logits.Rows);
        Check.Vector(lse, logits.Rows);
        Matrix lm = new(logits);
        for (int t = 0; t < logits.Rows; t++)
        {
            int label = labels.Ints[t];
            double logSumExp = LogSumExp<float>(lm[t]);
            lse.Floats[t] = (float)logSumExp;
            y.Floats[t] = label < 0 ? 0 : (float)(logSumExp - lm[t, label]);
        }
    }

    public void CrossEntropyGrad(Tensor logits, Tensor labels, Tensor lse, Tensor dy, Tensor dlogits)
    {
        Check.Labels(logits, labels);
        Check.Vector(lse, logits.Rows);
        Check.Vector(dy, logits.Rows);
        Check.Same(dlogits, logits);
        Matrix lm = new(logits), dlm = new(dlogits);
        for (int t = 0; t < logits.Rows; t++)
        {
            int label = labels.Ints[t];
            if (label < 0)
                continue;
            for (int v = 0; v < logits.Cols; v++)
            {
                double p = Math.Exp((double)lm[t, v] - lse.Floats[t]);
                dlm[t, v] += (float)(dy.Floats[t] * (p - (v == label ? 1 : 0)));
            }
        }
    }

    public void SumOfSquares(Tensor x, Tensor y)
    {
        Check.F32(x);
        Check.Vector(y, 1);
        y.Floats[0] += (float)Dot(x.Floats, x.Floats);
    }

    public void AdamW(Tensor g, in AdamWStep step, Tensor p, Tensor m, Tensor v)
    {
        Check.F32(p);
        Check.Vector(g, p.Count);
        Check.Vector(m, p.Count);
        Check.Vector(v, p.Count);
        Check.That(step.Step >= 1, "AdamW counts its steps from 1");
        double decay = 1 - (double)step.LearningRate * step.WeightDecay;
        double mCorrection = 1 - Math.Pow(step.Beta1, step.Step);
        double vCorrection = 1 - Math.Pow(step.Beta2, step.Step);
        Span<float> gv = g.Floats, pv = p.Floats, mv = m.Floats, vv = v.Floats;
        for (int i = 0; i < pv.Length; i++)
        {
            double gi = (double)gv[i] * step.GradScale;
            double mi = step.Beta1 * mv[i] + (1 - step.Beta1) * gi;
            double vi = step.Beta2 * vv[i] + (1 - step.Beta2) * gi * gi;
            pv[i] = (float)(pv[i] * decay - step.LearningRate * (mi / mCorrection) / (Math.Sqrt(vi / vCorrection) + step.Eps));
            mv[i] = (float)mi;
            vv[i] = (float)vi;
        }
    }
}
