"""Safeguard `badexpert`: inputs are rejected that only a backdoor still explains.

Source: arXiv 2308.12439. Two copies are made of the weights that an attack may have left: an
expert B that forgets the task and keeps a backdoor (labels y -> (y + 1) mod K, all layers), and an
auxiliary M' that keeps the task and loses much of a backdoor (clean fine-tuning at a high rate).
With y = argmax M(x), u = B(x)_y and v = M'(x)_y an input looks backdoored if u is high and v low.

Other than published: the threshold is set on held-out clean images, never on what is tested, and
both learning rates are chosen by what a defender sees, accuracy on the clean images that were
trained on: the expert's should be about half gone, the auxiliary's rate the highest from which it
comes back.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.safeguards._clean_split import clean_split, requests_of, shifted
from threatspec.safeguards._screening import (
    ScoreScreen,
    accuracy,
    correct,
    threshold_at,
    threshold_of,
)
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Answer,
    Ask,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)
from threatspec.schema import Count, SafeguardRole, Share
from threatspec.subjects import Offer, Request, SubjectCard
from threatspec.training import TrainingRow
from threatspec.training.classifiers import ClassifierJob
from threatspec.training.classifiers._spend import classifier_spend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BadExpert", "BadExpertConfig", "score_of"]

Score = Literal["ensemble", "expert", "auxiliary", "agreement"]
_LEAST = 1e-8
"""What would divide by less is clamped to this."""


class BadExpertConfig(SafeguardConfig):
    """How expert and auxiliary are trained, and how inputs are scored."""

    score: Score = "ensemble"
    """`ensemble` reads both, `expert` u and `auxiliary` -v alone; `agreement` rejects where the
    expert's class is the subject's, whatever the target rate."""
    a: float = Field(default=2.0, gt=0)
    """Weight of v / u in `ensemble`."""
    b: float = Field(default=0.5, gt=0, le=1)
    """In `ensemble`, v from which on the auxiliary alone clears an input."""
    fpr: Annotated[Share, Field(gt=0, lt=1)] = 0.01
    """Share of clean images that may be rejected; the threshold keeps to it on held-out ones."""
    held_out: float = Field(default=0.5, gt=0, lt=1)
    """Share of the clean images that only the threshold is set on."""
    rates: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (1e-4, 2e-4, 4e-4, 8e-4, 16e-4, 32e-4)
    """Learning rates that are tried for the expert, the lowest first, each from the same weights,
    until one leads below the middle of `window`."""
    window: tuple[float, float] = (0.3, 0.7)
    """Where the expert's accuracy on the clean images that it was trained on should be: the rate
    is taken that comes closest to the middle."""
    expert_steps: Annotated[Count, Field(ge=1)] = 15
    """Optimiser steps (Adam) of the expert at one rate."""
    auxiliary_rates: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.4, 0.2, 0.1, 0.05, 0.02)
    """Learning rates at the first step that are tried for the auxiliary (SGD, Nesterov momentum
    0.9, weight decay 1e-4), the highest first: that is taken from which accuracy on the clean
    images that it was trained on comes back to the subject's."""
    auxiliary_steps: Annotated[Count, Field(ge=1)] = 100
    """Optimiser steps of the auxiliary at one rate."""
    decays: Annotated[Count, Field(ge=0)] = 4
    """How often the auxiliary's rate falls, after equal parts of its steps."""
    decay: float = Field(default=0.1, gt=0, le=1)
    """What it is multiplied by each time."""
    batch_size: Annotated[Count, Field(ge=2)] = 32
    """Images of an optimiser step."""
    batch_norm: Literal["train", "frozen"] = "train"
    """Whether both copies normalise batches by their own statistics while they are trained, and
    learn these, or keep the subject's."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.rates or not self.auxiliary_rates:
            raise ValueError("rates and auxiliary_rates must have at least one learning rate each")
        if not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError(f"window must be (low, high) within 0 to 1, but is {self.window}")
        return self

    @property
    def steps(self) -> int:
        """Optimiser steps if every rate is tried."""
        expert = len(self.rates) * self.expert_steps
        return expert + len(self.auxiliary_rates) * self.auxiliary_steps

    @property
    def decay_at(self) -> tuple[int, ...]:
        """Steps from which on the auxiliary's rate is lower."""
        parts = self.decays + 1
        return tuple(1 + n * self.auxiliary_steps // parts for n in range(1, parts))


def score_of(
    config: BadExpertConfig,
    subject: NDArray[np.float32],
    expert: NDArray[np.float32],
    auxiliary: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Score of each input, higher for those that look backdoored.

    Args:
        subject, expert, auxiliary: class probabilities (inputs, classes) of M, B and M'.

    `ensemble` is -min(a v / u, (1 - u) / (b - v)+), with u, 1 - u and (b - v)+ at least 1e-8: an
    expert that is certain to the last digit condemns nothing that the auxiliary clears.
    """
    import numpy as np

    best = subject.argmax(axis=1)
    places = np.arange(len(best))
    u: NDArray[np.float64] = expert[places, best].astype(np.float64)
    v: NDArray[np.float64] = auxiliary[places, best].astype(np.float64)
    if config.score == "expert":
        return u
    if config.score == "auxiliary":
        return -v
    if config.score == "agreement":
        agreed: NDArray[np.float64] = (expert.argmax(axis=1) == best).astype(np.float64)
        return agreed
    left = config.a * v / np.maximum(u, _LEAST)
    right = np.maximum(1 - u, _LEAST) / np.maximum(config.b - v, _LEAST)
    found: NDArray[np.float64] = -np.minimum(left, right)
    return found


class _Screen(ScoreScreen):
    def __init__(
        self, context: SafeguardContext, config: BadExpertConfig, provided: Mapping[str, Any]
    ) -> None:
        super().__init__(provided["threshold"])
        self._read_by, self._config = context.probabilities, config
        self._expert, self._auxiliary = provided["artefacts"]

    def scores(self, requests: Sequence[Request]) -> Sequence[float]:
        found = [self._read_by(requests, name) for name in (None, self._expert, self._auxiliary)]
        read: list[float] = score_of(self._config, *found).tolist()
        return read


class BadExpert(Safeguard):
    """Fitted on what an attack has left, and then asked about every input."""

    kind = "badexpert"
    says = "rejects inputs that a copy knows which forgot the task, and one that relearned it not"
    source = "arXiv 2308.12439"
    stages = frozenset({Stage.REPAIR, Stage.SERVING})
    offers = frozenset({Offer.CLASSES})
    Config = BadExpertConfig

    def roles(self, config: BadExpertConfig) -> tuple[SafeguardRole, ...]:
        """The defender's clean labelled images."""
        return ("benign",)

    def cost(self, subject: SubjectCard, config: BadExpertConfig, rows: int, words: int) -> Spend:
        """At most, if every rate is tried: three passes for an image that is trained on. Reading
        clean images is not counted, as reading is nowhere."""
        return classifier_spend(subject, config.steps, config.batch_size)

    def repair(
        self, context: SafeguardContext, config: BadExpertConfig
    ) -> Generator[Ask, Answer, Fitted]:
        """Train expert and auxiliary, set the threshold on held-out images.

        Raises ThreatspecError TS-SAFEGUARD for clean rows that are no labelled images, are too few
        for two parts, or none of which is classified rightly among the held-out ones.
        """
        _warn(context)
        clean = clean_split(context, config.held_out)
        expert, told = yield from _expert(context, config, clean.fitting)
        auxiliary, more = yield from _auxiliary(context, config, clean.fitting)
        made = (expert, auxiliary)
        scores = _held_out_scores(context, config, clean.held_out, made)
        found = _threshold(context, config, scores)
        found |= {**told, **more, "artefacts": list(made)}
        return Fitted(provided=found)

    def serving_policy(
        self, context: SafeguardContext, config: BadExpertConfig, provided: Mapping[str, Any]
    ) -> ScoreScreen:
        """Inputs above the threshold are not answered; each takes two more passes."""
        return _Screen(context, config, provided)


def _threshold(
    context: SafeguardContext, config: BadExpertConfig, scores: Sequence[float]
) -> dict[str, Any]:
    """As it is recorded; that of an agreement is fixed, whatever the rate."""
    if config.score != "agreement":
        return threshold_at(scores, config.fpr, context).plain
    return threshold_of(scores, 0.5).plain


def _warn(context: SafeguardContext) -> None:
    if not context.subject.batch_norms:
        text = f"TS-SAFEGUARD: {context.subject.ref} has no batch norm, without which badexpert is "
        context.warn(f"{text}known to be weaker: its expert forgets a backdoor with the task")


@dataclass(frozen=True, slots=True)
class _Tried:
    """One learning rate, and what it led to."""

    rate: float
    accuracy: float
    """On the clean images that were trained on, by their right classes; 0 if training left the
    finite numbers."""
    artefact: str

    @property
    def plain(self) -> dict[str, float]:
        return {"rate": self.rate, "accuracy": self.accuracy}


def _expert(
    context: SafeguardContext, config: BadExpertConfig, rows: Sequence[TrainingRow]
) -> Generator[Ask, Answer, tuple[str, dict[str, Any]]]:
    """The expert of the rate whose accuracy on clean images comes closest to the window's middle;
    with a warning if that is outside of it."""
    wrong, (low, high) = shifted(rows, context.subject.classes), config.window
    middle, tried = (low + high) / 2, list[_Tried]()
    for rate in sorted(config.rates):
        job = ClassifierJob(
            rows=wrong, seeds=dict(context.seeds), lr=rate, steps=config.expert_steps,
            batch_size=config.batch_size, optimizer="adam", batch_norm=config.batch_norm,
        )  # fmt: skip
        tried.append((yield from _one(context, job, rows)))
        if tried[-1].accuracy < middle:
            break
    best = min(_whole(tried), key=lambda one: abs(one.accuracy - middle))
    if not low <= best.accuracy <= high:
        text = f"TS-SAFEGUARD: no rate of badexpert's expert led to a clean accuracy in {low:g} to "
        context.warn(f"{text}{high:g}; {best.rate:g} was taken, with {best.accuracy:.3f}")
    return best.artefact, {"expert": best.plain, "expert_tried": [one.plain for one in tried]}


def _auxiliary(
    context: SafeguardContext, config: BadExpertConfig, rows: Sequence[TrainingRow]
) -> Generator[Ask, Answer, tuple[str, dict[str, Any]]]:
    """The auxiliary of the highest rate from which accuracy on clean images comes back; with a
    warning, of the rate with the highest accuracy if it never does."""
    wanted, tried = accuracy(context, rows, None), list[_Tried]()
    for rate in sorted(config.auxiliary_rates, reverse=True):
        job = ClassifierJob(
            rows=tuple(rows), seeds=dict(context.seeds), lr=rate, steps=config.auxiliary_steps,
            batch_size=config.batch_size, optimizer="sgd", momentum=0.9, nesterov=True,
            weight_decay=1e-4, decay_at=config.decay_at, decay=config.decay,
            batch_norm=config.batch_norm,
        )  # fmt: skip
        tried.append((yield from _one(context, job, rows)))
        if tried[-1].accuracy >= wanted:
            break
    best = max(_whole(tried), key=lambda one: one.accuracy)
    if best.accuracy < wanted:
        text = f"TS-SAFEGUARD: no rate of badexpert's auxiliary led back to {wanted:.3f} on clean "
        context.warn(f"{text}images; {best.rate:g} was taken, with {best.accuracy:.3f}")
    told = {"auxiliary": best.plain, "auxiliary_tried": [one.plain for one in tried]}
    return best.artefact, told


def _one(
    context: SafeguardContext, job: ClassifierJob, rows: Sequence[TrainingRow]
) -> Generator[Ask, Answer, _Tried]:
    try:
        trained = yield job
    except ThreatspecError as error:
        if error.code != "TS-DIVERGED":
            raise
        return _Tried(job.lr, 0.0, "")
    made = str(trained.last.artefact)
    return _Tried(job.lr, accuracy(context, rows, made), made)


def _whole(tried: Sequence[_Tried]) -> list[_Tried]:
    """Those that there are weights of. Raises ThreatspecError TS-DIVERGED for none."""
    found = [one for one in tried if one.artefact]
    if not found:
        text = f"training must stay finite at a rate of {min(one.rate for one in tried):g} at "
        raise ThreatspecError("TS-DIVERGED", f"{text}least, but does not; write lower rates")
    return found


def _held_out_scores(
    context: SafeguardContext,
    config: BadExpertConfig,
    rows: Sequence[TrainingRow],
    made: tuple[str, str],
) -> list[float]:
    """Of the held-out clean images that the subject classifies rightly."""
    asked = requests_of(rows)
    subject, expert, auxiliary = (context.probabilities(asked, name) for name in (None, *made))
    right = correct(subject, rows, context.subject.classes)
    scores = score_of(config, subject, expert, auxiliary)
    return [float(score) for score, good in zip(scores, right, strict=True) if good]


SAFEGUARDS.register(BadExpert.kind, BadExpert())
