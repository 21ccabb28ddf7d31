namespace MoeFromScratch.Tensors.Reference;

/// <summary>A host F32 tensor as rows and columns, so that the reference's loops read like the formulas: m[t, d].</summary>
internal readonly ref struct Matrix
{
    private readonly Span<float> _values;

    public Matrix(Tensor tensor) : this(tensor, tensor.Cols)
    {
    }

    public Matrix(Tensor tensor, int cols) : this(tensor.Floats, cols == 0 ? tensor.Rows : (int)(tensor.Count / cols), cols)
    {
    }

    private Matrix(Span<float> values, int rows, int cols)
    {
        _values = values;
        (Rows, Cols) = (rows, cols);
    }

    /// <summary>A copy in F32 of what is stored in another type; what is F32 itself.</summary>
    public static Matrix Widened(Tensor tensor)
    {
        if (tensor.DType == DType.F32)
            return new Matrix(tensor);
        WeightMatrix from = new(tensor);
        Matrix to = new(new float[tensor.Count], tensor.Rows, tensor.Cols);
        for (int t = 0; t < to.Rows; t++)
            for (int d = 0; d < to.Cols; d++)
                to[t, d] = from[t, d];
        return to;
    }

    public int Rows { get; }
    public int Cols { get; }

    public ref float this[int row, int col] => ref this[row][col];

    public Span<float> this[int row] => _values.Slice(row * Cols, Cols);
}

/// <summary>A host weight as rows and columns, read as F32 from however it is stored.</summary>
internal readonly ref struct WeightMatrix(Tensor tensor)
{
    private readonly DType _dtype = tensor.DType;
    private readonly ReadOnlySpan<float> _floats = tensor.DType.IsQuantised() ? Blocks.Dequantise(tensor) : tensor.DType == DType.F32 ? tensor.Floats : [];
    private readonly ReadOnlySpan<ushort> _halves = tensor.DType is DType.BF16 or DType.F16 ? tensor.Host<ushort>() : [];

    public int Rows { get; } = tensor.Rows;
    public int Cols { get; } = tensor.Cols;

    public float this[int row, int col] => _dtype switch
    {
        DType.BF16 => DTypes.FromBF16(_halves.Slice(row * Cols, Cols)[col]),
        DType.F16 => DTypes.FromF16(_halves.Slice(row * Cols, Cols)[col]),
        _ => _floats.Slice(row * Cols, Cols)[col],
    };
}
