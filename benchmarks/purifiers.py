"""What purifiers do about a change that all images share, and what they cost.

A classifier of handwritten digits (28 x 28) is attacked by one change of at most eps per pixel that
is to make every image look like class 0: 32 images of other classes, 300 steps of 1/255, once
without a purifier and once through it. All are read on every second test image (about 470), those
of class 0 left out. For each purifier and eps, means of three seeds with 95 % t-intervals:

    attacked   plain change, no purifier
    purified   plain change, purifier
    clean      no change, purifier: what `before.asr` is
    noise      every pixel up or down by eps at random, purifier
    adaptive   change that was searched through the purifier, purifier

    python -m benchmarks.purifiers                                   # specimen:mnist-plain
    python -m benchmarks.purifiers specimen:mnist-vgg --write reports/purifiers/README.md
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SEEDS, EPS, STEPS, FITTED, TARGET = (0, 1, 2), (64, 128), 300, 32, "0"
METHODS: tuple[dict[str, Any], ...] = (
    {"method": "mean", "kernel": 3},
    {"method": "blur", "sigma": 1.0},
    {"method": "median", "kernel": 3},
    {"method": "jpeg", "quality": 50},
    {"method": "bit-depth", "bits": 1},
    {"method": "denoiser"},
)
COLUMNS = ("attacked", "purified", "clean", "noise", "adaptive")
T_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}
"""Two-sided 95 % quantiles of Student's t, by how many values there are."""


class Shared:
    """A change that every image gets, as an edit."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def edit(self, image: Any, request: Any) -> Any:
        return np.clip(image.astype(np.int16) + self.change, 0, 255).astype(np.uint8)


class Lab:
    """One subject, its images and a store that is thrown away."""

    def __init__(self, ref: str, folder: Path) -> None:
        from threatspec.attacks import training_rows
        from threatspec.measures import BENCHMARKS
        from threatspec.records import ArtefactStore
        from threatspec.subjects import Request
        from threatspec.subjects._loaded import load_subject

        self.subject, self.store = load_subject(ref), ArtefactStore(folder)
        self.rows = training_rows("mnist5k/not-0#attack_train", Path())
        items = BENCHMARKS.get("mnist5k").items("test")[::2]
        self.requests = [Request(item=item.id, prompt="", image=item.image) for item in items]
        self.labels = [item.answer for item in items]

    def policy(self, knobs: dict[str, Any], seed: int) -> Any:
        """The fitted purifier."""
        from threatspec.attacks import SAFEGUARD_SPLITS, training_rows
        from threatspec.records import Stream
        from threatspec.runners._asks import Asks
        from threatspec.runners._stopwatch import Stopwatch
        from threatspec.safeguards import SAFEGUARDS, SafeguardContext
        from threatspec.training import Meter

        safeguard = SAFEGUARDS.get("image-purifier")
        config = safeguard.Config(**knobs)
        context = SafeguardContext(
            subject=self.subject.card,
            safety=(),
            benign=training_rows("mnist5k#safeguard_train", Path(), SAFEGUARD_SPLITS)[:200],
            seeds=dict.fromkeys(Stream, seed),
            load=self.store.load,
        )
        asks = Asks(self.subject, self.store, Meter(), Stopwatch())
        fitted = asks.drive(safeguard.fit(context, config))
        return safeguard.serving_policy(context, config, fitted.provided)

    def change(self, eps: int, seed: int, policy: Any = None) -> Any:
        """Found on images of other classes than the target: int16 (28, 28, 1)."""
        import random

        from threatspec.training import Meter
        from threatspec.training.pixels import PerturbationRequest
        from threatspec.training.pixels._search import find_pixels

        chosen = random.Random(f"purifiers/{seed}").sample(self.rows, FITTED)
        wanted = tuple(row.model_copy(update={"answer": TARGET}) for row in chosen)
        request = PerturbationRequest(
            rows=wanted, seed=seed, eps=eps / 255, alpha=1 / 255, steps=STEPS,
            batch=FITTED, adaptive=policy is not None,
        )  # fmt: skip
        received = partial(_received, policy) if policy else list
        found = find_pixels(self.subject, request, self.store, Meter(), received)
        return self.store.load(found.artefact)["delta"].numpy()

    def rates(self, change: Any = None, policy: Any = None) -> tuple[float, float]:
        """Share of other classes that is taken for the target, and accuracy on all classes."""
        given = self.requests
        if change is not None:
            given = [replace(one, pixels=(Shared(change),)) for one in given]
        if policy is not None:
            given = _received(policy, given)
        best = self.subject.probabilities(given).argmax(1)
        said = [self.subject.card.classes[n] for n in best]
        others = [
            name == TARGET for name, label in zip(said, self.labels, strict=True) if label != TARGET
        ]
        right = [name == label for name, label in zip(said, self.labels, strict=True)]
        return statistics.mean(others), statistics.mean(right)


def without(lab: Lab, eps: int, seed: int) -> tuple[Any, Any, float]:
    """The searched change and the random one, neither of which knows of a purifier, and what the
    first reaches where there is none."""
    from threatspec.training.pixels._bytes import control

    searched = lab.change(eps, seed)
    sign = control(searched.shape, "sign", "linf", eps / 255, seed)
    return searched, sign, lab.rates(searched)[0]


def _received(policy: Any, requests: Sequence[Any]) -> list[Any]:
    return list(policy.receive(requests))


def shown(values: Sequence[float]) -> str:
    """Mean and interval of seeds, in percent; without a spread the mean alone."""
    mean, spread = statistics.mean(values), statistics.stdev(values)
    reach = T_95[len(values)] * spread / len(values) ** 0.5
    low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return f"{100 * mean:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def measured(lab: Lab, knobs: dict[str, Any], plain: dict[Any, Any]) -> tuple[str, list[Any]]:
    """Accuracy behind one purifier, and its rows."""
    policies = {seed: lab.policy(knobs, seed) for seed in SEEDS}
    clean = {seed: lab.rates(policy=policies[seed]) for seed in SEEDS}
    lines = []
    for eps in EPS:
        cells: dict[str, list[float]] = {column: [] for column in COLUMNS}
        for seed, policy in policies.items():
            searched, sign, attacked = plain[eps, seed]
            cells["attacked"].append(attacked)
            cells["purified"].append(lab.rates(searched, policy)[0])
            cells["clean"].append(clean[seed][0])
            cells["noise"].append(lab.rates(sign, policy)[0])
            adaptive = lab.change(eps, seed, policy)
            cells["adaptive"].append(lab.rates(adaptive, policy)[0])
        lines.append([name_of(knobs), f"{eps}/255", *(shown(cells[c]) for c in COLUMNS)])
        print(" | ".join(lines[-1]), flush=True)
    return shown([right for _, right in clean.values()]), lines


def name_of(knobs: dict[str, Any]) -> str:
    """The method with its setting."""
    rest = " ".join(f"{name} {value}" for name, value in knobs.items() if name != "method")
    return f"{knobs['method']} {rest}".strip()


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table, and write it where `--write` says."""
    parser = argparse.ArgumentParser(prog="benchmarks.purifiers")
    parser.add_argument("subject", nargs="?", default="specimen:mnist-plain")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(given.subject, Path(folder))
        plain = {(eps, seed): without(lab, eps, seed) for eps in EPS for seed in SEEDS}
        accuracy, lines = {"none": shown([lab.rates()[1]] * 2)}, []
        for knobs in METHODS:
            accuracy[name_of(knobs)], found = measured(lab, knobs, plain)
            lines += found
    text = table(("purifier", "eps", *COLUMNS), lines)
    text += "\n" + table(("purifier", "accuracy, %"), [[k, v] for k, v in accuracy.items()])
    print(f"\n{text}")
    if given.write:
        given.write.write_text(text, encoding="utf-8")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
