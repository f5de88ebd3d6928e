"""What transformers computes with a real checkpoint, for the test of a folder of weights that is not in the repository.

Usage: python make_large_fixture.py MODEL_FOLDER FIXTURE_FOLDER
Then:  RETORT_LARGE_MODEL=MODEL_FOLDER RETORT_LARGE_FIXTURE=FIXTURE_FOLDER test_parity "a real checkpoint*"

The model is computed in float32, whatever type its weights are stored in. Of ten prompts: 32 greedy tokens, and at one
position of each continuation the log-probabilities of the next token and of 99 others, 1,000 in all.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "Water boils at a temperature of",
    "The three primary colours are",
    "In 1969, the first man",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: What is 12 times 12?\nA:",
    "The opposite of hot is",
    "To make a good cup of tea, you",
]


def main():
    folder, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(1)
    tokens, lengths, greedy, which, numbers = [], [], [], [], []
    with torch.no_grad():
        for i, prompt in enumerate(PROMPTS):
            ids = tokenizer(prompt, add_special_tokens=False).input_ids
            new = model.generate(torch.tensor([ids]), max_new_tokens=32, do_sample=False, eos_token_id=None,
                                 attention_mask=torch.ones(1, len(ids), dtype=torch.long))[0, len(ids):].tolist()
            assert len(new) == 32
            log_p = torch.log_softmax(model(torch.tensor([ids + new])).logits[0, len(ids) - 1 + 3 * i], -1)
            chosen = torch.randperm(model.config.vocab_size, generator=generator)[:99].tolist() + [new[3 * i]]
            tokens += ids
            lengths.append(len(ids))
            greedy.append(new)
            which.append(chosen)
            numbers.append(log_p[chosen])
            print(repr(prompt + tokenizer.decode(new)), flush=True)
    target.mkdir(parents=True, exist_ok=True)
    save_file({"prompts": torch.tensor(tokens, dtype=torch.int32),
               "prompts.lengths": torch.tensor(lengths, dtype=torch.int32),
               "greedy": torch.tensor(greedy, dtype=torch.int32), "tokens": torch.tensor(which, dtype=torch.int32),
               "log_probabilities": torch.stack(numbers)}, target / "large.safetensors")


if __name__ == "__main__":
    main()
