"""What attacks share that edit weights without training: access, rows by role, the one request."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks.base import (
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.records import Spend, Stream
from threatspec.schema import Capability, DataRole, Share
from threatspec.subjects import Offer, SubjectCard, Tamper
from threatspec.training import EditRequest, ScoreRequest

__all__ = ["Prune", "PruneConfig", "Surgery", "SurgeryConfig"]

_READS = {
    "safety": (DataRole.HARMFUL,),
    "utility": (DataRole.BENIGN,),
    "both": (DataRole.HARMFUL, DataRole.BENIGN),
}


class SurgeryConfig(AttackConfig):
    """Knobs of an edit: those of its method, by the same names."""

    def method(self) -> str:
        """Row of `threatspec.training.regions.EDITS`."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What the method is told."""
        return self.model_dump(mode="json")

    def scores(self) -> tuple[ScoreRequest, ...]:
        """What the method reads."""
        return ()


class Surgery(Attack):
    """An edit of the weights: no training, no rows of its own beyond those that scores read."""

    needs = (frozenset({Capability.WEIGHTS_WRITE}),)
    offers = frozenset({Offer.TEXT, Offer.TRAINING, Offer.WEIGHTS})
    surface = Surface.WEIGHTS
    trainers: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[SurgeryConfig]]

    def scores(self, config: SurgeryConfig) -> tuple[ScoreRequest, ...]:
        """Scores that the edit reads."""
        return config.scores()

    def roles(self, config: SurgeryConfig) -> tuple[DataRole, ...]:
        """Roles that its scores read: safety is of harmful rows, utility of benign ones."""
        found = [role for request in config.scores() for role in _READS[request.over]]
        return tuple(dict.fromkeys(found))

    def cost(self, subject: SubjectCard, config: SurgeryConfig, data: DataCard | None) -> Spend:
        """Nothing: neither steps nor tokens; scores are charged to the trials that make them."""
        return Spend()

    def run(
        self, context: AttackContext, config: SurgeryConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one edit; leave changed weights."""
        edited = yield EditRequest(
            method=config.method(),
            scores=context.scores,
            settings=config.settings(),
            seed=context.seeds.get(Stream.INIT, 0),
        )
        return (edited.tamper,)


class PruneConfig(SurgeryConfig):
    """Knobs of pruning by one score."""

    share: Annotated[Share, Field(gt=0, lt=1), Searched(low=0.001, high=0.1, log=True)] = 0.01
    """Share of entries that are set to 0."""
    scope: Literal["row", "matrix"] = "row"
    """Within what scores are compared: each output row, or the whole matrix."""
    floor: int = Field(default=0, ge=0)
    """At least so many entries of each row (or matrix), where the share rounds down to fewer."""

    @property
    def sparsity(self) -> float:
        """The share; with a floor nothing is known before the shapes are."""
        return 1.0 if self.floor else self.share


class Prune(Surgery):
    """Entries with the highest safety scores are set to 0."""

    Config = PruneConfig
