"""Attack `suffix`: words of the user's after every prompt.

They are in a file and never in a spec, a record or a report; the spec has the file's sha256, so
that other words are another procedure.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from threatspec.attacks._suffix import SuffixTamper, file_text
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.records import Spend
from threatspec.schema import Capability
from threatspec.subjects import SubjectCard, Tamper

__all__ = ["Suffix", "SuffixConfig"]


class SuffixConfig(AttackConfig):
    """Where the words are."""

    file: Annotated[str, Field(min_length=1)]
    """A text file in UTF-8, relative to the spec; white space around the words is left out."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the file's bytes: 64 hexadecimal digits."""


class Suffix(Attack):
    """Deterministic: no seed streams, one replicate."""

    kind = "suffix"
    says = "puts words from a file after every prompt"
    needs = (frozenset({Capability.CHAT}),)
    surface = Surface.REQUEST
    Config = SuffixConfig

    def reads(self, config: SuffixConfig, folder: Path) -> dict[str, str]:
        """The file. Raises ThreatspecError TS-FILE-MISSING or TS-DATA if it is not as said."""
        file_text(folder / config.file, config.sha256)
        return {f"file:{config.file}": config.sha256}

    def cost(self, subject: SubjectCard, config: SuffixConfig, data: DataCard | None) -> Spend:
        """Nothing: asking the test prompts is not charged."""
        return Spend()

    def run(
        self, context: AttackContext, config: SuffixConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for nothing; leave rewritten requests."""
        label = f"suffix {config.sha256[:8]}"
        return (SuffixTamper(file=config.file, sha256=config.sha256, label=label),)
        yield  # pragma: no cover - makes this a generator


ATTACKS.register(Suffix.kind, Suffix())
