"""Safeguard `lotto`: a customer's task is trained beside the weights that carry safety.

Source: arXiv 2406.16797, lottery ticket together optimisation: the support of the first task (here
refusals) is kept, the second task is calibrated with that support frozen, and only the coordinates
that moved most are trained. Masks of the two tasks are disjoint, so that the coordinates of the
first are bit-identical after the second. The guarantee is on coordinates, not on behaviour.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal

from pydantic import Field

from threatspec.records import Spend, Stream
from threatspec.safeguards._held import HeldPolicy
from threatspec.safeguards._mixing import MixedConfig, mixed_cost, mixed_rows
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Answer,
    Ask,
    Fitted,
    Safeguard,
    SafeguardContext,
    Stage,
    require_rows,
)
from threatspec.subjects import SubjectCard
from threatspec.training import (
    Hyperparameters,
    MaskRequest,
    Provider,
    TrainingJob,
    TrainingPolicy,
)

__all__ = ["Lotto", "LottoConfig"]


class LottoConfig(MixedConfig):
    """Knobs of the calibration on refusals, and of what a customer may move."""

    steps: int = Field(default=100, ge=1)
    """Optimiser steps of the calibration on refusals."""
    sparsity: float = Field(default=0.9, gt=0, lt=1)
    """Share of the matrices of attention and MLP that safety does not need; the rest, what refusal
    training moved most, is held."""
    task_sparsity: float | None = Field(default=0.9, gt=0, lt=1)
    """Share of what is free that a customer's training leaves alone too; none = all that is free
    may move, without a calibration of the customer's task."""


class _Beside(HeldPolicy):
    def __init__(self, held: str, task_sparsity: float | None) -> None:
        super().__init__(held)
        self._share = None if task_sparsity is None else 1 - task_sparsity
        self._own: str | None = None

    def use(self) -> tuple[str, Literal["freeze", "only"]]:
        return (self.held, "freeze") if self._own is None else (self._own, "only")

    def restrict(self, job: TrainingJob, provider: Provider) -> TrainingJob:
        """Calibrated with the support of safety frozen; then only what moved most may move."""
        if not self.dense(job):
            return job
        self._own = None
        if self._share is not None:
            moved = provider.train(self.masked(job)).last.artefact
            request = MaskRequest(
                method="largest-change", source=moved, share=self._share, beside=self.held
            )
            self._own = provider.mask(request).artefact
        return self.masked(job)


class Lotto(Safeguard):
    """Acts while somebody's rows are trained on at the provider."""

    kind = "lotto"
    says = "lets customers train only weights that refusals do not depend on, and few of these"
    source = "arXiv 2406.16797"
    stages = frozenset({Stage.TRAINING})
    Config = LottoConfig

    def cost(self, subject: SubjectCard, config: LottoConfig, rows: int, words: int) -> Spend:
        """Of the calibration on refusals; that of a customer's task is paid with the task."""
        return mixed_cost(subject, config, words)

    def fit(self, context: SafeguardContext, config: LottoConfig) -> Generator[Ask, Answer, Fitted]:
        """Ask what refusal training moves, and for the mask of what it moves most."""
        require_rows(context, "safety", "benign")
        sizes = (config.safety_rows, config.benign_rows)
        rows = mixed_rows(
            context.safety, context.benign, lambda row, _: row.refused, alpha=config.alpha,
            steps=config.steps, sizes=sizes, seed=context.seeds[Stream.DATA_SUBSET],
        )  # fmt: skip
        hyper = Hyperparameters(
            lr=config.lr, steps=config.steps, batch_size=sum(sizes), shuffle=False
        )
        moved = yield TrainingJob(
            rows=tuple(rows), hyperparameters=hyper, seeds=dict(context.seeds)
        )
        held = yield MaskRequest(
            method="largest-change", source=moved.last.artefact, share=1 - config.sparsity
        )
        return Fitted(provided={"artefact": held.artefact, "held": held.chosen})

    def training_policy(
        self, context: SafeguardContext, config: LottoConfig, provided: Mapping[str, Any]
    ) -> TrainingPolicy:
        """The support of refusals is held."""
        return _Beside(provided["artefact"], config.task_sparsity)


SAFEGUARDS.register(Lotto.kind, Lotto())
