"""Peak memory of full fine-tuning (target: one more copy of the base than training needs itself).

Each line is a process of its own with one thread. It trains a specimen once, so that everything is
imported, loads the subject, and trains it: AdamW, the last step kept. Training needs the weights,
as many gradients and twice as many moments of the optimiser, all in float32: four times the base.
Printed is the most memory that was resident while it trained (VmHWM of Linux, reset before
training), less what was resident before the subject was loaded and less those four, in units of the
base. It holds activations as well, and whatever the allocator keeps. The line `plain loop` is the
same for a bare loop of torch on the same batches, which writes over the weights and keeps nothing:
what training takes by itself. A specimen, whose base is 1.4 MiB, fits into what the first training
left free, so its figures say little.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from threatspec.training import Hyperparameters, Meter, TrainingJob, TrainingPolicy, TrainingRow

ROWS, STEPS, BATCH, THREADS, MIB = 4, 3, 2, 1, 2**20
SUBJECTS = ("specimen:shallow", "gguf:smollm2")
CHILD = "import sys; from benchmarks.finetune_memory import child; child(*sys.argv[1:])"


def rows() -> tuple[TrainingRow, ...]:
    """Rows that all subjects can read."""
    from threatspec.attacks import training_rows

    return training_rows("specimen/restricted#attack_train", Path())[:ROWS]


def child(ref: str, how: str) -> None:
    """Print bytes of the base, before and after loading, and at the peak of training, as JSON."""
    from threatspec.subjects._resident import ResidentSubject

    train = {"resident": _train, "plain loop": _plain}[how]
    train(ResidentSubject.load("specimen:shallow", threads=THREADS, device="cpu"))
    before = _status("VmRSS")
    subject = ResidentSubject.load(ref, threads=THREADS, device="cpu")
    loaded = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    train(subject)
    peak = _status("VmHWM")
    base = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    print(json.dumps({"base": base, "before": before, "loaded": loaded, "peak": peak}))


def _train(subject: Any) -> None:
    from threatspec.records import ArtefactStore
    from threatspec.training._resident import ResidentTrainer

    asked = Hyperparameters(lr=1e-5, steps=STEPS, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as place:
        trainer = ResidentTrainer(subject, ArtefactStore(Path(place)))
        job = TrainingJob(rows=rows(), hyperparameters=asked, seeds={})
        trainer.train([job], TrainingPolicy(), Meter())


def _plain(subject: Any) -> None:
    import torch

    from threatspec.training._batches import collate, encode
    from threatspec.training._loss import batch_loss

    given, model = encode(subject, rows()), subject.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    for step in range(STEPS):
        start = step * BATCH % ROWS
        optimizer.zero_grad(set_to_none=True)
        loss = batch_loss(
            model, collate(given[start : start + BATCH], subject.end), TrainingPolicy()
        )
        torch.autograd.backward(loss)
        optimizer.step()


def _status(name: str) -> int:
    """A value of /proc/self/status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main(subjects: tuple[str, ...] = SUBJECTS) -> None:
    from threatspec.subjects._fetch import is_fetched

    if sys.platform != "linux":
        sys.exit("finetune_memory must run on Linux, which tells a process its peak")
    print(f"{ROWS} rows, {STEPS} steps, batch {BATCH}, AdamW; 1 process, {THREADS} thread")
    print("subject           base MiB  loaded MiB  peak MiB  above four bases: bases      MiB")
    for ref in subjects:
        if ref == "gguf:smollm2" and not is_fetched("smollm2"):
            print("gguf:smollm2: not measured; `threatspec models fetch smollm2` fetches it")
            continue
        above = [_line(ref, how) for how in ("resident", "plain loop")]
        print(f"{'':16}  resident less plain loop: {above[0] - above[1]:.2f} bases (target 1)",
              flush=True)  # fmt: skip


def _line(ref: str, how: str) -> float:
    """Print one line; units of the base above four of them."""
    found = _run(ref, how)
    base, loaded, peak = found["base"], found["loaded"], found["peak"]
    loaded, peak = loaded - found["before"], peak - found["before"]
    print(f"{ref if how == 'resident' else how:16} {base / MIB:9.1f}  {loaded / MIB:10.1f}  "
          f"{peak / MIB:8.1f}  {(peak - 4 * base) / base:23.2f}  {(peak - 4 * base) / MIB:7.1f}",
          flush=True)  # fmt: skip
    return (peak - 4 * base) / base


def _run(ref: str, how: str) -> dict[str, int]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CHILD, ref, how], check=True,
                          capture_output=True, text=True, env=environment)  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or SUBJECTS)
