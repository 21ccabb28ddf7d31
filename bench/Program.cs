using BenchmarkDotNet.Running;
using MoeFromScratch.Bench;
using MoeFromScratch.Tensors;

if (args is ["built-in", var folder])
    BuiltInStudy.Print(folder);
else if (args is ["model", var shape, var dtype, var target])
    RandomModels.Write(shape, Enum.Parse<DType>(dtype), target);
else
    BenchmarkSwitcher.FromAssembly(typeof(GemmBench).Assembly).Run(args);
