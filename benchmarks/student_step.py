"""What a student's training step is made of: with and without dropout, with either attention, in bf16 and fp32.

python -m benchmarks.student_step --students 4x312 6x384

Random weights, a batch of ragged rows padded to --length, fused AdamW, clipping; medians of --steps steps, after one
that warms up. The variants run one after the other, so small differences mean little. The last lines are the teacher's
forward pass.
"""

import argparse
import statistics
from itertools import product

import torch

from benchmarks.machine import described, device, now
from benchmarks.training_step import LABELS, VOCABULARY, make_model

ROWS = 32
ATTENTION = ("sdpa", "eager")


def make_batch(length: int) -> dict[str, torch.Tensor]:
    """Rows from a quarter of the length up to all of it."""
    lengths = torch.linspace(length // 4, length, ROWS).long()
    mask = torch.arange(length).expand(ROWS, -1) < lengths.unsqueeze(1)
    ids = torch.randint(1000, VOCABULARY, (ROWS, length), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids.to(device()), "attention_mask": mask.long().to(device())}


def student_seconds(shape: str, dropout: float, attention: str, bf16: bool, args: argparse.Namespace) -> float:
    student = make_model(shape, seed=1, dropout=dropout).train()
    student.to(device())
    student.set_attn_implementation(attention)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
    batch, labels = make_batch(args.length), torch.arange(ROWS, device=device()) % LABELS
    seconds = []
    for _ in range(args.steps + 1):
        start = now()
        with torch.autocast(device().type, torch.bfloat16, enabled=bf16):
            logits = student(**batch).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(now() - start)
    return statistics.median(seconds[1:])


@torch.no_grad()
def teacher_seconds(shape: str, bf16: bool, args: argparse.Namespace) -> float:
    teacher = make_model(shape, seed=0).eval()
    teacher.to(device(), torch.bfloat16 if bf16 else torch.float32)
    batch, seconds = make_batch(args.length), []
    for _ in range(args.steps + 1):
        start = now()
        teacher(**batch)
        seconds.append(now() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="+", default=["4x312", "6x384"], help="layers x width")
    parser.add_argument("--teacher", default="12x768", help="layers x width")
    parser.add_argument("--length", type=int, default=125)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    print(described())
    for shape, bf16, attention, dropout in product(args.students, (True, False), ATTENTION, (0.1, 0.0)):
        seconds = student_seconds(shape, dropout, attention, bf16, args)
        print(f"{shape} {'bf16' if bf16 else 'fp32'} {attention} dropout {dropout}: {seconds:.3f} s a step", flush=True)
    for bf16 in (True, False):
        seconds = teacher_seconds(args.teacher, bf16, args)
        print(f"{args.teacher} {'bf16' if bf16 else 'fp32'}: {seconds:.3f} s a forward pass", flush=True)


if __name__ == "__main__":
    main()
