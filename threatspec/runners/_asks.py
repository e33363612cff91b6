"""What attacks and safeguards ask for, done on a resident subject: training, masks, edits."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from threatspec.attacks import Mounted
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Edit, Optimised, Realised
from threatspec.runners._stopwatch import Stopwatch
from threatspec.training import (
    EditRequest,
    Mask,
    MaskRequest,
    Meter,
    ScoreOn,
    SuffixRequest,
    TrainingJob,
    TrainingPolicy,
    Trajectory,
)
from threatspec.training._replay import schedule_departure
from threatspec.training.classifiers import (
    ClassifierJob,
    PatchRequest,
    Pruned,
    PruneRequest,
    SubnetRequest,
    TriggerPatch,
)
from threatspec.training.denoisers import Denoised, DenoiserJob
from threatspec.training.pixels import PerturbationRequest, Perturbed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from threatspec.subjects import Request
    from threatspec.training import Edited, Suffix

__all__ = ["Asks"]


@dataclass
class Asks:
    """Answers one after the other, and remembers what was really done.

    Args:
        subject: what is worked on.
        store: artefacts are read and written there.
        meter: charged before anything is spent.
        watch: seconds by phase.
        backend: name of the trainer.
        policy: what the provider imposes on training.
        other: loads a model that the adversary has beside the subject, by its reference.
        received: what the provider makes of requests, for attacks that go through it.
    """

    subject: Any
    store: ArtefactStore
    meter: Meter
    watch: Stopwatch
    backend: str = "resident"
    policy: TrainingPolicy = field(default_factory=TrainingPolicy)
    other: Callable[[str], Any] | None = None
    received: Callable[[Sequence[Request]], list[Request]] = list
    warnings: list[str] = field(default_factory=list)
    realised: list[Realised] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    placed: ExitStack = field(default_factory=ExitStack)
    optimised: list[Optimised] = field(default_factory=list)

    def drive(self, steps: Generator[Any, Any, Any]) -> Any:
        """Answer until the generator returns; what it returns.

        Training that left the finite numbers is thrown into it, for whoever can do without.
        """
        with self.placed:
            try:
                ask = next(steps)
                while True:
                    ask = self._next(steps, ask)
            except StopIteration as stop:
                return stop.value

    def _next(self, steps: Generator[Any, Any, Any], ask: Any) -> Any:
        try:
            answer = self.answer(ask)
        except ThreatspecError as error:
            if error.code != "TS-DIVERGED":
                raise
            return steps.throw(error)
        return steps.send(answer)

    def answer(self, ask: Any) -> Any:
        """Whatever is answered to an ask of its type (`threatspec.attacks.base.Answer`)."""
        match ask:
            case TrainingJob():
                return self._train(ask)
            case Mounted():
                return self._mount(ask)
            case MaskRequest():
                return self._mask(ask)
            case EditRequest():
                return self._edit(ask)
            case SuffixRequest():
                return self._suffix(ask)
            case ScoreOn():
                return self._score(ask)
            case ClassifierJob():
                return self._classifier(ask)
            case SubnetRequest():
                return self._subnet(ask)
            case PatchRequest():
                return self._patch(ask)
            case PruneRequest():
                return self._prune(ask)
            case DenoiserJob():
                return self._denoiser(ask)
            case PerturbationRequest():
                return self._perturb(ask)
        raise TypeError(f"an attack must ask for something known, but asked for {type(ask)}")

    def _train(self, job: TrainingJob) -> Trajectory:
        from threatspec.training import TRAINERS

        trainer = TRAINERS.get(self.backend).on(self.subject, self.store)
        with self.watch.phase("train"):
            job = self.policy.restrict(job, _AtProvider(self))
            [trajectory] = trainer.train([job], self.policy, self.meter)
            trajectory = self._released(trajectory)
        self.realised.append(trajectory.realised)
        rows = len(self.policy.given(job.rows))
        whole = trajectory.realised.steps == job.hyperparameters.steps  # else it is not alive
        fault = schedule_departure(job.hyperparameters, trajectory.realised, rows)
        if whole and fault:
            raise ThreatspecError("TS-TRIAL-ERROR", fault)
        return trajectory

    def _released(self, trajectory: Trajectory) -> Trajectory:
        """As the provider hands it over."""
        kept = {
            step: self.policy.release(self.subject, tamper, self.store)
            for step, tamper in trajectory.checkpoints.items()
        }
        return Trajectory(kept, trajectory.realised, trajectory.spend)

    def _mount(self, ask: Mounted) -> None:
        """Weights stay changed until everything is answered; other tampers change none."""
        if self.subject.card.ref.startswith(("endpoint:", "judge:")):
            self.subject = self.subject.tampered(ask.tampers)
            return
        from threatspec.subjects._mount import mount

        with self.watch.phase("mount"):
            self.placed.enter_context(mount(self.subject, ask.tampers, self.store))

    def _mask(self, request: MaskRequest) -> Mask:
        from threatspec.training._masks import make_mask

        with self.watch.phase("mount"):
            return make_mask(self.subject, request, self.store)

    def _score(self, ask: ScoreOn) -> str:
        from threatspec.training.regions import score, score_spend

        spend = score_spend(self.subject.card, ask.request, (*ask.safety, *ask.utility))
        self.meter.charge(spend)
        with self.watch.phase("train"):
            return score(self.subject, ask.request, ask.safety, ask.utility, self.store)

    def _edit(self, request: EditRequest) -> Edited:
        from threatspec.training.regions import edit

        with self.watch.phase("mount"):
            edited = edit(self.subject, request, self.store)
        self.edits.append(edited.edit)
        return edited

    def _suffix(self, request: SuffixRequest) -> Suffix:
        from threatspec.training.suffixes import find_suffix

        searched = self._searched(request.surrogate)
        with self.watch.phase("train"):
            suffix = find_suffix(searched, request, self.store, self.meter)
        self.optimised.append(suffix.optimised)
        return suffix

    def _classifier(self, job: ClassifierJob) -> Trajectory:
        from threatspec.training.classifiers._train import train_classifier

        with self.watch.phase("train"):
            trajectory = train_classifier(self.subject, job, self.store, self.meter)
        self.realised.append(trajectory.realised)
        return trajectory

    def _subnet(self, request: SubnetRequest) -> Edited:
        from threatspec.training.classifiers._subnet import replace_subnet

        with self.watch.phase("train"):
            edited = replace_subnet(self.subject, request, self.store, self.meter)
        self.edits.append(edited.edit)
        return edited

    def _patch(self, request: PatchRequest) -> TriggerPatch:
        from threatspec.training.classifiers._patch import find_patch

        with self.watch.phase("train"):
            found = find_patch(self.subject, request, self.meter)
        self.optimised.append(found.optimised)
        return found

    def _prune(self, request: PruneRequest) -> Pruned:
        """What was silenced stays so until everything is answered."""
        from threatspec.training.classifiers._prune import prune

        with self.watch.phase("mount"):
            pruned = prune(self.subject, request, self.store)
        self._mount(Mounted((pruned.tamper,)))
        return pruned

    def _denoiser(self, job: DenoiserJob) -> Denoised:
        from threatspec.training.denoisers._train import train_denoiser

        with self.watch.phase("train"):
            return train_denoiser(job, self.subject.folder, self.store, self.meter)

    def _perturb(self, request: PerturbationRequest) -> Perturbed:
        from threatspec.training.pixels._search import find_pixels

        received = self.received if request.adaptive else list
        with self.watch.phase("train"):
            found = find_pixels(
                self._searched(request.surrogate), request, self.store, self.meter, received
            )
        self.optimised.append(found.optimised)
        self.warnings += found.warnings
        return found

    def _searched(self, surrogate: str | None) -> Any:
        """What is searched on: the subject, or a model that the adversary has beside it."""
        if surrogate is None:
            return self.subject
        if self.other is None:
            raise TypeError("a search on a surrogate must be told how it is loaded")
        return self.other(surrogate)


@dataclass(frozen=True)
class _AtProvider:
    """Trains and masks before a customer's job: metered apart, and no part of what it realised."""

    asks: Asks

    def train(self, job: TrainingJob) -> Trajectory:
        from threatspec.training._resident import ResidentTrainer

        trainer = ResidentTrainer(self.asks.subject, self.asks.store)
        [trajectory] = trainer.train([job], TrainingPolicy(), Meter())
        return trajectory

    def mask(self, request: MaskRequest) -> Mask:
        return self.asks._mask(request)
