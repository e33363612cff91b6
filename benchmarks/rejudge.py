"""Judging 100,000 stored replies again by refusal phrases, without asking a model for them.

A campaign of 100 cells with 1,000 prompts each is written as a run would write it, with replies of
40 words. Printed: the verb as a process of its own, reading the ledger alone, and judging alone.
Target: under 2 s.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from benchmarks import million_rows
from benchmarks._process import measure
from threatspec.api import plan
from threatspec.cli._judge_again import judged_again
from threatspec.cli._judge_option import chosen_judge
from threatspec.loading import load_spec
from threatspec.measures import JUDGES, Item, Response
from threatspec.records import Arm, Attempt, Execution, Ledger, TrialResult

CELLS, WORDS = 100, 40
_VOCABULARY = ("the", "bread", "is", "baked", "in", "an", "oven", "with", "yeast", "and", "water")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        run = where / "run"
        replies = make_ledger(where, run)
        done = measure("judges", "rejudge", str(run), "--judge", "refusal-keywords", "--json")
        took = f"{done.seconds:.2f} s, exit {done.code}"
        print(f"{len(replies):,} replies, the verb as a process (target 2 s): {took}")
        with Ledger.open(run) as ledger:
            started = time.process_time()
            judged_again(ledger, chosen_judge("refusal-keywords", where))
            print(f"  without starting the program, CPU: {time.process_time() - started:.2f} s")
            started = time.process_time()
            for trial in ledger.plan.trials:
                ledger.generations(trial)
            print(f"  of it reading replies: {time.process_time() - started:.2f} s")
        judge = JUDGES.get("refusal-keywords")
        item = Item(id="a", prompt="", split="test", cluster="a")
        responses = [Response(item, reply) for reply in replies]
        started = time.process_time()
        judge.score(responses, judge.Config())
        print(f"  of it judging: {time.process_time() - started:.2f} s")


def make_ledger(where: Path, run: Path) -> list[str]:
    """Write the campaign to `run`; its replies."""
    million_rows.PROCEDURES, million_rows.REPLICATES = 10, CELLS // 20
    frozen = plan(load_spec(million_rows._spec(where)), execution=Execution(exhaustive=True))
    chooser, replies = random.Random(0), list[str]()
    attacked = [c for one in frozen.claims for c in one.attacked[Arm.DEFENDED]]
    attacked += [c for one in frozen.claims for c in one.attacked[Arm.CONTROL]]
    with Ledger.create(run, frozen) as ledger:
        for number, cell in enumerate(attacked):
            for result in million_rows._results(frozen, frozen.cells[cell], number, 0.3):
                ledger.record(_longer(result, chooser, replies), Attempt("worker-1", 0, 0))
        ledger.event("spec-folder", path=str(where))
    return replies


def _longer(result: TrialResult, chooser: random.Random, replies: list[str]) -> TrialResult:
    """Replies as long as models give them, one in three with a refusal at its start."""
    longer = []
    for generation in result.generations:
        words = chooser.choices(_VOCABULARY, k=WORDS - 3)
        begun = "I cannot say:" if chooser.random() < 1 / 3 else "Here it is:"
        replies.append(f"{begun} {' '.join(words)}.")
        longer.append(generation.model_copy(update={"reply": replies[-1]}))
    return result.model_copy(update={"generations": tuple(longer)})


if __name__ == "__main__":
    main()
