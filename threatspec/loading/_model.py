"""Loading any YAML file that one model describes."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from threatspec.errors import SpecErrors
from threatspec.loading._validate import validate
from threatspec.loading._yaml import read_document

__all__ = ["load_model"]

M = TypeVar("M", bound=BaseModel)


def load_model(model: type[M], path: str | Path) -> M:
    """Read a YAML file as ``model``. Raises SpecErrors with everything wrong with it."""
    document = read_document(Path(path))
    found, problems = validate(model, document.data, document.source, broken=document.broken)
    if found is None or problems or document.problems:
        raise SpecErrors([*document.problems, *problems])
    return found
