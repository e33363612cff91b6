"""A subject behind an OpenAI-compatible interface: asked, never loaded.

What answers there has no digest of its own: the one of its card is that of its address and name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar, Self
from urllib.parse import quote

from threatspec.records import Generation, Outcome
from threatspec.schema import Serving
from threatspec.subjects._api import Api, Endpoint, EndpointError, field, parse_endpoint
from threatspec.subjects._card import Offer, SubjectCard
from threatspec.subjects._dialogue import Query, Talk, lacking, require_choices, talks_of
from threatspec.subjects._endpoint_bare import Unscored, choice_score, first_choice
from threatspec.subjects._render import text_of
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
    told = [Offer.CHOICES] if endpoint.logprobs else []
    return SubjectCard(
        ref=ref,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        parameters=0,
        layers=0,
        hidden=0,
        vocabulary=0,
        context=_UNKNOWN_CONTEXT,
        tokens_per_word=1.5,
        offers=frozenset({Offer.TEXT, Offer.TRAINING, *told}),
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
        return EndpointSubject(self.card, replace(self.endpoint, model=model), self._sleep)

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
        """As `ResidentSubject.ask`. Raises EndpointError, and ThreatspecError TS-JUDGE for a query
        by log-probability without choices."""
        talks = talks_of(requests, servings)
        if query == "logprob":
            require_choices(talks)
        for talk in talks:
            self._check(talk.request, talk.serving, query)
        with self.open() as api, ThreadPoolExecutor(max(1, micro_batch)) as pool:
            said = pool.map(lambda talk: self._talk(api, talk, seed, query), talks)
            return [*lacking(requests), *said]

    def generate(
        self, requests: Sequence[Request], serving: Serving, *, micro_batch: int
    ) -> list[Generation]:
        """Replies under one serving, in order; `micro_batch` requests are under way at once.

        Raises EndpointError if the endpoint fails, or cannot be asked in this way.
        """
        return self.ask(requests, (serving,), micro_batch=micro_batch)

    def _talk(self, api: Api, talk: Talk, seed: int, query: Query) -> Generation:
        """All turns of one conversation; the row has all replies."""
        for turn in range(len(talk.request.turns) + 1):
            chosen = query == "logprob" and talk.last(turn)
            found = self._choose(api, talk) if chosen else self._ask(api, talk, turn, seed)
            talk.said.append(found.reply)
            if found.outcome is not None:
                break
        reply = "" if found.outcome else "\n".join(talk.said)
        return found.model_copy(update={"variant": talk.variant, "reply": reply})

    def _check(self, request: Request, serving: Serving, query: Query) -> None:
        self._check_template(serving, query)
        if serving.bos is not None:
            raise EndpointError(
                f"{self.card.ref} decides itself about the token that begins a text"
            )
        if request.prefix and not self.endpoint.continues:
            raise EndpointError(
                f"{self.card.ref} must go on from words of the assistant to be asked with a "
                "prefix; if it does, add continues=yes to its reference"
            )
        if request.prefix and serving.template == "none":
            raise EndpointError(f"{self.card.ref} is asked with a prefix in its own template only")
        if request.prefix and request.prefix_tokens is not None:
            raise EndpointError(f"the tokens of {self.card.ref} are not known; give words instead")

    def _check_template(self, serving: Serving, query: Query) -> None:
        ref, bare = self.card.ref, serving.template == "none"
        add = "; if it takes bare text at /completions, add logprobs=yes to its reference"
        if bare and not self.endpoint.logprobs:
            raise EndpointError(f"{ref} puts its own template around every prompt{add}")
        if query == "logprob" and not self.endpoint.logprobs:
            raise EndpointError(f"{ref} tells no log-probabilities of given choices{add}")
        if query == "logprob" and not bare:
            text = f"{ref} tells log-probabilities of bare text, and its template is not known here"
            raise EndpointError(f"{text}; ask with `template: none`")

    def _ask(self, api: Api, talk: Talk, turn: int, seed: int) -> Generation:
        request, serving = talk.request, talk.serving
        prefix = request.prefix if talk.last(turn) else ""
        said = talk.so_far(turn)
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "max_tokens": serving.max_tokens,
            **_decoding(serving, talk.key(seed, turn)),
        }
        if serving.template == "none":
            seen = body["prompt"] = self._bare(said, serving)
        else:
            messages = body["messages"] = _messages(said, serving, prefix)
            seen = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
        if prefix:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        path = "/chat/completions" if "messages" in body else "/completions"
        made: dict[str, Any] = {"item": request.item, "prompt": seen, "attacker": prefix}
        return _asked(made, lambda: _generation(api.post(path, body), made))

    def _choose(self, api: Api, talk: Talk) -> Generation:
        """The most probable of the choices, and how probable each is."""
        request = talk.request
        text = self._bare(talk.so_far(len(request.turns)), talk.serving)
        talk.said.clear()  # the reply is the choice alone
        gap = "" if text[-1:].isspace() else " "
        made: dict[str, Any] = {"item": request.item, "prompt": text, "attacker": ""}

        def chosen() -> Generation:
            scores = tuple(choice_score(api, text, gap + choice) for choice in request.choices)
            best = request.choices[scores.index(max(scores))]
            return Generation(**made, reply=best, scores=scores)

        return _asked(made, chosen)

    def _bare(self, said: Sequence[str], serving: Serving) -> str:
        return text_of(None, self.card.ref, said, serving)


def _asked(made: dict[str, Any], reply: Callable[[], Generation]) -> Generation:
    """A reply, or the row in its place where the endpoint will not or cannot answer."""
    try:
        return reply()
    except Unscored as error:
        return Generation(**made, reply="", outcome=Outcome.MISSING, detail=str(error))
    except EndpointError as error:
        if error.status == 400 and "content_filter" in error.message:
            return Generation(**made, reply="", outcome=Outcome.REJECTED)
        if error.status == 400 and "context" in error.message:
            why = error.message[:300]
            return Generation(**made, reply="", outcome=Outcome.MISSING, detail=why)
        raise


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
    choice = first_choice(answer)
    if "text" in choice:  # of bare text
        message: dict[str, Any] = {"content": choice["text"]}
    else:
        message = field(choice, "message", dict, "a choice")
    reply = message.get("content") or message.get("refusal") or ""
    if not isinstance(reply, str):
        raise EndpointError(f"a message must have text, but has {reply!r}"[:300])
    screened = choice.get("finish_reason") == "content_filter" and not reply
    return Generation(**made, reply=reply.strip(), outcome=Outcome.REJECTED if screened else None)
