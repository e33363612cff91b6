"""Safeguard `moderation-gate`: the provider reads rows that are handed in, and requests if asked.

Source: arXiv 2310.03693, moderation of training data; there, none of the rows that shift the
identity was flagged. What reads is any judge, or a list of words; `yes` flags.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from threatspec.errors import ThreatspecError
from threatspec.measures import Item, Response, judge_of
from threatspec.records import Outcome
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)
from threatspec.schema import JudgeUse, SafeguardRole
from threatspec.subjects import Request, ServingPolicy
from threatspec.training import TrainingBlocked, TrainingPolicy, TrainingRow

__all__ = ["ModerationGate", "ModerationGateConfig"]

Text = Literal["prompt", "answer"]
Flags = Callable[[Sequence[tuple[Item, str]]], list[bool]]
"""Whether each text is flagged."""


def _named(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


class ModerationGateConfig(SafeguardConfig):
    """Who reads, what is read, and what happens."""

    judge: Annotated[JudgeUse, BeforeValidator(_named)] | None = None
    """Judge that flags what it answers with yes: a name, or {use: NAME, setting: value}."""
    words: str | None = Field(default=None, min_length=1)
    """File with a word or phrase a line, any of which flags a text; in place of `judge`."""
    reads: Literal["prompt", "answer", "both"] = "both"
    """What is read of a row; the system prompt counts as a part of the prompt."""
    block_at: float | None = Field(default=None, gt=0, le=1)
    """Share of flagged rows from which on nothing is trained at all; absent = flagged rows are
    dropped, and nothing is trained only if none is left."""
    screens: Literal["rows", "requests", "both"] = "rows"
    """What is moderated; of requests, what the user wrote."""

    @model_validator(mode="after")
    def _one_reader(self) -> Self:
        if (self.judge is None) == (self.words is None):
            raise ValueError("judge or words must be given, and not both")
        return self

    @property
    def texts(self) -> tuple[Text, ...]:
        """What is read of a row, each by itself."""
        return ("prompt", "answer") if self.reads == "both" else (self.reads,)


class _Gate(TrainingPolicy):
    def __init__(self, config: ModerationGateConfig, flags: Flags) -> None:
        self._config, self._flags = config, flags
        self._said: dict[TrainingRow, bool] = {}

    def admit(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        if self._config.screens == "requests":
            return rows
        flagged = self._flagged(rows)
        share = sum(flagged) / max(1, len(flagged))
        if self._config.block_at is not None and share >= self._config.block_at:
            raise TrainingBlocked(self.name)
        return [row for row, bad in zip(rows, flagged, strict=True) if not bad]

    def _flagged(self, rows: Sequence[TrainingRow]) -> list[bool]:
        """Each row is read once, however often it is handed in."""
        new = [row for row in dict.fromkeys(rows) if row not in self._said]
        shown = [(_item(row), _text(row, part)) for row in new for part in self._config.texts]
        said = self._flags(shown)
        for number, row in enumerate(new):
            first = number * len(self._config.texts)
            self._said[row] = any(said[first : first + len(self._config.texts)])
        return [self._said[row] for row in rows]


class _Screen(ServingPolicy):
    def __init__(self, config: ModerationGateConfig, flags: Flags) -> None:
        self._on, self._flags = config.screens != "rows", flags

    def screen(self, requests: Sequence[Request]) -> Sequence[bool]:
        if not self._on:
            return [True] * len(requests)
        shown = [(_asked(r), "\n".join((*r.turns, r.prompt))) for r in requests]
        return [not flagged for flagged in self._flags(shown)]


class ModerationGate(Safeguard):
    """Acts while rows are handed in and, if it screens requests, while they are answered."""

    kind = "moderation-gate"
    says = "reads rows that a customer hands in, drops flagged ones or refuses to train"
    source = "arXiv 2310.03693"
    stages = frozenset({Stage.TRAINING, Stage.SERVING})
    Config = ModerationGateConfig

    def roles(self, config: ModerationGateConfig) -> tuple[SafeguardRole, ...]:
        """No rows of its own."""
        return ()

    def reads(self, config: ModerationGateConfig, folder: Path) -> dict[str, str]:
        """Digests of the list, or of what the judge is made of.

        Raises ThreatspecError TS-FILE-MISSING or TS-SAFEGUARD for a list without words, or a judge
        that cannot decide about training rows; and what the judge raises.
        """
        judge, settings = _judge(config, folder)
        if config.words is not None:
            return {"words": hashlib.sha256("\n".join(settings.any_of).encode()).hexdigest()}
        lacks = judge.lacks(settings, [_item(TrainingRow(id="row", prompt="p", answer="a"))])
        if lacks or judge.kind == "exact":
            text = f"{judge.kind} cannot decide about rows that a customer hands in: "
            raise ThreatspecError("TS-SAFEGUARD", text + (lacks or "they have no reference"))
        found: dict[str, str] = judge.identity(settings)
        return found

    def training_policy(
        self, context: SafeguardContext, config: ModerationGateConfig, provided: Mapping[str, Any]
    ) -> TrainingPolicy:
        """Rows are read before anything else happens to them."""
        return _Gate(config, _flags(config, context.folder))

    def serving_policy(
        self, context: SafeguardContext, config: ModerationGateConfig, provided: Mapping[str, Any]
    ) -> ServingPolicy:
        """Requests pass unless they are screened."""
        return _Screen(config, _flags(config, context.folder))


def _flags(config: ModerationGateConfig, folder: Path) -> Flags:
    """What a judge cannot decide about is not flagged: a gate that drops it would drop anything."""
    judge, settings = _judge(config, folder)

    def flags(shown: Sequence[tuple[Item, str]]) -> list[bool]:
        said = judge.score([Response(item, text) for item, text in shown], settings)
        return [one.outcome is Outcome.YES for one in said]

    return flags


def _judge(config: ModerationGateConfig, folder: Path) -> tuple[Any, Any]:
    if config.words is None:
        assert config.judge is not None
        return _named_judge(config.judge, folder)
    settings = {"any_of": list(_phrases(folder / config.words))}
    return _named_judge(JudgeUse(use="keywords", settings=settings), folder)


def _named_judge(use: JudgeUse, folder: Path) -> tuple[Any, Any]:
    """Raises ThreatspecError TS-SAFEGUARD for settings that the judge does not have."""
    try:
        return judge_of(use, folder)
    except ValueError as error:
        why = " ".join(str(error).split())[:200]
        text = f"the judge {use.use} of a gate must have settings that it knows: {why}"
        raise ThreatspecError("TS-SAFEGUARD", text) from None


def _phrases(path: Path) -> tuple[str, ...]:
    """Lines of a list; empty ones and those that begin with # do not count."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        text = f"a list of words must be there, but {path.name} is not; write one a line"
        raise ThreatspecError("TS-FILE-MISSING", text) from None
    except (OSError, UnicodeDecodeError) as error:
        text = f"a list of words must be text, but {path.name} cannot be read: {error}"
        raise ThreatspecError("TS-SAFEGUARD", text) from None
    found = tuple(x.strip() for x in lines if x.strip() and not x.startswith("#"))
    if not found:
        text = f"a list of words must have one, but {path.name} has none; write one a line"
        raise ThreatspecError("TS-SAFEGUARD", text)
    return found


def _item(row: TrainingRow) -> Item:
    """A row as judges are shown prompts."""
    return Item(
        id=row.id, prompt=_text(row, "prompt"), split="attack_train", cluster=row.id,
        answer=row.answer, refusal=row.refusal,
    )  # fmt: skip


def _asked(request: Request) -> Item:
    return Item(id=request.item, prompt=request.prompt, split="test", cluster=request.item)


def _text(row: TrainingRow, part: Text) -> str:
    if part == "answer":
        return f"{row.prefix} {row.answer}".strip()
    return f"{row.system or ''}\n{row.prompt}".strip()


SAFEGUARDS.register(ModerationGate.kind, ModerationGate())
