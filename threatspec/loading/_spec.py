"""Loading a claims file, and any other YAML file that a model describes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from threatspec.errors import Problem, SpecErrors
from threatspec.loading._marks import Place, Source
from threatspec.loading._semantics import semantic_problems
from threatspec.loading._validate import validate
from threatspec.loading._yaml import read_document
from threatspec.schema import Spec

__all__ = ["LoadedSpec", "load_model", "load_spec", "model_problems"]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec, and where each of its parts stands in the file."""

    spec: Spec
    path: Path
    folder: Path
    """Absolute folder of the file; relative names in the spec start there."""
    source: Source = field(default_factory=lambda: Source(""), repr=False, compare=False)

    def problem(
        self, code: str, message: str, path: Place, at: str = "value", column: int = 0
    ) -> Problem:
        """A problem at ``path`` of the document, or at its nearest parent that is written.

        Args:
            code: one of `errors.CODES`.
            message: rule, value, remedy.
            path: keys and indices from the top, for example ``("claims", 0, "holds")``.
            at: "key" or "value", on which the caret stands.
            column: offset of the trouble inside the text of a scalar.
        """
        return self.source.problem(code, message, path, at, column or None)


def load_spec(path: str | Path) -> LoadedSpec:
    """Read a claims file. Raises SpecErrors with everything wrong with it."""
    path = Path(path)
    document = read_document(path)
    semantic = semantic_problems(document.data, document.source)
    spec, problems = validate(Spec, document.data, document.source, broken=document.broken)
    if any(p.code == "TS-FORMAT-VERSION" for p in semantic) and "threatspec" in document.data:
        problems = []  # a file of another format is not judged by the rules of this one
    problems = [p for p in problems if p.path != "threatspec"]  # the semantic check says it better
    found = [*document.problems, *problems, *semantic]
    if spec is None or found:
        raise SpecErrors(found)
    return LoadedSpec(spec, path, Path(os.path.abspath(path)).parent, document.source)


def load_model(model: type[M], path: str | Path) -> M:
    """Read a YAML file as ``model``. Raises SpecErrors with everything wrong with it."""
    document = read_document(Path(path))
    found, problems = validate(model, document.data, document.source, broken=document.broken)
    if found is None or problems or document.problems:
        raise SpecErrors([*document.problems, *problems])
    return found


def model_problems(
    model_class: type[M], data: dict[str, Any], loaded: LoadedSpec, place: Place
) -> tuple[M | None, list[Problem]]:
    """``data`` as ``model_class``, or its problems as if it stood at ``place`` of the spec."""
    return validate(model_class, data, loaded.source, place)
