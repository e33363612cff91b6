"""Recipes of subjects: adapt a model to tasks one after another, or merge what was adapted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from threatspec.schema._base import Described
from threatspec.schema._fields import Name, Text, as_tuple, complaint
from threatspec.schema._units import Count, Share

__all__ = ["AdaptStep", "BuildStep", "MergeStep", "check_build"]

Knobs = dict[str, frozenset[str]]
_ADAPT_KNOBS: Knobs = {
    "full": frozenset({"beside"}),
    "lora": frozenset({"rank", "alpha"}),
    "lota": frozenset({"sparsity", "calibrate_steps", "calibrate_lr", "beside"}),
}
"""Fields that only some methods of adaptation read."""
_MERGE_KNOBS: Knobs = {
    "sum": frozenset(),
    "task-arithmetic": frozenset({"weights"}),
    "ties": frozenset({"density", "scale"}),
    "dare": frozenset({"density", "weights"}),
}
"""Fields that only some methods of merging read."""


class AdaptStep(Described):
    """Fine-tuning on one task. Steps follow one another; those of a merge share their start."""

    adapt: Name
    """Name of the task; `beside` and `of` of later steps refer to it."""
    source: Annotated[Text, Field(alias="from")]
    """Rows of the task: `BENCHMARK#SPLIT`, for example `specimen/glossary#attack_train`."""
    n: Annotated[Count, Field(ge=1)]
    """How many rows are drawn."""
    method: Literal["full", "lora", "lota"] = "full"
    """`full`: all weights; `lora`: a low-rank adapter, merged into them afterwards; `lota`: few
    weights, chosen by how far a first training moved them."""
    text: Literal["answer", "refusal"] = "answer"
    """What the rows demonstrate."""
    lr: float = Field(gt=0, le=1)
    """Peak learning rate of AdamW."""
    steps: Annotated[Count, Field(ge=1, le=100_000)]
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=1, le=1024)
    """Rows per step; never more than there are rows."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after the warm-up."""
    warmup_steps: Annotated[Count, Field(ge=0, le=100_000)] = 0
    """Steps of linear warm-up from 0."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Decoupled weight decay."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Global gradient norm is clipped to this; absent = not clipped."""
    rank: int = Field(default=8, ge=1, le=1024)
    """Of `lora`: rank of the adapter."""
    alpha: float = Field(default=16.0, gt=0)
    """Of `lora`: the adapter's product is scaled by alpha / rank."""
    sparsity: Annotated[Share, Field(gt=0, lt=1)] = 0.9
    """Of `lota`: share of the matrices of attention and MLP that stays as it is."""
    calibrate_steps: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    """Of `lota`: steps of the first training; absent = as many as `steps`."""
    calibrate_lr: float | None = Field(default=None, gt=0, le=1)
    """Of `lota`: learning rate of the first training; absent = `lr`."""
    beside: Name | None = None
    """Of `lota` and `full`: an earlier `lota` task whose weights stay as they are."""

    @model_validator(mode="after")
    def _read(self) -> AdaptStep:
        _require_read(self, self.method, _ADAPT_KNOBS)
        return self


class MergeStep(Described):
    """One model out of several adaptations of the same model; the last step."""

    merge: Literal["sum", "task-arithmetic", "ties", "dare"]
    """How changes are combined: added, added with `weights`, by TIES (trim, elect signs, mean of
    what agrees), or by DARE (drop at random, rescale, add with `weights`)."""
    of: Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """Tasks of earlier steps."""
    density: Annotated[Share, Field(gt=0, le=1)] | None = None
    """Of `ties`: share of every change that is kept, the largest first. Of `dare`: probability of
    a weight's change to be kept."""
    weights: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = ()
    """Of `task-arithmetic` and `dare`: a factor for each task; absent = 1 for all."""
    scale: float = Field(default=1.0, gt=0, le=10)
    """Of `ties`: factor of the merged change."""

    @model_validator(mode="after")
    def _read(self) -> MergeStep:
        _require_read(self, self.merge, _MERGE_KNOBS)
        if "density" in _MERGE_KNOBS[self.merge] and self.density is None:
            text = f"merge {self.merge} must say its `density`, but says nothing"
            raise complaint("density", "TS-MISSING-FIELD", text, field="merge")
        if self.weights and len(self.weights) != len(self.of):
            text = f"weights must be one for each task, but are {len(self.weights)}"
            raise complaint("weights", "TS-OUT-OF-RANGE", text, field="weights")
        if len(set(self.of)) < len(self.of):
            text = "of must name each task once, but names one twice"
            raise complaint("of", "TS-DUPLICATE-ID", text, field="of")
        return self


def _require_read(step: Described, method: str, knobs: Knobs) -> None:
    """A field that the method does not read would be a setting without effect."""
    own = frozenset(name for read in knobs.values() for name in read)
    for name in sorted(own - knobs[method]):
        if getattr(step, name) != type(step).model_fields[name].default:
            readers = ", ".join(other for other, read in knobs.items() if name in read)
            text = f"{name} is read by {readers}, but the method is {method}"
            raise complaint("step", "TS-WRONG-TYPE", text, field=name)


def _step(value: Any) -> Any:
    """Its key tells the kind of a step, so that problems are those of one kind only."""
    if isinstance(value, (AdaptStep, MergeStep)):
        return value
    if not isinstance(value, dict):
        raise complaint("step", "TS-WRONG-TYPE", "a step must be a mapping, but is none")
    kinds = [kind for key, kind in _KINDS.items() if key in value]
    if len(kinds) != 1:
        has = "both" if kinds else "neither"
        text = f"a step must have one of the keys {' and '.join(_KINDS)}, but has {has}"
        raise complaint("step", "TS-MISSING-FIELD", text)
    known = [info.alias or name for name, info in kinds[0].model_fields.items()]
    for name in value:
        if name not in known:
            text, more = f"unknown field {name!r}", {"field": name, "name": name, "known": known}
            raise complaint("step", "TS-UNKNOWN-FIELD", text, **more)
    return kinds[0].model_validate(value)


_KINDS: dict[str, type[Described]] = {"adapt": AdaptStep, "merge": MergeStep}

BuildStep = Annotated[AdaptStep | MergeStep, BeforeValidator(_step)]
"""One step of `build:`."""


def check_build(steps: tuple[AdaptStep | MergeStep, ...]) -> None:
    """Raises the error of the field `build` where steps do not fit together."""
    made: dict[str, AdaptStep] = {}
    for index, step in enumerate(steps):
        if isinstance(step, AdaptStep):
            _check_adapt(step, index, made)
            made[step.adapt] = step
        elif index != len(steps) - 1:
            text = "a merge must be the last step of `build`, but another one follows"
            raise _complaint(index, "TS-OUT-OF-RANGE", text)
        else:
            _check_merge(step, index, made)


def _check_adapt(step: AdaptStep, index: int, made: dict[str, AdaptStep]) -> None:
    if step.adapt in made:
        text = f"tasks of `build` must have different names, but {step.adapt!r} comes twice"
        raise _complaint(index, "TS-DUPLICATE-ID", text)
    known = [name for name, other in made.items() if other.method == "lota"]
    if step.beside is not None and step.beside not in known:
        text = f"beside must name an earlier task of method lota, but {step.beside!r} is none"
        raise _complaint(index, "TS-UNKNOWN-NAME", text, name=step.beside, known=known)


def _check_merge(step: MergeStep, index: int, made: dict[str, AdaptStep]) -> None:
    for name in step.of:
        if name not in made:
            text = f"of must name earlier tasks of `build`, but {name!r} is none"
            raise _complaint(index, "TS-UNKNOWN-NAME", text, name=name, known=list(made))
    needed = {*step.of, *(other.beside for other in made.values())}
    unused = [name for name in made if name not in needed]
    if unused:
        text = f"a merge must use every task of `build`, but not {unused[0]!r}"
        raise _complaint(index, "TS-WRONG-TYPE", text)


def _complaint(index: int, code: str, text: str, **more: Any) -> Exception:
    return complaint("build", code, text, field="build", index=index, **more)
