"""The base of every model that is read from or written to a file, and content-derived ids."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Described", "Model", "canonical_json", "content_id"]


class Model(BaseModel):
    """Frozen, strict, finite; unknown fields are errors.

    ``not_evaluated`` names fields of the language that this version does not
    evaluate: writing one is the error TS-NOT-EVALUATED, never a silent pass.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=False,
        defer_build=True,
    )
    not_evaluated: ClassVar[frozenset[str]] = frozenset()


class Described(Model):
    """A model that people write: the docstrings below its fields describe them (`field_docs`)."""


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces, no NaN; models are dumped first."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def content_id(kind: str, value: Any) -> str:
    """Id derived from content: ``kind-`` and 16 hex digits (64 bits) of the sha256 of the JSON."""
    return f"{kind}-{hashlib.sha256(canonical_json([kind, value]).encode()).hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"canonical JSON takes plain values, but got {type(value).__name__}")
