using System.CommandLine;
using System.Globalization;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe trace</c>: one pass over given token ids with every tensor written out.</summary>
internal static class TraceVerb
{
    private sealed record Settings(string Checkpoint, string IdsFile, string? MaskFile, string? TokenWeightsFile, int? Task, bool Grads, int TrainSteps, float LearningRate,
        AdamWOptions AdamW, float ClipNorm, int Threads);

    public static Command Command()
    {
        Argument<string> checkpoint = Common.Checkpoint();
        Option<string> ids = new("--ids-file") { Description = "Token ids as JSON: [[1, 2, …], …], rows of equal length.", Required = true, HelpName = "FILE" };
        Option<string> output = new("--out") { Description = "Where the trace goes.", Required = true, HelpName = "FILE.safetensors" };
        Option<bool> overwrite = new("--overwrite") { Description = "Replace the file at --out." };
        Option<string?> mask = new("--mask-file") { Description = "Padding mask as JSON, 1 for tokens and 0 for padding, like the ids.", HelpName = "FILE" };
        Option<string?> weights = new("--token-weights-file") { Description = "Weights of the tokens in the balance loss, for families that have them.", HelpName = "FILE" };
        Option<int?> task = new("--task") { Description = "The task of all rows, counted from 0, for a model that routes by it.", HelpName = "N" };
        Option<bool> grads = new("--grads") { Description = "Also the training pass: losses and the gradient of every parameter." };
        Option<int> steps = new("--train-steps") { Description = "Also so many AdamW steps on the whole batch: their losses and gradient norms.", HelpName = "N" };
        Option<float> lr = new("--lr") { Description = "Learning rate of --train-steps.", DefaultValueFactory = _ => 0.002f };
        Option<string> betas = new("--betas") { Description = "AdamW's two decay rates.", DefaultValueFactory = _ => "0.9,0.95", HelpName = "A,B" };
        Option<float> eps = new("--eps") { Description = "AdamW's epsilon.", DefaultValueFactory = _ => 1e-8f };
        Option<float> decay = new("--weight-decay") { Description = "AdamW's weight decay, on every parameter.", DefaultValueFactory = _ => 0.1f };
        Option<float> clip = new("--clip-norm") { Description = "Largest gradient norm; 0 does not clip.", DefaultValueFactory = _ => 1 };
        Option<string?> compare = new("--compare")
        {
            Description = "Do the same on a second device, in f32; print the largest deviation of each tensor, and which tokens got other experts by what margin.",
            HelpName = "DEVICE",
        };
        Option<bool> force = new("--force-routing") { Description = "With --compare, the second device takes the first one's choices of experts; what it would have chosen is still counted." };
        Option<string> device = Common.Device(), precision = Common.Precision();
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("the comparison");
        Command command = new("trace", "Run given token ids through a model and write every tensor to a file.")
        {
            checkpoint, ids, output, overwrite, mask, weights, task, grads, steps, lr, betas, eps, decay, clip, compare, force, device, precision, threads, json,
        };
        command.SetAction(r =>
        {
            if (r.GetValue(steps) == 0 && new Option[] { lr, betas, eps, decay, clip }.FirstOrDefault(o => r.GetResult(o) is { Implicit: false }) is { } idle)
                throw new ArgumentException($"{idle.Name} is for training steps: say how many with --train-steps");
            (float beta1, float beta2) = Betas(r.GetValue(betas)!);
            Settings settings = new(r.GetValue(checkpoint)!, r.GetValue(ids)!, r.GetValue(mask), r.GetValue(weights), r.GetValue(task), r.GetValue(grads),
                NotNegative(r.GetValue(steps), "--train-steps"), NotNegative(r.GetValue(lr), "--lr"),
                new AdamWOptions
                {
                    Beta1 = beta1,
                    Beta2 = beta2,
                    Eps = NotNegative(r.GetValue(eps), "--eps"),
                    WeightDecay = NotNegative(r.GetValue(decay), "--weight-decay"),
                },
                NotNegative(r.GetValue(clip), "--clip-norm"), r.GetValue(threads));
            string path = r.GetValue(output)!;
            RequireFree(settings, path, r.GetValue(overwrite));
            string? second = r.GetValue(compare);
            bool forced = r.GetValue(force);
            if (second is null && forced)
                throw new ArgumentException("--force-routing takes the choices of one device over to another: name that with --compare");
            if (second is not null)
                Common.Backend(second, threads: 1).Dispose();   // refused now rather than after the first pass

            using IBackend backend = Common.Backend(r.GetValue(device)!, settings.Threads, r.GetValue(precision)!);
            ChoiceBackend? watched = second is null ? null : new(backend);
            Trace trace = Run(settings, watched ?? backend, forced);
            Common.WriteFile(path, stream => SafetensorsWriter.Write(stream, trace.Tensors));
            Console.Error.WriteLine($"{trace.Tensors.Count} tensors written to {path}");
            if (watched is not null)
            {
                using IBackend other = Common.Backend(second!, settings.Threads);
                ChoiceBackend theirs = new(other, forced ? watched : null);
                Trace again = Run(settings, theirs, forced);
                TraceReport.Print(TraceComparison.Of(trace, again), RoutingComparison.Of((trace, watched), (again, theirs)), r.GetValue(json));
            }
            return Program.Success;
        });
        return command;
    }

    /// <summary>A trace takes the place of another one if asked, and never that of a file that is read.</summary>
    private static void RequireFree(Settings s, string output, bool overwrite)
    {
        if (output.Length == 0 || Directory.Exists(output))
            throw new ArgumentException($"--out '{output}' is no file");
        if (RealPath.Of(output) is var place && RealPath.Of(s.Checkpoint) is var model && (place == model || Path.GetDirectoryName(place) == model))
            throw new ArgumentException($"--out {output} is a file of the checkpoint, or would be taken for one: choose another folder");
        Common.RequireUnread("--out", output, new[] { s.IdsFile, s.MaskFile, s.TokenWeightsFile }.OfType<string>());
        if (File.Exists(output) && !overwrite)
            throw new ArgumentException($"{output} is there already; replace it with --overwrite, or choose another file");
        Common.RequireWritable("--out", output);
    }

    private static Trace Run(Settings s, IBackend backend, bool forced)
    {
        Trace trace = new();
        TraceInput input;
        bool trains = s.Grads || s.TrainSteps > 0;
        using (LanguageModel model = LanguageModel.Load(s.Checkpoint, backend))
        {
            if (s.TokenWeightsFile is not null && !model.Config.RouterLosses.Any(static l => l is DcMoeBalanceLoss))
                throw new NotSupportedException($"--token-weights-file: {model.Family.Name} checkpoints do not weigh tokens in their balance loss");
            if (forced && trains && model.Config.Layers.Any(static l => l is MoeConfig { Router: BaseRouterConfig }))
                throw new NotSupportedException("--force-routing: in training a BASE router assigns tokens on the host, where its choices cannot be taken over; leave out --grads and --train-steps");
            input = TraceInput.Read(s.IdsFile, model.Config.VocabSize, s.MaskFile, s.TokenWeightsFile);
            if (s.Task is { } task)
                input = input with { Tasks = [.. Enumerable.Repeat(task, input.Sequences)] };
            Tracer.Forward(trace, model, input);
        }
        if (trains)
        {
            using LanguageModel model = LanguageModel.Load(s.Checkpoint, backend, trainable: true);
            if (s.Grads)
                Tracer.Gradients(trace, model, input);
            if (s.TrainSteps > 0)
                Tracer.TrainSteps(trace, model, input, s.TrainSteps, s.LearningRate, s.AdamW, s.ClipNorm);
        }
        return trace;
    }

    private static (float, float) Betas(string text)
    {
        string[] parts = text.Split(',');
        return parts.Length == 2 && Parse(parts[0], out float a) && Parse(parts[1], out float b)
            ? (a, b)
            : throw new ArgumentException($"--betas takes two numbers from 0 to below 1, like 0.9,0.95, not '{text}'");

        static bool Parse(string part, out float value) =>
            float.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out value) && value is >= 0 and < 1;
    }

    private static T NotNegative<T>(T value, string option) where T : System.Numerics.INumber<T> => value >= T.Zero && !T.IsPositiveInfinity(value)
        ? value
        : throw new ArgumentException($"{option} must be a number of at least 0, not {value}");
}
