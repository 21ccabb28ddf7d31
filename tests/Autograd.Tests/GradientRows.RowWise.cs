using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

public static partial class GradientRows
{
    private static GradientRow[] RowWise() =>
    [
        new(typeof(RowSumOp), "matrix", [Normal(4, 5)], (g, x) => g.RowSum(x[0])),
        new(typeof(RowSumOp), "vector", [Normal(6)], (g, x) => g.RowSum(x[0])),
        new(typeof(RowDotOp), "rows", [Normal(4, 5), Normal(4, 5)], (g, x) => g.RowDot(x[0], x[1])),
        new(typeof(RowDotOp), "two vectors", [Normal(6), Normal(6)], (g, x) => g.RowDot(x[0], x[1])),
        new(typeof(RowDotOp), "with itself", [Normal(3, 4)], (g, x) => g.RowDot(x[0], x[0])),
        new(typeof(ColumnSumOp), "masked tokens", [Normal(4, 5)],
            (g, x) => g.ColumnSum(x[0], g.Constant<float>([4], DType.F32, [0.5f, 0, 1, 0.25f]))),
        new(typeof(ScaleRowsOp), "matrix", [Normal(4, 5), Normal(4)], (g, x) => g.ScaleRows(x[0], x[1])),
        new(typeof(ScaleRowsOp), "one column", [Normal(3, 1), Normal(3)], (g, x) => g.ScaleRows(x[0], x[1])),
        new(typeof(ScaleRowsOp), "onto others", [Normal(4, 5), Normal(4), Normal(4, 5)], (g, x) => g.ScaleRows(x[0], x[1], x[2])),
        new(typeof(ScaleGradientOp), "rows, there and back", [Normal(3, 2)], (g, x) => g.ScaleGradient(
            g.ScaleGradient(x[0], g.Constant<float>([3], DType.F32, [2, 0.5f, -4])), g.Constant<float>([3], DType.F32, [0.5f, 2, -0.25f]))),
        new(typeof(ScaleGradientOp), "elements by one", [Normal(2, 2)], (g, x) => g.ScaleGradient(x[0], g.Constant([2, 2], 1))),
        new(typeof(OuterOp), "onto zeros", [Normal(4), Normal(5)], (g, x) => g.Outer(x[0], x[1])),
        new(typeof(OuterOp), "a column onto others", [Normal(4, 1), Normal(5), Normal(4, 5)], (g, x) => g.Outer(x[0], x[1], x[2])),
        new(typeof(HideOp), "before a softmax", [Normal(3, 4)],
            (g, x) => g.Softmax(g.Hide(x[0], g.Constant<float>([3, 4], DType.F32, [1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1])))),
        new(typeof(ColumnsOp), "every second column", [Normal(3, 8)], (g, x) => g.Columns(x[0], new(4, 2, First: 1), new(4, 1), 1)),
        new(typeof(ColumnsOp), "one head to all, onto others", [Normal(3, 5), Normal(3, 2 * 4)],
            (g, x) => g.Columns(x[0], new(1, 5, First: 2), new(2, 4, First: 1), 3, x[1])),
        new(typeof(ColumnsOp), "the sum of heads", [Normal(3, 2 * 4)], (g, x) => g.Columns(x[0], new(2, 4), new(1, 3), 3)),
        new(typeof(SoftmaxOp), "matrix", [Normal(3, 6)], (g, x) => g.Softmax(x[0])),
        new(typeof(SoftmaxOp), "one row", [Normal(4)], (g, x) => g.Softmax(x[0])),
        new(typeof(LogSumExpOp), "matrix", [Normal(3, 6)], (g, x) => g.LogSumExp(x[0])),
        new(typeof(LogSumExpOp), "one column", [Normal(3, 1)], (g, x) => g.LogSumExp(x[0])),
        new(typeof(RmsNormOp), "matrix", [Normal(3, 8), Normal(8)], (g, x) => g.RmsNorm(x[0], x[1], 1e-5f)),
        new(typeof(RmsNormOp), "rank 3", [Normal(2, 2, 5), Normal(5)], (g, x) => g.RmsNorm(x[0], x[1], 1e-6f)),
        new(typeof(RmsNormOp), "two heads", [Normal(3, 2 * 5), Normal(5)], (g, x) => g.RmsNorm(x[0], x[1], 1e-5f)),
        new(typeof(RmsNormOp), "large eps", [Normal(2, 4), Normal(4)], (g, x) => g.RmsNorm(x[0], x[1], 1)),
        new(typeof(LayerNormOp), "matrix", [Normal(3, 8), Normal(8), Normal(8)], (g, x) => g.LayerNorm(x[0], x[1], x[2], 1e-5f)),
        new(typeof(LayerNormOp), "large eps", [Normal(4, 5), Normal(5), Normal(5)], (g, x) => g.LayerNorm(x[0], x[1], x[2], 1)),
        new(typeof(LinearOp), "no bias", [Normal(3, 5), Normal(4, 5)], (g, x) => g.Linear(x[0], x[1])),
        new(typeof(LinearOp), "bias", [Normal(3, 5), Normal(4, 5), Normal(4)], (g, x) => g.Linear(x[0], x[1], x[2])),
        new(typeof(LinearOp), "one row", [Normal(1, 7), Normal(2, 7), Normal(2)], (g, x) => g.Linear(x[0], x[1], x[2])),
        new(typeof(CrossEntropyOp), "labels", [Normal(3, 7)], (g, x) => g.CrossEntropy(x[0], Ints(g, 6, 0, 3))),
        new(typeof(CrossEntropyOp), "labels that do not count", [Normal(4, 5)], (g, x) => g.CrossEntropy(x[0], Ints(g, -100, 4, -1, 2))),
        new(typeof(CrossEntropyOp), "no label counts", [Normal(2, 3)], (g, x) => g.CrossEntropy(x[0], Ints(g, -100, -100))),
    ];
}
