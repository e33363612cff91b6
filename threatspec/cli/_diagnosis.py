"""What `threatspec doctor` looks at. Nothing heavy is imported: metadata say what is installed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import threatspec

__all__ = ["Finding", "State", "diagnose"]

DISTRIBUTION = "threatspec-claims"
_PACKAGE = Path(threatspec.__file__).resolve().parent
_REQUIREMENT = re.compile(
    r"([A-Za-z0-9._-]+)(?:\[.*?\])?\s*([^;]*?)\s*(?:;.*extra == ['\"](.*)['\"])?"
)
_FOR_USERS = ("run", "images", "diffusion", "data", "ray", "s3")
"""Extras that do something for people who are not developing the program."""
_SMALL_DISK = 2 * 2**30


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    says: str
    state: State = State.OK
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Everything, in the order in which it matters."""
    found = [finding for look in (_program, _dependencies, _names) for finding in look()]
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (_machine, _hub)
    if all(finding.state is not State.BROKEN for finding in found):
        looks = (*looks, _cache, _workspace)  # these import what was just found to be there
    return [*found, *(finding for look in looks for finding in look())]


# the program and what it needs


def _program() -> Iterator[Finding]:
    where = f"{platform.python_version()} ({sys.executable})"
    old = sys.version_info < (3, 11)
    remedy = "install Python 3.11 or newer" if old else ""
    yield Finding("python", where, State.BROKEN if old else State.OK, remedy)
    yield Finding("threatspec", f"{threatspec.__version__} ({_PACKAGE})")


def _dependencies() -> Iterator[Finding]:
    extras: dict[str, list[Finding]] = {}
    tested = _tested()
    for name, bound, extra in _requirements():
        extras.setdefault(extra, []).append(_dependency(name, bound, tested))
    yield from extras.pop("", [])
    for extra, found in extras.items():
        lacking = [finding for finding in found if finding.state is State.BROKEN]
        if not lacking:
            yield Finding(f"extra {extra}", ", ".join(f"{f.about} {f.says}" for f in found))
        elif extra in _FOR_USERS:
            names = ", ".join(f"{finding.about} {finding.says}" for finding in lacking)
            remedy = f"pip install '{DISTRIBUTION}[{extra}]'"
            yield Finding(f"extra {extra}", names, State.NOTE, remedy)


def _requirements() -> Iterator[tuple[str, str, str]]:
    """Name, bounds and extra of everything that the distribution declares."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a copy of the source that was never installed
        declared = []
    for text in declared:
        match = _REQUIREMENT.fullmatch(text.strip())
        if match:
            yield match[1], match[2], match[3] or ""


def _dependency(name: str, bound: str, tested: dict[str, str]) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "is missing", State.BROKEN, f"pip install {DISTRIBUTION}")
    least = bound.partition(">=")[2].partition(",")[0].strip()
    if least and _numbers(version) < _numbers(least):
        text = f"{version} is older than {least}"
        return Finding(name, text, State.BROKEN, f"pip install '{name}{bound}'")
    pinned = tested.get(_normal(name))
    if pinned is None:
        return Finding(name, f"{version} (not pinned)")
    same = version.partition("+")[0] == pinned  # a build for one device is the same version
    return Finding(name, version if same else f"{version} (tested: {pinned})")


def _tested() -> dict[str, str]:
    """Versions that the program was tested with, by normal name."""
    from threatspec.resources import shipped

    file = shipped("constraints.txt")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    pins = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {_normal(name): version.strip() for name, version in pins}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _names() -> Iterator[Finding]:
    """Anything else that is called `threatspec`: Python would import it without a word."""
    here = Path.cwd()
    for path in (here / "threatspec", here / "threatspec.py"):
        package = path.is_file() or (path / "__init__.py").is_file()
        if package and path.resolve() != _PACKAGE:
            text = f"{path} hides the program from `python` in this folder"
            yield Finding("name", text, State.NOTE, "rename it, or work in another folder")
    others = set(metadata.packages_distributions().get("threatspec", ())) - {DISTRIBUTION}
    for other in sorted(others):
        text = f"the distribution {other} installs a package of the same name"
        remedy = f"pip uninstall {other}, then install {DISTRIBUTION} again"
        yield Finding("name", text, State.BROKEN, remedy)


# the machine


def _machine() -> Iterator[Finding]:
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cpu", f"{threads} threads")
    if "SC_PHYS_PAGES" in os.sysconf_names:
        yield Finding("memory", _size(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    free = shutil.disk_usage(Path.cwd()).free
    small = free < _SMALL_DISK
    remedy = "results and models need room; work on another disk" if small else ""
    text = f"{_size(free)} free in {Path.cwd()}"
    yield Finding("disk", text, State.NOTE if small else State.OK, remedy)


def _hub() -> Iterator[Finding]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    reach = "offline (HF_HUB_OFFLINE)" if offline else "may be asked for hf: models"
    yield Finding("hub", reach)


def _cache() -> Iterator[Finding]:
    from threatspec.subjects import FETCHABLE, cache_folder, is_fetched

    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield Finding("cache", f"{_size(size)} in {folder}")
    for name in sorted(FETCHABLE):
        there = is_fetched(name)
        text = f"gguf:{name} is {'in the cache' if there else 'not fetched'}"
        yield Finding("model", text, remedy="" if there else f"threatspec models fetch {name}")


def _workspace() -> Iterator[Finding]:
    from threatspec.cli._settings import settings
    from threatspec.errors import SpecErrors

    try:
        found = settings(Path.cwd())
    except SpecErrors as errors:
        first = str(errors.problems[0]).splitlines()[0]
        yield Finding("workspace", first, State.BROKEN, "correct the file")
        return
    text = str(found.workspace) if found.workspace else "none (threatspec init makes one)"
    yield Finding("workspace", f"{text}; runner {found.runner}")


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
