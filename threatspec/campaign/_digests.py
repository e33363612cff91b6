"""Digests of the program's own source: what computes a result is part of the result's id."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import threatspec
from threatspec.attacks import ATTACKS, parts_of
from threatspec.attacks.recipes import RECIPES
from threatspec.errors import ThreatspecError
from threatspec.instruments import INSTRUMENTS
from threatspec.measures import JUDGES, judge_use
from threatspec.records import Plan, Procedure
from threatspec.registry import Origin, Registry
from threatspec.schema import is_judge

__all__ = [
    "PROGRAM",
    "check_code",
    "code_digests",
    "component_digest",
    "recipes_of",
    "source_digest",
]

PROGRAM = (
    *("attacks", "campaign", "instruments", "measures"),
    *("records", "runners", "safeguards", "subjects", "training"),
)
"""Rooms whose source a campaign's rows depend on."""

_ROOT = Path(threatspec.__file__).resolve().parent


@lru_cache(maxsize=64)
def source_digest(*places: str) -> str:
    """sha256 over the source of modules and rooms, e.g. `("training", "attacks.prefill")`."""
    digest = hashlib.sha256()
    for place in places:
        for path in _files(place):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
            digest.update(path.read_bytes())
    return digest.hexdigest()


def component_digest(registry: Registry[Any], name: str) -> str:
    """sha256 over the source of what ``name`` stands for.

    A component of the program is its module. Of anything else every module of its package counts,
    because a plug-in's helpers decide results as well, and so does the version of its distribution.
    """
    module = type(registry.get(name)).__module__
    origin = registry.origin(name)
    if origin is None and module.startswith(f"{threatspec.__name__}."):
        return source_digest(module.removeprefix(f"{threatspec.__name__}."))
    return _foreign_digest(module, origin)


@lru_cache(maxsize=64)
def _foreign_digest(module: str, origin: Origin | None) -> str:
    # It may import and inherit anything of the program.
    digest = hashlib.sha256(f"{origin}/{source_digest(*PROGRAM)}".encode())
    modules = {module, origin.module} if origin else {module}
    for top in sorted({_top(name) for name in modules}):
        digest.update(top.encode() + b"\0")
        for name, path in _sources(top):
            digest.update(name.encode() + b"\0")
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _top(module: str) -> str:
    """The outermost package with a file of its own that ``module`` lies in, or ``module``."""
    parts = module.split(".")
    names = (".".join(parts[: n + 1]) for n in range(len(parts)))
    return next((name for name in names if _file(name)), module)


def _file(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _sources(module: str) -> list[tuple[str, Path]]:
    file = _file(module)
    if file is None:
        return []
    path = Path(file)
    if path.name != "__init__.py":
        return [(path.name, path)]
    own = sorted(path.parent.rglob("*.py"))
    return [(other.relative_to(path.parent).as_posix(), other) for other in own]


def code_digests(
    procedures: Iterable[Procedure], judges: Iterable[str], instruments: Iterable[str] = ()
) -> dict[str, str]:
    """Digests of the program and of the plug-ins among what is used, as a plan names them."""
    used: list[tuple[Registry[Any], str]] = []
    for procedure in procedures:
        used += [(ATTACKS, part) for part in parts_of(procedure.attack)]
        used += [(RECIPES, name) for name in recipes_of(procedure)]
    used += [(JUDGES, name) for name in judges]
    used += [(INSTRUMENTS, name) for name in instruments]
    plugins = {
        f"{registry.noun} {name}": component_digest(registry, name)
        for registry, name in used
        if registry.origin(name)
    }
    return {"threatspec": source_digest(*PROGRAM), **plugins}


def recipes_of(procedure: Procedure) -> list[str]:
    """Data recipes that a procedure names, searched ones too."""
    links = procedure.config.get("links")
    configs = [link["config"] for link in links] if links else [procedure.config]
    given = [config.get("recipe") for config in configs]
    for name, knob in procedure.search.space.items() if procedure.search else ():
        given += knob.choices if name.rpartition(".")[2] == "recipe" else ()
    names = (one["use"] if isinstance(one, dict) else one for one in given if one is not None)
    return sorted(set(names))


def check_code(plan: Plan) -> None:
    """Raises ThreatspecError TS-CODE-CHANGED if this program did not write `plan`."""
    judges = {measure.judge["use"] for measure in plan.measures.values()}
    judges |= {judge_use(c.subject).use for c in plan.cells.values() if is_judge(c.subject)}
    instruments = {one.use for one in plan.instruments.values()}
    used = code_digests(plan.procedures.values(), judges, instruments)
    if any(plan.digests.get(k) != v for k, v in used.items()):
        raise ThreatspecError(
            "TS-CODE-CHANGED",
            "an unfinished campaign must be resumed by the program that planned it, but the source "
            "(of the program or of a plug-in) has changed since; run it again with another --out",
        )


def _files(place: str) -> list[Path]:
    path = _ROOT.joinpath(*place.split("."))
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    if not all(file.exists() for file in files):
        raise FileNotFoundError(f"{place} must be a module or a room of the program")
    return files
