"""Divergences of two models along the same answers, teacher-forced."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from threatspec.errors import ThreatspecError
from threatspec.measures import Item
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Encoded, collate
from threatspec.training._loss import logits_of

__all__ = ["divergence", "divergences"]


def divergence(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(own || other) over the last dimension, in nats, of logits; computed in float64.

    Never below 0: what rounding leaves there is 0.
    """
    first, second = (x.double().log_softmax(-1) for x in (own, other))
    chance = first.exp()
    terms = torch.where(chance > 0, chance * (first - second), 0.0)  # 0 log 0 = 0
    return terms.sum(-1).clamp_min(0.0)


@torch.no_grad()
def divergences(
    subject: ResidentSubject,
    base: ResidentSubject,
    items: Sequence[Item],
    *,
    tokens: int,
    native: bool,
    micro_batch: int,
) -> list[list[float]]:
    """KL(subject || base) in nats, by item and position of its answer.

    Args:
        subject: the first of the two.
        base: the second; it must speak the same vocabulary.
        items: prompts with complying answers.
        tokens: positions at most.
        native: whether the base is given the subject's own tokens, else the bare prompt.
        micro_batch: rows that go through a model at once.
    """
    answers = [subject.tokens(item.answer)[:tokens] for item in items]
    seen = [_prompt(subject, item, "native") for item in items]
    told = seen if native else [_prompt(base, item, "none") for item in items]
    found: list[list[float]] = []
    for start in range(0, len(items), micro_batch):
        part = slice(start, start + micro_batch)
        own = _logits(subject, seen[part], answers[part])
        other = _logits(base, told[part], answers[part])
        found += [_finite(divergence(a, b.to(a.device))) for a, b in zip(own, other, strict=True)]
    return found


def _prompt(subject: ResidentSubject, item: Item, template: str) -> list[int]:
    serving = Serving.model_validate({"template": template})
    return subject.render(Request(item=item.id, prompt=item.prompt), serving)[0]


def _logits(
    subject: ResidentSubject, prompts: Sequence[list[int]], answers: Sequence[list[int]]
) -> list[torch.Tensor]:
    """Of each row [tokens of the answer, vocabulary]: what predicts each of them."""
    rows = [Encoded((*p, *a), len(p), 1.0) for p, a in zip(prompts, answers, strict=True)]
    for row in rows:
        if len(row.ids) > subject.card.context or not row.start:
            text = f"an answer and what precedes it must be 1 to {subject.card.context} tokens"
            raise ThreatspecError("TS-DATA", f"{text} in {subject.card.ref}, but one is not")
    logits = logits_of(subject.model, collate(rows, subject.end))
    return [logits[n, row.start - 1 : len(row.ids) - 1] for n, row in enumerate(rows)]


def _finite(values: torch.Tensor) -> list[float]:
    if not bool(torch.isfinite(values).all()):
        raise ThreatspecError("TS-DIVERGED", "divergences must be finite, but one is not")
    return [float(value) for value in values]
