using System.Buffers.Binary;
using System.Reflection;
using System.Reflection.Emit;

namespace MoeFromScratch.KernelCheck;

/// <summary>One instruction; <see cref="Operand"/> is a number, an absolute target (or several), a type, a member, or null.</summary>
internal readonly record struct Instruction(int Offset, OpCode Code, object? Operand, int Next)
{
    public int Target => (int)Operand!;
    public int Index => Convert.ToInt32(Operand, null);
}

/// <summary>Reads the body of a method, with the type arguments of its construction put in.</summary>
internal static class Il
{
    private static readonly Dictionary<short, OpCode> s_codes = typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(f => (OpCode)f.GetValue(null)!).ToDictionary(c => c.Value);

    public static List<Instruction> Read(MethodBase method, byte[] il)
    {
        Module module = method.Module;
        Type[] ofType = method.DeclaringType?.GetGenericArguments() ?? [];
        Type[] ofMethod = method.IsGenericMethod ? method.GetGenericArguments() : [];
        List<Instruction> list = [];
        for (int at = 0; at < il.Length;)
        {
            int offset = at;
            short value = il[at++];
            if (value == 0xfe)
                value = (short)(0xfe00 | il[at++]);
            OpCode code = s_codes[value];
            ReadOnlySpan<byte> rest = il.AsSpan(at);
            object? operand = null;
            int size = code.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + 4 * BinaryPrimitives.ReadInt32LittleEndian(rest),
                _ => 4,
            };
            int next = at + size;
            int token() => BinaryPrimitives.ReadInt32LittleEndian(il.AsSpan(offset + code.Size));
            switch (code.OperandType)
            {
                case OperandType.ShortInlineBrTarget:
                    operand = next + (sbyte)rest[0];
                    break;
                case OperandType.InlineBrTarget:
                    operand = next + token();
                    break;
                case OperandType.ShortInlineI:
                    operand = (int)(sbyte)rest[0];
                    break;
                case OperandType.ShortInlineVar:
                    operand = (int)rest[0];
                    break;
                case OperandType.InlineVar:
                    operand = (int)BinaryPrimitives.ReadUInt16LittleEndian(rest);
                    break;
                case OperandType.InlineI:
                    operand = token();
                    break;
                case OperandType.InlineI8:
                    operand = BinaryPrimitives.ReadInt64LittleEndian(rest);
                    break;
                case OperandType.InlineR:
                    operand = BinaryPrimitives.ReadDoubleLittleEndian(rest);
                    break;
                case OperandType.ShortInlineR:
                    operand = BinaryPrimitives.ReadSingleLittleEndian(rest);
                    break;
                case OperandType.InlineSwitch:
                    int[] targets = new int[(size - 4) / 4];
                    for (int i = 0; i < targets.Length; i++)
                        targets[i] = next + BinaryPrimitives.ReadInt32LittleEndian(rest[(4 + 4 * i)..]);
                    operand = targets;
                    break;
                case OperandType.InlineType:
                    operand = module.ResolveType(token(), ofType, ofMethod);
                    break;
                case OperandType.InlineMethod:
                    operand = module.ResolveMethod(token(), ofType, ofMethod);
                    break;
                case OperandType.InlineField:
                    operand = module.ResolveField(token(), ofType, ofMethod);
                    break;
                case OperandType.InlineString:
                    operand = module.ResolveString(token());
                    break;
                case OperandType.InlineTok:
                    operand = module.ResolveMember(token(), ofType, ofMethod);
                    break;
            }
            list.Add(new(offset, code, operand, next));
            at = next;
        }
        return list;
    }
}
