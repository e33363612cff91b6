"""Instrument `kl-profile`: how far the subject is from its base, position by position.

Qi et al. 2406.05946: KL(aligned || base) of the next-token distributions along a complying answer,
where an alignment that is "a few tokens deep" shows as a curve that falls to nothing after them.
The paper does not state which template the base model is given; here that is a setting.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from threatspec.errors import ThreatspecError
from threatspec.instruments._positions import position_curve
from threatspec.instruments.base import (
    INSTRUMENTS,
    Instrument,
    InstrumentConfig,
    InstrumentContext,
    Prompts,
)
from threatspec.measures.base import Split
from threatspec.records import Arm, Curve, Panel
from threatspec.schema import Count

__all__ = ["KlProfile", "KlProfileConfig"]


class KlProfileConfig(InstrumentConfig):
    """Which answers are read, and how far."""

    benchmark: str = Field(min_length=1)
    """Benchmark whose prompts have complying answers."""
    split: Split = "test"
    """Which of its prompts are read."""
    prompts: Annotated[Count, Field(ge=2, le=100_000)] = 64
    """How many prompts are read."""
    tokens: Annotated[Count, Field(ge=1, le=4096)] = 16
    """How many positions of an answer are read, from its first token on."""
    base_template: Literal["native", "none"] = "native"
    """What the undefended subject is given: the very tokens that the subject is given, template
    included, or the bare prompt."""


class KlProfile(Instrument):
    """KL_k = KL(subject(. | x, y_<k) || undefended(. | x, y_<k)), y the item's complying answer."""

    kind = "kl-profile"
    says = "divergence of the subject from the undefended one at each position of an answer"
    arms = (Arm.DEFENDED, Arm.CONTROL)
    compares = True
    panels = (
        Panel(
            key="kl",
            title="KL divergence from the undefended subject",
            x="position in the complying answer (tokens)",
            y="KL divergence (nats)",
        ),
    )
    Config = KlProfileConfig

    def prompts(self, config: KlProfileConfig) -> tuple[Prompts, ...]:
        """One split of one benchmark, with answers."""
        return (Prompts("benchmark", config.benchmark, config.split, config.prompts, True),)

    def read(self, context: InstrumentContext, config: KlProfileConfig) -> tuple[Curve, ...]:
        """Mean over prompts with quartiles.

        Raises ThreatspecError TS-INSTRUMENT for subjects that do not share one vocabulary.
        """
        from threatspec.instruments._kl_kernel import divergences

        subject, base = context.subject, context.base
        assert base is not None
        if subject.tokenizer.get_vocab() != base.tokenizer.get_vocab():
            text = f"{subject.card.ref} and {base.card.ref} must share one vocabulary"
            raise ThreatspecError("TS-INSTRUMENT", f"{text} to be compared, but do not")
        found = divergences(
            subject,
            base,
            context.items[self.prompts(config)[0].name],
            tokens=config.tokens,
            native=config.base_template == "native",
            micro_batch=context.micro_batch,
        )
        return (position_curve("kl", found),)


INSTRUMENTS.register(KlProfile.kind, KlProfile())
