namespace MoeFromScratch.Cli.Training;

/// <summary>What <c>moe train</c> makes of an option of the seeds' training scripts.</summary>
/// <param name="Table">Whose it is, a heading of OPTIONS.md.</param>
/// <param name="Name">As it is spelled there, without dashes.</param>
/// <param name="Ours">Our option, which this is another name of; null for none.</param>
/// <param name="Accepted">Without an option of ours: the values that change nothing here, and are therefore accepted; null for any, empty for none.</param>
/// <param name="Sentence">What it sets, or why it is accepted without effect or refused.</param>
internal sealed record SeedOption(string Table, string Name, string? Ours, string[]? Accepted, string Sentence)
{
    /// <summary>The second column of its row.</summary>
    public string Meaning => Ours is not null ? $"`{Ours}`" : Accepted is null ? "no effect" : Accepted.Length == 0 ? "refused"
        : $"only {string.Join(" or ", Accepted.Select(static v => $"`{v}`"))}";

    /// <summary>Its row in OPTIONS.md.</summary>
    public string Row => $"| `--{Name}` | {Meaning} | {Sentence} |";
}

/// <summary>
/// The one table of them: every row of DCMoE's "Training Arguments", what else its script and transformers' trainer take and people
/// write, and the switches of Dynamic-MoE and MoE++, which are keys of their config.json. OPTIONS.md is this table in print.
/// </summary>
internal static class SeedOptions
{
    private const string Moe = "DCMoE: the mixture", Paths = "DCMoE: paths", Standard = "DCMoE: training", Script = "DCMoE: only in its script",
        Trainer = "Transformers' trainer", Switches = "Dynamic-MoE and MoE++: keys of config.json";

    private const string Initial = "with `--initialize`: ";

    public static IReadOnlyList<SeedOption> All { get; } =
    [
        Same(Moe, "initialize", "Makes a DCMoE mixture of the dense model at `--model` first; `false` trains the model as it is."),
        Same(Moe, "moe_copy", Initial + "`all` fills every expert with a slice of the dense network, `single` the first routed and the first shared one, `none` draws them."),
        Same(Moe, "fp32_gate", "The router computes in F32 in any case; `false` is answered with a warning that it stays so."),
        Only(Moe, "ep_size", ["1"], "Experts are not spread over devices yet."),
        Same(Moe, "mlp_dynamic_expert_num", Initial + "routed experts."),
        Same(Moe, "mlp_fixed_expert_num", Initial + "shared experts."),
        Same(Moe, "mlp_dynamic_null_expert_num", Initial + "null experts."),
        Same(Moe, "dynamic_mlp_size_factor", Initial + "the dense width divided by a routed expert's."),
        Same(Moe, "fixed_mlp_size_factor", Initial + "the dense width divided by a shared expert's."),
        Same(Moe, "mlp_dynamic_top_p", Initial + "the probability that the chosen experts reach together; 0 for top-k."),
        Same(Moe, "mlp_dynamic_top_k", Initial + "experts per token where top-p is 0."),
        Same(Moe, "token_drop", Initial + "whether experts have room for so many tokens only."),
        Same(Moe, "drop_policy", Initial + "which tokens an expert without room drops, by `probs` or `position`."),
        Same(Moe, "min_capacity", Initial + "the least room of an expert, in tokens."),
        Same(Moe, "capacity_factor", Initial + "an expert's room, in even shares of the tokens."),
        Ours(Moe, "l_aux_weight", "--load-balance", "The coefficient of the balance loss; with `--initialize` it is written to the new config.json, too."),
        Same(Moe, "aux_balance_weight", "What a token of an answer counts in the balance loss, where the others count 1."),

        Ours(Paths, "model_name_or_path", "--model", "A checkpoint folder; nothing is downloaded."),
        Refused(Paths, "processor_path", "The tokenizer comes with `--model`, and there are no pictures to process."),
        Ours(Paths, "data_path", "--data", "JSON or JSONL files of conversations, or texts; Arrow folders are not read."),
        Refused(Paths, "image_root", "Models learn from text alone; a record with a picture is refused as well."),
        Ours(Paths, "output_dir", "--out", "Model, checkpoints and logs."),
        Refused(Paths, "deepspeed", "One process trains, without DeepSpeed; leave its configuration out."),

        NoEffect(Standard, "attn_implementation", "There is one attention, exact and without a matrix of scores in memory."),
        Same(Standard, "bf16", "Models are written in BF16; training itself computes in F32, and so does its state."),
        Ours(Standard, "num_train_epochs", "--epochs", "Times that every example is seen; a fraction is allowed."),
        Ours(Standard, "per_device_train_batch_size", "--batch-size", "Windows or conversations per pass."),
        Ours(Standard, "per_device_eval_batch_size", "--eval-batch-size", "As many in an evaluation."),
        Ours(Standard, "gradient_accumulation_steps", "--accumulate", "Passes per step; the loss is the mean over all their labelled tokens."),
        Same(Standard, "learning_rate", "The peak of the learning rate."),
        Same(Standard, "weight_decay", "AdamW's, for matrices only."),
        Same(Standard, "warmup_ratio", "The part of all steps, rounded up, over which the learning rate rises; its first step is not lost at rate 0."),
        Same(Standard, "lr_scheduler_type", "`linear`, `cosine`, `constant`, `constant_with_warmup`, `inverse_sqrt` or `polynomial` (to 1e-7, of power 1)."),
        Same(Standard, "logging_steps", "Steps between lines of train.jsonl and TensorBoard's points; each is one step's, not a mean."),
        Same(Standard, "save_strategy", "`steps`, `epoch` or `no`; the end of a run is saved in any case."),
        Ours(Standard, "save_steps", "--save-every", "Steps between checkpoints."),
        Same(Standard, "save_total_limit", "Checkpoints to keep, the newest ones."),
        Same(Standard, "model_max_length", "Tokens per window, and of a conversation, which is cut behind them; never more than the model has positions."),
        Same(Standard, "gradient_checkpointing", "Recomputes each block on the way back; the results are the same to the last bit."),
        NoEffect(Standard, "dataloader_num_workers", "The data is read once, into memory."),
        Ours(Standard, "evaluation_strategy", "--eval-strategy", "`steps`, `epoch` or `no`, which trains on all of the data."),
        Same(Standard, "report_to", "`none` or `tensorboard`; train.jsonl is written in any case."),
        Same(Standard, "run_name", "The folder of TensorBoard's file in `OUT/runs`."),

        Only(Script, "fixed_ep_size", ["1"], "Shared experts are not spread over devices either."),
        Refused(Script, "data_sample", "Cut the file instead: `head -n 1000 data.jsonl`."),
        NoEffect(Script, "cache_dir", "Nothing is downloaded, so nothing is cached."),
        NoEffect(Script, "drop_token_num_print", "What was dropped is in the lines of train.jsonl."),
        Only(Script, "only_gate_training", ["false"], "All parameters are trained."),
        NoEffect(Script, "ignore_differentiable_router", "The released code never reads it."),
        NoEffect(Script, "min_l_aux_weight", "The released code never reads it."),
        NoEffect(Script, "l_aux_weight_decay_steps", "The released code never reads it."),

        Same(Trainer, "eval_strategy", "The newer name of `--evaluation_strategy`."),
        Ours(Trainer, "eval_steps", "--eval-every", "Steps between evaluations."),
        Same(Trainer, "logging_strategy", "`steps`, `epoch` or `no`; the last step is logged in any case."),
        Ours(Trainer, "max_steps", "--steps", "Steps in place of epochs."),
        Same(Trainer, "warmup_steps", "The warm-up in steps."),
        Same(Trainer, "max_grad_norm", "The largest norm of all gradients; 0 clips nothing."),
        Same(Trainer, "adam_beta1", "AdamW's mean of gradients."),
        Same(Trainer, "adam_beta2", "AdamW's mean of their squares."),
        Same(Trainer, "adam_epsilon", "AdamW's least divisor."),
        Same(Trainer, "seed", "Order of the data, noise of the routers, and parameters that are drawn."),
        Ours(Trainer, "overwrite_output_dir", "--overwrite", "Replaces what is in `--out`."),
        Ours(Trainer, "resume_from_checkpoint", "--resume", "`true`; the newest checkpoint in `--out` is the one, a path is not taken."),
        Only(Trainer, "optim", ["adamw_torch", "adamw_torch_fused", "adamw_hf"], "The optimizer is AdamW."),
        Only(Trainer, "fp16", ["false"], "Training computes in F32."),
        NoEffect(Trainer, "tf32", "Training computes in F32, which is more exact."),
        Same(Trainer, "load_best_model_at_end", "Makes the model at the end the one with the lowest validation loss; its checkpoint is kept beside the newest ones."),
        Only(Trainer, "metric_for_best_model", ["loss", "eval_loss"], "The best model is the one with the lowest validation loss."),
        Only(Trainer, "greater_is_better", ["false"], "The best model is the one with the lowest validation loss."),
        Only(Trainer, "group_by_length", ["false"], "Conversations are packed without padding, so grouping them saves nothing."),
        Only(Trainer, "push_to_hub", ["false"], "Nothing is uploaded."),
        Refused(Trainer, "logging_dir", "TensorBoard's file is at `OUT/runs/RUN_NAME`."),
        Refused(Trainer, "data_seed", "`--seed` is the seed of everything."),

        Refused(Switches, "num_experts", "A checkpoint keeps its own; a new model has `experts`, or the `count` of a bank, in `--config`."),
        Refused(Switches, "top_p_threshold", "A checkpoint keeps its own; a new model has `top_p` in `--config`."),
        Refused(Switches, "expert_frequency", "A checkpoint keeps its own; a new model lists its layers at `model` in `--config`."),
        NoEffect(Switches, "experts_topk", "The released code never reads it: Top-P decides."),
        Refused(Switches, "moe_expert_interval", "A checkpoint keeps its own; a new model lists its layers at `model` in `--config`."),
        Refused(Switches, "moe_use_mixtral_gating", "A checkpoint keeps its own; a new `moe_plus_plus` router has `\"gating\": \"mixtral\"`."),
        Refused(Switches, "moe_2layer_gate", "A checkpoint keeps its own; a new router has `\"gate\": { \"hidden_size\": N }`."),
        Refused(Switches, "moe_use_logits_norm", "A checkpoint keeps its own; a new `moe_plus_plus` router has a `logits_std` above 0."),
        Refused(Switches, "moe_gate_norm_std", "A checkpoint keeps its own; it is the `logits_std` of a new `moe_plus_plus` router."),
        Refused(Switches, "moe_feature_no_mul_topk", "A checkpoint keeps its own; a new layer has `\"input_scale\": 2` where its experts see twice their input."),
    ];

    private static SeedOption Same(string table, string name, string sentence) => Ours(table, name, "--" + name.Replace('_', '-'), sentence);

    private static SeedOption Ours(string table, string name, string ours, string sentence) => new(table, name, ours, null, Capital(sentence));

    private static SeedOption NoEffect(string table, string name, string sentence) => new(table, name, null, null, sentence);

    private static SeedOption Only(string table, string name, string[] accepted, string sentence) => new(table, name, null, accepted, sentence);

    private static SeedOption Refused(string table, string name, string sentence) => new(table, name, null, [], sentence);

    private static string Capital(string sentence) => char.ToUpperInvariant(sentence[0]) + sentence[1..];
}
