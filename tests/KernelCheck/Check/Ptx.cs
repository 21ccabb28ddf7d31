using System.Globalization;
using System.Text.RegularExpressions;

namespace MoeFromScratch.KernelCheck;

internal enum PtxCode
{
    Move, RoundTf32, PackBf16, Copy, Commit, WaitGroups, WaitAll, StoreGlobal, MmaBf16, MmaTf32,
}

internal enum PtxPlace
{
    /// <summary>An argument of the call, its number.</summary>
    Argument,
    /// <summary>A register, its number.</summary>
    Register,
    /// <summary>Bits.</summary>
    Constant,
    /// <summary>The memory to which an argument points, its number; and bytes to add.</summary>
    Memory,
}

internal readonly record struct PtxOperand(PtxPlace Place, int Value, int Offset = 0);

/// <summary>One instruction. Its vectors are written out: d0 d1 d2 d3 a0 … </summary>
/// <param name="Guard">The argument that says whether it is done, −1 for always.</param>
internal sealed record PtxInstruction(PtxCode Code, int Guard, PtxOperand[] Operands, string Text);

/// <summary>A text of inline PTX that KernelCheck knows how to carry out.</summary>
internal sealed record PtxProgram(PtxInstruction[] Instructions)
{
    /// <summary>All lanes of a warp carry it out together.</summary>
    public bool OfWarp => Instructions.Any(i => i.Code is PtxCode.MmaBf16 or PtxCode.MmaTf32);
}

/// <summary>Reads PTX text. Registers are declared in one text and known in all that follow.</summary>
internal sealed partial class PtxReader
{
    private readonly Dictionary<string, int> _registers = [];

    // What is known: a name, and the operands behind it (r: a register to write, v: any value, m: memory, n: a constant).
    private static readonly Dictionary<string, (PtxCode Code, string Operands)> s_known = new()
    {
        ["mov.f32"] = (PtxCode.Move, "rv"),
        ["mov.b32"] = (PtxCode.Move, "rv"),
        ["cvt.rna.tf32.f32"] = (PtxCode.RoundTf32, "rv"),
        ["cvt.rn.bf16x2.f32"] = (PtxCode.PackBf16, "rvv"),
        ["cp.async.cg.shared.global"] = (PtxCode.Copy, "mmnv"),
        ["cp.async.ca.shared.global"] = (PtxCode.Copy, "mmnv"),
        ["cp.async.commit_group"] = (PtxCode.Commit, ""),
        ["cp.async.wait_group"] = (PtxCode.WaitGroups, "n"),
        ["cp.async.wait_all"] = (PtxCode.WaitAll, ""),
        ["st.global.f32"] = (PtxCode.StoreGlobal, "mv"),
        ["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"] = (PtxCode.MmaBf16, "rrrrvvvvvvvvvv"),
        ["mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"] = (PtxCode.MmaTf32, "rrrrvvvvvvvvvv"),
    };

    public int Registers => _registers.Count;

    /// <exception cref="FormatException">It is not known.</exception>
    public PtxProgram Read(string text, int arguments)
    {
        List<PtxInstruction> instructions = [];
        foreach (string one in text.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
            if (Declaration().Match(one) is { Success: true } declared)
                Declare(declared.Groups["name"].Value, int.Parse(declared.Groups["count"].Value, CultureInfo.InvariantCulture));
            else
                instructions.Add(Instruction(one, arguments));
        return new([.. instructions]);
    }

    private void Declare(string name, int count)
    {
        for (int i = 0; i < count; i++)
            if (!_registers.TryAdd($"{name}{i}", _registers.Count))
                throw new FormatException($"a second declaration of the register {name}{i} in a kernel");
    }

    private PtxInstruction Instruction(string text, int arguments)
    {
        Match match = Form().Match(text);
        if (!match.Success || !s_known.TryGetValue(match.Groups["name"].Value, out (PtxCode Code, string Operands) known))
            throw new FormatException($"the PTX \"{text}\", which KernelCheck does not know");
        string[] operands = match.Groups["operands"].Value.Split([',', '{', '}', ' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        if (operands.Length != known.Operands.Length)
            throw new FormatException($"the PTX \"{text}\", which has {operands.Length} operands and not {known.Operands.Length}");
        int guard = match.Groups["guard"] is { Success: true } g ? Argument(g.Value, arguments, text) : -1;
        return new(known.Code, guard, [.. operands.Select((o, n) => Operand(o, known.Operands[n], arguments, text))], text);
    }

    private PtxOperand Operand(string operand, char kind, int arguments, string text)
    {
        if (kind == 'm')
            return Memory().Match(operand) is { Success: true } m
                ? new(PtxPlace.Memory, Argument(m.Groups["number"].Value, arguments, text), m.Groups["offset"] is { Success: true } o ? int.Parse(o.Value, CultureInfo.InvariantCulture) : 0)
                : throw new FormatException($"{operand} in the PTX \"{text}\", which is no address");
        if (_registers.TryGetValue(operand, out int register) && kind != 'n')
            return new(PtxPlace.Register, register);
        if (kind == 'v' && operand[0] == '%')
            return new(PtxPlace.Argument, Argument(operand[1..], arguments, text));
        if (kind != 'r' && operand.StartsWith("0f", StringComparison.Ordinal) && int.TryParse(operand[2..], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out int bits))
            return new(PtxPlace.Constant, bits);
        return kind != 'r' && int.TryParse(operand, CultureInfo.InvariantCulture, out int number) ? new(PtxPlace.Constant, number)
            : throw new FormatException($"{operand} in the PTX \"{text}\", which is no declared register");
    }

    private static int Argument(string number, int arguments, string text) =>
        int.TryParse(number, CultureInfo.InvariantCulture, out int n) && n < arguments ? n
        : throw new FormatException($"%{number} in the PTX \"{text}\", which has {arguments} arguments");

    [GeneratedRegex(@"^\.reg\s+\.(b32|f32)\s+(?<name>[a-z]+)<(?<count>\d+)>$")]
    private static partial Regex Declaration();

    [GeneratedRegex(@"^(@%(?<guard>\d+)\s+)?(?<name>[a-z][\w.]*)\s*(?<operands>.*)$", RegexOptions.Singleline)]
    private static partial Regex Form();

    [GeneratedRegex(@"^\[%(?<number>\d+)(\+(?<offset>\d+))?\]$")]
    private static partial Regex Memory();
}
