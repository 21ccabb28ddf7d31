"""One figure of PyTorch's per call, as lines "name<TAB>value": torch_peer.py gemm M K N | layer | calls | tau T | train.  $PEERS/torch/moe.py has the model."""
import os, resource, sys, time

what, args = sys.argv[1], sys.argv[2:]
sys.argv = ["moe.py", "none"]
sys.path.insert(0, os.environ["PEERS"] + "/torch")
import torch
import moe


def median_seconds(run, times=7, warmup=2):
    seconds = []
    for i in range(times + warmup):
        start = time.perf_counter()
        run()
        if i >= warmup:
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)[times // 2]


def routed(target, extra=()):
    """A layer whose router's bias is fitted until its experts have these shares of the choices."""
    layer = moe.MoE(1024, 2048, 8, extra=extra)
    bias = torch.zeros(len(target))
    logits = layer.r(x)
    for _ in range(600):
        counts = torch.bincount((logits + bias).topk(2, -1).indices.flatten(), minlength=len(target)).float()
        bias += 0.3 * (torch.tensor(target) - counts / counts.sum())
    layer.bias = bias
    return layer


if what == "gemm":
    m, k, n = map(int, args)
    a, b = torch.rand(m, k) - 0.5, torch.rand(n, k) - 0.5
    print(f"gemm\t{2e-9 * m * k * n / median_seconds(lambda: a @ b.T, 15)}")
elif what == "train":
    batch, context, vocab = 8, 256, 4096
    model = moe.LM()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)
    tokens = torch.randint(0, vocab, (batch, context + 1))

    def step():
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).reshape(-1, vocab), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    print(f"train\t{batch * context / median_seconds(step, 5)}")
else:
    with torch.no_grad():
        x = torch.randn(2048, 1024)
        if what == "calls":
            rows, experts = torch.randn(512, 1024), [moe.Expert(1024, 2048) for _ in range(8)]
            print(f"layer\t{1e3 * median_seconds(lambda: [e(rows) for e in experts])}")
        elif what == "layer":
            layer = routed([1 / 8] * 8)
            print(f"layer\t{1e3 * median_seconds(lambda: layer(x))}")
        else:
            share = 8 * float(args[0]) / (8 * float(args[0]) + 4)
            plain = routed([1 / 8] * 8)
            layer = routed([share / 8] * 8 + [(1 - share) / 4] * 4, ("zero", "copy", "const", "const"))
            gains = sorted(median_seconds(lambda: plain(x), 1, 0) / median_seconds(lambda: layer(x), 1, 0) for _ in range(9))
            print(f"gain\t{gains[4]}")
print(f"rss\t{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}")
