"""Checkpoints at 10, 30 and 100 steps of a trajectory against the 100 steps alone (target: 1.1).

One resident subject with one thread: full fine-tuning and LoRA (r = 8, all linear layers) of 10
rows at a constant learning rate. Runs with and without checkpoints take turns; printed are the
least wall and CPU seconds of each, and their ratios. Every run keeps its last step; those with
checkpoints keep the two before as well.

    python -m benchmarks checkpoints
    python -m benchmarks.checkpoints gguf:smollm2       # another subject, one run of each
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threatspec.training import (
    Adapter,
    Hyperparameters,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
)

ROWS, STEPS, BATCH, KEPT, THREADS = 10, 100, 10, (10, 30, 100), 1
LORA = Adapter(method="lora", options={"r": 8, "lora_alpha": 16, "target_modules": "all-linear"})


def rows() -> tuple[TrainingRow, ...]:
    """Rows that all subjects can read."""
    from threatspec.attacks import training_rows

    return training_rows("specimen/restricted#attack_train", Path())[:ROWS]


def seconds(subject: Any, adapter: Adapter | None, kept: tuple[int, ...]) -> tuple[float, float]:
    """Wall and CPU seconds of one trajectory that keeps the steps `kept`, and its last."""
    from threatspec.records import ArtefactStore
    from threatspec.training._resident import ResidentTrainer

    asked = Hyperparameters(lr=1e-4, steps=STEPS, batch_size=BATCH, adapter=adapter)
    job = TrainingJob(rows=rows(), hyperparameters=asked, seeds={}, checkpoints=kept)
    with tempfile.TemporaryDirectory() as place:
        trainer = ResidentTrainer(subject, ArtefactStore(Path(place)))
        started, spent = time.perf_counter(), time.process_time()
        (found,) = trainer.train([job], TrainingPolicy(), Meter())
        wall, cpu = time.perf_counter() - started, time.process_time() - spent
    assert set(found.checkpoints) == {*kept, STEPS}
    return wall, cpu


def main(ref: str = "specimen:shallow", runs: int = 5) -> None:
    from threatspec.subjects._resident import ResidentSubject

    subject = ResidentSubject.load(ref, threads=THREADS, device="cpu")
    print(f"{ref}: {ROWS} rows, {STEPS} steps, batch {BATCH}, checkpoints at {KEPT}; 1 process, "
          f"{THREADS} thread, least of {runs} (target of both ratios: 1.1)")  # fmt: skip
    print("       alone: s   CPU s  with them: s   CPU s   ratio  of CPU")
    for name, adapter in (("full", None), ("lora", LORA)):
        plain, kept = [], []
        for _ in range(runs):
            plain.append(seconds(subject, adapter, ()))
            kept.append(seconds(subject, adapter, KEPT))
        (wall, cpu), (wall_kept, cpu_kept) = _least(plain), _least(kept)
        print(f"{name:6} {wall:8.2f}  {cpu:6.2f}      {wall_kept:8.2f}  {cpu_kept:6.2f}  "
              f"{wall_kept / wall:6.3f}  {cpu_kept / cpu:6.3f}", flush=True)  # fmt: skip


def _least(runs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(wall for wall, _ in runs), min(cpu for _, cpu in runs)


if __name__ == "__main__":
    main(*([sys.argv[1], 1] if sys.argv[1:] else []))
