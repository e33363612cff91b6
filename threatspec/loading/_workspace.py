"""The workspace: the folder that a claims file and the cards beside it belong to."""

from __future__ import annotations

import os
from pathlib import Path

from threatspec.loading._model import load_model
from threatspec.schema import Workspace

__all__ = ["WORKSPACE_FILE", "find_workspace", "load_workspace"]

WORKSPACE_FILE = "threatspec.yaml"


def find_workspace(path: str | Path) -> Path:
    """The workspace of a file or folder, absolute.

    The nearest folder around it that holds `threatspec.yaml`; else what holds the nearest folder
    called `claims` around it; else its own folder.
    """
    path = Path(os.path.abspath(path))
    own = path if path.is_dir() else path.parent
    around = (own, *own.parents)
    marked = next((folder for folder in around if (folder / WORKSPACE_FILE).is_file()), None)
    claims = next((folder.parent for folder in around if folder.name == "claims"), None)
    return marked or claims or own


def load_workspace(folder: Path) -> Workspace | None:
    """What the workspace file in `folder` says; None if there is none. Raises SpecErrors."""
    file = folder / WORKSPACE_FILE
    if not file.is_file():
        return None
    return load_model(Workspace, file)
