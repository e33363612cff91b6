"""Prompts that are equal but for spelling, or nearly: the same way for whoever compares sets.

Prompts are equal if they are once spelling is normalised. They are nearly equal if most of what is
rare in them is shared: the parts of two prompts are compared (Jaccard), each part weighted by how
few prompts have it, so that a common template alone makes no two items alike.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

from threatspec.measures.base import Item
from threatspec.records import Overlap

__all__ = ["NEAR", "NearIndex", "near_texts", "normal_form", "overlap", "parts_of"]

NEAR = 0.8
"""Weighted share of common parts from which two prompts are nearly equal."""
SHORT = 25
"""Prompts of fewer words are compared word by word, longer ones by runs of three words."""
_WORD = re.compile(r"\w+")

Parts = frozenset[str]


def overlap(left: str, own: Sequence[Item], right: str, other: Sequence[Item]) -> Overlap:
    """How many prompts of `own`, called `left`, stand in `other`, called `right`."""
    mine = [normal_form(item.prompt) for item in own]
    theirs = list(dict.fromkeys(normal_form(item.prompt) for item in other))
    equal = set(theirs)
    near = near_texts([text for text in dict.fromkeys(mine) if text not in equal], theirs)
    found = [item for item, text in zip(own, mine, strict=True) if text in equal or text in near]
    return Overlap(
        left=left,
        right=right,
        prompts=len(own),
        equal=sum(text in equal for text in mine),
        near=len(found),
        categories=dict(sorted(Counter(i.category for i in found if i.category).items())),
    )


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
