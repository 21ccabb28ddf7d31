using BenchmarkDotNet.Running;
using MoeFromScratch.Bench;

if (args is ["built-in", var folder])
    BuiltInStudy.Print(folder);
else
    BenchmarkSwitcher.FromAssembly(typeof(GemmBench).Assembly).Run(args);
