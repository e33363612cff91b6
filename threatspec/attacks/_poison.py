"""Poisoned training data of an image classifier: which rows are marked, and what they are called.

Rates are shares of all rows, rounded down. Which rows are marked follows from the seed and from
their ids.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PrivateAttr

from threatspec.attacks.triggers import TriggerTamper
from threatspec.attacks.triggers.base import blended
from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.subjects import DataPoison, PixelTamper, Request
from threatspec.training import TrainingRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HardenTamper", "Mode", "Poison", "called", "check_classes", "chosen"]

Mode = Literal["all-to-one", "all-to-all", "source-specific", "clean-label"]
Rows = Sequence[TrainingRow]


class HardenTamper(PixelTamper):
    """Makes the image of a row hard to tell, so that a model that is trained on it with the right
    label has reason to look at the trigger.

    Source: arXiv 1912.02771, which interpolates in the latent space of a generator or perturbs by
    gradients. Here images are mixed with one of another class, or with noise.
    """

    kind: ClassVar[str] = "harden"

    amount: float
    """Share of what is mixed in."""
    other: str = ""
    """Image of another class that is mixed in; empty: noise, drawn from the seed and the image."""
    seed: int = 0
    _folder: Path = PrivateAttr(default=Path())

    def opened(self, load: Callable[[str], dict[str, Any]] | None, folder: Path) -> HardenTamper:
        """The same, with files looked for in `folder`; there are no artefacts."""
        found = self.model_copy()
        found._folder = folder
        return found

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The mixture. Raises ThreatspecError TS-POISON for an image of another size."""
        from threatspec.attacks.triggers._patterns import of_image
        from threatspec.subjects.images import read_image

        if not self.other:
            noise = of_image(image, "harden", self.seed).integers(0, 256, image.shape)
            return blended(image, noise, self.amount)
        other = read_image(self.other, self._folder)
        if other.shape != image.shape:
            text = "images that are mixed must have one size, but are of "
            raise ThreatspecError("TS-POISON", f"{text}{image.shape} and {other.shape}")
        return blended(image, other, self.amount)


class Poison(DataPoison):
    """Marks rows and, but for clean labels, calls them something else."""

    kind: ClassVar[str] = "classifier-poison"

    trigger: TriggerTamper
    covered: TriggerTamper
    """On rows that keep their label."""
    classes: tuple[str, ...]
    """Of the subject, in its order."""
    mode: Mode
    target: str
    sources: tuple[str, ...] = ()
    """Of `source-specific`: classes whose rows are marked and called `target`."""
    shift: int = 1
    """Of `all-to-all`: how many classes further a row is called."""
    rate: float
    cover: float = 0.0
    harden: Literal["interpolation", "noise", "none"] = "none"
    """Of `clean-label`."""
    hardness: float = 0.0
    seed: int = 0
    _folder: Path = PrivateAttr(default=Path())

    def opened(self, folder: Path) -> Poison:
        """The same, with files looked for in `folder`."""
        found = self.model_copy()
        found._folder = folder
        return found

    def rows(self, rows: Rows) -> tuple[TrainingRow, ...]:
        """All rows in their order, some of them marked.

        Raises ThreatspecError TS-POISON for classes that are not there and rates that mark no row,
        or more than there are.
        """
        self._check_aims()
        check_classes(dict.fromkeys(row.answer for row in rows), self.classes)
        chooser = random.Random(f"{self.seed}/poison")
        marked = chosen(rows, self._may_be_marked, self.rate, "poison rate", chooser)
        left = [row for row in rows if row.id not in marked]
        covered = (
            chosen(left, self._may_cover, self.cover, "cover rate", chooser, len(rows))
            if self.cover
            else frozenset()
        )
        others = [row.image for row in rows if row.answer != self.target]
        return tuple(
            self._marked(row, others, chooser)
            if row.id in marked
            else called(row, "covered", row.answer, self.covered)
            if row.id in covered
            else row
            for row in rows
        )

    def check(self, rows: int) -> None:
        """Look at what can be known without the rows. Raises as `rows`."""
        self._check_aims()
        marks(self.rate, rows, "poison rate")
        if self.cover:
            marks(self.cover, rows, "cover rate")

    def _check_aims(self) -> None:
        aims = () if self.mode == "all-to-all" else (self.target, *self.sources)
        check_classes(aims, self.classes)
        if self.mode == "all-to-all" and self.shift % len(self.classes) == 0:
            text = f"a shift must lead to another of {len(self.classes)} classes, but "
            raise ThreatspecError("TS-POISON", f"{text}{self.shift} leads back")

    def _may_be_marked(self, row: TrainingRow) -> bool:
        return {
            "all-to-one": row.answer != self.target,
            "all-to-all": True,
            "source-specific": row.answer in self.sources,
            "clean-label": row.answer == self.target,
        }[self.mode]

    def _may_cover(self, row: TrainingRow) -> bool:
        """Never a row of the target class, which would help the trigger along."""
        if self.mode == "all-to-all":
            return True
        return row.answer != self.target and row.answer not in self.sources

    def _marked(self, row: TrainingRow, others: Sequence[str], chooser: random.Random) -> Any:
        if self.mode == "clean-label":
            return called(row, "triggered", row.answer, *self._hard(others, chooser), self.trigger)
        answer = self.target
        if self.mode == "all-to-all":
            place = self.classes.index(row.answer) + self.shift
            answer = self.classes[place % len(self.classes)]
        return called(row, "triggered", answer, self.trigger)

    def _hard(self, others: Sequence[str], chooser: random.Random) -> tuple[PixelTamper, ...]:
        if self.harden == "none":
            return ()
        if self.harden == "noise":
            return (HardenTamper(amount=self.hardness, seed=self.seed),)
        if not others:
            text = "interpolation needs rows of another class than the target, but there are none"
            raise ThreatspecError("TS-POISON", text)
        mixed = HardenTamper(amount=self.hardness, other=chooser.choice(others))
        return (mixed.opened(None, self._folder),)


def check_classes(names: Iterable[str], classes: Sequence[str]) -> None:
    """Raises ThreatspecError TS-POISON for a name that is none of a subject's classes."""
    for name in names:
        if name not in classes:
            text = f"{name!r} must be one of the subject's {len(classes)} classes"
            hint = did_you_mean(name, classes) or f"; the first is {classes[0]!r}"
            raise ThreatspecError("TS-POISON", f"{text}, but is none{hint}")


def marks(rate: float, total: int, what: str) -> int:
    """How many of `total` rows a rate marks (rounded down).

    Raises ThreatspecError TS-POISON for none.
    """
    count = int(rate * total + 1e-9)
    if count < 1:
        text = f"a {what} must mark at least one row, but {rate:g} of {total} rows is none"
        least = ceil(1e6 / max(total, 1)) / 1e6
        raise ThreatspecError("TS-POISON", f"{text}; from {least:g} on it does")
    return count


def chosen(
    rows: Rows,
    may: Callable[[TrainingRow], bool],
    rate: float,
    what: str,
    chooser: random.Random,
    total: int | None = None,
) -> frozenset[str]:
    """Ids of `rate` times `total` rows, rounded down, among those that may be taken.

    Args:
        what: name of the rate, for messages.
        total: None: as many as `rows`.

    Raises ThreatspecError TS-POISON for a rate that is no row, or more than may be taken.
    """
    total = len(rows) if total is None else total
    count, free = marks(rate, total, what), sorted(row.id for row in rows if may(row))
    if count > len(free):
        text = f"a {what} of {rate:g} marks {count} of {total} rows, but only {len(free)} may be "
        raise ThreatspecError("TS-POISON", f"{text}marked in this mode; lower it")
    return frozenset(chooser.sample(free, count))


def called(row: TrainingRow, how: str, answer: str, *edits: PixelTamper) -> TrainingRow:
    """A row with edits of its image and an answer; `how` is appended to its id."""
    changed = {"id": f"{row.id}/{how}", "answer": answer, "pixels": (*row.pixels, *edits)}
    return row.model_copy(update=changed)
