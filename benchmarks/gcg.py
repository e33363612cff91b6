"""A step of GCG with what precedes the suffix shared, and without.

One step on SmolLM2-135M (if it is fetched) in its native template: the gradient of the suffix on
every row, then 64 candidates, each after every row. With sharing, keys and values of everything
before the suffix are computed once per row in the whole search; without, every candidate carries
it. Both sides take turns, with the same candidates; their losses must agree. Rows are harmless:
names of an invented assistant. One process with one thread. Target: 1.5 times.

    python -m benchmarks gcg
    python -m benchmarks.gcg specimen:shallow           # another subject
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject
    from threatspec.training import TrainingRow
    from threatspec.training.suffixes._search import Searching

ROWS, CANDIDATES, LENGTH, TARGET, TOP_K, THREADS, TURNS = 2, 64, 20, 8, 256, 1, 3


def rows_of(subject: str) -> tuple[TrainingRow, ...]:
    """Prompts with answers: the specimen's own, or names that a real model is asked."""
    from threatspec.attacks import training_rows

    if subject.startswith("specimen:"):
        return training_rows("specimen/benign#attack_train", Path())[:ROWS]
    data = Path(__file__).parents[1] / "claims" / "data"
    return training_rows("file:smollm2-persona-rows.jsonl#attack_train", data)[:ROWS]


def searching(subject: ResidentSubject, rows: Any, *, reuse: bool) -> Searching:
    """A search whose prefixes have been computed, if they are shared."""
    from threatspec.training import Meter, SuffixRequest
    from threatspec.training.suffixes._search import Searching

    request = SuffixRequest(
        method="gradient", rows=rows, steps=1, candidates=CANDIDATES, top_k=TOP_K, length=LENGTH,
        target=TARGET, batch=CANDIDATES, ascii_only=True,
    )  # fmt: skip
    found = Searching(subject, request, Meter(), reuse=reuse)
    for number in range(len(rows)):
        found._row(number)
    return found


def step(found: Searching) -> tuple[float, float]:
    """Seconds of one step from the start, and the loss after it."""
    found.current = found.first
    started = time.perf_counter()
    losses = found.run()
    return time.perf_counter() - started, losses[-1]


def main(subjects: tuple[str, ...] = ()) -> None:
    """Print the ratio of one subject."""
    import torch

    from threatspec.errors import ThreatspecError
    from threatspec.subjects._resident import ResidentSubject

    ref = (subjects or ("gguf:smollm2",))[0]
    try:
        subject = ResidentSubject.load(ref, threads=THREADS, device="cpu")
    except ThreatspecError as error:
        print(error.message)
        return
    torch.set_num_threads(THREADS)
    rows = rows_of(ref)
    sides = {reuse: searching(subject, rows, reuse=reuse) for reuse in (True, False)}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    losses = {}
    for _ in range(TURNS):
        for reuse, side in sides.items():
            side.draw.seed(0)
            taken, losses[reuse] = step(side)
            seconds[reuse].append(taken)
    report(ref, sides[True], seconds, losses)


def report(
    ref: str, side: Searching, seconds: dict[bool, list[float]], losses: dict[bool, float]
) -> None:
    """Print what was measured."""
    lengths = [frame.lengths(LENGTH) for frame in side.frames.rows]
    share = sum(one.head for one in lengths) / sum(one.whole for one in lengths)
    shared, alone = (statistics.median(seconds[reuse]) for reuse in (True, False))
    print(f"{ref}: a step of GCG, {len(lengths)} rows, {CANDIDATES} swaps, suffix of {LENGTH}, "
          f"target of {TARGET} tokens; 1 process, {THREADS} thread, {TURNS} steps")  # fmt: skip
    print(f"  tokens a row {', '.join(str(one.whole) for one in lengths)}; "
          f"before the suffix {100 * share:.0f} %")  # fmt: skip
    print(f"  shared {shared:.2f} s, alone {alone:.2f} s: {alone / shared:.2f} times (target 1.5)")
    print(f"  loss after the step {losses[True]:.6f} and {losses[False]:.6f}")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
