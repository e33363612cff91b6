"""Regions of the weights: scores that say where safety sits, and edits that use them.

Two phases (Wei et al. 2402.05162): `score` reads the intact subject once and leaves an artefact,
`edit` reads artefacts and leaves changed weights. Nothing is pruned while scores are still being
made, so block-by-block re-computation as in Wanda's own paper does not take place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from threatspec.records import ArtefactStore, Spend
from threatspec.subjects import SubjectCard
from threatspec.training._asks import Edited, EditRequest, ScoreRequest
from threatspec.training._job import TrainingRow
from threatspec.training.regions._methods import (
    EDITS,
    SCORES,
    EditMethod,
    ScoreMethod,
    score_flops,
)
from threatspec.training.regions._overlap import jaccard, subspace_similarity

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

__all__ = [
    "EDITS",
    "SCORES",
    "EditMethod",
    "ScoreMethod",
    "edit",
    "jaccard",
    "score",
    "score_flops",
    "score_spend",
    "subspace_similarity",
]


def score(
    subject: ResidentSubject,
    request: ScoreRequest,
    safety: Sequence[TrainingRow],
    utility: Sequence[TrainingRow],
    store: ArtefactStore,
) -> str:
    """Score the subject's weights, which stay as they are; the artefact's name.

    Of `safety` rows the prompt and the refusal are read, of `utility` rows prompt and answer.

    Raises ThreatspecError TS-DATA for no rows or rows without what is read of them, TS-TARGETS for
    a model without layers that could be scored, TS-DIVERGED for scores that are not finite.
    """
    from threatspec.training.regions._score import make_scores

    return make_scores(subject, request, safety, utility, store)


def edit(subject: ResidentSubject, request: EditRequest, store: ArtefactStore) -> Edited:
    """Edited weights of the subject, which itself stays as it is.

    Raises ThreatspecError TS-SCORES for scores of another model or method, TS-MASK for an edit that
    changes nothing or everything, TS-TARGETS for a model without the layers to be edited.
    """
    from threatspec.training.regions._edit import make_edit

    return make_edit(subject, request, store)


def score_spend(subject: SubjectCard, request: ScoreRequest, rows: Sequence[TrainingRow]) -> Spend:
    """What scoring on `rows` takes, by formula: every row as long as the longest."""
    words = max((len(f"{row.prompt} {max(row.answer, row.refusal, key=len)}".split())
                 for row in rows), default=0)  # fmt: skip
    length = min(subject.context, round(words * subject.tokens_per_word) + subject.template_tokens)
    flops = score_flops(subject, len(rows), length, request.method)
    return Spend(tokens=len(rows) * length, flops=flops)
