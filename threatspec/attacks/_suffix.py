"""What attacks share that put words after a prompt: the tamper, the knobs of a search, its cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

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
from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.schema import Count, DataRole
from threatspec.subjects import Offer, Request, RequestTamper, SubjectCard, Tamper
from threatspec.training import SuffixRequest
from threatspec.training.suffixes import Lengths, search_spend, stored_text

__all__ = ["SuffixSearch", "SuffixSearchConfig", "SuffixTamper", "file_text", "predicted"]


class SuffixTamper(RequestTamper):
    """Puts words after every prompt. The words are in an artefact or a file of the user's; records
    have its name and a label, and show the label in their place."""

    kind: ClassVar[str] = "suffix"

    artefact: str = ""
    """Where they are, in the artefact store."""
    file: str = ""
    """Where they are otherwise, relative to the spec."""
    sha256: str = ""
    """Of the file."""
    label: str
    _text: str | None = PrivateAttr(default=None)

    def opened(self, load: Callable[[str], dict[str, Any]], folder: Path) -> SuffixTamper:
        """The same with its words. Raises ThreatspecError TS-FILE-MISSING, TS-DATA, TS-RECORDS."""
        found = self.model_copy()
        if self.artefact:
            found._text = stored_text(load(self.artefact))
        else:
            found._text = file_text(folder / self.file, self.sha256)
        return found

    def encode(self, request: Request) -> Request:
        """The request with the words after its prompt. Raises ValueError before they are read."""
        if self._text is None:
            raise ValueError("a suffix must be opened before it is used")
        prompt, secret, label = f"{request.prompt} {self._text}", self._text, self.label
        if request.secret:  # of a suffix before this one
            secret, label = f"{request.secret} {secret}", f"{request.label}, {label}"
        return replace(request, prompt=prompt, secret=secret, label=label)


def file_text(path: Path, sha256: str) -> str:
    """Words of a file of the user's, without the white space around them.

    Raises ThreatspecError TS-FILE-MISSING if it is not there, TS-DATA if it is another one, is not
    UTF-8 or has no words.
    """
    if not path.is_file():
        raise ThreatspecError("TS-FILE-MISSING", f"a suffix must be in {path}, which is no file")
    found = path.read_bytes()
    digest = hashlib.sha256(found).hexdigest()
    if digest != sha256:
        text = f"{path} must have the sha256 that is written ({sha256[:16]}), but has {digest}; "
        raise ThreatspecError("TS-DATA", f"{text}write that, or put the file back")
    try:
        words = found.decode().strip()
    except UnicodeDecodeError:
        words = ""
    if not words:
        raise ThreatspecError("TS-DATA", f"{path} must hold the words of a suffix in UTF-8")
    return words


class SuffixSearchConfig(AttackConfig):
    """Knobs of a search for a suffix."""

    steps: Annotated[Count, Field(ge=1, le=100_000), Searched(low=20, high=500, log=True)] = 50
    """Steps of the search: the best swap of each is kept if it is better."""
    candidates: Annotated[Count, Field(ge=1, le=100_000), Searched(choices=(64, 128, 256, 512))] = (
        64
    )
    """Swaps of one token that are tried in a step."""
    length: Annotated[Count, Field(ge=1, le=1024), Searched(choices=(5, 10, 20, 40))] = 20
    """Tokens of the suffix."""
    prompts: Annotated[Count, Field(ge=1, le=10_000)] = 8
    """Harmful rows that one suffix is searched for; never more than there are."""
    target: Annotated[Count, Field(ge=1, le=1024)] = 8
    """First tokens of the complying answers, which the suffix is to make likely."""
    progressive: bool = False
    """Rows come in one after the other, in place of all at once."""
    ascii_only: bool = False
    """Only tokens of printable ASCII."""
    batch: Annotated[Count, Field(ge=1, le=100_000)] = 64
    """Candidates that go through the model at once: memory, not the result."""


def predicted(
    searched: SubjectCard, config: SuffixSearchConfig, data: DataCard | None, *, gradient: bool
) -> Spend:
    """Spend of a search on a model: every row as long as the longest, half of the template before
    the suffix."""
    rows, words = (data.rows, data.words) if data else (1, 1)
    after = searched.template_tokens // 2
    before = max(0, round(words * searched.tokens_per_word) - config.target)
    before += searched.template_tokens - after
    lengths = Lengths(before, config.length, after + config.target - 1)
    return search_spend(
        searched,
        [lengths] * min(config.prompts, rows),
        config.steps,
        config.candidates,
        gradient=gradient,
        progressive=config.progressive,
    )


class SuffixSearch(Attack):
    """One suffix for all prompts, searched on the adversary's harmful rows."""

    surface = Surface.REQUEST
    streams = frozenset({Stream.DATA_SUBSET, Stream.TRAIN})
    trainers: ClassVar[tuple[str, ...]] = ()
    offers = frozenset({Offer.TEXT, Offer.LOGITS})
    method: ClassVar[Literal["gradient", "random"]]
    Config: ClassVar[type[SuffixSearchConfig]]

    def roles(self, config: SuffixSearchConfig) -> tuple[DataRole, ...]:
        """Prompts with complying answers."""
        return (DataRole.HARMFUL,)

    def cost(self, subject: SubjectCard, config: Any, data: DataCard | None) -> Spend:
        """That of the search on the subject."""
        return predicted(subject, config, data, gradient=self.method == "gradient")

    def run(
        self, context: AttackContext, config: SuffixSearchConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for one search; leave rewritten requests."""
        knobs = {"method": self.method, **config.model_dump(exclude={"prompts"})}
        rows = context.harmful[: config.prompts]
        found = yield SuffixRequest(rows=rows, seed=context.seeds[Stream.TRAIN], **knobs)
        return (SuffixTamper(artefact=found.artefact, label=found.label),)
