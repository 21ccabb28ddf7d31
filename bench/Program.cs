using BenchmarkDotNet.Running;
using MoeFromScratch.Bench;

if (args is ["limits", ..])
    Limits.Print();
else
    BenchmarkSwitcher.FromAssembly(typeof(GemmBench).Assembly).Run(args);
