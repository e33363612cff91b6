"""What holds for a verb: flag, else `THREATSPEC_*`, else the workspace file, else the default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from threatspec.api import default_out
from threatspec.loading import WORKSPACE_FILE, find_workspace, load_workspace
from threatspec.schema import Workspace

__all__ = ["Settings", "settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set in more than one place."""

    out: Path
    """Results folder."""
    runner: str
    """Name of a profile that ships, or path of one."""
    claims: tuple[Path, ...]
    """Folders of claims files; none outside of a workspace."""
    workspace: Path | None
    """The workspace file; None if there is none."""


def settings(place: Path, *, out: Path | None = None, runner: str | None = None) -> Settings:
    """What holds for the claims file or folder `place`. Raises SpecErrors for a bad workspace.

    Args:
        place: the claims file or folder that a verb is about.
        out: the flag `--out`, a results folder; the other places name what results folders lie in.
        runner: the flag `--runner`.
    """
    folder = find_workspace(place)
    usual = load_workspace(folder)
    return Settings(
        out=out or _near(_results(folder, usual, default_out(place))),
        runner=_profile(folder, runner or _runner(folder, usual)),
        claims=tuple(folder / name for name in usual.claims) if usual else (),
        workspace=folder / WORKSPACE_FILE if usual else None,
    )


def _results(folder: Path, usual: Workspace | None, default: Path) -> Path:
    if chosen := os.environ.get("THREATSPEC_OUT"):
        return Path(chosen) / default.name
    return folder / usual.out / default.name if usual and usual.out else default


def _near(path: Path) -> Path:
    """As people in the current folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _runner(folder: Path, usual: Workspace | None) -> str:
    if chosen := os.environ.get("THREATSPEC_RUNNER"):
        return chosen
    if usual and usual.runner:
        return str(folder / usual.runner) if _is_path(usual.runner) else usual.runner
    return "local"


def _profile(folder: Path, name: str) -> str:
    """A workspace's own profiles come before those that ship."""
    own = folder / "runners" / f"{name}.yaml"
    return str(own) if not _is_path(name) and own.is_file() else name


def _is_path(runner: str) -> bool:
    return runner.endswith((".yaml", ".yml"))
