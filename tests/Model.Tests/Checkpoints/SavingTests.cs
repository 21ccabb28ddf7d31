using MoeFromScratch.Contract;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>What is written is what was read, and what cannot be written faithfully is not written.</summary>
public sealed class SavingTests : IDisposable
{
    private readonly TemporaryFolder _first = new(), _second = new();

    public static TheoryData<string> Names => Variants.Names;
    public static TheoryData<string> Goldens { get; } = [.. GoldenCase.Names];

    public void Dispose()
    {
        _first.Dispose();
        _second.Dispose();
    }

    /// <summary>Names, types, shapes, bytes, buffers included, and the config as it was.</summary>
    [Theory]
    [MemberData(nameof(Goldens))]
    public void GoldenModelsComeBack(string golden)
    {
        string folder = Golden.Folder(golden);
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using (LanguageModel model = LanguageModel.Load(folder, backend))
            model.Save(_first.Path);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "config.json")), File.ReadAllBytes(_first["config.json"]));
        using TensorFiles original = TensorFiles.Open(folder), copy = TensorFiles.Open(_first.Path);
        Assert.Equal(original.Names, copy.Names);
        foreach (string name in original.Names)
            TemporaryFolder.AssertEqual(original.Get(name), copy.Get(name));
    }

    /// <summary>A config that we write ourselves describes the golden model as its own config does.</summary>
    [Theory]
    [MemberData(nameof(Goldens))]
    public void GoldenConfigsAreWrittenAnew(string golden)
    {
        ConfigJson json = ConfigJson.Read(Path.Combine(Golden.Folder(golden), "config.json"));
        Family family = Family.Recognise(json);
        ModelConfig config = family.Read(json);
        ConfigJson written = ConfigJson.Parse("config.json", family.Write(config).ToJsonString());
        AssertSame(config, family.Read(written));
        Assert.Equal((json.Architecture, json.ModelType), (written.Architecture, written.ModelType));
    }

    /// <summary>A trained model is F32, its values those it was loaded with.</summary>
    [Fact]
    public void TrainableModelsAreSavedWide()
    {
        string folder = Golden.Folder("mixtral-bf16-sharded");
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using (LanguageModel model = LanguageModel.Load(folder, backend, trainable: true))
            model.Save(_first.Path);
        using TensorFiles original = TensorFiles.Open(folder), copy = TensorFiles.Open(_first.Path);
        Assert.Equal(original.Names, copy.Names);
        foreach (string name in original.Names)
        {
            float[] wide = [.. original.Get(name).Host<ushort>().ToArray().Select(DTypes.FromBF16)];
            Bits.Equal(name, wide, copy.Get(name).Floats);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void SavedLoadedSavedIsTheSame(string variant)
    {
        ModelConfig config = Variants.All[variant];
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using (LanguageModel model = LanguageModel.Create(backend, Tiny.Family(Variants.FamilyOf(variant)), config, seed: 9))
            model.Save(_first.Path);
        foreach (bool trainable in new[] { false, true })
        {
            using (LanguageModel model = LanguageModel.Load(_first.Path, backend, trainable))
            {
                AssertSame(config, model.Config);
                model.Save(_second.Path);
            }
            Assert.Equal(_first.Files, _second.Files);
            foreach (string file in _first.Files)
                Assert.Equal(File.ReadAllBytes(_first[file]), File.ReadAllBytes(_second[file]));
        }
    }

    /// <summary>Into the folder it is mapped from, tokenizer and all.</summary>
    [Fact]
    public void AModelReplacesItself()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using (LanguageModel model = Texts.Model(backend, "dynamic-moe"))
            model.Save(_first.Path);
        Assert.Equal(["config.json", "model.safetensors", "tokenizer.json"], _first.Files);
        byte[] before = File.ReadAllBytes(_first["model.safetensors"]);
        using LanguageModel again = LanguageModel.Load(_first.Path, backend);
        again.Save(_first.Path);
        Assert.Equal(before, File.ReadAllBytes(_first["model.safetensors"]));
        Assert.Equal("the cat", again.Tokenizer!.Decode(again.Tokenizer.Encode("the cat")));
    }

    /// <summary>Buffers of the reference are passed through, not computed anew.</summary>
    [Fact]
    public void StoredBuffersAreKept()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using (LanguageModel model = LanguageModel.Load(Golden.Folder("dynamic-moe"), backend))
            model.Save(_first.Path);
        const string Buffer = "model.layers.1.self_attn.rotary_emb.inv_freq";
        Edit(Buffer, static x => x.Floats[0] = MathF.BitIncrement(x.Floats[0]));
        using (LanguageModel model = LanguageModel.Load(_first.Path, backend))
            model.Save(_second.Path);
        Assert.Equal(File.ReadAllBytes(_first["model.safetensors"]), File.ReadAllBytes(_second["model.safetensors"]));
    }

    /// <summary>DeepSeek-V3's files end in layers that predict further tokens: kept, not run, and only where the config speaks of them.</summary>
    [Fact]
    public void LayersForFurtherTokensAreKept()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using (LanguageModel model = LanguageModel.Load(Golden.Folder("deepseek-v3"), backend))
            model.Save(_first.Path);
        Edit("model.norm.weight", static _ => { }, "model.layers.3.enorm.weight");
        TemporaryFolder.AssertRefused("is no part of a deepseek-v3 model", () => LanguageModel.Load(_first.Path, backend));
        File.WriteAllText(_first["config.json"], File.ReadAllText(_first["config.json"]).Replace("{", "{ \"num_nextn_predict_layers\": 1,", StringComparison.Ordinal));
        using (LanguageModel model = LanguageModel.Load(_first.Path, backend))
        {
            Assert.Equal(3, model.Config.Layers.Count);
            model.Save(_second.Path);
        }
        using (TensorFiles original = TensorFiles.Open(_first.Path), copy = TensorFiles.Open(_second.Path))
            Assert.Equal(original.Names, copy.Names);
        Edit("model.norm.weight", static _ => { }, "model.layers.4.enorm.weight");
        TemporaryFolder.AssertRefused("is no part of a deepseek-v3 model", () => LanguageModel.Load(_first.Path, backend));
    }

    [Fact]
    public void ATiedHeadMayBeStoredIfItIsTheSame()
    {
        const string Variant = "mixtral top 3, tied";
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using (LanguageModel model = LanguageModel.Create(backend, Tiny.Family("mixtral"), Variants.All[Variant], seed: 9))
        {
            model.Save(_first.Path);
            Assert.DoesNotContain(model.Weights.All, static p => p.Name == "lm_head.weight");
        }
        float[] alone = Logits();
        Edit("model.embed_tokens.weight", static _ => { }, "lm_head.weight");
        Bits.Equal("logits", alone, Logits());
        int live = backend.LiveBuffers;
        Edit("lm_head.weight", static x => x.Floats[0] += 1);
        CheckpointException refusal = TemporaryFolder.AssertRefused("differs from model.embed_tokens.weight", () => Logits());
        Assert.Equal("lm_head.weight", refusal.Tensor);
        Assert.Equal(live, backend.LiveBuffers);

        float[] Logits()
        {
            using LanguageModel model = LanguageModel.Load(_first.Path, backend);
            return Tiny.Logits(model, [1, 2, 3], 3);
        }
    }

    /// <summary>Settings that a family's config.json has no words for.</summary>
    [Fact]
    public void WhatAConfigCannotSayIsRefused()
    {
        ModelConfig dynamic = Tiny.Config("dynamic-moe"), mixtral = Tiny.Config("mixtral");
        MoeConfig topP = (MoeConfig)dynamic.Layers[0], topK = (MoeConfig)mixtral.Layers[0];
        Refused("dynamic-moe", dynamic with { Attention = dynamic.Attention with { KvHeads = 1 } });
        Refused("dynamic-moe", dynamic with { Attention = dynamic.Attention with { RopeTheta = 5000 } });
        Refused("dynamic-moe", dynamic with { Attention = dynamic.Attention with { HeadDim = 6 } });
        Refused("dynamic-moe", dynamic with { Attention = dynamic.Attention with { Window = 4 } });
        Refused("dynamic-moe", dynamic with { RouterLosses = [new RouterZLoss(1)] });
        Refused("dynamic-moe", dynamic with { Layers = [topP with { Router = new TopPRouterConfig(0.5f, MaxExpertsPerToken: 2) }] });
        Refused("dynamic-moe", dynamic with { Layers = [topP, topP with { Router = new TopPRouterConfig(0.6f) }] });
        Refused("dynamic-moe", dynamic with { Layers = [new DenseConfig(11), topP] });
        Refused("dynamic-moe", dynamic with { Layers = [topP, new DenseConfig(12)] });
        Refused("dynamic-moe", dynamic with { Layers = [topP, new DenseConfig(11), new DenseConfig(11), topP, topP] });
        Refused("dynamic-moe", dynamic with { Layers = [topK] });
        Refused("mixtral", mixtral with { Layers = [topP] });
        Refused("mixtral", mixtral with { Layers = [topK, new DenseConfig(13)] });
        Refused("mixtral", mixtral with { Layers = [new DenseConfig(13)] });
        Refused("mixtral", mixtral with { Layers = [topK with { Router = new TopKRouterConfig(2, Renormalize: false) }] });
        Refused("mixtral", mixtral with { Layers = [topK, topK with { Router = new TopKRouterConfig(1) }] });
        Refused("mixtral", mixtral with { Layers = [topK, topK with { Banks = [new FfnExpertsConfig(4, 14)] }] });
        Refused("mixtral", mixtral with { RouterLosses = [new LoadBalanceLoss(0.1f)] });
        Refused("mixtral", mixtral with { RouterLosses = [new LoadBalanceLoss(0.1f, BalanceScope.Model), new RouterZLoss(0.1f)] });
        ModelConfig llama = Variants.All["llama"], qwen2 = Variants.All["qwen2 tied, wide heads"];
        Refused("llama", llama with { Attention = llama.Attention with { Window = 4 } });
        Refused("llama", llama with { Attention = llama.Attention with { OutputBias = true } });
        Refused("llama", llama with { Attention = llama.Attention with { ClipQkv = 1 } });
        Refused("llama", llama with { Attention = llama.Attention with { QkNorm = QkNorm.PerHead } });
        Refused("llama", llama with { Layers = [topK] });
        Refused("llama", llama with { Layers = [new DenseConfig(11), new DenseConfig(12)] });
        Refused("llama", llama with { RouterLosses = [new RouterZLoss(1)] });
        Refused("qwen2", qwen2 with { Attention = qwen2.Attention with { QkvBias = false } });
        Refused("qwen2", qwen2 with { Layers = [new DenseConfig(11, Bias: true)] });
        ModelConfig olmoe = Variants.All["olmoe clipped, grouped"], qwen2Moe = Variants.All["qwen2-moe"], qwen3Moe = Variants.All["qwen3-moe raw, tied"];
        Refused("olmoe", olmoe with { Attention = olmoe.Attention with { HeadDim = 8 } });
        Refused("olmoe", olmoe with { Attention = olmoe.Attention with { QkNorm = QkNorm.PerHead } });
        Refused("olmoe", qwen2Moe);
        Refused("olmoe", olmoe with { Layers = [.. olmoe.Layers, new DenseConfig(9)] });
        Refused("qwen2-moe", qwen2Moe with { Layers = [topK] });
        Refused("qwen2-moe", qwen2Moe with { Layers = [new DenseConfig(9)] });
        Refused("qwen2-moe", qwen2Moe with { Layers = [topP] });
        Refused("qwen2-moe", qwen2Moe with { Layers = [.. qwen2Moe.Layers, new DenseConfig(9), new DenseConfig(8)] });
        Refused("qwen2-moe", qwen2Moe with { RouterLosses = [new LoadBalanceLoss(0.1f)] });
        Refused("qwen3-moe", qwen3Moe with { Attention = qwen3Moe.Attention with { QkvBias = true } });
        Refused("qwen3-moe", qwen3Moe with { Layers = qwen2Moe.Layers });
        Refused("qwen3-moe", qwen3Moe with { ResidualMultiplier = 2 });
        ModelConfig phi = Variants.All["phimoe wide band"], granite = Variants.All["granitemoe"];
        Refused("phimoe", phi with { LayerNorm = false });
        Refused("mixtral", mixtral with { LayerNorm = true });
        Refused("phimoe", phi with { Layers = [topK] });
        Refused("granitemoe", granite with { Attention = granite.Attention with { Scale = 0 } });
        Refused("granitemoe", granite with { Layers = [topK] });
        Tiny.Family("qwen2").Write(qwen2);
        ModelConfig v2 = Variants.All["deepseek-v2 greedy"], v3 = Variants.All["deepseek-v3 one group, no rank for queries"];
        MoeConfig latentMoe = (MoeConfig)v3.Layers[^1];
        Refused("deepseek-v3", v2);
        Refused("deepseek-v2", v3);
        Refused("deepseek-v2", v2 with { Attention = v2.Attention with { RopeInterleaved = false } });
        Refused("deepseek-v3", v3 with { Attention = v3.Attention with { Latent = null } });
        Refused("deepseek-v3", v3 with { Attention = v3.Attention with { Window = 4 } });
        Refused("deepseek-v3", v3 with { Attention = v3.Attention with { QkvBias = true } });
        Refused("deepseek-v3", v3 with { Layers = [new DenseConfig(11), latentMoe, new DenseConfig(11)] });
        Refused("deepseek-v3", v3 with { Layers = [latentMoe with { Router = new TopKRouterConfig(2) }] });
        Refused("deepseek-v3", v3 with { Layers = [latentMoe with { Banks = [latentMoe.Banks[0], new SharedExpertConfig(15, Gated: false)] }] });
        Refused("deepseek-v3", v3 with { Layers = [latentMoe with { Banks = [latentMoe.Banks[0], new SharedExpertConfig(14, Gated: true)] }] });
        Refused("deepseek-v3", v3 with { RouterLosses = [new LoadBalanceLoss(0.1f)] });
        Refused("mixtral", mixtral with { Attention = mixtral.Attention with { RotaryDim = 4 } });
        ModelConfig windows = Variants.All["qwen3-moe windows"], oss = Variants.All["gpt-oss"];
        MoeConfig clamped = (MoeConfig)oss.Layers[0];
        Refused("qwen3-moe", windows with { FullAttentionLayers = [0] });
        Refused("mixtral", mixtral with { Attention = mixtral.Attention with { Window = 3 }, FullAttentionLayers = [1] });
        Refused("mixtral", mixtral with { Attention = mixtral.Attention with { Sinks = true } });
        Refused("mixtral", mixtral with { Layers = [topK with { Router = new TopKRouterConfig(2) { Gate = new GateConfig { Bias = true } } }] });
        Refused("gpt-oss", oss with { Attention = oss.Attention with { Sinks = false } });
        Refused("gpt-oss", oss with { Attention = oss.Attention with { OutputBias = false } });
        Refused("gpt-oss", oss with { Layers = [topK] });
        Refused("gpt-oss", oss with { Layers = [clamped with { Router = new TopKRouterConfig(2) }, clamped] });
        Refused("gpt-oss", oss with { Layers = [clamped with { Banks = [.. clamped.Banks, new ZeroExpertsConfig(1)] }] });
        Tiny.Family("gpt-oss").Write(oss);
        Tiny.Family("mixtral").Write(mixtral with { FullAttentionLayers = [1] });   // there is no window to be without
        ModelConfig plusPlus = Variants.All["moe-plus-plus standardized, plain input"];
        MoeConfig zero = (MoeConfig)plusPlus.Layers[0];
        MoePlusPlusRouterConfig router = (MoePlusPlusRouterConfig)zero.Router;
        Refused("moe-plus-plus", plusPlus with { RouterLosses = [new HeterogeneousBalanceLoss(0.01f, 0.5f)] });
        Refused("moe-plus-plus", plusPlus with { Attention = plusPlus.Attention with { Window = 4 } });
        Refused("moe-plus-plus", plusPlus with { Layers = [zero, new DenseConfig(7)] });
        Refused("moe-plus-plus", plusPlus with { Layers = [topK] });
        Refused("moe-plus-plus", plusPlus with { Layers = [zero with { InputScale = 3 }] });
        Refused("moe-plus-plus", plusPlus with { Layers = [zero with { Banks = [zero.Banks[0], zero.Banks[2], zero.Banks[1], zero.Banks[3]] }] });
        Refused("moe-plus-plus", plusPlus with { Layers = [zero with { Banks = [new FfnExpertsConfig(5, 7), .. zero.Banks.Skip(1)] }] });
        Refused("moe-plus-plus", plusPlus with { Layers = [zero, zero with { Router = router with { LogitsStd = 0 } }] });
        foreach (MoePlusPlusRouterConfig other in new[]
            {
                router with { TopK = 3 }, router with { Gating = MoePlusPlusGating.Raw }, router with { Capacity = new CapacityConfig(1.1f) },
                router with { Gate = new GateConfig() }, router with { Gate = new GateConfig { Residual = true, HiddenSize = 5 } },
            })
            Refused("moe-plus-plus", plusPlus with { Layers = [zero with { Router = other }] });
        ModelConfig uni = Variants.All["uni-moe-2"];
        MoeConfig dc = (MoeConfig)uni.Layers[0];
        DcMoeRouterConfig dcRouter = (DcMoeRouterConfig)dc.Router;
        foreach (CapacityConfig capacity in new[]
            { new CapacityConfig(1.5f, 3), new CapacityConfig(2, 0, DropPolicy.Position) { LimitsShared = true } })
            Tiny.Family("uni-moe-2").Write(uni with { Layers = [dc with { Router = dcRouter with { Capacity = capacity } }] });
        foreach (CapacityConfig capacity in new[]
            { new CapacityConfig(1.5f, 3, Tau: 0.5f), new CapacityConfig(2, 0, DropPolicy.Position), new CapacityConfig(2) { LimitsShared = true } })
            Refused("uni-moe-2", uni with { Layers = [dc with { Router = dcRouter with { Capacity = capacity } }] });
        Refused("uni-moe-2", uni with { Layers = [dc with { Router = dcRouter with { Gate = new GateConfig { Residual = true } } }] });
        Refused("uni-moe-2", uni with { Layers = [dc with { Banks = [dc.Banks[0], dc.Banks[2], dc.Banks[1]] }] });
        Refused("uni-moe-2", uni with { Layers = [dc with { Banks = [dc.Banks[0], new CopyExpertsConfig(1)] }] });
        Refused("uni-moe-2", uni with { Attention = uni.Attention with { QkvBias = false } });
        Refused("uni-moe-2", uni with { RouterLosses = [new LoadBalanceLoss(0.1f)] });
        Tiny.Family("llama").Write(llama);
        Tiny.Family("moe-plus-plus").Write(plusPlus);
        Tiny.Family("dynamic-moe").Write(dynamic);
        Tiny.Family("mixtral").Write(mixtral);

        static void Refused(string family, ModelConfig config) => Assert.Throws<ArgumentException>(() => Tiny.Family(family).Write(config));
    }

    private static void AssertSame(ModelConfig expected, ModelConfig actual) =>
        Assert.True(expected.Describes(actual), $"{actual} with {string.Join(", ", actual.Layers)} is not {expected} with {string.Join(", ", expected.Layers)}");

    /// <summary>Changes one tensor of the first folder's file, or a copy of it under another name.</summary>
    private void Edit(string name, Action<Tensor> change, string? copyAs = null)
    {
        string path = _first["model.safetensors"];
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Tensor x = file.Get(name), edited = new(x.Shape, x.DType, new NativeStorage(x.Bytes));
        x.Host<byte>().CopyTo(edited.Host<byte>());
        change(edited);
        List<(string, Tensor)> tensors = [.. file.Entries.Where(e => e.Name != (copyAs ?? name)).Select(e => (e.Name, file.Get(e.Name))), (copyAs ?? name, edited)];
        SafetensorsWriter.Write(path, tensors, file.Metadata);
    }
}
