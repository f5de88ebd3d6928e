"""Tiny models with random weights, written by transformers, and what transformers computes with them.

Usage: python make_model_fixtures.py [FOLDER]    (default: this file's folder; versions: ../requirements.txt)

Each variant gets a folder with
  config.json, model.safetensors   as `save_pretrained` writes them
  expected.safetensors             prompts and responses (tokens and lengths), and of them
      logits32, logits64   of all response tokens, model in float32 and in float64
      losses               float64: before each of 10 steps of AdamW, and after them, of the mean cross-entropy of
                           all response tokens
      greedy               24 tokens of each prompt, without an end token
      beam.<penalty>.<rule>.tokens, .lengths, .scores    the 4 best of 4 beams of each prompt, up to 12 tokens,
                           early_stopping "never" or False; beam.end is the end token
  gradients.safetensors            float64: of the loss, before the first step, to every tensor of the model
Nothing is padded: sequences are computed one at a time, decoding is uncached (transformers 5.23's cached generate
fails for a T5 decoder deeper than its encoder).

AdamW: learning rate 5e-3, betas 0.9, 0.999, epsilon 1e-8, weight decay 0.05 on matrices, none on vectors and on T5's
relative positions. Dropout is off.

Reference in float64: transformers casts to float32 in places (rotary tables, the variance of RMS norms, softmax), so
while it runs these casts go to float64. T5's buckets of distances keep their float32 logarithm.
"""
import contextlib
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import (GPT2Config, GPT2LMHeadModel, GPTJConfig, GPTJForCausalLM, LlamaConfig, LlamaForCausalLM,
                          OPTConfig, OPTForCausalLM, T5Config, T5ForConditionalGeneration)
from transformers.models.t5.modeling_t5 import T5Attention

torch.set_num_threads(1)

GPT2 = dict(n_positions=40, n_layer=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
OPT = dict(max_position_embeddings=40, dropout=0.0, bos_token_id=0, eos_token_id=0, pad_token_id=1)
GPTJ = dict(n_positions=40, bos_token_id=0, eos_token_id=0)
LLAMA = dict(max_position_embeddings=40, bos_token_id=0, eos_token_id=0, num_hidden_layers=2)
T5 = dict(dropout_rate=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)

VARIANTS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=61, n_embd=12, n_head=3, **GPT2)),
    "gpt2_untied": (GPT2LMHeadModel, GPT2Config(vocab_size=45, n_embd=10, n_head=2, n_inner=17,
                                                tie_word_embeddings=False, **GPT2)),
    "opt": (OPTForCausalLM, OPTConfig(vocab_size=53, hidden_size=12, num_attention_heads=3, num_hidden_layers=2,
                                      ffn_dim=20, **OPT)),
    "opt_post_norm_projected": (OPTForCausalLM, OPTConfig(
        vocab_size=47, hidden_size=12, num_attention_heads=2, num_hidden_layers=3, ffn_dim=18, word_embed_proj_dim=8,
        do_layer_norm_before=False, **OPT)),
    "opt_no_bias": (OPTForCausalLM, OPTConfig(vocab_size=39, hidden_size=10, num_attention_heads=2,
                                              num_hidden_layers=1, ffn_dim=14, enable_bias=False, **OPT)),
    "gptj": (GPTJForCausalLM, GPTJConfig(vocab_size=51, n_embd=20, n_layer=2, n_head=2, rotary_dim=4, **GPTJ)),
    "gptj_whole_head": (GPTJForCausalLM, GPTJConfig(vocab_size=43, n_embd=18, n_layer=1, n_head=3, rotary_dim=6,
                                                    n_inner=22, **GPTJ)),
    "llama": (LlamaForCausalLM, LlamaConfig(
        vocab_size=59, hidden_size=16, intermediate_size=22, num_attention_heads=4, num_key_value_heads=2, **LLAMA)),
    "llama_head_dim_tied_biases": (LlamaForCausalLM, LlamaConfig(
        vocab_size=37, hidden_size=12, intermediate_size=19, num_attention_heads=3, num_key_value_heads=1, head_dim=6,
        attention_bias=True, mlp_bias=True, tie_word_embeddings=True, **LLAMA)),
    "llama_linear": (LlamaForCausalLM, LlamaConfig(
        vocab_size=41, hidden_size=16, intermediate_size=18, num_attention_heads=2, num_key_value_heads=2,
        rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}, **LLAMA)),
    "llama_llama3": (LlamaForCausalLM, LlamaConfig(
        vocab_size=49, hidden_size=16, intermediate_size=20, num_attention_heads=2, num_key_value_heads=1, head_dim=12,
        rope_parameters={"rope_type": "llama3", "factor": 8.0, "rope_theta": 300.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 24}, **LLAMA)),
    "t5": (T5ForConditionalGeneration, T5Config(
        vocab_size=55, d_model=12, d_kv=5, d_ff=20, num_layers=2, num_decoder_layers=2, num_heads=3,
        relative_attention_num_buckets=8, relative_attention_max_distance=12, **T5)),
    "t5_v1_1_deep_decoder": (T5ForConditionalGeneration, T5Config(
        vocab_size=45, d_model=10, d_kv=4, d_ff=14, num_layers=1, num_decoder_layers=3, num_heads=2,
        relative_attention_num_buckets=8, relative_attention_max_distance=10, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, **T5)),
    "t5_v1_1_deep_encoder": (T5ForConditionalGeneration, T5Config(
        vocab_size=42, d_model=12, d_kv=4, d_ff=14, num_layers=3, num_decoder_layers=1, num_heads=2,
        relative_attention_num_buckets=12, relative_attention_max_distance=20, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, **T5)),
}

PROMPTS, RESPONSES = [7, 1, 12], [6, 11, 3]


@contextlib.contextmanager
def in_float64():
    """Casts to float32 go to float64, except in T5's buckets."""
    kept = torch.Tensor.float, torch.float32, torch.float, T5Attention._relative_position_bucket
    to_double = torch.Tensor.double

    def buckets(*args, **kwargs):
        with in_float32():
            return kept[3](*args, **kwargs)

    @contextlib.contextmanager
    def in_float32():
        patched = torch.Tensor.float, torch.float32, torch.float
        torch.Tensor.float, torch.float32, torch.float = kept[:3]
        yield
        torch.Tensor.float, torch.float32, torch.float = patched

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float, torch.float32, torch.float = to_double, torch.float64, torch.float64
    T5Attention._relative_position_bucket = staticmethod(buckets)
    try:
        yield
    finally:
        torch.Tensor.float, torch.float32, torch.float = kept[:3]
        T5Attention._relative_position_bucket = staticmethod(kept[3])
        torch.set_default_dtype(default)


def make_model(kind, config):
    """A model in the default dtype; T5 v1.1 with a head of its own, which transformers 5 would tie."""
    model = kind(config).eval()
    if kind is T5ForConditionalGeneration and not config.scale_decoder_outputs:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
        model.all_tied_weights_keys.pop("lm_head.weight")
    return model


def make_weights(model, seed):
    """Weights large enough that no part is negligible; gains around 1, biases that are not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                embedding = any(part in name for part in ("wte", "embed", "shared", "wpe"))
                p.copy_(noise * (0.9 if embedding else 0.6 if "relative" in name else 1.3 / max(p.shape) ** 0.5))
            elif name.endswith("bias"):
                p.copy_(0.2 * noise)
            else:
                p.copy_(1 + 0.2 * noise)
            if name in ("lm_head.weight",) or "shared" in name:
                p.mul_(1.5)


def logits_of(model, prompt, response):
    """Logits (response, vocabulary) that predict the response's tokens."""
    prompt, response = torch.tensor([prompt]), torch.tensor([response])
    if model.config.is_encoder_decoder:
        start = torch.full((1, 1), model.config.decoder_start_token_id)
        return model(input_ids=prompt, decoder_input_ids=torch.cat([start, response[:, :-1]], 1),
                     use_cache=False).logits[0]
    tokens = torch.cat([prompt, response[:, :-1]], 1)
    return model(input_ids=tokens, use_cache=False).logits[0, prompt.shape[1] - 1:]


def all_logits(model, pairs):
    return torch.cat([logits_of(model, p, r) for p, r in pairs])


def loss_of(model, pairs):
    targets = torch.tensor([t for _, response in pairs for t in response])
    return torch.nn.functional.cross_entropy(all_logits(model, pairs), targets)


def generated(model, prompt, **options):
    """The new tokens of all returned sequences, and their scores."""
    out = model.generate(torch.tensor([prompt]), do_sample=False, use_cache=False, return_dict_in_generate=True,
                         output_scores=True, attention_mask=torch.ones(1, len(prompt), dtype=torch.long), **options)
    first = 1 if model.config.is_encoder_decoder else len(prompt)
    return out.sequences[:, first:].tolist(), getattr(out, "sequences_scores", None)


def reference(model, pairs, tensors):
    """What the float64 model says; it is trained at the end."""
    tensors["logits64"] = all_logits(model, pairs).detach()
    tensors["greedy"] = torch.tensor([generated(model, p, max_new_tokens=24, eos_token_id=None)[0][0]
                                      for p, _ in pairs], dtype=torch.int32)
    # An end token with which beams of several lengths finish.
    best = max(range(1, model.config.vocab_size), key=lambda end: len({
        len(trim(s, end)) for p, _ in pairs
        for s in generated(model, p, max_new_tokens=12, num_beams=4, num_return_sequences=4, eos_token_id=end,
                           pad_token_id=end, length_penalty=1.0, early_stopping="never")[0]}))
    tensors["beam.end"] = torch.tensor([best], dtype=torch.int32)
    for penalty in (0.0, 1.0):
        for rule, early in (("exact", "never"), ("current", False)):
            tokens, lengths, scores = [], [], []
            for p, _ in pairs:
                found, score = generated(model, p, max_new_tokens=12, num_beams=4, num_return_sequences=4,
                                         eos_token_id=best, pad_token_id=best, length_penalty=penalty,
                                         early_stopping=early)
                for s in found:
                    s = trim(s, best)
                    tokens += s
                    lengths.append(len(s))
                scores += score.tolist()
            name = f"beam.{penalty:g}.{rule}."
            tensors[name + "tokens"] = torch.tensor(tokens, dtype=torch.int32)
            tensors[name + "lengths"] = torch.tensor(lengths, dtype=torch.int32)
            tensors[name + "scores"] = torch.tensor(scores, dtype=torch.float64)
    return best


def trim(sequence, end):
    """Up to and including the end token."""
    return sequence[:sequence.index(end) + 1] if end in sequence else sequence


def train(model, pairs, tensors):
    """10 steps; returns the first one's gradients."""
    decay = [p for n, p in model.named_parameters() if p.dim() > 1 and "relative_attention_bias" not in n]
    plain = [p for n, p in model.named_parameters() if p.dim() == 1 or "relative_attention_bias" in n]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
                                  lr=5e-3, betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for step in range(11):
        optimizer.zero_grad()
        loss = loss_of(model, pairs)
        losses.append(loss.item())
        loss.backward()
        if step == 0:
            gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
        if step < 10:
            optimizer.step()
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    return gradients


def main():
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for seed, (name, (kind, config)) in enumerate(VARIANTS.items()):
        folder = target / name
        shutil.rmtree(folder, ignore_errors=True)
        config._attn_implementation = "eager"
        model = make_model(kind, config)
        make_weights(model, 100 + seed)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)

        generator = torch.Generator().manual_seed(seed)
        draw = lambda n: torch.randint(2, config.vocab_size, (n,), generator=generator).tolist()
        pairs = [(draw(p), draw(r)) for p, r in zip(PROMPTS, RESPONSES)]
        tensors = {"prompts": torch.tensor([t for p, _ in pairs for t in p], dtype=torch.int32),
                   "prompts.lengths": torch.tensor(PROMPTS, dtype=torch.int32),
                   "responses": torch.tensor([t for _, r in pairs for t in r], dtype=torch.int32),
                   "responses.lengths": torch.tensor(RESPONSES, dtype=torch.int32)}
        loaded = kind.from_pretrained(folder, attn_implementation="eager").eval()
        tensors["logits32"] = all_logits(loaded, pairs).detach()
        with in_float64():
            double = make_model(kind, config)
            weights = dict(loaded.named_parameters())
            for n, p in double.named_parameters():
                p.data = weights.pop(n).data.to(torch.float64)
            assert not weights
            end = reference(double, pairs, tensors)
            gradients = train(double, pairs, tensors)
        save_file(gradients, folder / "gradients.safetensors")
        apart = (tensors["logits32"] - tensors["logits64"]).abs().max().item()
        assert 0 < apart < 1e-4 and tensors["logits64"].dtype == torch.float64
        save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "expected.safetensors")
        sizes = sum(f.stat().st_size for f in folder.iterdir())
        print(f"{name}: {sizes / 1024:.0f} KiB, float32 apart {apart:.1e}, losses {tensors['losses'][0]:.3f} to "
              f"{tensors['losses'][-1]:.3f}, end {end}, beam lengths "
              f"{sorted(set(tensors['beam.1.exact.lengths'].tolist()))}", flush=True)


if __name__ == "__main__":
    main()
