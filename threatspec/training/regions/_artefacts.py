"""Score artefacts: tensors by name, and beside them which subject and method they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._asks import ScoreRequest

__all__ = ["load_scores", "save_scores"]

_META = "meta."


def save_scores(
    subject: ResidentSubject,
    request: ScoreRequest,
    tensors: Mapping[str, torch.Tensor],
    store: ArtefactStore,
) -> str:
    """Write scores as float32; names that begin with `meta.` hold text as bytes."""
    text = {"subject": subject.card.digest, "method": request.method, "over": request.over}
    meta = {_META + key: _bytes(value) for key, value in text.items()}
    return store.save({**{name: t.float() for name, t in tensors.items()}, **meta})


def load_scores(
    subject: ResidentSubject, artefact: str, store: ArtefactStore, *methods: str
) -> dict[str, torch.Tensor]:
    """Scores of this very subject, made by one of `methods`, without what is beside them.

    Raises ThreatspecError TS-SCORES if they are of another model or method, TS-RECORDS if there is
    no such artefact.
    """
    found = store.load(artefact)
    meta = {name: _text(found.pop(name)) for name in sorted(found) if name.startswith(_META)}
    _require("subject", subject.card.digest, meta, artefact)
    if meta["meta.method"] not in methods:
        wanted = " or ".join(methods)
        raise _refusal(f"must be of method {wanted}, but {artefact} is of {meta['meta.method']}")
    return found


def _require(key: str, wanted: str, meta: Mapping[str, Any], artefact: str) -> None:
    got = meta.get(_META + key)
    if got is None:
        raise _refusal(f"must say what they are of, but {artefact} does not; it holds no scores")
    if got != wanted:
        raise _refusal(
            f"must be of the model that is edited ({key} {wanted[:12]}), but {artefact} is of "
            f"another ({got[:12]}); score this model"
        )


def _refusal(text: str) -> ThreatspecError:
    return ThreatspecError("TS-SCORES", f"scores {text}")


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _text(tensor: torch.Tensor) -> str:
    return bytes(tensor.tolist()).decode()
