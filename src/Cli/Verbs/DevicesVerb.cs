using System.CommandLine;
using System.Text.Json.Nodes;
using MoeFromScratch.Gpu;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe devices</c>: what this machine offers, and why something is missing.</summary>
internal static class DevicesVerb
{
    public static Command Command()
    {
        Option<bool> json = Common.Json("the list");
        Command command = new("devices", "What this machine can compute on, and why something is missing.") { json };
        command.SetAction(r => Run(r.GetValue(json)));
        return command;
    }

    private static int Run(bool json)
    {
        List<GpuDevice> devices =
        [
            new("cpu", true, $"{CpuBackend.Instructions}, {Environment.ProcessorCount} threads"),
            new("reference", true, "scalar loops, sums in double precision; one thread"),
            .. GpuDevices.List(),
        ];
        if (json)
            Common.PrintJson(new JsonArray([.. devices.Select(static d => (JsonNode)new JsonObject
            {
                ["name"] = d.Name,
                ["available"] = d.Available,
                ["description"] = d.Description,
            })]));
        else
            foreach (GpuDevice d in devices)
                Console.WriteLine($"{d.Name,-10} {(d.Available ? "yes" : "no "),-4} {d.Description}");
        return Program.Success;
    }
}
