"""Cards of benchmarks in the workspace, by what they are copies of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.loading import find_workspace, load_model, load_workspace
from threatspec.schema import BenchmarkCard

__all__ = ["Found", "copies_of", "one_of"]

_CARD = "*.card.yaml"
Found = tuple[Path, BenchmarkCard]
"""A card and where it lies."""


def copies_of(name: str, place: Path) -> list[Found]:
    """Cards of the workspace around `place` that are copies of a description, or of a data set.

    Only cards that mention `name` are read. Raises SpecErrors for one of these that is wrong.
    """
    found = ((path, load_model(BenchmarkCard, path)) for path in _mentioning(name, place))
    return [(path, card) for path, card in found if name in {card.description, card.data_set}]


def one_of(name: str, found: list[Found]) -> Found:
    """The only card. Raises ThreatspecError TS-DATA if there are several."""
    if len(found) > 1:
        files = ", ".join(path.name for path, _ in found)
        text = f"one card must say that it is {name}, but {len(found)} do: {files}"
        raise ThreatspecError("TS-DATA", f"{text}; name one by file:PATH, or remove the others")
    return found[0]


def _mentioning(name: str, place: Path) -> Iterator[Path]:
    for path in _cards(find_workspace(place)):
        try:
            if name.encode() in path.read_bytes():
                yield path
        except OSError:
            continue


def _cards(workspace: Path) -> list[Path]:
    """Cards below the folders of claims; nothing outside the workspace, by whatever link."""
    usual = load_workspace(workspace)
    names = usual.claims if usual else ["claims"] if (workspace / "claims").is_dir() else None
    root = workspace.resolve()
    if names is None:  # a folder that is no workspace may be large
        found = [*workspace.glob(_CARD), *workspace.glob(f"*/{_CARD}")]
    else:
        found = [path for name in names for path in (workspace / name).rglob(_CARD)]
    own = {path.resolve(): path for path in sorted(found)}
    return [path for real, path in own.items() if real.is_relative_to(root)]
