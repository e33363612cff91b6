"""Description cards: things that published claims name and that nothing here runs."""

from __future__ import annotations

from pathlib import Path

from threatspec.loading._named import load_named
from threatspec.loading._workspace import find_workspace, load_workspace
from threatspec.resources import shipped
from threatspec.schema import DescriptionCard

__all__ = ["load_descriptions", "shipped_descriptions"]

FOLDER = "descriptions"
SHIPPED = "claims/benchmarks"


def load_descriptions(place: Path) -> dict[str, DescriptionCard]:
    """All description cards of the workspace around a claims file or folder, by name, sorted.

    They lie in a folder `descriptions/` of the workspace's folders of claims. Raises SpecErrors for
    all that are wrong.
    """
    return load_named(DescriptionCard, _files(find_workspace(place)))


def shipped_descriptions() -> dict[str, DescriptionCard]:
    """Descriptions of benchmarks that ship with the program, by name, sorted; no text of theirs."""
    return load_named(DescriptionCard, sorted(shipped(SHIPPED).glob("*.yaml")))


def _files(workspace: Path) -> list[Path]:
    """Nothing outside the workspace is read, by whatever path or link."""
    usual = load_workspace(workspace)
    names = usual.claims if usual else ["claims"] if (workspace / "claims").is_dir() else [""]
    root = workspace.resolve()
    found = [path for n in names for path in sorted((workspace / n / FOLDER).glob("*.yaml"))]
    own = {path.resolve(): path for path in found}
    return [path for real, path in own.items() if real.is_relative_to(root)]
