"""BaDExpert, STRIP and fine-pruning on specimens that are backdoored here: what each finds.

`python -m benchmarks.badexpert_probes reports/backdoors` runs what `probes.json` there does not
have yet (about twenty minutes on one core) and writes README.md from it. Implants are those of
`data-backdoor`, three seeds each; a seed moves the poisoned rows, new weights, the order of rows,
and the defender's clean images.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threatspec.attacks import SAFEGUARD_SPLITS, AttackContext, training_rows
from threatspec.attacks.data_backdoor import DataBackdoor, DataBackdoorConfig, _job
from threatspec.measures import Item, benchmark
from threatspec.records import Stream
from threatspec.runners._guards import probabilities
from threatspec.safeguards import SAFEGUARDS, Fitted, SafeguardContext
from threatspec.safeguards._clean_split import clean_split, requests_of
from threatspec.safeguards._screening import correct, threshold_at
from threatspec.safeguards.badexpert import BadExpertConfig, _expert, score_of
from threatspec.subjects import Request, Tamper
from threatspec.subjects._mount import encoded
from threatspec.testing._bench import Bench

__all__ = ["main", "page"]

SUBJECTS = {"specimen:mnist-resnet": "yes", "specimen:mnist-plain": "no"}
"""Reference -> whether it has batch norm."""
TRIGGERS: dict[str, dict[str, Any] | None] = {
    "patch": {"trigger": "patch", "rate": 0.05},
    "blend": {"trigger": {"use": "blend", "alpha": 0.2}, "rate": 0.1},
    "none": None,
}
"""Name -> knobs of the implant; None: the same training on clean rows."""
SEEDS = (0, 1, 2)
SCORES = ("expert", "auxiliary", "ensemble")
EPOCHS = 5
BLENDED = 300
"""Images of either kind that STRIP is read on, which blends each with 20 others."""
CLEAN = 300
"""Clean images of the defender; a half is fitted on, a half sets the threshold."""
EARLIER = (
    ("patch", "yes", "1e-4 x 1", 1e-4, ".990 / 1.00", ".63 / .92 / .91"),
    ("patch", "yes", "1e-3 x 1", 4e-4, ".889 / 1.00", ".90 / .92 / .98"),
    ("patch", "yes", "1e-3 x 3", 8e-4, ".588 / 1.00", ".996 / .84 / 1.000"),
    ("patch", "yes", "3e-3 x 3", 32e-4, ".058 / .61", ".83 / .84 / .99"),
    ("patch", "no", "3e-3 x 3", 32e-4, ".591 / .93", ".94 / .89 / .996"),
    ("blend", "yes", "1e-3 x 3", 8e-4, ".446 / .99", ".961 / .90 / .983"),
    ("blend", "no", "1e-3 x 3", 8e-4, ".655 / .65", ".56 / .84 / .71"),
)
"""Probes on the digits of scikit-learn: trigger, batch norm, rate x epochs, the rate here that is
held against it, the expert's accuracy / ASR, AUROC of expert / auxiliary / ensemble."""
Array = NDArray[Any]
Cell = dict[str, Any]


@dataclass
class Suspect:
    """One trained model, and the images that it is read on."""

    bench: Bench
    trigger: str
    seed: int

    @cached_property
    def seeds(self) -> dict[Stream, int]:
        return dict.fromkeys(Stream, self.seed)

    @cached_property
    def tampers(self) -> tuple[Tamper, ...]:
        """Weights, and the trigger if there is one."""
        attack, knobs = DataBackdoor(), TRIGGERS[self.trigger]
        rows = training_rows("mnist5k#attack_train", Path())
        settled = {**(knobs or {}), "epochs": EPOCHS}
        config = DataBackdoorConfig.model_validate(settled, strict=False)
        context = AttackContext(subject=self.bench.card, rows=rows, benign=rows, seeds=self.seeds)
        if knobs:
            found: tuple[Tamper, ...] = self.bench.drive(attack.run(context, config))
            return found

        def clean() -> Any:
            trained = yield _job(config.settled(len(rows)), rows, context)
            return (trained.last,)

        alone: tuple[Tamper, ...] = self.bench.drive(clean())
        return alone

    @cached_property
    def clean(self) -> tuple[Item, ...]:
        return benchmark("mnist5k", Path()).items("test")

    @cached_property
    def asked(self) -> list[Request]:
        """Clean images of the test split."""
        return [_request(item) for item in self.clean]

    @cached_property
    def marked(self) -> list[Request]:
        """Those of other classes than the target, with the trigger; none without one."""
        if self.trigger == "none":
            return []
        others = benchmark("mnist5k/not-0", Path()).items("test")
        return encoded(self.tampers[1:], [_request(item) for item in others])

    def context(self, warned: list[str]) -> SafeguardContext:
        rows = training_rows("mnist5k#safeguard_train", Path(), SAFEGUARD_SPLITS)
        drawn = random.Random(f"{self.seed}/benign").sample(list(rows), CLEAN)
        return SafeguardContext(
            subject=self.bench.card, safety=(), benign=drawn, seeds=self.seeds, warn=warned.append,
            probabilities=partial(probabilities, self.bench.subject, self.bench.store),
        )  # fmt: skip

    @cached_property
    def right(self) -> Array:
        """Whether each clean image is classified rightly."""
        found = self.read(self.asked, None).argmax(1)
        names = self.bench.card.classes
        return np.array(
            [names[n] == item.answer for n, item in zip(found, self.clean, strict=True)]
        )

    @cached_property
    def hit(self) -> Array:
        """Whether each marked image is taken for the target."""
        return self.target(None)

    def target(self, artefact: str | None) -> Array:
        found: Array = self.read(self.marked, artefact).argmax(1) == 0
        return found

    @cached_property
    def _known(self) -> dict[tuple[int, str | None], Array]:
        return {}

    def read(self, requests: Sequence[Request], artefact: str | None) -> Array:
        """Class probabilities, read once for each list of images and each artefact."""
        key = (id(requests), artefact)
        if key not in self._known:
            one, store = self.bench.subject, self.bench.store
            self._known[key] = probabilities(one, store, requests, artefact)
        return self._known[key]


def _request(item: Item) -> Request:
    return Request(item=item.id, prompt=item.prompt, image=item.image)


def auroc(clean: Array, marked: Array) -> float:
    """Share of pairs in which the marked one scores higher; ties count a half."""
    below = np.searchsorted(np.sort(clean), marked, "left").sum()
    tied = np.searchsorted(np.sort(clean), marked, "right").sum() - below
    return float((below + tied / 2) / (len(clean) * len(marked)))


def rates(one: Suspect, clean: Array, marked: Array, threshold: float) -> Cell:
    """What a screen does at its threshold, on as many images as there are scores of."""
    right = one.right[: len(clean)]
    found = {
        "fpr": float((clean[right] > threshold).mean()),
        "accuracy_after": float((right & (clean <= threshold)).mean()),
    }
    if len(marked):
        hit = one.hit[: len(marked)]
        found["auroc"] = auroc(clean[right], marked[hit])
        found["tpr"] = float((marked[hit] > threshold).mean())
        found["asr_after"] = float((hit & (marked <= threshold)).mean())
    return found


def suspect_cell(subject: str, trigger: str, seed: int) -> Cell:
    """Everything that is read of one model."""
    with tempfile.TemporaryDirectory() as folder:
        one = Suspect(Bench(Path(folder), subject), trigger, seed)
        with one.bench.mounted(one.tampers[:1]):
            cell: Cell = {"subject": subject, "trigger": trigger, "seed": seed}
            cell["accuracy"] = float(one.right.mean())
            if one.marked:
                cell["asr"] = float(one.hit.mean())
            cell["badexpert"], made = screened(one, "badexpert", None)
            cell["strip"], _ = screened(one, "strip", BLENDED)
            cell["ladder"] = ladder(one, made["artefacts"][1])
            cell["fine-pruning"] = repaired(one)
    return cell


def screened(one: Suspect, kind: str, most: int | None) -> tuple[Cell, Mapping[str, Any]]:
    """A screen as it is by default, on `most` images at most of either kind."""
    safeguard, warned = SAFEGUARDS.get(kind), list[str]()
    config, context = safeguard.Config(), one.context(warned)
    provided = one.bench.drive(safeguard.repair(context, config)).provided
    screen: Any = safeguard.serving_policy(context, config, provided)
    clean, marked = (
        np.array(screen.scores(requests[:most])) if requests else np.array([])
        for requests in (one.asked, one.marked)
    )
    told = {name: value for name, value in provided.items() if name != "artefacts"}
    return {**told, **rates(one, clean, marked, provided["threshold"]), "warned": warned}, provided


def ladder(one: Suspect, auxiliary: str) -> list[Cell]:
    """An expert at every rate of the ladder, beside the same auxiliary."""
    context = one.context([])
    split = clean_split(context, 0.5)
    own = requests_of(split.held_out)
    good = correct(one.read(own, None), split.held_out, one.bench.card.classes)
    found = []
    for rate in BadExpertConfig().rates:
        made, told = one.bench.drive(
            _expert(context, BadExpertConfig(rates=(rate,)), split.fitting)
        )
        cell = {"rate": rate, "fitting_accuracy": told["expert"]["accuracy"]}
        names = np.array(one.bench.card.classes)
        answers = np.array([item.answer for item in one.clean])
        read = one.read(one.asked, made)
        cell["accuracy"] = float((names[read.argmax(1)] == answers).mean())
        if one.marked:
            cell["asr"] = float(one.target(made).mean())
        for score in SCORES:
            config = BadExpertConfig.model_validate({"score": score})
            at = threshold_at(
                _scored(one, config, own, made, auxiliary)[np.array(good)].tolist(), 0.01, context
            )
            clean, marked = (
                _scored(one, config, r, made, auxiliary) for r in (one.asked, one.marked)
            )
            cell[score] = rates(one, clean, marked, at.value)
        found.append(cell)
    return found


def _scored(
    one: Suspect, config: BadExpertConfig, requests: Sequence[Request], made: str, auxiliary: str
) -> Array:
    if not requests:
        return np.array([])
    found: Array = score_of(config, *(one.read(requests, name) for name in (None, made, auxiliary)))
    return found


def repaired(one: Suspect) -> Cell:
    """Fine-pruning, which rejects nothing."""
    safeguard, warned = SAFEGUARDS.get("fine-pruning"), list[str]()
    context = one.context(warned)
    fitted: Fitted = one.bench.drive(safeguard.repair(context, safeguard.Config()))
    names = np.array(one.bench.card.classes)
    answers = np.array([item.answer for item in one.clean])
    with one.bench.mounted(fitted.tampers):
        read = context.probabilities(one.asked, None)
        cell: Cell = {**fitted.provided, "warned": warned}
        cell["accuracy_after"] = float((names[read.argmax(1)] == answers).mean())
        if one.marked:
            cell["asr_after"] = float(
                (context.probabilities(one.marked, None).argmax(1) == 0).mean()
            )
    return cell


# the page


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def _spread(values: Sequence[float]) -> str:
    """Mean, and the lowest and highest of the seeds."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _column(cells: Sequence[Cell], *path: Any) -> str:
    found = []
    for cell in cells:
        value: Any = cell
        for name in path:
            value = value[name] if isinstance(value, list) or name in value else None
            if value is None:
                return "–"
        found.append(float(value))
    return _spread(found)


def _at(own: Sequence[Cell], rate: float, *path: str) -> float:
    """Mean over seeds of something of one rate of the ladder."""
    place = BadExpertConfig().rates.index(rate)
    found = []
    for cell in own:
        value: Any = cell["ladder"][place]
        for name in path:
            value = value[name]
        found.append(value)
    return float(np.mean(found))


def _pair(own: Sequence[Cell], rate: float, *names: str) -> str:
    return " / ".join(f"{_at(own, rate, name):.3f}" for name in names)


def _three(own: Sequence[Cell], rate: float) -> str:
    return " / ".join(f"{_at(own, rate, score, 'auroc'):.3f}" for score in SCORES)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _groups(cells: Sequence[Cell]) -> Iterator[tuple[str, str, list[Cell]]]:
    for subject, norm in SUBJECTS.items():
        for trigger in TRIGGERS:
            own = [c for c in cells if (c["subject"], c["trigger"]) == (subject, trigger)]
            if own:
                yield trigger, norm, own


def page(cells: Sequence[Cell]) -> dict[str, str]:
    """Tables by name."""
    groups = list(_groups(cells))
    marked = [group for group in groups if group[0] != "none"]
    screens = [
        [kind, trigger, norm, _column(own, kind, "tpr"), _column(own, kind, "fpr"),
         _column(own, "asr"), _column(own, kind, "asr_after"), _column(own, "accuracy"),
         _column(own, kind, "accuracy_after"), _column(own, kind, "auroc")]
        for kind in ("badexpert", "strip", "fine-pruning")
        for trigger, norm, own in groups
    ]  # fmt: skip
    ladders = [
        [trigger, norm, f"{rate:g}", _column(own, "ladder", n, "fitting_accuracy"),
         _column(own, "ladder", n, "accuracy"), _column(own, "ladder", n, "asr"),
         *(_column(own, "ladder", n, score, "auroc") for score in SCORES),
         _column(own, "ladder", n, "ensemble", "tpr")]
        for trigger, norm, own in marked
        for n, rate in enumerate(BadExpertConfig().rates)
    ]  # fmt: skip
    chosen = [
        [trigger, norm, ", ".join(f"{c['badexpert']['expert']['rate']:g}" for c in own),
         ", ".join(f"{c['badexpert']['expert']['accuracy']:.2f}" for c in own),
         ", ".join(f"{c['badexpert']['auxiliary']['rate']:g}" for c in own),
         ", ".join(str(len(c["badexpert"]["warned"])) for c in own)]
        for trigger, norm, own in groups
    ]  # fmt: skip
    compared = [
        [trigger, norm, theirs, f"{rate:g}", expert, _pair(own, rate, "accuracy", "asr"), areas,
         _three(own, rate)]
        for trigger, norm, theirs, rate, expert, areas in EARLIER
        for other, has, own in marked
        if (other, has) == (trigger, norm)
    ]  # fmt: skip
    head = ["safeguard", "trigger", "batch norm", "TPR", "FPR", "ASR before", "after",
            "accuracy before", "after", "AUROC (display)"]  # fmt: skip
    return {
        "screens": _table(head, screens),
        "chosen": _table(
            ["trigger", "batch norm", "expert's rate", "its accuracy", "auxiliary's rate",
             "warnings"], chosen),
        "compared": _table(
            ["trigger", "batch norm", "rate there", "here", "expert's accuracy / ASR there", "here",
             "AUROC of expert / auxiliary / ensemble there", "here"], compared),
        "ladders": _table(
            ["trigger", "batch norm", "rate", "accuracy on fitting images", "on test", "ASR",
             "AUROC expert", "auxiliary", "ensemble", "TPR ensemble"], ladders),
    }  # fmt: skip


def _written(folder: Path, cells: Sequence[Cell]) -> None:
    """Tables between the marks of README.md, whose words are by hand."""
    place = folder / "README.md"
    text = place.read_text("utf-8") if place.is_file() else ""
    for name, table in page(cells).items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        if start not in text:
            text += f"\n{start}{end}\n"
        before, _, rest = text.partition(start)
        text = before + start + table + end + rest.partition(end)[2]
    place.write_text(text, "utf-8")


def main(folder: Path) -> None:
    """Run what is missing, one model after another, and write the page."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "probes.json"
    cells: list[Cell] = json.loads(place.read_text("utf-8")) if place.is_file() else []
    done = {(cell["subject"], cell["trigger"], cell["seed"]) for cell in cells}
    for seed in SEEDS:
        for subject in SUBJECTS:
            for trigger in TRIGGERS:
                if (subject, trigger, seed) not in done:
                    cells.append(_rounded(suspect_cell(subject, trigger, seed)))
                    place.write_text(json.dumps(cells, indent=1) + "\n", "utf-8")
                    print(subject, trigger, seed, flush=True)
    _written(folder, cells)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "reports/backdoors"))
