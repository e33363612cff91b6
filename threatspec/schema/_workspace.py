"""The workspace file: what is usual for everything in one folder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from threatspec.schema._base import Described
from threatspec.schema._fields import Text

__all__ = ["Workspace"]


class Workspace(Described):
    """Defaults of a workspace (`threatspec.yaml`); paths start at the folder of the file."""

    format: Annotated[Literal["threatspec/workspace/v1"], Field(alias="schema")]
    """Version of the file's format."""
    out: Text | None = None
    """Folder in which each claims file gets its results folder; absent = `runs` under the current
    folder."""
    runner: Text | None = None
    """Name of a runner profile, or path of one; absent = `local`."""
    claims: tuple[Text, ...] = ("claims",)
    """Folders of claims files: what `threatspec check` checks if nothing is named."""
