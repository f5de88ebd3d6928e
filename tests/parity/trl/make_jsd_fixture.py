"""TRL's generalized_jsd_loss and its gradient on random logits, in float64.

Usage: python make_jsd_fixture.py            (versions: ../requirements.txt)

jsd.safetensors, for a batch of SEQUENCES padded to LENGTH positions:
  student, teacher     (sequences, length, vocabulary), logits; the student's at 0 and beyond a teacher's row are far off
  labels               (sequences, length), -100 where a position does not count: before, after and amid the others
  betas, temperatures  as TRL takes them
  masked.loss          (betas, temperatures) with the labels: the sum over positions that count / their number
  masked.gradient      the same, to the student's logits, (betas, temperatures, sequences, length, vocabulary)
  parts.loss           (betas, temperatures, sequences): each sequence alone with num_items_in_batch, its number of all
  whole.loss, whole.gradient   without labels: the sum over all positions / the number of sequences
"""
import pathlib

import torch
from safetensors.torch import save_file
from trl.experimental.gkd import GKDTrainer

SEQUENCES, LENGTH, VOCABULARY = 3, 4, 19
BETAS = [0.0, 0.1, 0.5, 0.9, 1.0]
TEMPERATURES = [0.7, 1.0, 2.0]
IGNORED = -100
COUNTS = [[0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 0, 1]]

torch.set_num_threads(1)
loss_of = GKDTrainer.generalized_jsd_loss


def logits(generator):
    return 2 * torch.randn(SEQUENCES, LENGTH, VOCABULARY, generator=generator, dtype=torch.float64)


def value_and_gradient(student, teacher, **options):
    z = student.clone().requires_grad_()
    loss = loss_of(z, teacher, **options)
    (gradient,) = torch.autograd.grad(loss, z)
    return loss.detach(), gradient


def main():
    generator = torch.Generator().manual_seed(5)
    student, teacher = logits(generator), logits(generator)
    student[2, 0] = teacher[2, 0] + 1e-3 * student[2, 0]  # distributions that are close
    student[2, 1] *= 8                                    # and some that are far apart
    labels = torch.tensor(COUNTS) * 7 + (1 - torch.tensor(COUNTS)) * IGNORED
    found = {name: [] for name in ("masked.loss", "masked.gradient", "parts.loss", "whole.loss", "whole.gradient")}
    for beta in BETAS:
        for temperature in TEMPERATURES:
            how = dict(beta=beta, temperature=temperature)
            for name, more in (("masked", dict(labels=labels)), ("whole", {})):
                loss, gradient = value_and_gradient(student, teacher, **how, **more)
                found[name + ".loss"].append(loss)
                found[name + ".gradient"].append(gradient)
            parts = [
                value_and_gradient(student[i : i + 1], teacher[i : i + 1], **how, labels=labels[i : i + 1],
                                   num_items_in_batch=(labels != IGNORED).sum())
                for i in range(SEQUENCES)
            ]
            found["parts.loss"].append(torch.stack([loss for loss, _ in parts]))
            assert torch.allclose(torch.cat([g for _, g in parts]), found["masked.gradient"][-1], rtol=0, atol=1e-15)
    grid = lambda list: torch.stack(list).unflatten(0, (len(BETAS), len(TEMPERATURES))).contiguous()
    tensors = {name: grid(list) for name, list in found.items()}
    tensors |= {"student": student, "teacher": teacher, "labels": labels, "betas": torch.tensor(BETAS, dtype=torch.float64),
                "temperatures": torch.tensor(TEMPERATURES, dtype=torch.float64)}
    path = pathlib.Path(__file__).parent / "jsd.safetensors"
    save_file(tensors, path)
    print(f"{path.name}: {path.stat().st_size} bytes")
    print(tensors["masked.loss"])


if __name__ == "__main__":
    main()
