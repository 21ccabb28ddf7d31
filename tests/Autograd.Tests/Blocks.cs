using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>Blocks free their scratch in inference, and in training compute it again when asked to.</summary>
public abstract class Blocks(IBackend backend) : OnBackend(backend)
{
    [Fact]
    public void Inference_keeps_what_a_block_promised_and_frees_the_rest()
    {
        Tensor x = Constant([4]);
        using Tape g = Tape.Inference(Backend);
        int before = Backend.LiveBuffers;
        (Tensor kept, Tensor scratch) = g.Block(x, static (g, x) =>
        {
            Tensor scratch = g.Scale(x, 2);
            return (g.Keep(g.Add(scratch, x)), scratch);
        });
        Assert.False(scratch.IsLive);
        Assert.Equal(before + 1, Backend.LiveBuffers);
        Assert.Equal(Array.ConvertAll(Backend.ToFloats(x), v => 3 * v), Backend.ToFloats(kept), (a, b) => MathF.Abs(a - b) < 1e-6f);
    }

    [Fact]
    public void What_an_inner_block_keeps_ends_with_the_outer_one_unless_that_keeps_it_too()
    {
        using Tape g = Tape.Inference(Backend);
        (Tensor once, Tensor twice) = g.Block(Constant([4]), static (g, x) =>
        {
            (Tensor a, Tensor b) = g.Block(x, static (g, x) => (g.Keep(g.Scale(x, 2)), g.Keep(g.Scale(x, 3))));
            Assert.True(a.IsLive);
            return (a, g.Keep(b));
        });
        Assert.False(once.IsLive);
        Assert.True(twice.IsLive);
    }

    [Fact]
    public void A_tape_that_keeps_all_keeps_a_blocks_inside()
    {
        using Tape g = Tape.Inference(Backend, keepAll: true);
        Tensor inside = g.Block(Constant([4]), static (g, x) =>
        {
            Tensor y = g.Scale(x, 2);
            g.Keep(g.Scale(y, 2));
            return y;
        });
        Assert.True(inside.IsLive);
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Checkpointing_gives_the_same_gradients_bit_for_bit(bool nested)
    {
        Assert.Equal(Gradients(checkpoint: false, nested, watch: null), Gradients(checkpoint: true, nested, watch: null));
        Assert.Equal(Gradients(checkpoint: false, nested: false, watch: null), Gradients(checkpoint: true, nested, watch: null));
    }

    [Fact]
    public void Checkpointing_computes_each_block_twice_and_holds_fewer_buffers()
    {
        (int Peak, int Calls) plain = Watch(checkpoint: false), checkpointed = Watch(checkpoint: true);
        Assert.Equal(3 + 3, plain.Calls);                   // there and back
        Assert.Equal(3 + 3 + 3, checkpointed.Calls);        // there, again, and back
        Assert.True(checkpointed.Peak < plain.Peak, $"{checkpointed.Peak} live buffers with checkpointing, {plain.Peak} without");

        (int, int) Watch(bool checkpoint)
        {
            int peak = 0, calls = 0;
            Gradients(checkpoint, nested: false, () => (peak, calls) = (Math.Max(peak, Backend.LiveBuffers), calls + 1));
            return (peak, calls);
        }
    }

    [Fact]
    public void Checkpointing_skips_a_block_that_the_loss_does_not_depend_on()
    {
        Tensor p = Parameter([3]);
        int runs = 0;
        using Tape g = Tape.Training(Backend, checkpointBlocks: true);
        g.Block(p, (g, p) =>
        {
            runs++;
            return g.Keep(g.Scale(p, 2));
        });
        g.Backward(g.SumOfSquares(p));
        Assert.Equal(1, runs);
    }

    [Fact]
    public void Checkpointing_takes_a_block_that_no_gradient_flows_through()
    {
        using Tape g = Tape.Training(Backend, checkpointBlocks: true);
        Tensor c = g.Block(Constant([3]), static (g, x) => g.Keep(g.Scale(x, 2)));
        Tensor p = Parameter([3], 1);
        g.Backward(g.RowDot(c, p));
        Assert.Equal(Backend.ToFloats(c), GradOf(p));
    }

    [Fact]
    public void A_block_may_hand_its_input_through()
    {
        Tensor p = Parameter([3]);
        using Tape g = Tape.Training(Backend, checkpointBlocks: true);
        Tensor h = g.Scale(p, 2);
        (Tensor same, Tensor y) = g.Block(h, static (g, h) => (g.Keep(h), g.Keep(g.Scale(h, 5))));
        g.Backward(g.RowSum(g.Add(same, y)));
        Assert.Equal([12, 12, 12], GradOf(p));
    }

    /// <summary>The real thing: three layers, two routers whose losses read what the blocks kept; five tokens (slot lists longer than needed), and ten.</summary>
    [Theory, InlineData(5), InlineData(10)]
    public void Checkpointing_a_transformer_with_router_losses_gives_the_same_gradients(int tokens)
    {
        float[] plain = Train(checkpoint: false);
        Assert.Contains(plain, d => d != 0);
        Assert.DoesNotContain(plain, float.IsNaN);
        Assert.Equal(plain, Train(checkpoint: true));

        float[] Train(bool checkpoint)
        {
            MoeConfig topP = new(new TopPRouterConfig(0.6f), [new FfnExpertsConfig(2, 6), new FfnExpertsConfig(2, 5)]);
            MoeConfig topK = new(new TopKRouterConfig(2), [new FfnExpertsConfig(4, 6)]);
            ModelConfig config = new()
            {
                VocabSize = 11,
                HiddenSize = 8,
                Attention = new AttentionConfig { Heads = 2, KvHeads = 1, HeadDim = 4 },
                Layers = [topP, new DenseConfig(12), topK],
                MaxPositions = 16,
                InitStd = 0.5f,
                RouterLosses = [new LoadBalanceLoss(0.1f), new RouterZLoss(0.1f), new RouterEntropyLoss(0.1f)],
            };
            using WeightStore weights = new(Backend, new RandomWeights(seed: 3), trainable: true);
            using Transformer model = new(config, weights);
            using Tape g = Tape.Training(Backend, checkpoint);
            int[] ids = [.. Enumerable.Range(0, tokens).Select(t => 7 * t % 11)], labels = [.. ids[1..], -1];
            List<LayerOutput> layers = [];
            Tensor logits = model.Forward(g, Batch.Packed(g, ids, [3, tokens - 3]), layers).Logits;
            g.Backward(Loss.Of(g, logits, labels, 1f / (tokens - 1), layers, config.RouterLosses).Total);
            return [.. weights.All.SelectMany(GradOf)];
        }
    }

    private float[] Gradients(bool checkpoint, bool nested, Action? watch)
    {
        Network network = new(Constant([5, 6]), Parameter([4, 6], 1), Parameter([6, 6], 2), Parameter([6], 3));
        using Tape g = Tape.Training(Backend, checkpoint);
        g.Backward(network.Run(g, watch, nested));
        return [.. GradOf(network.Gate), .. GradOf(network.Up), .. GradOf(network.Norm)];
    }
}
