"""One line of each member that is read line by line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import Field

from threatspec.records import Environment, Outcome, Picture, Registration
from threatspec.schema import Model

__all__ = [
    "AttemptLine",
    "EnvironmentFile",
    "EventLine",
    "LabelsHead",
    "MarksLine",
    "PictureLine",
    "RegistrationFile",
    "RepliesLine",
    "ReplyHashes",
    "TextLine",
    "by_item",
    "hash_of",
]

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class MarksLine(Model):
    """Outcomes of one judging trial, one letter per prompt (`records.MARKS`)."""

    trial: str
    marks: Annotated[str, Field(pattern="^[ynurm-]*$")]


class RepliesLine(Model):
    """What one generating trial was asked and what it said, as sha256 of UTF-8 text."""

    trial: str
    items: tuple[str, ...]
    """Ids of the prompts, in the order in which they were asked."""
    asked: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Replies of each prompt; none where every prompt has one. The hash of several is that of
    theirs, one after another."""
    seen: tuple[Sha256, ...]
    """Of each prompt as the model saw it."""
    attacker: tuple[Sha256, ...] = ()
    """Of what the attacker wrote of each reply; none where that is nothing at all."""
    replies: tuple[Sha256, ...]
    """Of each reply."""
    outcomes: dict[str, Outcome] = Field(default_factory=dict)
    """By prompt, where there was no reply to judge."""


class TextLine(Model):
    """One reply in words."""

    trial: str
    item: str
    prompt: str
    attacker: str
    reply: str
    variant: str = ""
    """Which of several replies to one prompt it is."""
    lacking: bool = False
    """Whether there was no reply to judge."""


class PictureLine(Picture):
    """One image that a generating trial has shown."""

    trial: str


class AttemptLine(Model):
    """One attempt at a trial; times are seconds since the epoch."""

    trial: str
    worker: str
    started: float
    ended: float
    status: str
    final: bool
    code: str = ""
    message: str = ""


class EventLine(Model):
    """Something that happened."""

    at: float
    kind: str
    detail: dict[str, Any] = Field(default_factory=dict)


class LabelsHead(Model):
    """First line of the labels."""

    format: Literal["threatspec/labels/v1"] = Field(default="threatspec/labels/v1", alias="schema")
    plan: str
    seed: int = Field(ge=0)


class RegistrationFile(Registration):
    """What was written down before anything ran, as a file."""

    format: Literal["threatspec/registration/v1"] = Field(
        default="threatspec/registration/v1", alias="schema"
    )

    def registration(self) -> Registration:
        """Without the name of its format."""
        return Registration(**{name: getattr(self, name) for name in Registration.model_fields})


class EnvironmentFile(Environment):
    """Where the campaign was run last, or else where the bundle was written."""

    format: Literal["threatspec/environment/v1"] = Field(
        default="threatspec/environment/v1", alias="schema"
    )


@dataclass(frozen=True, slots=True)
class ReplyHashes:
    """A line of replies, 32 bytes for each."""

    items: tuple[str, ...]
    seen: bytes
    attacker: bytes
    """Empty where the attacker wrote nothing at all."""
    replies: bytes
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    asked: tuple[int, ...] = ()

    def reply(self, place: int) -> bytes:
        """sha256 of one reply."""
        return self.replies[32 * place : 32 * place + 32]

    def rejected(self, item: str) -> bool:
        """Whether a screen kept it from the subject."""
        return self.outcomes.get(item) is Outcome.REJECTED

    def written(self, place: int) -> bytes:
        """sha256 of what the attacker wrote of one reply; empty if nothing."""
        return self.attacker[32 * place : 32 * place + 32]


class _Said(Protocol):
    @property
    def item(self) -> str: ...


S = TypeVar("S", bound=_Said)


def by_item(said: Iterable[S]) -> dict[str, list[S]]:
    """Replies by prompt, in the order in which prompts are first met."""
    found: dict[str, list[S]] = {}
    for one in said:
        found.setdefault(one.item, []).append(one)
    return found


def hash_of(texts: Iterable[str]) -> bytes:
    """sha256 of a text; of several, that of theirs one after another."""
    found = [hashlib.sha256(text.encode()).digest() for text in texts]
    return found[0] if len(found) == 1 else hashlib.sha256(b"".join(found)).digest()
