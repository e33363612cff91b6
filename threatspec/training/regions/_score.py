"""Scoring: rows are rendered, a method reads the subject, its tensors become an artefact."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._asks import ScoreRequest
from threatspec.training._batches import Encoded, encode
from threatspec.training._job import TrainingRow
from threatspec.training.regions._artefacts import save_scores
from threatspec.training.regions._methods import score_method

__all__ = ["function_at", "make_scores"]


def make_scores(
    subject: ResidentSubject,
    request: ScoreRequest,
    safety: Sequence[TrainingRow],
    utility: Sequence[TrainingRow],
    store: ArtefactStore,
) -> str:
    """See :func:`threatspec.training.regions.score`."""
    method = score_method(request.method)
    if method.contrast != (request.over == "both"):
        wanted = "both" if method.contrast else "safety or utility"
        raise ValueError(f"{request.method} must be over {wanted}, but is over {request.over}")
    chosen = {
        "safety": (_refused(safety, prompt_only=method.contrast), request.over != "utility"),
        "utility": (_answered(utility), request.over != "safety"),
    }
    rows = [_encoded(subject, name, own) for name, (own, read) in chosen.items() if read]
    tensors = function_at(method.home)(subject, *rows, **request.settings)
    _require_finite(tensors, request.method)
    return save_scores(subject, request, tensors, store)


def function_at(home: str) -> Any:
    """The function that a row of a table names."""
    module, _, name = home.partition(":")
    return getattr(import_module(f"threatspec.training.regions.{module}"), name)


def _refused(rows: Sequence[TrainingRow], *, prompt_only: bool) -> list[TrainingRow]:
    """Rows that answer with the refusal; where only prompts are read there may be none."""
    if prompt_only:
        return [row.model_copy(update={"answer": row.refusal or row.answer}) for row in rows]
    return [row.model_copy(update={"answer": row.refusal}) for row in rows]


def _answered(rows: Sequence[TrainingRow]) -> list[TrainingRow]:
    return list(rows)


def _encoded(subject: ResidentSubject, name: str, rows: Sequence[TrainingRow]) -> list[Encoded]:
    if not rows:
        raise ThreatspecError(
            "TS-DATA", f"scores need {name} rows, but the adversary has none of that role"
        )
    for row in rows:
        if not row.answer:
            wanted = "a refusal" if name == "safety" else "an answer"
            raise ThreatspecError("TS-DATA", f"{name} row {row.id} must have {wanted}")
    return encode(subject, rows)


def _require_finite(tensors: dict[str, torch.Tensor], method: str) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ThreatspecError(
                "TS-DIVERGED", f"scores must be finite, but {method} of {name} are not"
            )
