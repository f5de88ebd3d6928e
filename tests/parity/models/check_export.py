"""transformers reads folders that retort wrote: the same logits, and nothing missing or left over.

Usage:
  RETORT_EXPORTS=FOLDER test_parity "trained models are written for transformers to read"
  python check_export.py FOLDER
"""
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from make_model_fixtures import PROMPTS, RESPONSES, all_logits

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).parent


def main():
    worst = 0.0
    for folder in sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if p.is_dir()):
        expected = load_file(HERE / folder.name / "expected.safetensors")
        split = lambda name, lengths: [list(map(int, part)) for part in torch.split(expected[name], lengths)]
        pairs = list(zip(split("prompts", PROMPTS), split("responses", RESPONSES)))
        kind = AutoModelForSeq2SeqLM if AutoConfig.from_pretrained(folder).is_encoder_decoder else AutoModelForCausalLM
        model, info = kind.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
        for file in folder.glob("model*.safetensors"):
            with safe_open(file, "pt") as opened:
                assert opened.metadata() == {"format": "pt"}, opened.metadata()
        problems = {key: value for key, value in info.items() if value}
        apart = (all_logits(model.eval(), pairs) - load_file(folder / "logits.safetensors")["logits"]).abs().max().item()
        worst = max(worst, apart)
        print(f"{folder.name}: logits apart {apart:.1e}, loading problems {problems or 'none'}")
        assert not problems and apart <= 1e-4
    print(f"largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
