using System.Reflection;
using System.Reflection.Emit;
using ILGPU;

namespace MoeFromScratch.KernelCheck;

/// <summary>Finds the views among the arguments of a launch, in structs too.</summary>
internal static class ViewChecks
{
    public static DynamicMethod? Of(Type args)
    {
        DynamicMethod method = new("CheckViews", null, [typeof(Machine), args.MakeByRefType()], typeof(ViewChecks).Module, skipVisibility: true);
        ILGenerator il = method.GetILGenerator();
        int found = 0, argument = 0;
        for (Type tuple = args; ;)
        {
            FieldInfo[] items = tuple.GetFields();
            foreach (FieldInfo item in items.Where(f => f.Name != "Rest"))
            {
                int number = argument++;
                found += Visit(item.FieldType, () =>
                {
                    il.Emit(OpCodes.Ldarg_1);
                    Tuples.EmitAddress(il, args, number);
                }, number);
            }
            if (items.Length != 8)
                break;
            tuple = items[7].FieldType;
        }
        il.Emit(OpCodes.Ret);
        return found > 0 ? method : null;

        int Visit(Type type, Action address, int number)
        {
            if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(ArrayView<>))
            {
                il.Emit(OpCodes.Ldarg_0);
                address();
                il.Emit(OpCodes.Ldc_I4, number);
                il.Emit(OpCodes.Call, typeof(Machine).GetMethod(nameof(Machine.CheckView))!.MakeGenericMethod(type.GetGenericArguments()));
                return 1;
            }
            int count = 0;
            if (type.IsValueType && !type.IsPrimitive && !type.IsEnum)
                foreach (FieldInfo field in type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic))
                    count += Visit(field.FieldType, () =>
                    {
                        address();
                        il.Emit(OpCodes.Ldflda, field);
                    }, number);
            return count;
        }
    }
}
