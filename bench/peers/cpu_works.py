"""The works of bench/step, bench/decode, bench/row_loss and bench/attention as PyTorch and transformers do them.

On a CPU, in float32, no dropout, no gradient checkpointing. CASES[work][peer](bench, sizes) is what a row holds.
"""
import dataclasses

import torch
import torch.nn.functional as F

import models
import works

F32 = torch.float32
CLIP_NORM = 1.0

# The main example's pair (examples/g2p), 549,248 and 23,176 parameters.
G2P_TEACHER = models.T5Shape(69, 96, 3, 2, 4, 24, 192, 16, 24, v1_1=True)
G2P_STUDENT = models.T5Shape(69, 24, 2, 1, 2, 12, 48, 16, 24, v1_1=True)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the works are measured with: those of retort's programs, TINY as their --tiny."""
    gpt2: models.Shape = models.Shape(12, 12, 768, 50257, 1024)
    distilled: models.Shape = models.Shape(6, 12, 768, 50257, 1024)
    batch: int = 4                       # of the language-model steps
    lengths: tuple = (64, 256)
    t5_small: models.T5Shape = models.T5Shape()
    t5_batch: tuple = (8, 128, 64)       # pairs, source and target tokens
    g2p_teacher: models.T5Shape = G2P_TEACHER
    g2p_student: models.T5Shape = G2P_STUDENT
    g2p_batch: tuple = (256, 8, 7)       # words, letters and phonemes with their end
    decode: tuple = (28, 64)             # tokens of a prompt, new tokens
    on_policy: tuple = (8, 28, 64)       # prompts, tokens of each, new tokens
    row_loss: tuple = (1024, 50257, 768)  # rows, vocabulary, width
    attention: tuple = (1, 12, 1024, 64)  # B, H, T, D


TINY = Sizes(gpt2=models.Shape(3, 4, 48, 101, 48), distilled=models.Shape(1, 4, 48, 101, 48), batch=2, lengths=(8, 16),
             t5_small=models.T5Shape(69, 24, 2, 1, 2, 12, 48, 16, 24), t5_batch=(2, 6, 4),
             g2p_teacher=models.T5Shape(69, 32, 3, 2, 4, 8, 64, 16, 24, v1_1=True), g2p_batch=(4, 8, 7), decode=(4, 6),
             on_policy=(3, 4, 6), row_loss=(32, 101, 32), attention=(1, 2, 64, 16))

CASES = {}


def case(work, peer):
    """Makes a function the case of a work and a peer, in the order of the table."""
    def add(function):
        CASES.setdefault(work, {})[peer] = function
        return function
    return add


def cases(with_compile):
    """[(work, peer)]; torch.compile's only if asked for."""
    return [(work, peer) for work, peers in CASES.items() for peer in peers if with_compile or peer != "torch.compile"]


# --- Training --------------------------------------------------------------------------------------------------------

def training_times(bench, model, loss_of):
    """Steps of loss_of(), backward, clipping and AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return {"parameters": sum(p.numel() for p in model.parameters()), **bench.times(step, 3, warm_up=1)}


def gpt2_times(bench, sizes, length, peer):
    """Forward, mean next-token cross-entropy, backward and AdamW of GPT-2 124M's shape."""
    shape, batch = sizes.gpt2, sizes.batch
    tokens = torch.randint(shape.vocabulary, (batch, length + 1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:].contiguous()
    if peer == "transformers":
        model = models.transformers_gpt2(shape, bench.device, F32).train()

        def loss_of():
            logits = model(input_ids=inputs, use_cache=False).logits  # (B, T, V)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    else:
        model = models.GPT2(shape)
        run = torch.compile(model) if peer == "torch.compile" else model

        def loss_of():
            return run(inputs, targets)

    return {"shape": {**dataclasses.asdict(shape), "batch": batch, "length": length},
            **training_times(bench, model, loss_of)}


for _work, _index in [("gpt2", 0), ("gpt2-256", 1)]:
    for _peer in ["eager", "transformers", "torch.compile"]:
        case(_work, _peer)(lambda bench, sizes, index=_index, peer=_peer:
                           gpt2_times(bench, sizes, sizes.lengths[index], peer))


def pairs_of(shape, size):
    """Random sources (B, S) and targets (B, T) without special tokens."""
    batch, source, target = size
    return (torch.randint(2, shape.vocabulary, (batch, source)), torch.randint(2, shape.vocabulary, (batch, target)))


def t5_sft_times(bench, shape, size):
    """Forward, mean cross-entropy of the targets, backward and AdamW of a T5."""
    sources, targets = pairs_of(shape, size)
    model = models.transformers_t5(shape, bench.device, F32).train()

    def loss_of():
        return model(input_ids=sources, labels=targets, use_cache=False).loss

    return {"shape": t5_row(shape, size), **training_times(bench, model, loss_of)}


def t5_row(shape, size):
    return {**dataclasses.asdict(shape), **dict(zip(["batch", "source", "target"], size))}


def t5_kd_times(bench, sizes, on_policy):
    """A student's step of forward KL from the teacher, on the data's targets or on its own samples."""
    sources, targets = pairs_of(sizes.g2p_student, sizes.g2p_batch)
    student = models.transformers_t5(sizes.g2p_student, bench.device, F32).train()
    teacher = models.transformers_t5(sizes.g2p_teacher, bench.device, F32).eval()
    start = torch.zeros((targets.shape[0], 1), dtype=targets.dtype)

    def log_probabilities(model, inputs):  # (B * T, V)
        logits = model(input_ids=sources, decoder_input_ids=inputs, use_cache=False).logits
        return F.log_softmax(logits.flatten(0, 1), dim=-1)

    def loss_of():
        outputs = targets
        if on_policy:
            outputs = models.generate(student, sources, targets.shape[1], sample=True)[:, 1:]
            assert outputs.shape == targets.shape
        inputs = torch.cat([start, outputs[:, :-1]], dim=1)
        with torch.no_grad():
            log_p = log_probabilities(teacher, inputs)
        log_q = log_probabilities(student, inputs)
        return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)

    return {"shape": {"student": t5_row(sizes.g2p_student, sizes.g2p_batch),
                      "teacher": dataclasses.asdict(sizes.g2p_teacher)},
            **training_times(bench, student, loss_of)}


@case("t5-small", "transformers")
def t5_small(bench, sizes):
    return t5_sft_times(bench, sizes.t5_small, sizes.t5_batch)


@case("g2p-teacher-sft", "transformers")
def g2p_teacher_sft(bench, sizes):
    return t5_sft_times(bench, sizes.g2p_teacher, sizes.g2p_batch)


@case("g2p-student-sft", "transformers")
def g2p_student_sft(bench, sizes):
    return t5_sft_times(bench, sizes.g2p_student, sizes.g2p_batch)


@case("g2p-supervised-kd", "transformers")
def g2p_supervised_kd(bench, sizes):
    return t5_kd_times(bench, sizes, on_policy=False)


@case("g2p-on-policy", "transformers")
def g2p_on_policy(bench, sizes):
    return t5_kd_times(bench, sizes, on_policy=True)


# --- Generation and the on-policy step -------------------------------------------------------------------------------

for _batch in [1, 8, 32]:
    case(f"decode-{_batch}", "transformers")(
        lambda bench, sizes, batch=_batch: {"shape": {**dataclasses.asdict(sizes.gpt2), "batch": batch},
                                            **works.generate_times(bench, sizes.gpt2, (batch, *sizes.decode), F32,
                                                                   sample=True)})


@case("gkd", "transformers")
def gkd(bench, sizes):
    """The step written by hand, in the operations of TRL's generalized_jsd_loss."""
    return works.on_policy_times(bench, sizes.distilled, sizes.gpt2, sizes.on_policy, F32)


@case("gkd", "trl GKDTrainer")
def gkd_trainer(bench, sizes):
    import trl_steps
    return trl_steps.gkd_trainer_times(bench, sizes.distilled, sizes.gpt2, sizes.on_policy)


@case("gkd", "trl DistillationTrainer")
def distillation_trainer(bench, sizes):
    import trl_steps
    return trl_steps.distillation_trainer_times(bench, sizes.distilled, sizes.gpt2, sizes.on_policy)


# --- Single operations -----------------------------------------------------------------------------------------------

def forward_kl(student, teacher):
    """The sum over rows of KL(teacher || student) of logits (N, V)."""
    return F.kl_div(F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1), reduction="sum", log_target=True)


def row_loss_times(bench, sizes, loss_of):
    rows, vocabulary, width = sizes.row_loss
    return {"shape": dict(zip(["rows", "vocabulary", "width"], sizes.row_loss)),
            **works.head_loss_times(bench, rows, width, width, vocabulary, F32, loss_of)}


for _name, _divergence, _beta in [("row-loss-jsd", models.generalised_jsd, 0.5),
                                  ("row-loss-forward-kl", forward_kl, 0.0),
                                  ("row-loss-reverse-kl", lambda q, p: forward_kl(p, q), 1.0)]:
    case(_name, "eager")(lambda bench, sizes, divergence=_divergence:
                         row_loss_times(bench, sizes, works.head_loss(divergence)))
    case(_name, "trl chunked")(lambda bench, sizes, beta=_beta: row_loss_times(bench, sizes, works.trl_chunked(beta)))


@case("attention", "eager")
def attention(bench, sizes):
    """Causal SDPA, forward and backward."""
    return {"shape": dict(zip("BHTD", sizes.attention)),
            **works.attention_times(bench, sizes.attention, F32, backward=True)}
