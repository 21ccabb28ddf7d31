"""PyTorch at the sizes of GpuBench, as a table with the same names: torch_gpu.py [--device cuda] [--small].  What a PyTorch lacks is left out, and named."""
import argparse
import time

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--device", default="cuda")
parser.add_argument("--small", action="store_true", help="sizes that only show that all of it runs")
args = parser.parse_args()
device, small = args.device, args.small

hidden, wide, square, tokens, copied = (32, 48, 64, 12, 256) if small else (4096, 14336, 4096, 4096, 1 << 28)
heads, kv_heads, head_dim = (2, 1, 16) if small else (32, 8, 128)
vocabulary = 40 if small else 32000
moe_shapes = [("a small layer", 32, 48, 4, 2)] if small else [
    ("Mixtral 8x7B", 4096, 14336, 8, 2), ("OLMoE 1B-7B", 2048, 1024, 64, 8), ("Qwen3-30B-A3B", 2048, 768, 128, 8)]
moe_tokens = [1, 12] if small else [1, 8, 512, 4096]
names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def wait():
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds(run, fill=0.0 if small else 0.05, rounds=5):
    def once(times):
        wait()
        start = time.perf_counter()
        for _ in range(times):
            run()
        wait()
        return time.perf_counter() - start

    once(1)
    times = int(min(max(fill / once(1), 1), 2000))
    return sorted(once(times) / times for _ in range(rounds))[rounds // 2]


def row(name, bytes_, flops, run):
    try:
        s = seconds(run)
    except (RuntimeError, AttributeError, NotImplementedError) as e:
        print(f"| {name} | not here: {str(e).splitlines()[0][:60]} | | |", flush=True)
        return
    print(f"| {name} | {1e6 * s:.1f} | {bytes_ / s / 1e9:.0f} | {flops / s / 1e12:.2f} |", flush=True)


def random(*shape, dtype=torch.float32, grad=False):
    return (0.02 * torch.randn(*shape, device=device)).to(dtype).requires_grad_(grad)


def linear(t, d, n, dtype, label=None):
    x, w = random(t, d, dtype=dtype), random(n, d, dtype=dtype)
    row(f"linear {t} × {d} → {n}, {label or names[dtype]}", x.element_size() * (t * d + t * n + n * d), 2 * t * d * n, lambda: x @ w.T)


@torch.no_grad()
def plain():
    x, y = torch.zeros(copied, device=device), torch.empty(copied, device=device)
    row(f"copy {copied >> 18} MiB", 8 * copied, 0, lambda: y.copy_(x))
    torch.backends.cuda.matmul.allow_tf32 = False
    linear(square, square, square, torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = True
    linear(square, square, square, torch.float32, "F32 by TF32 tensor cores")
    torch.backends.cuda.matmul.allow_tf32 = False
    linear(square, square, square, torch.bfloat16, "BF16 by tensor cores")
    for dtype in names:
        linear(1, hidden, wide, dtype)
        linear(8, hidden, wide, dtype)
        linear(min(512, tokens), hidden, hidden, dtype)
    logits = random(tokens, vocabulary)
    row(f"softmax {tokens} × {vocabulary}", 8 * tokens * vocabulary, 0, lambda: logits.softmax(-1))


def attention():
    for dtype in (torch.float32, torch.bfloat16):
        q = random(1, heads, tokens, head_dim, dtype=dtype, grad=True)
        k, v = (random(1, kv_heads, tokens, head_dim, dtype=dtype) for _ in range(2))
        k, v = (z.repeat_interleave(heads // kv_heads, 1).requires_grad_(True) for z in (k, v))
        pairs = tokens * (tokens + 1) / 2 * heads
        size = q.element_size()
        with torch.no_grad():
            row(f"attention, {tokens} queries of {heads} heads, {names[dtype]}", size * tokens * 2 * head_dim * (heads + kv_heads), 4 * head_dim * pairs,
                lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
            row(f"attention, 1 query, {tokens} keys, {names[dtype]}", 2 * size * tokens * kv_heads * head_dim, 4 * head_dim * tokens * heads,
                lambda: F.scaled_dot_product_attention(q[:, :, -1:], k, v))
        row(f"attention and its gradient, {tokens} queries, {names[dtype]}", 0, 14 * head_dim * pairs,
            lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward())


@torch.no_grad()
def experts():
    for name, d, f, e, top_k in moe_shapes:
        gate, up = (random(e, f, d, dtype=torch.bfloat16) for _ in range(2))
        down = random(e, d, f, dtype=torch.bfloat16)
        for t in moe_tokens:
            x = random(t, d, dtype=torch.bfloat16)
            chosen = random(t, e).topk(top_k, -1).indices
            weight = torch.full((t * top_k,), 1 / top_k, device=device, dtype=torch.bfloat16)
            order = chosen.flatten().argsort(stable=True)
            token, counts = order // top_k, torch.bincount(chosen.flatten(), minlength=e)
            offsets = counts.cumsum(0).to(torch.int32)
            used = int((counts > 0).sum())
            bytes_, flops = 6 * d * f * used + 4 * t * d, 6 * d * f * t * top_k
            gathered = x[token]

            def grouped():
                h = F.silu(torch._grouped_mm(gathered, gate.transpose(1, 2), offs=offsets)) * torch._grouped_mm(gathered, up.transpose(1, 2), offs=offsets)
                y = torch._grouped_mm(h, down.transpose(1, 2), offs=offsets)
                return torch.zeros_like(x).index_add_(0, token, y * weight[:, None])

            def loop():
                y, start = torch.zeros_like(x), 0
                for i, n in enumerate(counts.tolist()):
                    if n > 0:
                        rows = token[start:start + n]
                        z = x[rows]
                        y.index_add_(0, rows, (F.silu(z @ gate[i].T) * (z @ up[i].T)) @ down[i].T * weight[start:start + n, None])
                    start += n
                return y

            row(f"{name}, {t} tokens: experts, BF16, torch._grouped_mm", bytes_, flops, grouped)
            row(f"{name}, {t} tokens: experts, BF16, a loop over experts", bytes_, flops, loop)


def models():
    try:
        from transformers import MixtralConfig, MixtralForCausalLM
    except ImportError as e:
        print(f"| transformers' Mixtral | not here: {e} | | |")
        return
    shapes = {"T": (256, 4, 4, 4, 8, 512)} if small else {"S": (512, 8, 8, 8, 8, 1024), "M": (1024, 16, 16, 8, 16, 1408)}
    prompt, decoded = (4, 2) if small else (512, 64)
    for name, (d, layers, h, kv, e, f) in shapes.items():
        config = MixtralConfig(vocab_size=4096, hidden_size=d, intermediate_size=f, num_hidden_layers=layers, num_attention_heads=h,
                               num_key_value_heads=kv, num_local_experts=e, num_experts_per_tok=2, max_position_embeddings=8192)
        for dtype in (torch.float32, torch.bfloat16):
            model = MixtralForCausalLM(config).to(device, dtype)
            ids = torch.randint(0, 4096, (1, prompt), device=device)
            with torch.no_grad():
                print(f"| {name}, {names[dtype]}, transformers: prefill, tokens/s | {prompt / seconds(lambda: model(ids)):.1f} | | |", flush=True)
                cache = model(ids, use_cache=True).past_key_values
                wait()
                start = time.perf_counter()
                for i in range(decoded):
                    step = model(ids[:, i:i + 1], past_key_values=cache, use_cache=True)
                    cache = step.past_key_values
                    int(step.logits[0, -1].argmax())
                print(f"| {name}, {names[dtype]}, transformers: decode, tokens/s | {decoded / (time.perf_counter() - start):.1f} | | |", flush=True)
            if dtype == torch.float32:
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
                batch = torch.randint(0, 4096, (2, 8) if small else (8, 256), device=device)

                def train():
                    optimizer.zero_grad()
                    model(batch, labels=batch).loss.backward()
                    optimizer.step()

                print(f"| {name}, F32, transformers: training, tokens/s | {batch.numel() / seconds(train):.1f} | | |", flush=True)
            del model


print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name() if device.startswith('cuda') else device}\n")
print("| kernel | µs | GB/s | TFLOP/s |\n|---|---:|---:|---:|")
plain()
attention()
experts()
models()
