"""A subject behind an OpenAI-compatible interface: asked, never loaded.

What answers there has no digest of its own: the one of its card is that of its address and name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Self
from urllib.parse import quote

from threatspec.records import Generation, Outcome
from threatspec.schema import Serving
from threatspec.subjects._api import Api, Endpoint, EndpointError, field, parse_endpoint
from threatspec.subjects._card import Offer, SubjectCard
from threatspec.subjects._dialogue import Query, Talk, lacking, talks_of
from threatspec.subjects._request import Request
from threatspec.subjects._tampers import Tamper, WeightTamper

__all__ = ["EndpointSubject", "HostedTamper", "describe_endpoint"]

_UNKNOWN_CONTEXT = 2**31
"""Nothing is cut for a context that nobody tells."""


class HostedTamper(Tamper):
    """Changed weights that stay with the provider: the name of a tuned model there."""

    kind: ClassVar[str] = "hosted"

    model: str
    """Name under which the endpoint serves it."""


def describe_endpoint(ref: str) -> SubjectCard:
    """What is known of a hosted model without asking it: nothing but where it is.

    Sizes are 0, so that floating-point operations are not counted.

    Raises ThreatspecError TS-MODEL-MISSING for a reference of another form.
    """
    endpoint = parse_endpoint(ref)
    identity = f"unpinned {endpoint.url}#{endpoint.model}"
    return SubjectCard(
        ref=ref,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        parameters=0,
        layers=0,
        hidden=0,
        vocabulary=0,
        context=_UNKNOWN_CONTEXT,
        tokens_per_word=1.5,
        offers=frozenset({Offer.TEXT, Offer.TRAINING}),
    )


class EndpointSubject:
    """Replies of a hosted model.

    Args:
        card: what is known of it.
        endpoint: where it is, and which model answers.
        sleep: how waiting between attempts is done, in seconds.
    """

    def __init__(
        self,
        card: SubjectCard,
        endpoint: Endpoint,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.card, self.endpoint, self._sleep = card, endpoint, sleep

    @classmethod
    def load(cls, ref: str, sleep: Callable[[float], None] = time.sleep) -> Self:
        """The subject `ref`; nothing is sent. Raises ThreatspecError TS-MODEL-MISSING."""
        return cls(describe_endpoint(ref), parse_endpoint(ref), sleep)

    def open(self) -> Api:
        """A connection, to be used in a `with` block. Raises EndpointError for a missing key."""
        return Api(self.endpoint, sleep=self._sleep)

    def served(self, model: str) -> EndpointSubject:
        """The same place, where another model answers."""
        endpoint = Endpoint(self.endpoint.url, model, self.endpoint.key, self.endpoint.continues)
        return EndpointSubject(self.card, endpoint, self._sleep)

    def tampered(self, tampers: Sequence[Tamper]) -> EndpointSubject:
        """The subject after an attack: the last of the models that were tuned there.

        Raises EndpointError for weights that would have to be mounted.
        """
        if any(isinstance(tamper, WeightTamper) for tamper in tampers):
            text = f"weights of {self.card.ref} are not here and cannot be changed"
            raise EndpointError(f"{text}; its provider tunes them with the trainer `hosted`")
        tuned = [tamper.model for tamper in tampers if isinstance(tamper, HostedTamper)]
        return self.served(tuned[-1]) if tuned else self

    def forget(self, tampers: Sequence[Tamper]) -> None:
        """Have the provider delete the tuned models; one that is gone already is no error.

        Raises EndpointError.
        """
        with self.open() as api:
            for tamper in tampers:
                if isinstance(tamper, HostedTamper):
                    try:
                        api.delete(f"/models/{quote(tamper.model, safe='')}")
                    except EndpointError as error:
                        if error.status != 404:
                            raise

    def ask(
        self,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        *,
        micro_batch: int,
        seed: int = 0,
        query: Query = "generate",
    ) -> list[Generation]:
        """As `ResidentSubject.ask`. Raises EndpointError."""
        if query == "logprob":
            raise EndpointError(f"{self.card.ref} tells no log-probabilities of given choices")
        talks = talks_of(requests, servings)
        for talk in talks:
            self._check(talk.request, talk.serving)
        with self.open() as api, ThreadPoolExecutor(max(1, micro_batch)) as pool:
            said = pool.map(lambda talk: self._talk(api, talk, seed), talks)
            return [*lacking(requests), *said]

    def generate(
        self, requests: Sequence[Request], serving: Serving, *, micro_batch: int
    ) -> list[Generation]:
        """Replies under one serving, in order; `micro_batch` requests are under way at once.

        Raises EndpointError if the endpoint fails, or cannot be asked in this way.
        """
        return self.ask(requests, (serving,), micro_batch=micro_batch)

    def _talk(self, api: Api, talk: Talk, seed: int) -> Generation:
        """All turns of one conversation; the row has all replies."""
        for turn in range(len(talk.request.turns) + 1):
            found = self._ask(api, talk, turn, seed)
            talk.said.append(found.reply)
            if found.outcome is not None:
                break
        reply = "" if found.outcome else "\n".join(talk.said)
        return found.model_copy(update={"variant": talk.variant, "reply": reply})

    def _check(self, request: Request, serving: Serving) -> None:
        if serving.template == "none":
            raise EndpointError(f"{self.card.ref} puts its own template around every prompt")
        if serving.bos is not None:
            raise EndpointError(
                f"{self.card.ref} decides itself about the token that begins a text"
            )
        if request.prefix and not self.endpoint.continues:
            raise EndpointError(
                f"{self.card.ref} must go on from words of the assistant to be asked with a "
                "prefix; if it does, add continues=yes to its reference"
            )
        if request.prefix and request.prefix_tokens is not None:
            raise EndpointError(f"the tokens of {self.card.ref} are not known; give words instead")

    def _ask(self, api: Api, talk: Talk, turn: int, seed: int) -> Generation:
        request, serving = talk.request, talk.serving
        prefix = request.prefix if talk.last(turn) else ""
        messages = _messages(talk.so_far(turn), serving, prefix)
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": messages,
            "max_tokens": serving.max_tokens,
            **_decoding(serving, talk.key(seed, turn)),
        }
        if prefix:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        seen = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
        made: dict[str, Any] = {"item": request.item, "prompt": seen, "attacker": prefix}
        try:
            answer = api.post("/chat/completions", body)
        except EndpointError as error:
            if error.status == 400 and "content_filter" in error.message:
                return Generation(**made, reply="", outcome=Outcome.REJECTED)
            if error.status == 400 and "context" in error.message:
                why = error.message[:300]
                return Generation(**made, reply="", outcome=Outcome.MISSING, detail=why)
            raise
        return _generation(answer, made)


def _decoding(serving: Serving, key: tuple[object, ...]) -> dict[str, Any]:
    """How tokens are chosen, in the words of the interface; not every server takes `top_k`."""
    if serving.decoding == "greedy":
        return {"temperature": 0}
    number = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "big")
    found = {"temperature": serving.temperature, "top_p": serving.top_p, "seed": number}
    return {**found, **({} if serving.top_k is None else {"top_k": serving.top_k})}


def _messages(said: Sequence[str], serving: Serving, prefix: str) -> list[dict[str, str]]:
    found = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
    if serving.system is not None:
        found.insert(0, {"role": "system", "content": serving.system})
    if prefix:
        found.append({"role": "assistant", "content": prefix})
    return found


def _generation(answer: dict[str, Any], made: dict[str, Any]) -> Generation:
    """A reply, or that a filter kept it back."""
    choices = field(answer, "choices", list, "a completion")
    if not choices or not isinstance(choices[0], dict):
        raise EndpointError("a completion must have a choice, but has none")
    message = field(choices[0], "message", dict, "a choice")
    reply = message.get("content") or message.get("refusal") or ""
    if not isinstance(reply, str):
        raise EndpointError(f"a message must have text, but has {reply!r}"[:300])
    screened = choices[0].get("finish_reason") == "content_filter" and not reply
    return Generation(**made, reply=reply.strip(), outcome=Outcome.REJECTED if screened else None)
