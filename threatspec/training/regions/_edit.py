"""Editing: a method reads scores and writes to copies, what differs becomes a tamper."""

from __future__ import annotations

import torch

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._asks import Edited, EditRequest
from threatspec.training.regions._changes import Changes
from threatspec.training.regions._methods import edit_method
from threatspec.training.regions._score import function_at

__all__ = ["make_edit"]


@torch.no_grad()
def make_edit(subject: ResidentSubject, request: EditRequest, store: ArtefactStore) -> Edited:
    """See :func:`threatspec.training.regions.edit`."""
    method = edit_method(request.method)
    if len(request.scores) != method.scores:
        raise ThreatspecError(
            "TS-SCORES",
            f"edit {request.method} reads {method.scores} score artefacts, but was given "
            f"{len(request.scores)}",
        )
    changes = Changes(subject, store)
    rank = function_at(method.home)(changes, request, **request.settings)
    return changes.finish(request.method, rank)
