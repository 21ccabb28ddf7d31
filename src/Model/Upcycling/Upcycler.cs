using System.Text;
using System.Text.Json.Nodes;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>Makes a mixture of experts of a dense model: divide, plan, write, compare.</summary>
public static class Upcycler
{
    private const long MaxShardBytes = 5L << 30;

    /// <summary>
    /// Writes the upcycled model and its receipt into a folder. Weights pass through memory one tensor at a time; a split by importance
    /// reads the dense model as a whole once more, for gradients.
    /// </summary>
    /// <param name="sample">What the two models are compared on.</param>
    /// <param name="overwrite">Replace the model that is there.</param>
    /// <exception cref="ArgumentException">The model cannot be divided like this, or the folder is taken or holds the dense model.</exception>
    /// <exception cref="CheckpointException">A given file does not fit.</exception>
    /// <exception cref="ArithmeticException">The dense model's logits are not numbers.</exception>
    /// <exception cref="OperationCanceledException">It was stopped; the folder is as it was.</exception>
    public static Receipt Run(DenseModel dense, string folder, UpcycleOptions options, Sample sample, bool overwrite = false, CancellationToken stop = default)
    {
        using ModelFolder target = new(folder, dense.Folder, overwrite);
        options.Method.Prepare(dense, sample, stop);
        UpcyclePlan plan = UpcyclePlan.Of(dense, options, stop);
        target.Begin();
        using (TensorMaker maker = new(dense, options.Seed, options.Router))
            Write(target, dense, plan, maker, stop);
        Receipt receipt;
        using (LanguageModel upcycled = LanguageModel.Load(target.Unfinished, dense.Model.Backend))
            receipt = new Receipt(dense, plan, options, sample, OutputDifference.Of(dense.Model, upcycled, sample.Ids));
        stop.ThrowIfCancellationRequested();
        target.Write(Receipt.FileName, Text(receipt.ToJson()));
        target.Finish();
        return receipt;
    }

    private static void Write(ModelFolder target, DenseModel dense, UpcyclePlan plan, TensorMaker maker, CancellationToken stop)
    {
        target.Write(LanguageModel.ConfigFile, Text(plan.Json));
        Companions.Copy(dense.Folder, target.Unfinished);
        foreach (TokenizerFile file in dense.Model.TokenizerFiles)
            target.Write(file.Name, file.Bytes);
        SafetensorsWriter.WriteSharded(target.Unfinished, [.. plan.Tensors.Select(t => PlannedTensor.Made(t.Name, t.DType, t.Shape, () =>
        {
            stop.ThrowIfCancellationRequested();
            return maker.Make(t);
        }))], MaxShardBytes, new Dictionary<string, string> { ["format"] = "pt" });
    }

    private static byte[] Text(JsonObject json) => Encoding.UTF8.GetBytes(json.ToJsonString(LanguageModel.Indented));
}
