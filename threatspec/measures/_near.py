"""Prompts that are equal but for spelling, or nearly: the same way for whoever compares sets.

Prompts are equal if they are once spelling is normalised. They are nearly equal if most of what is
rare in them is shared: the parts of two prompts are compared (Jaccard), each part weighted by how
few prompts have it, so that a common template alone makes no two items alike.

What is asked about different images is different, whatever the words are. Images are the same if
they are of the same bytes once they are read, by whatever reference; a copy that was scaled, or
compressed with losses, is another image.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.measures.base import Item
from threatspec.records import Overlap
from threatspec.subjects.images import read_image
from threatspec.subjects.images.folders import FOLDERS

__all__ = [
    "NEAR",
    "NearIndex",
    "by_image",
    "near_texts",
    "normal_form",
    "overlap",
    "parts_of",
    "shown",
]

NEAR = 0.8
"""Weighted share of common parts from which two prompts are nearly equal."""
SHORT = 25
"""Prompts of fewer words are compared word by word, longer ones by runs of three words."""
_WORD = re.compile(r"\w+")

Parts = frozenset[str]
Shown = tuple[str, str]
"""Content of the image (empty: none) and the words."""


def overlap(
    left: str,
    own: Sequence[Item],
    right: str,
    other: Sequence[Item],
    folder: Path = Path(),
) -> Overlap:
    """How many prompts of `own`, called `left`, stand in `other`, called `right`.

    Image files are looked for in `folder`.
    """
    mine = [shown(item, folder) for item in own]
    theirs = list(dict.fromkeys(shown(item, folder) for item in other))
    equal = set(theirs)
    near = _near_shown([one for one in dict.fromkeys(mine) if one not in equal], theirs)
    found = [item for item, one in zip(own, mine, strict=True) if one in equal or one in near]
    return Overlap(
        left=left,
        right=right,
        prompts=len(own),
        equal=sum(one in equal for one in mine),
        near=len(found),
        categories=dict(sorted(Counter(i.category for i in found if i.category).items())),
    )


def shown(item: Item, folder: Path = Path()) -> Shown:
    """What decides whether an item is the same as another: its image, and its words evened out."""
    return _content(item.image, folder) if item.image else "", normal_form(item.prompt)


def by_image(found: Iterable[Shown]) -> dict[str, list[str]]:
    """Words of what is shown, apart for each image; without one, under the empty name."""
    groups: dict[str, list[str]] = {}
    for image, text in found:
        groups.setdefault(image, []).append(text)
    return groups


def _near_shown(own: Sequence[Shown], others: Sequence[Shown]) -> set[Shown]:
    """Which of `own` are nearly one of `others`: about the same image, or both about none."""
    theirs = by_image(others)
    return {
        (image, text)
        for image, texts in by_image(own).items()
        if image in theirs
        for text in near_texts(texts, theirs[image])
    }


@lru_cache(maxsize=1 << 16)
def _content(ref: str, folder: Path) -> str:
    """Of an image that cannot be read, or of a set that is too large for it, the reference alone is
    known."""
    if ref.partition(":")[0] in FOLDERS and not FOLDERS[ref.partition(":")[0]].compared:
        return ref
    try:
        image = read_image(ref, folder)
    except ThreatspecError:
        return ref
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


@lru_cache(maxsize=1 << 16)
def normal_form(text: str) -> str:
    """Without differences of spelling: compatible forms, letter case, punctuation, white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_WORD.findall(folded.replace("_", " "))) or " ".join(folded.split())


def parts_of(text: str) -> Parts:
    """Words of a short prompt, runs of three words of a long one."""
    words = text.split()
    if len(words) < SHORT:
        return frozenset(words)
    return frozenset(" ".join(words[at : at + 3]) for at in range(len(words) - 2))


def near_texts(texts: Sequence[str], others: Sequence[str]) -> set[str]:
    """Which of `texts` are nearly one of `others`, both without repetition."""
    mine, theirs = [parts_of(text) for text in texts], [parts_of(text) for text in others]
    index = NearIndex(mine, theirs)
    return {text for text, parts in zip(texts, mine, strict=True) if index.has_near(parts)}


class NearIndex:
    """The prompts of a set, to be found by the rarest parts that they share with another set."""

    def __init__(self, mine: Sequence[Parts], theirs: Sequence[Parts]) -> None:
        self.own, self.other = (Counter(chain.from_iterable(parts)) for parts in (mine, theirs))
        self.total = max(len(mine), len(theirs))
        shared = sorted((-self.weight(p), p) for p in self.own.keys() & self.other.keys())
        self.numbers = {part: number for number, (_, part) in enumerate(shared)}
        """Of shared parts, the rarest first."""
        self.weights = [-weight for weight, _ in shared]
        self.known: list[tuple[frozenset[int], float]] = []
        self.having: dict[int, list[int]] = {}
        for parts in theirs:
            self._add(parts)

    def weight(self, part: str) -> float:
        """A part is as common as in the set where it is commoner: being in both is not rarer."""
        return _rarity(self.total, max(self.own[part], self.other[part]))

    def _add(self, parts: Parts) -> None:
        numbers, weight = self._read(parts)
        for number in self._rarest(numbers, weight):
            self.having.setdefault(number, []).append(len(self.known))
        self.known.append((frozenset(numbers), weight))

    def has_near(self, parts: Parts) -> bool:
        """Whether one of the other set is near."""
        return next(self.near(parts), None) is not None

    def near(self, parts: Parts) -> Iterator[int]:
        """Which of the other set are near, by their places.

        Prompts that are near share one of the rarest parts of both; only such are compared.
        """
        numbers, weight = self._read(parts)
        found = (self.having.get(number, ()) for number in self._rarest(numbers, weight))
        own = frozenset(numbers)
        for at in sorted(set(chain(*found))):
            if self._near(own, weight, *self.known[at]):
                yield at

    def _near(self, own: frozenset[int], weight: float, other: frozenset[int], its: float) -> bool:
        if min(weight, its) < NEAR * max(weight, its):
            return False
        common = sum(map(self.weights.__getitem__, own & other))
        return common >= NEAR * (weight + its - common)

    def _read(self, parts: Parts) -> tuple[list[int], float]:
        """The shared parts of a prompt, the rarest first, and the weight of all its parts."""
        numbers = sorted(self.numbers[part] for part in parts if part in self.numbers)
        return numbers, sum(map(self.weight, parts))

    def _rarest(self, numbers: Sequence[int], weight: float) -> Iterator[int]:
        """The least parts of which one must be shared, as all others together are too little."""
        least = NEAR * weight - 1e-9
        left = sum(map(self.weights.__getitem__, numbers))
        for number in numbers:
            if left < least:
                return
            yield number
            left -= self.weights[number]


@lru_cache(maxsize=1 << 16)
def _rarity(total: int, count: int) -> float:
    return math.log(1 + total / count)
