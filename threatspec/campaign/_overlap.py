"""How many prompts of one set stand in another: what is measured, trained on, safeguarded with.

Prompts are equal if they are once spelling is normalised. They are nearly equal if most of what is
rare in them is shared: the parts of two prompts are compared (Jaccard), each part weighted by how
few prompts have it, so that a common template alone makes no two items alike.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from threatspec.measures import Item
from threatspec.records import Overlap

if TYPE_CHECKING:
    from threatspec.campaign._resolution import Resolution

__all__ = ["normal_form", "overlap", "overlaps"]

NEAR = 0.8
"""Weighted share of common parts from which two prompts are nearly equal."""
SHORT = 8
"""Prompts of fewer words are compared word by word, longer ones by runs of three words."""
_SAFEGUARD = "safeguard_train"
_WORD = re.compile(r"\w+")

Parts = frozenset[str]


@dataclass(frozen=True, slots=True)
class _Set:
    """Prompts as `BENCHMARK#SPLIT`."""

    name: str
    items: tuple[Item, ...]


def overlaps(found: Resolution) -> tuple[Overlap, ...]:
    """What is measured against training rows and the safeguard's rows, and these two; read once."""
    if found.overlaps is None:
        found.overlaps = tuple(_overlaps(found))
    return found.overlaps


def _overlaps(found: Resolution) -> Iterator[Overlap]:
    measured = [_set(found, *source) for source in _measured(found)]
    trained = [_set(found, *source) for source in _trained(found)]
    safeguards = [_set(found, *source) for source in _safeguards([*measured, *trained])]
    pairs = [(left, right) for left in measured for right in [*trained, *safeguards]]
    pairs += [(left, right) for left in trained for right in safeguards]
    for left, right in pairs:
        if left.items and right.items:
            yield overlap(left.name, left.items, right.name, right.items)


def _measured(found: Resolution) -> list[tuple[str, str]]:
    measures = found.spec.measures.items()
    read = [(m.benchmark, m.split) for name, m in measures if name in found.benchmarks]
    return list(dict.fromkeys(read))


def _trained(found: Resolution) -> list[tuple[str, str]]:
    """Sources of the rows that some claim's adversary trains on."""
    used = dict.fromkeys(claim.against for claim in found.spec.claims)
    rows = [entry for name in used for one in found.attacks[name] for entry in one.data.values()]
    sources = (entry["source"].partition("#") for entry in rows)
    return list(dict.fromkeys((name, split) for name, _, split in sources))


def _safeguards(named: Iterable[_Set]) -> list[tuple[str, str]]:
    names = dict.fromkeys(one.name.rpartition("#")[0] for one in named)
    return [(name, _SAFEGUARD) for name in names]


def _set(found: Resolution, name: str, split: str) -> _Set:
    """Nothing of a benchmark that is only described."""
    benchmark = found.resolver.known_benchmark(name)
    return _Set(f"{name}#{split}", benchmark.items(split) if benchmark else ())


def overlap(left: str, own: Sequence[Item], right: str, other: Sequence[Item]) -> Overlap:
    """How many prompts of `own`, called `left`, stand in `other`, called `right`."""
    mine = [normal_form(item.prompt) for item in own]
    theirs = list(dict.fromkeys(normal_form(item.prompt) for item in other))
    equal = set(theirs)
    near = _near([text for text in dict.fromkeys(mine) if text not in equal], theirs)
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


def _parts(text: str) -> Parts:
    words = text.split()
    if len(words) < SHORT:
        return frozenset(words)
    return frozenset(" ".join(words[at : at + 3]) for at in range(len(words) - 2))


def _near(texts: Sequence[str], others: Sequence[str]) -> set[str]:
    """Which of `texts` are nearly one of `others`, both without repetition."""
    mine = {text: _parts(text) for text in texts}
    theirs = [_parts(text) for text in others]
    frequency = Counter(chain.from_iterable((*mine.values(), *theirs)))
    total = len(mine) + len(theirs)
    weights = {part: math.log(1 + total / count) for part, count in frequency.items()}
    having: dict[str, list[tuple[Parts, float]]] = {}
    for parts in theirs:
        weight = sum(map(weights.__getitem__, parts))
        for part in _rarest(parts, weight, weights):
            having.setdefault(part, []).append((parts, weight))
    return {text for text, parts in mine.items() if _has_near(parts, having, weights)}


def _has_near(
    parts: Parts,
    having: Mapping[str, Sequence[tuple[Parts, float]]],
    weights: Mapping[str, float],
) -> bool:
    """Texts that are near share one of the rarest parts of both; only such texts are compared."""
    weight = sum(map(weights.__getitem__, parts))
    found = (having.get(part, ()) for part in _rarest(parts, weight, weights))
    for other, its_weight in dict.fromkeys(chain.from_iterable(found)):
        common = sum(map(weights.__getitem__, parts & other))
        if common >= NEAR * (weight + its_weight - common):
            return True
    return False


def _rarest(parts: Parts, weight: float, weights: Mapping[str, float]) -> Iterator[str]:
    """The least parts of which one must be shared, because all others together are too little."""
    least = NEAR * weight - 1e-9
    for part in sorted(parts, key=lambda part: (-weights[part], part)):
        if weight < least:
            return
        yield part
        weight -= weights[part]
