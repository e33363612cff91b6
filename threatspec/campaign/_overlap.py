"""How many prompts of one set stand in another: what is measured, trained on, safeguarded with.

When two prompts are the same is said in `threatspec.measures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from threatspec.measures import Item
from threatspec.measures._near import overlap
from threatspec.records import Overlap

if TYPE_CHECKING:
    from threatspec.campaign._resolution import Resolution

__all__ = ["overlap", "overlaps"]

_SAFEGUARD = "safeguard_train"


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
    safeguards = [_set(found, *source) for source in _safeguards(found, [*measured, *trained])]
    pairs = [(left, right) for left in measured for right in [*trained, *safeguards]]
    pairs += [(left, right) for left in trained for right in safeguards]
    for left, right in pairs:
        if left.items and right.items:
            folder = found.loaded.folder
            yield overlap(left.name, left.items, right.name, right.items, folder)


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


def _safeguards(found: Resolution, named: Iterable[_Set]) -> list[tuple[str, str]]:
    """Rows that safeguards are fitted on here, and what benchmarks say that theirs were."""
    names = dict.fromkeys(one.name.rpartition("#")[0] for one in named)
    uses = [use for subject in found.spec.all_subjects.values() for use in subject.safeguards]
    sources = (one.source.partition("#") for use in uses for one in use.data.values())
    own = [(name, split) for name, _, split in sources]
    return list(dict.fromkeys([*own, *((name, _SAFEGUARD) for name in names)]))


def _set(found: Resolution, name: str, split: str) -> _Set:
    """Nothing of a benchmark that is only described."""
    benchmark = found.resolver.known_benchmark(name)
    return _Set(f"{name}#{split}", benchmark.items(split) if benchmark else ())
