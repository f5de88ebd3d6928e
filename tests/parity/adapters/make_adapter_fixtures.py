"""LoRA adapters written by PEFT for the models of ../models, and what transformers and PEFT compute with them.

Usage: python make_adapter_fixtures.py            (versions: ../requirements.txt, and peft 0.21.2)
       python make_adapter_fixtures.py FOLDER     checks adapters that retort wrote instead, see below

Each folder has adapter_config.json and adapter_model.safetensors as `save_pretrained` writes them, the numbers of
lora_B random (PEFT begins with 0), and expected.safetensors: logits32, of all response tokens.

Adapters that retort wrote:
  RETORT_EXPORTS=FOLDER test_parity "adapters are written for PEFT to read"
  python make_adapter_fixtures.py FOLDER
"""
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

HERE = pathlib.Path(__file__).parent
MODELS = HERE.parent / "models"
sys.path.insert(0, str(MODELS))
from make_model_fixtures import PROMPTS, RESPONSES, all_logits  # noqa: E402

torch.set_num_threads(1)

ADAPTERS = {
    "gpt2": dict(r=3, lora_alpha=6, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True),
    "llama": dict(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]),
    "opt_no_bias": dict(r=4, lora_alpha=8, target_modules=["k_proj", "fc1"], use_rslora=True),
    "gptj": dict(r=2, lora_alpha=2, target_modules="all-linear"),
    "t5_v1_1_deep_decoder": dict(r=2, lora_alpha=5, target_modules=["q", "v", "wi_0"]),
}


def base(variant):
    folder = MODELS / variant
    kind = AutoModelForSeq2SeqLM if AutoConfig.from_pretrained(folder).is_encoder_decoder else AutoModelForCausalLM
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


def pairs(variant):
    expected = load_file(MODELS / variant / "expected.safetensors")
    split = lambda name, lengths: [list(map(int, part)) for part in torch.split(expected[name], lengths)]
    return list(zip(split("prompts", PROMPTS), split("responses", RESPONSES)))


def make():
    for variant, config in ADAPTERS.items():
        model = get_peft_model(base(variant), LoraConfig(**config)).eval()
        generator = torch.Generator().manual_seed(11)
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.data = torch.randn(p.shape, generator=generator) * 0.3
            elif "lora_A" in name:
                p.data = (torch.rand(p.shape, generator=generator) * 2 - 1) / p.shape[1] ** 0.5
        model.peft_config["default"].base_model_name_or_path = variant
        model.save_pretrained(HERE / variant)
        (HERE / variant / "README.md").unlink(missing_ok=True)
        save_file({"logits32": all_logits(model, pairs(variant))}, HERE / variant / "expected.safetensors")
        print(variant, sum(p.numel() for n, p in model.named_parameters() if "lora_" in n), "weights")


def check(exports):
    for folder in sorted(p for p in exports.iterdir() if p.is_dir()):
        # In float64, so that the rounding is retort's alone.
        model = PeftModel.from_pretrained(base(folder.name), folder).eval().double()
        written = load_file(folder / "logits.safetensors")["logits"].double()
        apart = lambda right: ((written - right).abs() / right.abs().clamp(min=1)).max().item()
        plain = apart(all_logits(base(folder.name), pairs(folder.name)))
        adapted = apart(all_logits(model, pairs(folder.name)))
        merged = apart(all_logits(model.merge_and_unload(), pairs(folder.name)))
        print(f"{folder.name}: logits apart {adapted:.1e}, merged {merged:.1e}, without the adapter {plain:.1e}")
        assert adapted <= 1e-5 and merged <= 1e-5 and plain > 1e-2


if __name__ == "__main__":
    check(pathlib.Path(sys.argv[1])) if len(sys.argv) > 1 else make()
