"""What is uploaded with a submission: the workspace without what is ignored, and the program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.loading import LoadedSpec, find_workspace
from threatspec.measures.benchmarks import card_beside
from threatspec.resources import CONTENT, PACKAGE, shipped
from threatspec.runners.submission._secrets import refuse_secrets
from threatspec.schema import Spec
from threatspec.subjects.images.folders import FOLDERS

__all__ = ["pack_program", "pack_workspace", "workspace_files"]

_NEVER = (".git", ".venv", "venv", "/runs/", "__pycache__", "*.egg-info", "node_modules", "*.tsb")
_LISTS = (".gitignore", ".threatspecignore", ".rayignore")
"""The last one that names a file decides. They stay here: Ray would apply them once more."""
_SHOWN = 5
_LOCAL = frozenset({"file", "path", *FOLDERS})
_ENTRY = 76 + 46
"""Bytes that one file adds to an archive beside its content and twice its name, at most."""


def pack_workspace(spec: LoadedSpec, target: Path, most: int) -> str:
    """Copy the workspace of a claims file to `target`; the file's path in it.

    Raises ThreatspecError TS-UPLOAD-SECRET, TS-UPLOAD-LIMIT (`most` is in bytes), TS-DATA for
    something local that the spec names and that is not among what is uploaded.
    """
    root = find_workspace(spec.path)
    files = list(workspace_files(root))
    _require(spec, root, set(files))
    refuse_secrets(root, files)
    _check_size(root, files, most)
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target / name)
    return (spec.folder / spec.path.name).relative_to(root).as_posix()


def workspace_files(root: Path) -> Iterator[str]:
    """Relative names of the files below `root` that nothing ignores, sorted.

    Links to folders are not followed, and links out of the workspace are left out.
    """
    never = _patterns(_NEVER)
    found = (path.relative_to(root).as_posix() for path in _below(root, root, never, []))
    yield from sorted(found)


def _below(root: Path, folder: Path, never: Any, lists: list[tuple[Path, Any]]) -> Iterator[Path]:
    lists = [*lists, *((folder, _patterns(_lines(folder / name))) for name in _LISTS)]
    for entry in os.scandir(folder):
        path = Path(entry.path)
        inner = entry.is_dir(follow_symlinks=False)
        name = path.relative_to(root).as_posix() + ("/" if inner else "")
        if never.match_file(name) or _is_ignored(path, inner, lists):
            continue
        if inner:
            yield from _below(root, path, never, lists)
        elif entry.is_file() and entry.name not in _LISTS and _is_inside(root, path):
            yield path


def _is_inside(root: Path, path: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(root.resolve())


def _patterns(lines: Iterable[str]) -> Any:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []


def _is_ignored(path: Path, folder: bool, lists: list[tuple[Path, Any]]) -> bool:
    """The last list that has something to say decides, as in git."""
    answer = False
    for base, patterns in lists:
        name = path.relative_to(base).as_posix() + ("/" if folder else "")
        said = patterns.check_file(name).include
        answer = answer if said is None else said
    return answer


def _require(spec: LoadedSpec, root: Path, packed: set[str]) -> None:
    """Everything local that the spec names is uploaded, or has an absolute path of the cluster."""
    named = [path for place in _places(spec) for path in _files_of(place)]
    missing = [why for path in dict.fromkeys(named) if (why := _missing(path, root, packed))]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise ThreatspecError(
            "TS-DATA",
            f"everything that {spec.path.name} names must be uploaded, but {shown}; move or "
            "un-ignore it (!NAME in .threatspecignore), or name it by an absolute path that all "
            "nodes of the cluster have",
        )


def _missing(path: Path, root: Path, packed: set[str]) -> str | None:
    if not path.is_relative_to(root):
        return f"{path} is outside of the workspace {root}"
    name = path.relative_to(root).as_posix()
    return None if name in packed else f"{name} is ignored"


def _places(spec: LoadedSpec) -> Iterator[Path]:
    """What the spec reads and names, absolute; of names only those that are relative."""
    yield from (Path(os.path.abspath(file)) for file in spec.files)
    for name in _names(spec.spec):
        kind, _, rest = name.partition(":")
        place = rest.partition("#")[0] if kind.partition("/not-")[0] in _LOCAL else ""
        if place and not place.startswith(("/", "~")):
            yield Path(os.path.abspath(spec.folder / place))


def _names(spec: Spec) -> Iterator[str]:
    for subject in spec.all_subjects.values():
        yield from (ref for ref in (subject.model, subject.undefended, subject.control) if ref)
    yield from (measure.benchmark for measure in spec.measures.values())
    for adversary in spec.adversaries.values():
        yield from (contract.source for contract in adversary.data.values())
    settings = (value for one in spec.instruments.values() for value in one.settings.values())
    yield from (value for value in settings if isinstance(value, str))


def _files_of(place: Path) -> Iterator[Path]:
    """The files of a folder of weights; a file of prompts with its card."""
    if place.is_dir():
        yield from (path for path in sorted(place.rglob("*")) if path.is_file())
        return
    yield place
    card = card_beside(place)
    if card.is_file():
        yield card


def _check_size(root: Path, files: list[str], most: int) -> None:
    """What Ray sends is an archive without compression."""
    sizes = {name: (root / name).stat().st_size for name in files}
    total = sum(sizes.values()) + sum(_ENTRY + 2 * len(name.encode()) for name in files)
    if total <= most:
        return
    largest = sorted(files, key=lambda name: sizes[name], reverse=True)[:_SHOWN]
    listed = ", ".join(f"{name} ({_mib(sizes[name])})" for name in largest)
    raise ThreatspecError(
        "TS-UPLOAD-LIMIT",
        f"an upload may have {_mib(most)}, but this one has {_mib(total)}: {listed}; name them in "
        ".threatspecignore, or put them on storage that all nodes share",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def pack_program(target: Path) -> Path:
    """Copy this program with its shipped content to `target`, as a wheel would hold it.

    A folder and not a wheel: Ray has pip install a wheel, which looks for dependencies on an
    index that a cluster need not reach.
    """
    package = target / PACKAGE.name
    unwanted = shutil.ignore_patterns("__pycache__", "_data")
    shutil.copytree(PACKAGE, package, ignore=unwanted)
    for name in CONTENT:
        source, place = shipped(name), package / "_data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=unwanted, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, place)
    return package
