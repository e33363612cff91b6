"""Loading a claims file with all that it includes and extends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from threatspec.errors import Problem, SpecErrors
from threatspec.loading._assemble import assemble
from threatspec.loading._marks import Place, Source
from threatspec.loading._semantics import semantic_problems
from threatspec.loading._validate import validate
from threatspec.schema import Spec

__all__ = ["LoadedSpec", "load_spec", "model_problems"]

M = TypeVar("M", bound=BaseModel)
_ABSENCES = frozenset(
    {"TS-MISSING-FIELD", "TS-UNKNOWN-ADVERSARY", "TS-UNKNOWN-MEASURE", "TS-UNKNOWN-SUBJECT"}
)
"""Problems of what is not there: nothing to say where a file could not be read."""


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec, and where each of its parts stands in the file."""

    spec: Spec
    path: Path
    folder: Path
    """Absolute folder of the file; relative names in the spec start there."""
    source: Source = field(default_factory=lambda: Source(""), repr=False, compare=False)
    files: tuple[Path, ...] = ()
    """Every file that was read: this one, then those that it includes and extends."""
    older: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Files of an older format, which was migrated: the format by `FILE:LINE` where it is said."""

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
    assembled = assemble(path)
    document = assembled.document
    spec, problems = validate(Spec, document.data, document.source, broken=document.broken)
    problems = [p for p in problems if p.path != "threatspec"]  # said better of each file
    problems += semantic_problems(document.data, document.source)
    if not assembled.whole:
        problems = [p for p in problems if p.code not in _ABSENCES]
    found = [*assembled.problems, *problems]
    if spec is None or found:
        raise SpecErrors(found)
    folder = Path(os.path.abspath(path)).parent
    return LoadedSpec(spec, path, folder, document.source, assembled.files, assembled.older)


def model_problems(
    model_class: type[M], data: dict[str, Any], loaded: LoadedSpec, place: Place
) -> tuple[M | None, list[Problem]]:
    """``data`` as ``model_class``, or its problems as if it stood at ``place`` of the spec."""
    return validate(model_class, data, loaded.source, place)
