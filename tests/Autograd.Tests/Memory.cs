using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>The tape owns every intermediate and gives all of them back.</summary>
public abstract class Memory(IBackend backend) : OnBackend(backend)
{
    public enum Kind { Training, Checkpointing, Inference, KeepAll }

    public static TheoryData<Kind> Kinds => [Kind.Training, Kind.Checkpointing, Kind.Inference, Kind.KeepAll];

    [Theory, MemberData(nameof(Kinds))]
    public void Reset_and_dispose_give_everything_back(Kind kind)
    {
        Network network = Build();
        int before = Backend.LiveBuffers;
        using (Tape g = Open(kind))
        {
            network.Run(g);
            Assert.True(Backend.LiveBuffers > before);
            g.Reset();
            Assert.Equal(before, Backend.LiveBuffers);

            Tensor loss = network.Run(g);
            if (g.IsTraining)
                g.Backward(loss);
        }
        Assert.Equal(before, Backend.LiveBuffers);
    }

    [Theory, MemberData(nameof(Kinds))]
    public void An_exception_inside_a_block_costs_nothing_but_the_step(Kind kind)
    {
        Network network = Build();
        int before = Backend.LiveBuffers;
        float[] expected = Gradients(Tape.Training(Backend));
        using Tape g = Open(kind);
        for (int block = 0; block < 3; block++)
        {
            int fails = block;
            Assert.Throws<TimeoutException>(() => network.Run(g, () =>
            {
                if (fails-- == 0)
                    throw new TimeoutException();
            }));
            g.Reset();
            Assert.Equal(before, Backend.LiveBuffers);
        }
        if (g.IsTraining)
            Assert.Equal(expected, Gradients(g));

        float[] Gradients(Tape g)
        {
            g.Backward(network.Run(g));
            g.Reset();
            float[] gradient = GradOf(network.Gate);
            Backend.Fill(network.Gate.Grad!, 0);
            return gradient;
        }
    }

    [Theory, InlineData(Kind.Training), InlineData(Kind.Checkpointing)]
    public void An_exception_on_the_way_back_leaks_nothing(Kind kind)
    {
        Network network = Build();
        int before = Backend.LiveBuffers, calls = 0;
        using Tape g = Open(kind);
        Tensor loss = network.Run(g, () => calls++);
        int fails = calls + 2;
        calls = 0;
        g.Reset();
        loss = network.Run(g, () =>
        {
            if (++calls == fails)
                throw new TimeoutException();
        });
        Assert.Throws<TimeoutException>(() => g.Backward(loss));
        g.Reset();
        Assert.Equal(before, Backend.LiveBuffers);
    }

    [Fact]
    public void Backward_frees_each_gradient_once_it_is_passed_on()
    {
        Network network = Build();
        using Tape g = Tape.Training(Backend);
        Tensor loss = network.Run(g);
        int before = Backend.LiveBuffers;
        g.Backward(loss);
        Assert.Equal(before, Backend.LiveBuffers);
    }

    [Fact]
    public void Inference_frees_a_tensor_early_when_told_to()
    {
        Tensor x = Constant([4]);
        using Tape g = Tape.Inference(Backend), keeping = Tape.Inference(Backend, keepAll: true), training = Tape.Training(Backend);
        foreach (Tape tape in new[] { g, keeping, training })
        {
            Tensor y = tape.Scale(x, 2);
            tape.FreeEarly(y);
            Assert.Equal(tape != g, y.IsLive);
            tape.FreeEarly(x);
            Assert.True(x.IsLive, "a leaf is not the tape's to free");
        }
    }

    /// <summary>What a block frees early from outside must not shift what it counts as its own.</summary>
    [Fact]
    public void Freeing_early_inside_a_block_saves_none_of_its_scratch()
    {
        Tensor x = Constant([4]);
        using Tape g = Tape.Inference(Backend);
        int before = Backend.LiveBuffers;
        Tensor outer = g.Scale(x, 2);
        g.Block(outer, static (g, outer) =>
        {
            Tensor a = g.Scale(outer, 2), b = g.Scale(a, 2);
            g.FreeEarly(outer);
            g.FreeEarly(a);
            return g.Scale(b, 2);
        });
        Assert.Equal(before, Backend.LiveBuffers);
    }

    [Fact]
    public void A_tensor_that_was_given_back_cannot_be_read()
    {
        using Tape g = Tape.Inference(Backend);
        Tensor y = g.Scale(Constant([4]), 2);
        g.Reset();
        Assert.Throws<ObjectDisposedException>(() => Backend.ToFloats(y));
    }

    [Fact]
    public void A_steady_inference_step_allocates_no_managed_memory()
    {
        (Tensor x, Tensor norm, Tensor gate, Tensor up, Tensor down) state =
            (Constant([2, 8]), Constant([8], 1), Constant([6, 8], 2), Constant([6, 8], 3), Constant([8, 6], 4));
        using Tape g = Tape.Inference(Backend);
        for (int i = 0; i < 64; i++)
            Step();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 64; i++)
            Step();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Step()
        {
            Tensor h = state.x;
            for (int layer = 0; layer < 3; layer++)
            {
                Tensor y = g.Block((h, state.norm, state.gate, state.up, state.down), static (g, s) =>
                {
                    Tensor n = g.RmsNorm(s.h, s.norm, 1e-5f);
                    Tensor f = g.Linear(g.Gated<Silu>(g.Linear(n, s.gate), g.Linear(n, s.up)), s.down);
                    return g.Keep(g.Add(s.h, f));
                });
                g.FreeEarly(h);
                h = y;
            }
            g.Softmax(h);
            g.Reset();
        }
    }

    private Tape Open(Kind kind) => kind switch
    {
        Kind.Training => Tape.Training(Backend),
        Kind.Checkpointing => Tape.Training(Backend, checkpointBlocks: true),
        Kind.Inference => Tape.Inference(Backend),
        _ => Tape.Inference(Backend, keepAll: true),
    };

    private Network Build() => new(Constant([5, 6]), Parameter([4, 6], 1), Parameter([6, 6], 2), Parameter([6], 3));
}
