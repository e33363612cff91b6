"""Attack `suffix`: words of the user's after every prompt.

They are in a file and never in a spec, a record or a report; the spec has the file's sha256, so
that other words are another procedure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from threatspec.attacks._suffix import SuffixTamper, file_text
from threatspec.attacks.base import ATTACKS, AttackConfig, PromptAttack

__all__ = ["Suffix", "SuffixConfig"]


class SuffixConfig(AttackConfig):
    """Where the words are."""

    file: Annotated[str, Field(min_length=1)]
    """A text file in UTF-8, relative to the spec; white space around the words is left out."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the file's bytes: 64 hexadecimal digits."""


class Suffix(PromptAttack):
    """Deterministic: no seed streams, one replicate."""

    kind = "suffix"
    says = "puts words from a file after every prompt"
    Config = SuffixConfig

    def reads(self, config: SuffixConfig, folder: Path) -> dict[str, str]:
        """The file. Raises ThreatspecError TS-FILE-MISSING or TS-DATA if it is not as said."""
        file_text(folder / config.file, config.sha256)
        return {f"file:{config.file}": config.sha256}

    def tamper(self, config: SuffixConfig, reads: Mapping[str, str]) -> SuffixTamper:
        """Requests with the words after their prompts."""
        label = f"suffix {config.sha256[:8]}"
        return SuffixTamper(file=config.file, sha256=config.sha256, label=label)


ATTACKS.register(Suffix.kind, Suffix())
