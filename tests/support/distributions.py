"""Distributions as an installer leaves them, without an installer: metadata and modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["lay_out"]


def lay_out(
    site: Path,
    name: str,
    group: str,
    entries: Mapping[str, str],
    modules: Mapping[str, str],
    version: str = "1.0",
) -> None:
    """Put a distribution with entry points of one group into the folder `site`."""
    site.mkdir(parents=True, exist_ok=True)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(text, encoding="utf-8")
    lines = [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for file, source in modules.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(source, encoding="utf-8")
