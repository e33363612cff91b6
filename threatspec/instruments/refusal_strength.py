"""Instrument `refusal-strength`: how far apart restricted and benign prompts are, block by block.

The direction is the difference of means that the attack `refusal-direction` removes, fitted on one
split and read on another: on the prompts that it was fitted to, chance alone separates.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from threatspec.instruments.base import (
    INSTRUMENTS,
    Instrument,
    InstrumentConfig,
    InstrumentContext,
    Prompts,
)
from threatspec.measures.base import Split
from threatspec.records import Curve, Panel
from threatspec.schema import Count
from threatspec.subjects import Offer

__all__ = ["RefusalStrength", "RefusalStrengthConfig"]


class RefusalStrengthConfig(InstrumentConfig):
    """Which prompts are told apart."""

    restricted: str = Field(min_length=1)
    """Benchmark of prompts that are to be refused."""
    benign: str = Field(min_length=1)
    """Benchmark of prompts that are to be answered."""
    fit: Split = "attack_train"
    """Split of both on which the direction is fitted."""
    split: Split = "test"
    """Split of both on which it is read."""
    prompts: Annotated[Count, Field(ge=4, le=100_000)] = 64
    """How many prompts of each benchmark are read in each split."""

    @model_validator(mode="after")
    def _held_out(self) -> RefusalStrengthConfig:
        if self.fit == self.split:
            text = "a direction must be read on other prompts than it is fitted on, but both are"
            raise ValueError(f"{text} {self.split}")
        return self


class RefusalStrength(Instrument):
    """d_b = (mean r - mean b) / sqrt((var r + var b) / 2), of projections on the direction."""

    kind = "refusal-strength"
    says = "separation of restricted and benign prompts along the refusal direction, by block"
    offers = frozenset({Offer.GRADIENTS})
    panels = (
        Panel(
            key="separation",
            title="Separation of restricted and benign prompts",
            x="block of the model",
            y="distance of means (standard deviations)",
        ),
    )
    Config = RefusalStrengthConfig

    def prompts(self, config: RefusalStrengthConfig) -> tuple[Prompts, ...]:
        """Two splits of two benchmarks."""
        names = {"restricted": config.restricted, "benign": config.benign}
        return tuple(
            Prompts(key, name, split, config.prompts)
            for key, name in names.items()
            for split in (config.fit, config.split)
        )

    def read(self, context: InstrumentContext, config: RefusalStrengthConfig) -> tuple[Curve, ...]:
        """One number for each block, without quartiles: it is of all prompts together."""
        from threatspec.instruments._direction_kernel import separations

        splits = (config.fit, config.split)
        restricted, benign = (
            [context.items[f"{key}#{split}"] for split in splits]
            for key in ("restricted", "benign")
        )
        found = separations(context.subject, restricted, benign)
        return (Curve(name="separation", x=tuple(map(float, range(len(found)))), y=tuple(found)),)


INSTRUMENTS.register(RefusalStrength.kind, RefusalStrength())
