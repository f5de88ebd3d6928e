"""The measurements: each function prints the rows of one work."""
import contextlib
import dataclasses
import importlib.util
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

import models

BF16 = torch.bfloat16


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the works are measured with; the defaults are those of the documentation, TINY is for a smoke test."""
    student: models.Shape = models.Shape(12, 12, 768, 50257, 1024)
    teacher: models.Shape = models.Shape(24, 16, 1024, 50257, 1024)
    train: tuple = (32, 1024)                      # sequences, tokens of each
    jsd_rows: int = 8192
    jsd_chunk: int = 1024
    jsd_heads: tuple = ((768, 768, 50257), (768, 1024, 50257), (768, 768, 128256), (768, 1024, 128256))
    generate: tuple = (64, 32, 128)                # prompts, tokens of each, new tokens
    on_policy: tuple = (32, 32, 128)
    attention: tuple = (32, 12, 1024, 64)          # B, H, T, D
    gemms: tuple = ((32768, 768, 2304), (32768, 768, 3072), (32768, 3072, 768), (8192, 768, 50257))  # M, K, N
    square: int = 8192
    copy: int = 1 << 31                            # bytes


TINY = Sizes(student=models.Shape(2, 2, 32, 101, 48), teacher=models.Shape(3, 4, 48, 101, 48), train=(2, 16),
             jsd_rows=32, jsd_chunk=8, jsd_heads=((32, 32, 101), (32, 48, 203)), generate=(3, 4, 6),
             on_policy=(3, 4, 6), attention=(2, 2, 32, 16), gemms=((64, 32, 96), (32, 32, 101)), square=64,
             copy=1 << 16)


# --- Training --------------------------------------------------------------------------------------------------------

def train(bench, sizes, with_compile):
    """Forward, mean next-token cross-entropy, backward and AdamW of a GPT-2."""
    batch, length = sizes.train

    def body(variant):
        dtype = BF16 if variant == "bf16" else torch.float32
        if variant == "transformers":
            model = models.transformers_gpt2(sizes.student, bench.device, dtype).train()
        else:
            with bench.device:
                model = models.GPT2(sizes.student).to(dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        tokens = torch.randint(sizes.student.vocabulary, (batch, length + 1), device=bench.device)
        inputs, targets = tokens[:, :-1], tokens[:, 1:].contiguous()
        run = torch.compile(model) if variant == "compile" else model
        loss = None

        def step():
            nonlocal loss
            with contextlib.nullcontext() if variant == "bf16" else torch.autocast(bench.device.type, dtype=BF16):
                if variant == "transformers":  # its shift drops one of the 1,024 targets
                    loss = run(input_ids=inputs, labels=inputs, use_cache=False).loss
                else:
                    loss = run(inputs, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss = loss.detach()

        start = time.perf_counter()
        step()
        first_loss = loss.item()
        first = time.perf_counter() - start
        return {**bench.times(step, 5), "first_step_seconds": first, "first_loss": first_loss, "loss": loss.item()}

    for variant in ["autocast", "bf16", "transformers"] + (["compile"] if with_compile else []):
        shape = {**dataclasses.asdict(sizes.student), "batch": batch, "length": length}
        dtype = "bf16" if variant == "bf16" else "bf16 autocast, fp32 weights"
        bench.case("train", variant, shape, dtype, lambda: body(variant), tokens=batch * length)


def installed(package):
    return importlib.util.find_spec(package) is not None


# --- Both heads and the divergence -----------------------------------------------------------------------------------

def head_loss_times(bench, rows, student_width, teacher_width, vocabulary, dtype, loss_of):
    """The mean of loss_of(hidden, head, teacher_hidden, teacher_head), a sum over rows, and its gradients.

    Hidden states (rows, width) and heads (vocabulary, width) are random; gradients go to the student's. extra_bytes
    is memory beyond these inputs and their gradients.
    """
    def random(*shape, scale):
        return torch.randn(shape, device=bench.device).mul_(scale).to(dtype)

    hidden = random(rows, student_width, scale=1.0).requires_grad_()
    teacher_hidden = random(rows, teacher_width, scale=1.0)
    head = random(vocabulary, student_width, scale=student_width**-0.5).requires_grad_()
    teacher_head = random(vocabulary, teacher_width, scale=teacher_width**-0.5)
    loss = None

    def step():
        nonlocal loss
        loss = loss_of(hidden, head, teacher_hidden, teacher_head) / rows
        loss.backward()
        hidden.grad = head.grad = None
        loss = loss.detach()

    times = bench.times(step, 5)
    if times["peak_bytes"] is not None:
        gradients = (hidden.numel() + head.numel()) * hidden.element_size()
        times["extra_bytes"] = times["peak_bytes"] - times["held_bytes"] - gradients
    return {**times, "loss": loss.item()}


def head_loss(divergence, chunk=None):
    """A loss_of that makes the logits of all rows, or of `chunk` rows at a time, recomputed in the backward pass.

    divergence(student_logits, teacher_logits) is the sum over rows.
    """
    def of_rows(hidden, head, teacher_hidden, teacher_head):
        with torch.no_grad():
            teacher_logits = teacher_hidden @ teacher_head.T  # (rows, V)
        return divergence(hidden @ head.T, teacher_logits)

    def of_chunks(hidden, head, teacher_hidden, teacher_head):
        return sum(checkpoint(of_rows, h, head, t, teacher_head, use_reentrant=False)
                   for h, t in zip(hidden.split(chunk), teacher_hidden.split(chunk)))

    return of_rows if chunk is None else of_chunks


def trl_chunked(beta):
    """The loss of TRL's DistillationTrainer: beta is the teacher's share of the mixture, 0 forward, 1 reverse KL."""
    def loss_of(hidden, head, teacher_hidden, teacher_head):
        from trl.kernels.chunked_divergence import ChunkedDivergenceFunction
        divergence, _ = ChunkedDivergenceFunction.apply(hidden, head, None, teacher_hidden, teacher_head, None, beta)
        return divergence.sum()
    return loss_of


def liger_jsd(hidden, head, teacher_hidden, teacher_head):
    """Liger's fused linear JSD(0.5), whose mean over rows becomes a sum."""
    from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD
    return LigerFusedLinearJSD(jsd_beta=0.5)(hidden, head, teacher_hidden, teacher_head, None) * hidden.shape[0]


def jsd(bench, sizes, with_compile):
    """Mean JSD(0.5) of the logits of hidden states, and its gradients to the student's hidden states and head."""
    rows = sizes.jsd_rows
    variants = [("eager", head_loss(models.generalised_jsd)),
                ("chunked", head_loss(models.generalised_jsd, sizes.jsd_chunk))]
    if installed("liger_kernel"):
        variants.append(("liger", liger_jsd))
    if installed("trl"):
        variants.append(("trl chunked", trl_chunked(0.5)))
    for student_width, teacher_width, vocabulary in sizes.jsd_heads:
        for variant, loss_of in variants:
            shape = {"rows": rows, "student_width": student_width, "teacher_width": teacher_width,
                     "vocabulary": vocabulary}
            bench.case("jsd", variant, shape, "bf16, fp32 loss",
                       lambda: head_loss_times(bench, rows, student_width, teacher_width, vocabulary, BF16, loss_of),
                       tokens=rows)


# --- Generation and the on-policy step -------------------------------------------------------------------------------

def generate_times(bench, model_shape, size, dtype, sample):
    """transformers' generate() with its key/value cache; size is (prompts, tokens of each, new tokens)."""
    batch, prompt, new = size
    model = models.transformers_gpt2(model_shape, bench.device, dtype).eval()
    prompts = torch.randint(model_shape.vocabulary, (batch, prompt), device=bench.device)

    def step():
        tokens = models.generate(model, prompts, new, sample)
        assert tokens.shape == (batch, prompt + new)

    times = bench.times(step, 3, warm_up=1)
    return {**times, "seconds_per_token_step": times["seconds"] / new}


def generate(bench, sizes, with_compile):
    """Sampled and greedy decoding."""
    batch, prompt, new = sizes.generate
    for variant in ["sample", "greedy"]:
        shape = {**dataclasses.asdict(sizes.student), "batch": batch, "prompt": prompt, "new": new}
        bench.case("generate", variant, shape, "bf16",
                   lambda: generate_times(bench, sizes.student, sizes.generate, BF16, variant == "sample"),
                   tokens=batch * new)


def on_policy_times(bench, student_shape, teacher_shape, size, dtype):
    """A step of GKD on the student's own samples: JSD(0.5), clipping, AdamW; size as in `generate_times`."""
    batch, prompt, new = size
    student = models.transformers_gpt2(student_shape, bench.device, dtype).train()
    teacher = models.transformers_gpt2(teacher_shape, bench.device, dtype).eval()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, fused=True)
    prompts = torch.randint(student_shape.vocabulary, (batch, prompt), device=bench.device)
    loss = None

    def response_logits(model, tokens):  # (B * new, V)
        output = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), logits_to_keep=new + 1,
                       use_cache=False)
        return output.logits[:, :-1].flatten(0, 1)

    def step():
        nonlocal loss
        points = {}
        tokens = models.generate(student, prompts, new, sample=True)
        points["generate"] = bench.now()
        student_logits = response_logits(student, tokens)
        points["student_forward"] = bench.now()
        with torch.no_grad():
            teacher_logits = response_logits(teacher, tokens)
        points["teacher_forward"] = bench.now()
        loss = models.generalised_jsd(student_logits, teacher_logits) / (batch * new)
        points["loss"] = bench.now()
        loss.backward()
        points["backward"] = bench.now()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        points["update"] = bench.now()
        loss = loss.detach()
        return points

    return {**bench.times(step, 3, warm_up=1), "loss": loss.item()}


def on_policy(bench, sizes, with_compile):
    """One step of GKD on the student's own samples; tokens are those of the responses."""
    batch, prompt, new = sizes.on_policy
    shape = {"student": dataclasses.asdict(sizes.student), "teacher": dataclasses.asdict(sizes.teacher),
             "batch": batch, "prompt": prompt, "new": new}
    bench.case("on_policy", "transformers", shape, "bf16, fp32 loss",
               lambda: on_policy_times(bench, sizes.student, sizes.teacher, sizes.on_policy, BF16),
               tokens=batch * new)
    if installed("trl"):
        import trl_steps
        for variant, times in [("trl GKDTrainer", trl_steps.gkd_trainer_times),
                               ("trl DistillationTrainer", trl_steps.distillation_trainer_times)]:
            with contextlib.redirect_stdout(sys.stderr):  # TRL prints there too
                row = bench.measure("on_policy", variant, shape, "bf16 autocast, fp32 weights",
                                    lambda: times(bench, sizes.student, sizes.teacher, sizes.on_policy),
                                    tokens=batch * new)
            bench.print(row)


# --- Single operations -----------------------------------------------------------------------------------------------

def attention_times(bench, size, dtype, backward, backend=None):
    """Causal SDPA of contiguous (B, H, T, D), forward or forward and backward."""
    q, k, v, gradient = torch.randn((4, *size), device=bench.device, dtype=dtype).unbind()
    for tensor in (q, k, v):
        tensor.requires_grad_(backward)

    def step():
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if backward:
            torch.autograd.grad(out, (q, k, v), gradient)

    with sdpa_kernel(backend) if backend else contextlib.nullcontext():
        return bench.times(step, 5, calls=10)


def attention(bench, sizes, with_compile):
    """Causal SDPA; tflops count the causal half, and five products backward to the two forward."""
    batch, heads, length, width = sizes.attention
    product = batch * heads * length * length * width  # one of (T, D) x (D, T), causal half
    backends = [("", None)] + ([(" cudnn", SDPBackend.CUDNN_ATTENTION)] if bench.cuda else [])
    for suffix, backend in backends:
        for variant, backward in [("forward", False), ("forward+backward", True)]:
            bench.case("attention", variant + suffix, dict(zip("BHTD", sizes.attention)), "bf16",
                       lambda: attention_times(bench, sizes.attention, BF16, backward, backend),
                       flops=(7 if backward else 2) * product)


def gemm(bench, sizes, with_compile):
    """Products of a linear layer y (M, N) = x (M, K) W^T (N, K): forward, to x and to W; a square one; a copy.

    A variant names what is multiplied; m, k and n of the row are those of the product itself.
    """
    def body(m, k, n, a_transposed, b_transposed):
        def matrix(rows, columns, transposed):
            stored = (columns, rows) if transposed else (rows, columns)
            values = torch.randn(stored, device=bench.device, dtype=BF16)
            return values.T if transposed else values

        a, b = matrix(m, k, a_transposed), matrix(k, n, b_transposed)
        out = torch.empty(m, n, device=bench.device, dtype=BF16)

        def step():
            torch.mm(a, b, out=out)

        return bench.times(step, 5, calls=10)

    def product(variant, m, k, n, a_transposed=False, b_transposed=False):
        bench.case("gemm", variant, {"m": m, "k": k, "n": n}, "bf16",
                   lambda: body(m, k, n, a_transposed, b_transposed), flops=2 * m * k * n)

    for m, k, n in sizes.gemms:
        product("x W^T", m, k, n, b_transposed=True)
        product("dy W", m, n, k)
        product("dy^T x", n, m, k, a_transposed=True)
    product("square", sizes.square, sizes.square, sizes.square)

    def copy():
        source = torch.ones(sizes.copy, dtype=torch.uint8, device=bench.device)
        target = torch.empty_like(source)

        def step():
            target.copy_(source)

        return bench.times(step, 5, calls=10)

    bench.case("gemm", "copy", {"bytes": sizes.copy}, "uint8", copy, traffic=2 * sizes.copy)


ALL = {work.__name__: work for work in (train, jsd, generate, on_policy, attention, gemm)}
