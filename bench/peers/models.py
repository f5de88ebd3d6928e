"""What the measurements run: a compact GPT-2, transformers' GPT-2 with random weights, and the divergence."""
import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass(frozen=True)
class Shape:
    """A GPT-2's shape."""
    layers: int
    heads: int
    width: int
    vocabulary: int
    positions: int


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):  # (B, T, C)
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT2(nn.Module):
    """GPT-2 without dropout, its head tied to the token table."""

    def __init__(self, shape):
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        self.head.weight = self.tokens.weight

    def forward(self, tokens, targets):
        """The mean cross-entropy of targets (B, T) given tokens (B, T), in float32."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))  # (B, T, V)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


@dataclasses.dataclass(frozen=True)
class T5Shape:
    """A T5's shape; T5 v1.1 has a gated feed-forward and a head of its own."""
    vocabulary: int = 32128
    width: int = 512
    encoder_layers: int = 6
    decoder_layers: int = 6
    heads: int = 8
    head_width: int = 64
    hidden: int = 2048
    buckets: int = 32
    max_distance: int = 128
    v1_1: bool = False


def transformers_gpt2(shape, device, dtype):
    """transformers' GPT-2 with SDPA, no dropout, no end token and random weights of dtype, made on the device."""
    from transformers import GPT2Config, GPT2LMHeadModel
    config = GPT2Config(n_layer=shape.layers, n_head=shape.heads, n_embd=shape.width, vocab_size=shape.vocabulary,
                        n_positions=shape.positions, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                        bos_token_id=shape.vocabulary - 1, eos_token_id=shape.vocabulary - 1,
                        attn_implementation="sdpa")
    with torch.device(device):
        model = GPT2LMHeadModel(config)
    model.generation_config.eos_token_id = None
    return model.to(dtype)


def transformers_t5(shape, device, dtype):
    """transformers' T5 with SDPA, no dropout, no end token and random weights of dtype, made on the device."""
    from transformers import T5Config, T5ForConditionalGeneration
    config = T5Config(vocab_size=shape.vocabulary, d_model=shape.width, d_kv=shape.head_width, d_ff=shape.hidden,
                      num_layers=shape.encoder_layers, num_decoder_layers=shape.decoder_layers,
                      num_heads=shape.heads, relative_attention_num_buckets=shape.buckets,
                      relative_attention_max_distance=shape.max_distance, dropout_rate=0.0,
                      feed_forward_proj="gated-gelu" if shape.v1_1 else "relu", tie_word_embeddings=not shape.v1_1,
                      decoder_start_token_id=0, attn_implementation="sdpa")
    with torch.device(device):
        model = T5ForConditionalGeneration(config)
        if shape.v1_1:  # the configuration alone does not untie it
            model.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
    model.generation_config.eos_token_id = None
    return model.to(dtype)


def generate(model, prompts, new_tokens, sample):
    """new_tokens tokens more than prompts (B, P), greedy or sampled at temperature 1.

    (B, P + new_tokens) of a decoder; of an encoder-decoder its start token and theirs, (B, 1 + new_tokens).
    """
    choice = dict(do_sample=True, temperature=1.0, top_k=0) if sample else dict(do_sample=False)
    return model.generate(input_ids=prompts, attention_mask=torch.ones_like(prompts), use_cache=True,
                          max_new_tokens=new_tokens, pad_token_id=model.config.eos_token_id, **choice)


def generalised_jsd(student, teacher, beta=0.5):
    """The sum over rows of the generalised JSD (Agarwal et al. 2024, eq. 1) of logits (N, V), unfused, in float32.

    beta * KL(teacher | mixture) + (1 - beta) * KL(student | mixture), mixture = beta * teacher + (1 - beta) * student,
    in the operations of TRL's GKDTrainer.
    """
    log_p = F.log_softmax(teacher.float(), dim=-1)
    log_q = F.log_softmax(student.float(), dim=-1)
    log_m = torch.logsumexp(torch.stack([log_q + math.log(1 - beta), log_p + math.log(beta)]), dim=0)
    return (beta * F.kl_div(log_m, log_p, reduction="none", log_target=True)
            + (1 - beta) * F.kl_div(log_m, log_q, reduction="none", log_target=True)).sum()
