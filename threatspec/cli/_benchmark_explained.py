"""What there is to say about a benchmark: one that is here, or one that is only described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.cli._explanations import Explanation, Fact

if TYPE_CHECKING:
    from threatspec.measures import Benchmark
    from threatspec.schema import DescriptionCard

__all__ = ["explained"]

_LOOKED_AT = 200
"""Images that are read to say how large they are."""


def explained(name: str) -> Iterator[Explanation]:
    """A benchmark that ships or is installed, a file, a data set, or a description of one."""
    from threatspec.measures import BENCHMARKS, benchmark
    from threatspec.measures.benchmarks import absent, copies_of, description_of
    from threatspec.subjects.images.folders import FOLDERS, is_folder_name

    here, about = Path.cwd(), None
    if name in FOLDERS:
        yield _folder(name)
        return
    own = name.startswith(("file:", "hf:")) or is_folder_name(name.replace("/not-", ":", 1))
    if not own and name not in BENCHMARKS.names():
        about = description_of(name, here)
        if about is None or about.obtain is None:
            return
    if about is not None and absent(name, here) is not None:
        yield Explanation(
            name, "benchmark, not here", about.says, _described(about), text=_categories(about)
        )
        return
    found = benchmark(name, here, fetch=False)
    facts = [*_facts(found, here)]
    if about is not None:
        facts += [("copy", ", ".join(str(path) for path, _ in copies_of(name, here)))]
    text = _categories(about) if about else ""
    yield Explanation(name, "benchmark", found.says, (*facts, *_plug_in(name)), text=text)


def _folder(kind: str) -> Explanation:
    """A set of images of which the user has a copy as a folder."""
    from threatspec.subjects.images.folders import FOLDERS

    about = FOLDERS[kind]
    facts = (
        ("named as", f"{kind}:PATH, the folder relative to the claims file"),
        ("less a class", f"{kind}/not-CLASS:PATH, without the images of one class"),
        ("licence", about.licence),
        ("source", about.source),
    )
    return Explanation(kind, "benchmark, your copy", about.says, facts)


def _facts(found: Benchmark, folder: Path) -> Iterator[Fact]:
    from threatspec.measures.benchmarks import looks_like

    splits: dict[str, int] = {}
    for item in found.items():
        splits[item.split] = splits.get(item.split, 0) + 1
    yield "prompts", ", ".join(f"{n} {split}" for split, n in splits.items())
    slices: dict[str, set[str]] = {}
    for item in found.items():
        for key, value in item.all_slices.items():
            slices.setdefault(key, set()).add(value)
    if images := looks_like(found.items(), folder, _LOOKED_AT):
        yield "images", images.says
    if slices:
        yield "slices", ", ".join(f"{key} ({len(values)})" for key, values in slices.items())
    yield "licence", found.licence
    yield "source", found.source
    yield "digest", found.digest


def _described(about: DescriptionCard) -> tuple[Fact, ...]:
    size = str(about.prompts) if about.prompts else "not known for sure; a copy is counted"
    facts = [("prompts", size), ("gated", "yes" if about.gated else "no")]
    facts += [("licence", about.licence), ("source", str(about.source))]
    facts += [("to get it", about.obtain or ""), ("then", _then(about))]
    return tuple(facts)


def _then(about: DescriptionCard) -> str:
    return f"threatspec benchmarks add FILE --as {about.name}"


def _categories(about: DescriptionCard) -> str:
    """Domains and categories with the names that slices use."""
    lines: list[str] = []
    number = 0
    for key, domain in about.domains.items():
        lines.append(f"  domain={key}: {domain.title}")
        for category, title in domain.categories.items():
            number += 1
            lines.append(f"    {number:>2}  category={category}: {title}")
    return "\n".join(["Slices of a copy:", "", *lines]) if lines else ""


def _plug_in(name: str) -> Iterator[Fact]:
    from threatspec.measures import BENCHMARKS

    origin = BENCHMARKS.origin(name) if name in BENCHMARKS.names() else None
    if origin is not None:
        yield "plug-in", f"{origin.distribution} {origin.version} ({origin.module})"
