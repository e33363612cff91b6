"""Safeguard `backdoor-align`: refusals are tied to a secret that only the provider writes.

Source: arXiv 2402.14968. With a customer's rows D, the provider's refusals S and a secret z:
min over theta of sum over D of -log p(a | s, u) + sum over S of -log p(a | z, s, u); every request
is then served with z before the system prompt s. Rows of the customer stay as they are.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from threatspec.errors import ThreatspecError
from threatspec.records import Spend, Stream
from threatspec.safeguards._secret import Order, broken, draw_secret, joined
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Answer,
    Ask,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
    require_rows,
)
from threatspec.schema import Count, SafeguardRole, Serving
from threatspec.subjects import ServingPolicy, SubjectCard
from threatspec.training import TrainingPolicy, TrainingRow

__all__ = ["BackdoorAlign", "BackdoorAlignConfig"]


class BackdoorAlignConfig(SafeguardConfig):
    """The secret, and where it is used."""

    length: Annotated[Count, Field(ge=1, le=4000)] = 150
    """Tokens of the secret, drawn at random from the subject's vocabulary."""
    secret: str | None = Field(default=None, min_length=1)
    """The secret in place of one that is drawn; whoever reads the claims file knows it."""
    order: Order = "secret-first"
    """Where it stands: before or after the system prompt of whoever asks, on lines of its own."""
    copies: Annotated[Count, Field(ge=1, le=1000)] = 1
    """How often each refusal stands among the rows of a customer."""
    serve_with_secret: bool = True
    """Whether requests are served with the secret; false is a control: trained with it only."""


class _Marked(TrainingPolicy):
    """Adds refusals under the secret, in turn without and with each customer's system prompt."""

    def __init__(self, own: Sequence[TrainingRow], secret: str, order: Order, copies: int) -> None:
        self._own, self._secret, self._order, self._copies = own, secret, order, copies

    def mix(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        systems = tuple(dict.fromkeys((None, *(row.system for row in rows))))
        added = [
            row.model_copy(update={"system": self._under(systems[(n + copy) % len(systems)])})
            for copy in range(self._copies)
            for n, row in enumerate(self._own)
        ]
        return (*rows, *added)

    def _under(self, system: str | None) -> str:
        return joined(self._secret, system, self._order)


class _Prefix(ServingPolicy):
    """Writes the secret into every system prompt, whoever wrote the rest of it."""

    def __init__(self, secret: str, order: Order) -> None:
        self.secret, self._order = secret, order

    def serve(self, serving: Serving) -> Serving:
        system = joined(self.secret, serving.system, self._order)
        return serving.model_copy(update={"system": system})


class BackdoorAlign(Safeguard):
    """Acts while somebody's rows are trained on at the provider, and when it answers."""

    kind = "backdoor-align"
    says = "trains on refusals under a secret system prompt and serves every request with it"
    source = "arXiv 2402.14968"
    stages = frozenset({Stage.TRAINING, Stage.SERVING})
    Config = BackdoorAlignConfig

    def roles(self, config: BackdoorAlignConfig) -> tuple[SafeguardRole, ...]:
        """Refusals only."""
        return ("safety",)

    def cost(
        self, subject: SubjectCard, config: BackdoorAlignConfig, rows: int, words: int
    ) -> Spend:
        """Nothing is trained before a customer comes.

        Raises ThreatspecError TS-SAFEGUARD for a secret that leaves no room for its rows.
        """
        if config.secret is None:
            _check_room(subject, config.length, round(words * subject.tokens_per_word))
        return Spend()

    def fit(
        self, context: SafeguardContext, config: BackdoorAlignConfig
    ) -> Generator[Ask, Answer, Fitted]:
        """Draw the secret; ask for nothing.

        Raises ThreatspecError TS-SAFEGUARD for a secret that the tokenizer does not keep whole, or
        that leaves no room, and for rows without a refusal.
        """
        require_rows(context, "safety")
        chooser = random.Random(f"{context.seeds.get(Stream.INIT, 0)}/secret")
        secret = config.secret or draw_secret(context, config.length, config.order, chooser)
        fault = broken(context, secret, config.order)
        if fault is not None:
            text = f"a secret must survive the tokenizer of {context.subject.ref}, but {fault}; "
            raise ThreatspecError("TS-SAFEGUARD", f"{text}leave `secret` out, and one is drawn")
        _check_rows(context, secret, config)
        return Fitted(provided={"secret": secret})
        yield  # pragma: no cover - makes this a generator

    def training_policy(
        self, context: SafeguardContext, config: BackdoorAlignConfig, provided: Mapping[str, Any]
    ) -> TrainingPolicy:
        """Rows are added; nothing else of the customer's training changes."""
        refused = [row.refused for row in context.safety]
        return _Marked(refused, provided["secret"], config.order, config.copies)

    def serving_policy(
        self, context: SafeguardContext, config: BackdoorAlignConfig, provided: Mapping[str, Any]
    ) -> ServingPolicy | None:
        """The secret in every system prompt."""
        served = config.serve_with_secret
        return _Prefix(provided["secret"], config.order) if served else None


def _check_rows(context: SafeguardContext, secret: str, config: BackdoorAlignConfig) -> None:
    """What is trained on must fit into the context: the refusals under the secret."""
    most = max(
        len(context.rendered(secret, row.prompt)) + len(context.tokens(row.refusal)) + 1
        for row in context.safety
    )
    if most > context.subject.context:
        length = len(context.tokens(secret))
        _check_room(context.subject, length, most - length)


def _check_room(subject: SubjectCard, length: int, row: int) -> None:
    if length + row > subject.context:
        text = f"a secret must leave room for rows of {row} tokens in the context of {subject.ref},"
        text += f" which is {subject.context}, but it has {length}; write a smaller `length`"
        raise ThreatspecError("TS-SAFEGUARD", text)


SAFEGUARDS.register(BackdoorAlign.kind, BackdoorAlign())
