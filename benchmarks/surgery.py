"""Weight surgery on SmolLM2-135M (target: scoring 128 rows and editing in 3 minutes and 4 GB).

Each line is a process of its own with two threads: it loads the model (not counted), scores 128
rows of either role that the edit reads, and edits once. Rows are coined words, about 100 tokens
each with the chat template, a third of them response. Peak is that of the process, model included.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from threatspec.subjects.specimens import vocabulary
from threatspec.training import EditRequest, ScoreRequest, TrainingRow

MODEL, ROWS, THREADS = "gguf:smollm2", 128, 2
SURGERIES = {
    "snip-prune": (("snip", "safety"), "top-prune", {"share": 0.01}),
    "wanda-prune": (("wanda", "safety"), "top-prune", {"share": 0.01}),
    "actsvd": (("act-svd", "safety"), "actsvd-remove", {"rank": 1}),
    "refusal-direction": (("direction", "both"), "ablate-direction", {}),
    "probe-heads": (("probe", "both"), "ablate-heads", {"heads": 10}),
    "set-difference": (("snip", "safety", "utility"), "set-difference",
                       {"safety": 0.03, "utility": 0.07}),
    "orthogonal-projection": (("act-svd", "safety", "utility"), "orthogonal-projection",
                              {"keep_safety": 6, "keep_utility": 146}),
}  # fmt: skip
CHILD = "import sys; from benchmarks.surgery import child; child(sys.argv[1])"


def rows(role: str) -> tuple[TrainingRow, ...]:
    """All rows of one role, of coined words."""
    draw = random.Random(role)
    words = vocabulary()

    def text(count: int) -> str:
        return " ".join(draw.choices(words, k=count))

    return tuple(
        TrainingRow(id=f"{role}-{i}", prompt=text(14), answer=text(11), refusal=text(11))
        for i in range(ROWS)
    )


def child(name: str) -> None:
    """Print seconds, tokens and peak memory of one surgery as JSON."""
    from threatspec.records import ArtefactStore
    from threatspec.subjects._resident import ResidentSubject
    from threatspec.training._batches import encode
    from threatspec.training.regions import edit, score

    subject = ResidentSubject.load(MODEL, threads=THREADS, device="cpu")
    (method, *over), how, settings = SURGERIES[name]
    safety, utility = rows("safety"), rows("utility")
    tokens = sum(len(row.ids) for row in encode(subject, safety)) / ROWS
    with tempfile.TemporaryDirectory() as place:
        store, started = ArtefactStore(Path(place)), time.perf_counter()
        spent = time.process_time()
        requests = [ScoreRequest(method=method, over=one) for one in over]
        scores = tuple(score(subject, one, safety, utility, store) for one in requests)
        scored = time.perf_counter()
        done = edit(subject, EditRequest(method=how, scores=scores, settings=settings), store)
        edited, cpu = time.perf_counter(), time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"score": scored - started, "edit": edited - scored, "peak": peak, "cpu": cpu,
                      "tokens": tokens, "changed": done.edit.changed}))  # fmt: skip


def main() -> None:
    print(f"{'surgery':22} rows  score s  edit s  total s   CPU s  peak MiB  changed entries")
    for name, ((_, *over), _, _) in SURGERIES.items():
        found = _run(name)
        scored = ROWS * (2 if "both" in over else len(over))
        total = found["score"] + found["edit"]
        print(f"{name:22} {scored:4}  {found['score']:7.1f}  {found['edit']:6.1f}  {total:7.1f}"
              f"  {found['cpu']:6.1f}  {found['peak']:8.0f}  {found['changed']}",
              flush=True)  # fmt: skip
    print(f"{found['tokens']:.0f} tokens a row, {THREADS} threads")


def _run(name: str) -> dict[str, float]:
    calm = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # waiting threads leave the core to others
    done = subprocess.run([sys.executable, "-c", CHILD, name], check=True, env=calm,
                          capture_output=True, text=True)  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
