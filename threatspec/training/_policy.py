"""What a provider imposes on somebody else's training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from threatspec.records import ArtefactStore
    from threatspec.subjects import WeightTamper
    from threatspec.subjects._resident import ResidentSubject
    from threatspec.training._asks import Mask, MaskRequest
    from threatspec.training._batches import Encoded
    from threatspec.training._job import TrainingJob, TrainingRow, Trajectory

__all__ = ["Provider", "TrainingBlocked", "TrainingPolicy", "together"]


class TrainingBlocked(Exception):
    """A provider does not train on what it was given: the subject stays as it is."""

    def __init__(self, hook: str) -> None:
        super().__init__(f"training was blocked by {hook}")
        self.hook = hook
        """Name of the safeguard."""


class Provider(Protocol):
    """What a policy may do on the subject before somebody's job, at the provider's own expense."""

    def train(self, job: TrainingJob) -> Trajectory:
        """One training run from the weights that the job would start from."""
        ...

    def mask(self, request: MaskRequest) -> Mask:
        """A mask of these weights."""
        ...


class TrainingPolicy:
    """Hooks of provider-side safeguards; the base class imposes nothing.

    Applied whenever training happens at the provider (`finetune_data`), never where the adversary
    has `weights_write`. Hooks are called in the order in which they stand here.
    """

    name: str = "the provider's policy"
    """Name of the safeguard."""

    def imposes(self, hook: str) -> bool:
        """Whether a hook, by its name, does anything."""
        return getattr(type(self), hook) is not getattr(TrainingPolicy, hook)

    def admit(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        """The rows that pass moderation."""
        return rows

    def mix(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        """The rows that are trained on, with the provider's own."""
        return rows

    def given(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        """What is trained on of the rows that somebody hands in.

        Raises TrainingBlocked if none of them is admitted.
        """
        admitted = self.admit(rows)
        if not admitted:
            raise TrainingBlocked(self.name)
        return self.mix(admitted)

    def restrict(self, job: TrainingJob, provider: Provider) -> TrainingJob:
        """The job as the provider runs it, for example with a mask of the weights."""
        return job

    def begin(
        self, subject: ResidentSubject, rows: Sequence[Encoded], store: ArtefactStore
    ) -> Sequence[Encoded]:
        """Look at the subject, whose weights are those that training starts from, and at the rows.

        Returns the rows, with a `reference` where token weights need one.
        """
        return rows

    def token_weights(
        self, token_loss: torch.Tensor, positions: torch.Tensor, reference: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Weights of the token losses, or None.

        Args:
            token_loss: [batch, length], nats; 0 where there is no loss.
            positions: [batch, length], index of the token within the answer, -1 outside.
            reference: [batch, length], what `begin` wrote into the rows; None if nothing.
        """
        return None

    def mask_gradients(self, model: nn.Module) -> None:
        """Edit `.grad` in place, before clipping."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """Edit weights in place after optimiser step `step` (1-based)."""

    def release(
        self, subject: ResidentSubject, tamper: WeightTamper, store: ArtefactStore
    ) -> WeightTamper:
        """What leaves the provider in the place of the weights that were trained."""
        return tamper


class _Both(TrainingPolicy):
    """One policy after another."""

    def __init__(self, first: TrainingPolicy, second: TrainingPolicy) -> None:
        self.first, self.second = first, second
        self.name = f"{first.name} and {second.name}"

    def imposes(self, hook: str) -> bool:
        return self.first.imposes(hook) or self.second.imposes(hook)

    def given(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        admitted = rows
        for one in (self.first, self.second):  # what a provider adds is its own, and not screened
            admitted = one.admit(admitted)
            if not admitted:
                raise TrainingBlocked(one.name)
        return self.mix(admitted)

    def admit(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        return self.second.admit(self.first.admit(rows))

    def mix(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        return self.second.mix(self.first.mix(rows))

    def restrict(self, job: TrainingJob, provider: Provider) -> TrainingJob:
        return self.second.restrict(self.first.restrict(job, provider), provider)

    def begin(
        self, subject: ResidentSubject, rows: Sequence[Encoded], store: ArtefactStore
    ) -> Sequence[Encoded]:
        return self.second.begin(subject, self.first.begin(subject, rows, store), store)

    def token_weights(
        self, token_loss: torch.Tensor, positions: torch.Tensor, reference: torch.Tensor | None
    ) -> torch.Tensor | None:
        found = [one.token_weights(token_loss, positions, reference)
                 for one in (self.first, self.second)]  # fmt: skip
        given = [weights for weights in found if weights is not None]
        return reduce(lambda left, right: left * right, given) if given else None

    def mask_gradients(self, model: nn.Module) -> None:
        self.first.mask_gradients(model)
        self.second.mask_gradients(model)

    def after_step(self, model: nn.Module, step: int) -> None:
        self.first.after_step(model, step)
        self.second.after_step(model, step)

    def release(
        self, subject: ResidentSubject, tamper: WeightTamper, store: ArtefactStore
    ) -> WeightTamper:
        return self.second.release(subject, self.first.release(subject, tamper, store), store)


def together(policies: Sequence[TrainingPolicy]) -> TrainingPolicy:
    """All policies as one, in order; none: a policy that imposes nothing."""
    return reduce(_Both, policies) if policies else TrainingPolicy()
