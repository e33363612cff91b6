"""Building a subject: its recipe's steps are trained on it, one after another or for a merge."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from threatspec.attacks import training_rows
from threatspec.errors import ThreatspecError
from threatspec.records import Stream
from threatspec.runners._asks import Asks
from threatspec.schema import AdaptStep, MergeStep
from threatspec.subjects import Tamper, WeightTamper
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    Adapter,
    Hyperparameters,
    MaskRequest,
    MaskUse,
    TrainingJob,
    TrainingRow,
)
from threatspec.training._dense import dense_weights
from threatspec.training._masks import eligible
from threatspec.training._merge import merge
from threatspec.training.merging import MergeConfig

__all__ = ["build", "follow"]

Step = AdaptStep | MergeStep
RowsOf = Callable[[AdaptStep], tuple[TrainingRow, ...]]
_OPTIMISER = ("lr", "steps", "batch_size", "schedule", "warmup_steps", "weight_decay", "clip_norm")


def build(
    asks: Asks, steps: Sequence[Mapping[str, Any]], seeds: Mapping[Stream, int], folder: Path
) -> tuple[Tamper, ...]:
    """Follow a recipe given as plain data; rows come from their sources, by the seed of the draw.

    Raises ThreatspecError TS-DATA for rows that cannot be had, and as `follow` does.
    """

    def rows_of(step: AdaptStep) -> tuple[TrainingRow, ...]:
        rows = training_rows(step.source, folder)
        chooser = random.Random(f"{seeds.get(Stream.DATA_SUBSET, 0)}/{step.adapt}")
        if len(rows) < step.n:
            text = f"{step.source} must hold at least {step.n} rows, but has {len(rows)}"
            raise ThreatspecError("TS-DATA", text)
        return tuple(_shown(row, step) for row in chooser.sample(rows, step.n))

    return follow(asks.subject, [_read(step) for step in steps], rows_of, asks, seeds)


def follow(
    subject: ResidentSubject,
    steps: Sequence[Step],
    rows_of: RowsOf,
    asks: Asks,
    seeds: Mapping[Stream, int],
) -> tuple[Tamper, ...]:
    """Train every step through `asks`; the dense weights that the recipe ends with.

    Steps start from what the one before left; where the recipe ends with a merge, all start from
    the subject itself, which is given back bit-equal in any case.

    Raises ThreatspecError TS-MASK if there is no room beside an earlier task, and as training does.
    """
    run = _Run(subject, rows_of, asks, seeds)
    last = steps[-1]
    merged = isinstance(last, MergeStep)
    for step in steps:
        if isinstance(step, AdaptStep):
            run.adapt(step, from_base=merged)
    return (run.merged(last) if isinstance(last, MergeStep) else run.here[-1],)


@dataclass
class _Run:
    """One recipe as far as it has come."""

    subject: ResidentSubject
    rows_of: RowsOf
    asks: Asks
    seeds: Mapping[Stream, int]
    here: tuple[WeightTamper, ...] = ()
    """Where the next step starts."""
    made: dict[str, WeightTamper] = field(default_factory=dict)
    """Weights by task."""
    held: dict[str, str] = field(default_factory=dict)
    """By task, a mask of its weights and of all that it stands beside."""

    def adapt(self, step: AdaptStep, *, from_base: bool) -> None:
        """Train one task."""
        start = () if from_base else self.here
        with mount(self.subject, start, self.asks.store):
            tamper = self._lota(step) if step.method == "lota" else self._plain(step)
            tensors = dense_weights(self.subject, tamper, self.asks.store)
        for earlier in start:  # what this step did not write is as the one before left it
            tensors = {**self.asks.store.load(earlier.artefact), **tensors}
        self.made[step.adapt] = self._kept(tensors)
        self.here = (self.made[step.adapt],)

    def _plain(self, step: AdaptStep) -> WeightTamper:
        """All weights, or a low-rank adapter."""
        use = None
        if step.beside is not None:
            use = MaskUse(artefact=self.held[step.beside], mode="freeze")
        return self._train(step, use)

    def _lota(self, step: AdaptStep) -> WeightTamper:
        """Calibrate, extract, adapt: beside another task, with its weights frozen throughout."""
        beside = self.held[step.beside] if step.beside is not None else None
        frozen = MaskUse(artefact=beside, mode="freeze") if beside else None
        first = {"steps": step.calibrate_steps, "lr": step.calibrate_lr}
        first = {name: value for name, value in first.items() if value is not None}
        calibrated = self._train(step.model_copy(update=first), frozen)
        ticket = self.asks.answer(
            MaskRequest(
                method="largest-change", source=calibrated.artefact, beside=beside,
                share=self._share(step, beside),
            )
        )  # fmt: skip
        self.held[step.adapt] = self._union(ticket.artefact, beside)
        return self._train(step, MaskUse(artefact=ticket.artefact, mode="only"))

    def _train(self, step: AdaptStep, mask: MaskUse | None) -> WeightTamper:
        settings = {name: getattr(step, name) for name in _OPTIMISER}
        adapter = _adapter(step) if step.method == "lora" else None
        trajectory = self.asks.answer(
            TrainingJob(
                rows=self.rows_of(step),
                hyperparameters=Hyperparameters(**settings, adapter=adapter),
                seeds=dict(self.seeds),
                mask=mask,
            )
        )
        tamper: WeightTamper = trajectory.last
        return tamper

    def _share(self, step: AdaptStep, beside: str | None) -> float:
        """Of the weights that are free, so many that sparsity counts all matrices."""
        total = sum(p.numel() for p in eligible(self.subject.model, "blocks").values())
        masks = self.asks.store.load(beside).values() if beside else ()
        room = total - sum(int(mask.sum()) for mask in masks)
        wanted = round((1 - step.sparsity) * total)
        if not 0 < wanted < room:
            text = f"task {step.adapt} must leave some weights of the {room} that are free, "
            raise ThreatspecError("TS-MASK", f"{text}but sparsity {step.sparsity:g} takes {wanted}")
        return wanted / room

    def _union(self, mask: str, beside: str | None) -> str:
        if beside is None:
            return mask
        own, other = self.asks.store.load(mask), self.asks.store.load(beside)
        return self.asks.store.save({n: own[n] | other[n] if n in other else own[n] for n in own})

    def merged(self, step: MergeStep) -> WeightTamper:
        """The subject with the changes of several tasks put together."""
        base = {name: p.detach() for name, p in self.subject.model.named_parameters()}
        artefacts = [self.made[name].artefact for name in step.of]
        config = MergeConfig(
            method=step.merge, weights=step.weights, density=step.density or 1.0, scale=step.scale,
            seed=self.seeds.get(Stream.TRAIN, 0),
        )  # fmt: skip
        return self._kept(merge(self.asks.store, base, artefacts, config))

    def _kept(self, tensors: Mapping[str, torch.Tensor]) -> WeightTamper:
        return WeightTamper(artefact=self.asks.store.save(tensors), form="dense")


def _adapter(step: AdaptStep) -> Adapter:
    options = {"r": step.rank, "lora_alpha": step.alpha, "target_modules": "all-linear"}
    return Adapter(method="lora", options=options)


def _shown(row: TrainingRow, step: AdaptStep) -> TrainingRow:
    """What a row demonstrates: its answer, or its refusal."""
    if step.text == "answer":
        return row
    if not row.refusal:
        text = f"task {step.adapt} must have rows with a refusal, but {row.id} has none"
        raise ThreatspecError("TS-DATA", text)
    return row.model_copy(update={"answer": row.refusal})


def _read(step: Mapping[str, Any]) -> Step:
    kind = MergeStep if "merge" in step else AdaptStep
    return kind.model_validate(dict(step), strict=False)
