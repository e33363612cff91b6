"""What is odd about a benchmark, in numbers: balance, repetition, overlap, what is missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import Field

from threatspec.measures._near import NearIndex, by_image, overlap, parts_of, shown
from threatspec.measures.base import Benchmark, Item
from threatspec.measures.benchmarks._looks import Looks, looks_like
from threatspec.records import Overlap
from threatspec.schema import Model

__all__ = ["Audit", "Balance", "Lengths", "Pair", "Repetition", "audited"]

_QUANTILES = {"least": 0.0, "low": 0.1, "median": 0.5, "high": 0.9, "most": 1.0}
_FIELDS: dict[str, Callable[[Item], bool]] = {
    "category": lambda item: bool(item.category),
    "answer": lambda item: bool(item.answer.strip()),
    "references": lambda item: any(text.strip() for text in item.references),
    "refusal": lambda item: bool(item.refusal.strip()),
    "choices": lambda item: bool(item.choices) and item.right is not None,
    "response": lambda item: bool(item.response.strip()),
    "label": lambda item: bool(item.label),
}


class Balance(Model):
    """How prompts share out over the values of one slice."""

    key: str
    prompts: int
    """Prompts that have the slice at all."""
    counts: dict[str, int]
    """By value, most first."""
    ratio: float
    """Largest count by smallest."""
    evenness: float
    """Entropy of the shares by that of equal shares: 1 = all values are equally frequent."""


class Lengths(Model):
    """Words of a text, over the items that have it."""

    field: str
    texts: int
    least: int
    low: int
    """At most a tenth are shorter."""
    median: int
    high: int
    """At most a tenth are longer."""
    most: int


class Pair(Model):
    """Two prompts of one benchmark that say the same."""

    first: str
    second: str
    equal: bool
    """Once spelling is evened out; else nearly."""


class Repetition(Model):
    """Prompts that repeat others of the same benchmark."""

    equal: int
    """Prompts that equal an earlier one once spelling is evened out."""
    near: int
    """Further prompts that are nearly an earlier one."""
    groups: int
    """Groups of prompts that are linked by being equal or near."""
    largest: int
    """Prompts of the largest group."""
    across_splits: int
    """Pairs whose prompts stand in different splits: what is trained on is measured."""
    across_clusters: int
    """Pairs that count as two units of evidence."""
    pairs: tuple[Pair, ...]
    """Each repeating prompt with an earlier one, by ids."""


class Audit(Model):
    """Everything about one benchmark."""

    format: str = Field(default="threatspec/benchmark-audit/v1", alias="schema")
    name: str
    digest: str
    prompts: int
    clusters: int
    splits: dict[str, int]
    balance: tuple[Balance, ...]
    absent: tuple[str, ...]
    """Categories of its description that no prompt has."""
    missing: dict[str, int]
    """Prompts without a field, by field."""
    lengths: tuple[Lengths, ...]
    repetition: Repetition
    overlaps: tuple[Overlap, ...]
    images: Looks | None = None
    """Of prompts that show one; None if none does."""


def audited(
    found: Benchmark,
    others: Sequence[tuple[str, Benchmark]] = (),
    categories: Iterable[str] = (),
    folder: Path = Path(),
) -> Audit:
    """Read a benchmark.

    Args:
        found: what is audited, all splits.
        others: sets that it may share prompts with, by name.
        categories: those that its description has.
        folder: where image files are looked for.
    """
    items = found.items()
    known = {item.category for item in items}
    return Audit(
        schema="threatspec/benchmark-audit/v1",
        name=found.name,
        digest=found.digest,
        prompts=len(items),
        clusters=len({item.cluster for item in items}),
        splits=dict(Counter(item.split for item in items)),
        balance=tuple(_balance(items)),
        absent=tuple(name for name in categories if name not in known),
        missing=_missing(items),
        lengths=tuple(_lengths(items)),
        repetition=_repetition(items, folder),
        overlaps=tuple(
            overlap(found.name, items, name, one.items(), folder) for name, one in others
        ),
        images=looks_like(items, folder),
    )


def _missing(items: Sequence[Item]) -> dict[str, int]:
    """Prompts without a field; an image is missed only where others have one."""
    found = {name: sum(not has(item) for item in items) for name, has in _FIELDS.items()}
    without = sum(not item.image for item in items)
    return found | ({"image": without} if without < len(items) else {})


def _balance(items: Sequence[Item]) -> Iterator[Balance]:
    keys = dict.fromkeys(key for item in items for key in item.all_slices)
    for key in keys:
        counts = Counter(item.all_slices[key] for item in items if key in item.all_slices)
        total = counts.total()
        entropy = -sum(n / total * math.log(n / total) for n in counts.values())
        yield Balance(
            key=key,
            prompts=total,
            counts=dict(counts.most_common()),
            ratio=max(counts.values()) / min(counts.values()),
            evenness=entropy / math.log(len(counts)) if len(counts) > 1 else 1.0,
        )


def _lengths(items: Sequence[Item]) -> Iterator[Lengths]:
    for field in ("prompt", "answer", "response"):
        texts = [str(getattr(item, field)) for item in items]
        words = sorted(len(text.split()) for text in texts if text)
        if words:
            at = (round(quantile * (len(words) - 1)) for quantile in _QUANTILES.values())
            values = dict(zip(_QUANTILES, (words[place] for place in at), strict=True))
            yield Lengths(field=field, texts=len(words), **values)


def _repetition(items: Sequence[Item], folder: Path) -> Repetition:
    first: dict[tuple[str, str], Item] = {}
    pairs: list[tuple[Item, Item, bool]] = []
    for item in items:
        earlier = first.setdefault(shown(item, folder), item)
        if earlier is not item:
            pairs.append((earlier, item, True))
    equal = len(pairs)
    near = [
        (first[image, texts[one]], first[image, texts[other]])
        for image, texts in by_image(first).items()
        for one, other in _near_pairs(texts)
    ]
    pairs += [(one, other, False) for one, other in near]
    groups = _groups([(a.id, b.id) for a, b, _ in pairs])
    return Repetition(
        equal=equal,
        near=len({other.id for _, other in near}),
        groups=len(groups),
        largest=max(map(len, groups), default=0),
        across_splits=sum(a.split != b.split for a, b, _ in pairs),
        across_clusters=sum(a.cluster != b.cluster for a, b, _ in pairs),
        pairs=tuple(Pair(first=a.id, second=b.id, equal=same) for a, b, same in pairs),
    )


def _near_pairs(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Places of different texts that are near, the earlier first."""
    parts = [parts_of(text) for text in texts]
    index = NearIndex(parts, parts)
    for at, own in enumerate(parts):
        yield from ((earlier, at) for earlier in index.near(own) if earlier < at)


def _groups(pairs: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Ids that pairs link, directly or by others."""
    of: dict[str, set[str]] = {}
    for pair in pairs:
        joined = set(pair).union(*(of.get(name, set()) for name in pair))
        of.update(dict.fromkeys(joined, joined))
    return list({id(group): group for group in of.values()}.values())
