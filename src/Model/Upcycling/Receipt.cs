using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>What an upcycling run did: every tensor that was written and what from, and how far the outcome is from the dense model.</summary>
public sealed record Receipt(DenseModel Dense, UpcyclePlan Plan, UpcycleOptions Options, Sample Sample, OutputDifference Difference)
{
    public const string FileName = "upcycle.json";

    /// <summary>Tensors that are the dense model's as they were, parts of them or multiples, drawn ones, and others.</summary>
    public (int Copied, int Cut, int Drawn, int Other) Counts => (
        Plan.Tensors.Count(static t => t.Origin is FromDense { Neurons: null, Times: 1 }),
        Plan.Tensors.Count(static t => t.Origin is FromDense and not { Neurons: null, Times: 1 }),
        Plan.Tensors.Count(static t => t.Origin is Drawn),
        Plan.Tensors.Count(static t => t.Origin is FromFile or Computed));

    /// <summary>Parameters of the upcycled model.</summary>
    public long Parameters => Plan.Tensors.Where(static t => t.Origin is not Computed).Sum(static t => t.Shape.Count);

    /// <summary>
    /// <c>tensors</c>: of each its name, dtype, shape and origin. A cut one has the dense tensor's name at <c>from</c>, at <c>rows</c> or
    /// <c>columns</c> a key of <c>neurons</c>, where these are listed, and at <c>times</c> the factor, if there is one.
    /// </summary>
    public JsonObject ToJson()
    {
        JsonObject neurons = [];
        JsonArray tensors = [.. Plan.Tensors.OrderBy(static t => t.Name, StringComparer.Ordinal).Select(t => (JsonNode)Describe(t, neurons))];
        return new JsonObject
        {
            ["dense"] = Path.GetFullPath(Dense.Folder),
            ["dense_family"] = Dense.Model.Family.Name,
            ["method"] = Options.Method.Name,
            ["family"] = Plan.Family.Name,
            ["every"] = Options.Every,
            ["seed"] = Options.Seed,
            ["dense_parameters"] = Dense.Model.Weights.Count,
            ["parameters"] = Parameters,
            ["notes"] = new JsonArray([.. Plan.Notes.Select(static n => (JsonNode)n)]),
            ["difference"] = new JsonObject
            {
                ["sample"] = Sample.Source,
                ["tokens"] = Difference.Tokens,
                ["layers"] = new JsonArray([.. Difference.Layers.Select(static d => Number(d))]),
                ["logits"] = Number(Difference.Logits),
                ["dense_loss"] = Number(Difference.DenseLoss),
                ["upcycled_loss"] = Number(Difference.UpcycledLoss),
            },
            ["neurons"] = neurons,
            ["tensors"] = tensors,
        };
    }

    private JsonObject Describe(UpcycledTensor t, JsonObject neurons)
    {
        JsonObject json = new()
        {
            ["name"] = t.Name,
            ["dtype"] = t.DType.ToString(),
            ["shape"] = new JsonArray([.. Enumerable.Range(0, t.Shape.Rank).Select(i => (JsonNode)t.Shape[i])]),
        };
        switch (t.Origin)
        {
            case FromDense from:
                json["from"] = Dense.Model.Family.NameInFile(from.Path);
                if (from.Neurons is { } some)
                {
                    json[from.Columns ? "columns" : "rows"] = some.Owner;
                    neurons[some.Owner] ??= some.Ranges();
                }
                if (from.Times != 1)
                    json["times"] = from.Times;
                break;
            case Drawn drawn:
                json["drawn"] = drawn.Init.Std == 0 ? FormattableString.Invariant($"{drawn.Init.Mean:g9} everywhere")
                    : FormattableString.Invariant($"normal, mean {drawn.Init.Mean:g9}, deviation {drawn.Init.Std:g9}");
                if (drawn.RepeatedRows > 0)
                    json["each_row_times"] = drawn.Repeats;
                break;
            case FromFile given:
                json["from_file"] = given.File;
                break;
            default:
                json["computed"] = "from the config";
                break;
        }
        return json;
    }

    /// <summary>JSON has no infinity.</summary>
    private static JsonNode? Number(double value) => double.IsFinite(value) ? value : null;
}
