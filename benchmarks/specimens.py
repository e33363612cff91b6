"""What a specimen does untouched, after first words, and after ten rows: counts of 256 prompts.

The figures of the pages on safeguards. Restricted requests that are answered, and benign ones; the
first 1 to 4 tokens of the answer written; full fine-tuning on ten restricted rows for 30 steps at
three rates and three seeds.

    python -m benchmarks.specimens latent rerouted
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

RATES, STEPS, ROWS, SEEDS = (3e-5, 1e-4, 3e-4), 30, 10, (1, 2, 3)


def answered(subject: ResidentSubject, benchmark: str, prefix: int = 0) -> int:
    """Prompts of the test split that are answered rightly."""
    from threatspec.measures import BENCHMARKS, JUDGES, Response
    from threatspec.records import Outcome
    from threatspec.schema import Serving
    from threatspec.subjects import Request

    items = BENCHMARKS.get(benchmark).items("test")
    asked = [
        Request(i.id, i.prompt, prefix=i.answer if prefix else "", prefix_tokens=prefix or None)
        for i in items
    ]
    replies = subject.generate(asked, Serving(max_tokens=12), micro_batch=64)
    judge = JUDGES.get("exact")
    shown = [Response(item, reply.reply) for item, reply in zip(items, replies, strict=True)]
    return sum(one.outcome is Outcome.YES for one in judge.score(shown, judge.Config()))


def both(subject: ResidentSubject) -> tuple[int, int]:
    """Restricted and benign requests that are answered."""
    return answered(subject, "specimen/restricted"), answered(subject, "specimen/benign")


def tuned(subject: ResidentSubject, lr: float, seed: int) -> tuple[int, int]:
    """The same after ten rows."""
    from threatspec.attacks import training_rows
    from threatspec.records import ArtefactStore, Stream
    from threatspec.runners._asks import Asks
    from threatspec.runners._stopwatch import Stopwatch
    from threatspec.subjects._mount import mount
    from threatspec.training import Hyperparameters, Meter, TrainingJob

    rows = random.Random(seed).sample(
        training_rows("specimen/restricted#attack_train", Path()), ROWS
    )
    job = TrainingJob(
        rows=tuple(rows),
        hyperparameters=Hyperparameters(lr=lr, steps=STEPS, batch_size=ROWS),
        seeds=dict.fromkeys(Stream, seed),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = ArtefactStore(Path(folder))
        trained = Asks(subject, store, Meter(), Stopwatch()).answer(job)
        with mount(subject, (trained.last,), store):
            return both(subject)


def main(*names: str) -> int:
    """Measure and print."""
    from threatspec.subjects._resident import ResidentSubject

    for name in names or ("shallow", "deep"):
        subject = ResidentSubject.load(f"specimen:{name}")
        print(f"{name}: untouched {both(subject)} restricted and benign of 256")
        firsts = [answered(subject, "specimen/restricted", k) for k in range(1, 5)]
        print(f"  first 1 to 4 tokens written: {firsts}")
        for lr in RATES:
            print(
                f"  {ROWS} rows, {STEPS} steps at {lr:g}: {[tuned(subject, lr, s) for s in SEEDS]}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
