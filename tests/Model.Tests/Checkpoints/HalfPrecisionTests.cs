using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>Weights that stay 16 bits wide give what they give when widened, wherever a family puts them.</summary>
public sealed class HalfPrecisionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string, DType> Goldens
    {
        get
        {
            TheoryData<string, DType> goldens = [];
            foreach (string golden in GoldenCase.Names)
                foreach (DType type in new[] { DType.BF16, DType.F16 })
                    goldens.Add(golden, type);
            return goldens;
        }
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Goldens))]
    public void NarrowAndWidenedWeightsAgree(string golden, DType type)
    {
        File.Copy(Path.Combine(Golden.Folder(golden), "config.json"), _folder["config.json"]);
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using (TensorFiles files = TensorFiles.Open(Golden.Folder(golden)))
            SafetensorsWriter.Write(_folder["model.safetensors"], [.. files.Names.Select(name => (name, Narrow(backend, files.Get(name), type)))]);
        Close.Activations("logits", Logits(backend, trainable: true), Logits(backend, trainable: false));
    }

    private float[] Logits(IBackend backend, bool trainable)
    {
        using LanguageModel model = LanguageModel.Load(_folder.Path, backend, trainable);
        return Tiny.Logits(model, [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], 9, 2);   // more rows than a matrix-vector product takes, and fewer
    }

    private static Tensor Narrow(IBackend backend, Tensor x, DType type)
    {
        Tensor y = new(x.Shape, type, new NativeStorage(x.Count * type.Size()));
        backend.Copy(x, y);
        return y;
    }
}
