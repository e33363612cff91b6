"""Asking a judging model: behind an endpoint or loaded here, always the most probable words.

A single question that fails is a fault of its row; a model that fails all of them is an error, so
that the trial can be run again when it is back.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._api import Api, EndpointError, field, parse_endpoint

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["Asking", "Said", "ask"]

_GIVE_UP = 8
"""Failures in a row after which the rest is not tried: the server is down, not the question odd."""
_ALL_ALIKE = frozenset({401, 403, 404})
"""What is wrong with every question: the key, or the name of the model."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are put."""

    model: str
    """Reference of a subject, `path:` an absolute one."""
    max_tokens: int
    template: str
    timeout: float
    retries: int
    parallel: int


@dataclass(frozen=True, slots=True)
class Said:
    """What the model answered, or why there is no answer."""

    text: str = ""
    fault: str = ""


def ask(questions: Sequence[str], asking: Asking) -> list[Said]:
    """One answer per question, in order.

    Raises ThreatspecError TS-ENDPOINT if a server answers no question, TS-MODEL-MISSING for a
    model that is not there, TS-TEMPLATE for one that cannot be asked in this way.
    """
    if not questions:
        return []
    hosted = asking.model.startswith("endpoint:")
    return _ask_hosted(questions, asking) if hosted else _ask_here(questions, asking)


# behind an endpoint


def _ask_hosted(questions: Sequence[str], asking: Asking) -> list[Said]:
    endpoint = parse_endpoint(asking.model)
    found: list[Said] = []
    failed: list[EndpointError] = []  # in a row, up to now
    with (
        Api(endpoint, timeout=asking.timeout, attempts=1 + asking.retries) as api,
        ThreadPoolExecutor(asking.parallel) as pool,
    ):
        for start in range(0, len(questions), asking.parallel):
            wave = questions[start : start + asking.parallel]
            answers = list(pool.map(lambda text: _answer(api, text, asking), wave))
            errors = [answer for answer in answers if isinstance(answer, EndpointError)]
            failed = [*failed, *errors] if len(errors) == len(answers) else []
            if len(failed) >= min(_GIVE_UP, len(questions)):
                raise failed[-1]
            found += [a if isinstance(a, Said) else Said(fault=_fault(a)) for a in answers]
    return found


def _answer(api: Api, text: str, asking: Asking) -> Said | EndpointError:
    body: dict[str, Any] = {
        "model": api.endpoint.model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": asking.max_tokens,
    }
    try:
        return Said(_text(api.post("/chat/completions", body)))
    except EndpointError as error:
        if error.status in _ALL_ALIKE:
            raise
        return error


def _text(answer: dict[str, Any]) -> str:
    choices = field(answer, "choices", list, "a completion")
    if not choices or not isinstance(choices[0], dict):
        raise EndpointError("a completion must have a choice, but has none")
    text = field(choices[0], "message", dict, "a choice").get("content") or ""
    if not isinstance(text, str):
        raise EndpointError(f"a message must have text, but has {text!r}"[:300])
    return text.strip()


def _fault(error: EndpointError) -> str:
    return f"the judge gave no answer: {error.message}"[:300]


# loaded here


def _ask_here(questions: Sequence[str], asking: Asking) -> list[Said]:
    subject = _loaded(asking.model)
    serving = Serving.model_validate({"template": asking.template, "max_tokens": asking.max_tokens})
    requests = [Request(str(n), text) for n, text in enumerate(questions)]
    room = subject.card.context - asking.max_tokens
    long = {r.item: n for r in requests if (n := len(subject.render(r, serving)[0])) > room}
    fitting = [request for request in requests if request.item not in long]
    replies = subject.ask(fitting, [serving], micro_batch=asking.parallel) if fitting else []
    said = {reply.item: Said(reply.reply, reply.detail if reply.outcome else "")
            for reply in replies}  # fmt: skip
    return [said.get(r.item) or _too_long(long[r.item], subject) for r in requests]


def _too_long(tokens: int, subject: ResidentSubject) -> Said:
    context = subject.card.context
    return Said(fault=f"{tokens} tokens do not fit into the judge's context of {context}")


@lru_cache(maxsize=1)
def _loaded(ref: str) -> ResidentSubject:
    """The model, kept for the next trial; threads stay as the runner has them."""
    import torch

    from threatspec.subjects._resident import ResidentSubject

    return ResidentSubject.load(ref, threads=torch.get_num_threads())
