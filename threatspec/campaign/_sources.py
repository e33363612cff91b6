"""Rows that adversaries are given: are they there, as declared, and unread by any measure?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threatspec.attacks import DataCard
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.schema import Adversary, DataRole, DataSource

if TYPE_CHECKING:
    from threatspec.campaign._resolve import Resolver

__all__ = ["are_stated", "check_rows", "check_sources", "data_card"]

DESCRIBED_SPLITS = ("attack_train", "attack_dev", "safeguard_train")
"""Splits of described benchmarks that rows may be stated to come from."""
Place = tuple[str | int, ...]


def check_sources(resolver: Resolver, name: str, adversary: Adversary) -> None:
    """Rows must be there, as declared, and none of what a measure reads."""
    for role, source in adversary.data.items():
        place = ("adversaries", name, "data", role.value)
        if _is_described(resolver, source, place):
            continue
        if check_rows(resolver, source.source, source.n, place):
            _check_origin(resolver, source, place)


def check_rows(resolver: Resolver, source: str, n: int, place: Place) -> bool:
    """Whether a source has rows at all; complains if they are fewer than `n`, or are measured."""
    try:
        count = len(resolver.rows(source))
    except ThreatspecError as error:
        resolver.complain(error.code, error.message, *place, "from")
        return False
    _check_unread(resolver, source, place)
    if count < n:
        text = f"{source} must hold at least {n} rows, but has {count}"
        resolver.complain("TS-DATA", text, *place, "n")
    return True


def _check_unread(resolver: Resolver, source: str, place: Place) -> None:
    read = [f"{m.benchmark}#{m.split}" for m in resolver.loaded.spec.measures.values()]
    if source in read:
        text = f"rows must not be prompts that a measure reads, but {source} is read"
        resolver.complain("TS-DATA", text, *place, "from")


def _is_described(resolver: Resolver, source: DataSource, place: Place) -> bool:
    """Whether the rows are only described, as far as they are declared in accord with that."""
    if not are_stated(resolver, source.source, place):
        return False
    name = source.source.partition("#")[0]
    if source.hash is not None:
        text = f"{name} is only described, so its hash cannot be compared"
        resolver.complain("TS-DATA", text, *place, "hash")
    card = resolver.described("benchmark", name)
    if card is not None:
        _compare(resolver, "licence", name, source.licence, card.licence, place)
    return True


def are_stated(resolver: Resolver, source: str, place: Place) -> bool:
    """Whether rows are only described; what published models were trained on may be stated."""
    name, _, split = source.partition("#")
    if resolver.known_benchmark(name) or not resolver.describes("benchmark", name, *place, "from"):
        return False
    if split not in DESCRIBED_SPLITS:
        text = f"rows must come from one of the splits {', '.join(DESCRIBED_SPLITS)} "
        text += f"(BENCHMARK#SPLIT), but got {source!r}"
        resolver.complain("TS-DATA", text, *place, "from")
    _check_unread(resolver, source, place)
    return True


def _check_origin(resolver: Resolver, source: DataSource, place: Place) -> None:
    """The rows must be those that the spec was written for."""
    name = source.source.partition("#")[0]
    found = benchmark(name, resolver.loaded.folder)
    _compare(resolver, "hash", name, source.hash, found.digest, place)
    _compare(resolver, "licence", name, source.licence, found.licence, place)


def _compare(
    resolver: Resolver, key: str, name: str, wanted: str | None, got: str, place: Place
) -> None:
    if wanted is not None and wanted != got:
        text = f"the {key} of {name} must be {wanted!r} as the spec says, but is {got!r}"
        resolver.complain("TS-DATA", text, *place, key)


def data_card(resolver: Resolver, data: dict[DataRole, dict[str, Any]]) -> DataCard | None:
    """Size of the rows an attack will train on; None if that is not known."""
    sources = [entry["source"] for entry in data.values()]
    if not sources or not all(resolver.known_benchmark(s.partition("#")[0]) for s in sources):
        return None
    rows = [row for source in sources for row in resolver.rows(source)]
    words = max(len(f"{row.prompt} {row.answer}".split()) for row in rows)
    return DataCard(rows=sum(entry["n"] for entry in data.values()), words=words)
