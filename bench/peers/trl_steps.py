"""On-policy GKD steps as TRL's trainers run them, offline: random weights, a toy tokenizer, a dataset in memory."""
import dataclasses
import tempfile
import time

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models as tokenizer_models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback

import models


class StepSeconds(TrainerCallback):
    """Takes the seconds of every optimizer step: generation, loss, backward, clipping and update."""

    def __init__(self, bench):
        self.bench = bench
        self.runs = []
        self.held = None

    def now(self):
        if self.bench.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 1:  # the first, which does not count, has filled the optimizer's state
            self.held = self.bench.held_bytes()
            if self.bench.cuda:
                torch.cuda.reset_peak_memory_stats()
        self.began = self.now()

    def on_step_end(self, args, state, control, **kwargs):
        self.runs.append(self.now() - self.began)


def toy_tokenizer(vocabulary):
    """Words w0, w1, ... for the ids 0, 1, ...; the last one ends a sequence, id 0 pads."""
    tokenizer = Tokenizer(tokenizer_models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=f"w{vocabulary - 1}", pad_token="w0",
                                   unk_token="w1", padding_side="left")


def arguments(bench, batch, steps, folder):
    """Training arguments of both trainers: nothing logged or saved, AdamW, gradients clipped at norm 1.

    float32 on a CPU; on a GPU float32 weights under bf16 autocast.
    """
    return dict(output_dir=folder, per_device_train_batch_size=batch, max_steps=steps, learning_rate=1e-5,
                use_cpu=not bench.cuda, bf16=bench.cuda, gradient_checkpointing=False, max_grad_norm=1.0,
                logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
                dataloader_pin_memory=False)


def run(bench, student_shape, teacher_shape, size, make_trainer):
    """The columns of a trainer's steps after the first; make_trainer(student, teacher, arguments, ids, tokenizer).

    size is (prompts, tokens of each, new tokens).
    """
    batch, prompt, new = size
    steps = 1 + (bench.repeat or 3)
    student = models.transformers_gpt2(student_shape, bench.device, torch.float32)
    teacher = models.transformers_gpt2(teacher_shape, bench.device,
                                       torch.bfloat16 if bench.cuda else torch.float32).eval()
    ids = torch.randint(2, student_shape.vocabulary - 1, (steps * batch, prompt))
    seconds = StepSeconds(bench)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(student, teacher, arguments(bench, batch, steps, folder), ids,
                               toy_tokenizer(student_shape.vocabulary))
        trainer.add_callback(seconds)
        trainer.train()
    shape = {"student": dataclasses.asdict(student_shape), "teacher": dataclasses.asdict(teacher_shape),
             "batch": batch, "prompt": prompt, "new": new}
    return {"shape": shape, **bench.summary(seconds.runs[1:], seconds.held)}


def gkd_trainer_times(bench, student_shape, teacher_shape, size):
    """trl.experimental.gkd.GKDTrainer at lambda 1 and beta 0.5."""
    from trl.experimental.gkd import GKDConfig, GKDTrainer
    new = size[2]

    def collate(examples):
        prompts = torch.tensor([example["prompt_ids"] for example in examples])
        answers = torch.full((len(examples), new), 2)  # never used at lambda 1
        return {"prompts": prompts, "prompt_attention_mask": torch.ones_like(prompts),
                "input_ids": torch.cat([prompts, answers], dim=1),
                "attention_mask": torch.ones((len(examples), prompts.shape[1] + new), dtype=torch.long),
                "labels": torch.cat([torch.full_like(prompts, -100), answers], dim=1)}

    def make(student, teacher, args, ids, tokenizer):
        config = GKDConfig(**args, lmbda=1.0, beta=0.5, temperature=1.0, max_new_tokens=new)
        return GKDTrainer(model=student, teacher_model=teacher, args=config, data_collator=collate,
                          train_dataset=Dataset.from_dict({"prompt_ids": ids.tolist()}), processing_class=tokenizer)

    return run(bench, student_shape, teacher_shape, size, make)


def distillation_trainer_times(bench, student_shape, teacher_shape, size):
    """trl.DistillationTrainer at beta 0.5, with its chunked loss."""
    from trl import DistillationConfig, DistillationTrainer

    def make(student, teacher, args, ids, tokenizer):
        config = DistillationConfig(**args, beta=0.5, max_completion_length=size[2])
        prompts = [" ".join(f"w{i}" for i in row) for row in ids.tolist()]
        return DistillationTrainer(model=student, teacher_model=teacher, args=config,
                                   train_dataset=Dataset.from_dict({"prompt": prompts}), processing_class=tokenizer)

    return run(bench, student_shape, teacher_shape, size, make)
