"""What is uploaded with a submission: the workspace without what is ignored, and the program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.loading import LoadedSpec, find_workspace
from threatspec.records import Plan
from threatspec.resources import CONTENT, PACKAGE, shipped
from threatspec.runners.submission._secrets import refuse_secrets

__all__ = ["pack_program", "pack_workspace", "workspace_files"]

_NEVER = (".git", ".venv", "venv", "runs", "__pycache__", "*.egg-info", "node_modules", "*.tsb")
_LISTS = (".gitignore", ".threatspecignore")
_SHOWN = 5
_LOCAL = ("file:", "gguf:", "path:")


def pack_workspace(spec: LoadedSpec, plan: Plan, target: Path, most: int) -> str:
    """Copy the workspace of a claims file to `target`; the file's path in it.

    Raises ThreatspecError TS-UPLOAD-SECRET, TS-UPLOAD-LIMIT (`most` is in bytes), TS-DATA for
    something local that the spec names and that is not among what is uploaded.
    """
    root = find_workspace(spec.path).resolve()
    files = list(workspace_files(root))
    _require(spec, plan, root, set(files))
    refuse_secrets(root, files)
    _check_size(root, files, most)
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target / name)
    return str(spec.path.resolve().relative_to(root))


def workspace_files(root: Path) -> Iterator[str]:
    """Relative names of the files below `root` that nothing ignores, sorted."""
    yield from sorted(_below(root, root, [(root, _patterns(_NEVER))]))


def _below(root: Path, folder: Path, ignored: list[tuple[Path, Any]]) -> Iterator[str]:
    here = [(folder, _patterns(_lines(folder / name))) for name in _LISTS]
    ignored = [*ignored, *here]
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if entry.is_symlink() and not path.resolve().is_relative_to(root):
            continue  # what lies outside is not part of the workspace
        if _is_ignored(path, entry.is_dir(), ignored):
            continue
        if entry.is_dir():
            yield from _below(root, path, ignored)
        elif entry.is_file():
            yield path.relative_to(root).as_posix()


def _patterns(lines: Iterable[str]) -> Any:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _is_ignored(path: Path, folder: bool, ignored: list[tuple[Path, Any]]) -> bool:
    """The last list that has something to say decides, as in git."""
    answer = False
    for base, patterns in ignored:
        name = path.relative_to(base).as_posix() + ("/" if folder else "")
        said = patterns.check_file(name).include
        answer = answer if said is None else said
    return answer


def _require(spec: LoadedSpec, plan: Plan, root: Path, packed: set[str]) -> None:
    """Everything local that the spec names is uploaded, or has an absolute path of the cluster."""
    named = [*spec.files, *(_places(spec.folder, plan))]
    for path in named:
        outside = not path.resolve().is_relative_to(root)
        if outside or not _is_packed(path.resolve().relative_to(root).as_posix(), packed):
            why = f"outside of the workspace {root}" if outside else "ignored"
            raise ThreatspecError(
                "TS-DATA",
                f"{path} must be uploaded, but is {why}; move or un-ignore it, or name it by an "
                "absolute path that all nodes of the cluster have",
            )


def _is_packed(name: str, packed: set[str]) -> bool:
    return name in packed or any(file.startswith(f"{name}/") for file in packed)


def _places(folder: Path, plan: Plan) -> Iterator[Path]:
    names = {*plan.digests, *(m.benchmark for m in plan.measures.values())}
    for name in sorted(names):
        kind = next((prefix for prefix in _LOCAL if name.startswith(prefix)), None)
        if kind:
            place = Path(name.removeprefix(kind).partition("#")[0])
            if not place.is_absolute():
                yield folder / place


def _check_size(root: Path, files: list[str], most: int) -> None:
    sizes = {name: (root / name).stat().st_size for name in files}
    total = sum(sizes.values())
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
