"""Requests x servings x samples as conversations: every turn is asked, answered and kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from threatspec.errors import ThreatspecError
from threatspec.records import Generation, Outcome
from threatspec.schema import Serving
from threatspec.subjects._request import Request

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject
    from threatspec.subjects._shown import Shown

    Asked = tuple[tuple[str, ...], Shown | None]
    """Turns so far, and the image in the last."""

__all__ = ["Query", "Talk", "converse", "lacking", "require_choices", "talks_of"]

Query = Literal["generate", "logprob"]
_BROKEN = "the model's logits are not finite numbers"


@dataclass(slots=True, eq=False)
class Talk:
    """One conversation with the subject, as far as it has come."""

    request: Request
    serving: Serving
    sample: int
    variant: str
    label: str
    """Of the serving; made once for all conversations under it."""
    said: list[str] = field(default_factory=list)
    """What the subject said so far."""
    ids: tuple[int, ...] = ()
    text: str = ""
    attacker: str = ""
    fault: str = ""
    scores: tuple[float, ...] = ()
    shown: Shown | None = None
    """The image that stands in the last turn of the user."""

    def due(self, turn: int) -> bool:
        """Whether it goes on with turn `turn`."""
        return not self.fault and turn <= len(self.request.turns)

    def last(self, turn: int) -> bool:
        return turn == len(self.request.turns)

    def image(self, turn: int) -> Shown | None:
        """What is shown with turn `turn`."""
        return self.shown if self.last(turn) else None

    def so_far(self, turn: int) -> tuple[str, ...]:
        """Turns of the user and of the subject, in turn; the last is the user's."""
        asked = (*self.request.turns, self.request.prompt)[: turn + 1]
        found = [text for pair in zip(asked, self.said, strict=False) for text in pair]
        return (*found, asked[-1])

    def key(self, seed: int, turn: int) -> tuple[object, ...]:
        """What its drawn numbers depend on."""
        return (seed, self.request.item, self.label, self.sample, turn)

    def generation(self) -> Generation:
        """As records have it."""
        request = self.request
        if self.fault:
            return Generation(
                item=request.item, prompt=self.text, attacker=self.attacker, reply="",
                outcome=Outcome.MISSING, detail=self.fault, variant=self.variant,
            )  # fmt: skip
        return Generation(
            item=request.item, prompt=self.text, attacker=self.attacker, scores=self.scores,
            reply="\n".join(self.said), variant=self.variant,
        )  # fmt: skip


def _variant(label: str, serving: Serving, servings: int, sample: int) -> str:
    """Which of several servings and samples it is; samples are counted from 1."""
    label = label if servings > 1 else ""
    return f"{label} #{sample}".strip() if serving.samples > 1 else label


def lacking(requests: Sequence[Request]) -> list[Generation]:
    """Rows of requests that there is nothing to ask of."""
    return [
        Generation(item=r.item, prompt=r.prompt, attacker="", reply="",
                   outcome=Outcome.MISSING, detail=r.lacking)
        for r in requests if r.lacking
    ]  # fmt: skip


def talks_of(requests: Sequence[Request], servings: Sequence[Serving]) -> list[Talk]:
    """Conversations in the order of servings, then requests, then samples."""
    found: list[Talk] = []
    for serving, label in [(serving, serving.label) for serving in servings]:
        samples = range(1, serving.samples + 1)
        named = [(n, _variant(label, serving, len(servings), n)) for n in samples]
        found += [
            Talk(request, serving, sample, name, label)
            for request in requests
            if not request.lacking
            for sample, name in named
        ]
    return found


def converse(
    subject: ResidentSubject, talks: Sequence[Talk], *, at_once: int, seed: int, query: Query
) -> None:
    """Take conversations to their end, turn by turn, all of them together.

    Raises ThreatspecError TS-TEMPLATE, TS-SERVING, and TS-JUDGE for a query by log-probability
    without choices.
    """
    if query == "logprob":
        require_choices(talks)
    turns = max((len(talk.request.turns) for talk in talks), default=-1)
    for turn in range(turns + 1):
        due = [talk for talk in talks if talk.due(turn)]
        _render(subject, due, turn)
        chosen = [talk for talk in due if query == "logprob" and talk.last(turn)]
        scored = _choices(subject, chosen)
        written = [talk for talk in due if not (query == "logprob" and talk.last(turn))]
        for talk in due:
            _check_room(subject, talk, scored.get(id(talk)))
        _score(subject, [talk for talk in chosen if not talk.fault], scored, at_once)
        _write(subject, [talk for talk in written if not talk.fault], turn, at_once, seed)


def require_choices(talks: Sequence[Talk]) -> None:
    """Raises ThreatspecError TS-JUDGE for a query by log-probability without choices."""
    without = next((talk.request for talk in talks if not talk.request.choices), None)
    if without is not None:
        raise ThreatspecError(
            "TS-JUDGE",
            f"a query by log-probability must have choices, but item {without.item} has none; "
            "use a benchmark with `choices`, or `query: generate`",
        )


def _render(subject: ResidentSubject, due: Sequence[Talk], turn: int) -> None:
    """Texts and token ids of what is asked now; the same ones are made once."""
    alike: dict[tuple[object, ...], tuple[Serving, dict[Asked, list[Talk]]]] = {}
    for talk in due:
        serving = talk.serving
        how = (serving.template, serving.system, serving.bos)
        _, asked = alike.setdefault(how, (serving, {}))
        asked.setdefault((talk.so_far(turn), talk.image(turn)), []).append(talk)
    for serving, asked in alike.values():
        seen = subject.read(list(asked), serving)
        for (text, ids), talks in zip(seen, asked.values(), strict=True):
            for talk in talks:
                written = subject.written(talk.request) if talk.last(turn) else ((), "")
                talk.text, talk.ids = text, (*ids, *written[0])
                talk.attacker = written[1]


def _check_room(
    subject: ResidentSubject, talk: Talk, choices: Sequence[tuple[int, ...]] | None
) -> None:
    reply = max(map(len, choices)) if choices else talk.serving.max_tokens
    if not talk.ids:
        talk.fault = "the prompt has no tokens"
    elif choices and not all(choices):
        talk.fault = "a choice has no tokens"
    elif len(talk.ids) + reply > subject.card.context:
        talk.fault = (
            f"prompt of {len(talk.ids)} tokens and a reply of {reply} do not fit into the "
            f"context of {subject.card.context} tokens"
        )


def _write(
    subject: ResidentSubject, talks: Sequence[Talk], turn: int, at_once: int, seed: int
) -> None:
    from threatspec.subjects._generate import Wanted, write

    wanted = [
        Wanted(talk.ids, talk.serving, talk.key(seed, turn), talk.image(turn)) for talk in talks
    ]
    found = write(
        subject.model, wanted, end=subject.end, pad=subject.pad, device=subject.device,
        at_once=at_once,
    )  # fmt: skip
    known: dict[tuple[int, ...], str] = {}
    for talk, ids in zip(talks, found, strict=True):
        if ids is None:
            talk.fault = _BROKEN
            continue
        said = tuple(ids)
        if said not in known:
            known[said] = subject.text(ids)
        talk.said.append(known[said])


def _choices(subject: ResidentSubject, talks: Sequence[Talk]) -> dict[int, list[tuple[int, ...]]]:
    """Token ids of each choice, by conversation; words are parted from what is before them."""
    found: dict[int, list[tuple[int, ...]]] = {}
    known: dict[str, tuple[int, ...]] = {}
    for talk in talks:
        bare = talk.serving.template == "none" and not talk.text[-1:].isspace()
        gap = " " if bare or talk.attacker else ""
        texts = [gap + choice for choice in talk.request.choices]
        known |= {text: tuple(subject.tokens(text)) for text in texts if text not in known}
        found[id(talk)] = [known[text] for text in texts]
    return found


def _score(
    subject: ResidentSubject,
    talks: Sequence[Talk],
    choices: dict[int, list[tuple[int, ...]]],
    at_once: int,
) -> None:
    from threatspec.subjects._choices import log_probabilities

    found_scores: dict[int, list[float]] = {}
    for shown in (False, True):
        alike = [talk for talk in talks if (talk.shown is not None) == shown]
        pairs = [(t.ids, tokens, t.shown) for t in alike for tokens in choices[id(t)]]
        scores = iter(
            log_probabilities(
                subject.model, pairs, pad=subject.pad, device=subject.device, at_once=at_once
            )
        )
        for talk in alike:
            found_scores[id(talk)] = [next(scores) for _ in talk.request.choices]
    for talk in talks:
        found = tuple(found_scores[id(talk)])
        if not all(map(math.isfinite, found)):
            talk.fault = _BROKEN
            continue
        talk.scores = found
        talk.said = [talk.request.choices[found.index(max(found))]]
