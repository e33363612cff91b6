"""What a subject's provider does while others train and ask: policies of fitted safeguards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from threatspec.attacks import SAFEGUARD_SPLITS, training_rows
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Generation, Outcome, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardContext, Stage
from threatspec.schema import Serving
from threatspec.subjects import Offer, Request, ServingPolicy, WeightTamper
from threatspec.training import TrainingPolicy, TrainingRow, together

__all__ = ["Guards", "context_of", "probabilities"]

Probabilities = Callable[[Sequence[Request], str | None], Any]

_LONG = 8
"""Words of a secret that no answer has by chance."""


@dataclass(frozen=True)
class Guards:
    """Safeguards of one subject as plain data, with what fitting them has provided."""

    made: Sequence[Mapping[str, Any]]
    subject: Any
    folder: Path
    store: ArtefactStore
    at_provider: bool = False
    """Whether what is trained is trained under them."""

    def training(self) -> TrainingPolicy:
        """What is imposed on training; nothing elsewhere than at the provider."""
        if not self.at_provider:
            return TrainingPolicy()
        found = []
        for safeguard, context, config, provided in self._stage(Stage.TRAINING):
            policy = safeguard.training_policy(context, config, provided)
            if policy is not None:
                policy.name = safeguard.kind
                found.append(policy)
        return together(found)

    @property
    def secret(self) -> str:
        """What leaks to an adversary who owns it; empty: no safeguard has any."""
        found = (one["provided"].get("secret") for one in self.made)
        return next((secret for secret in found if secret), "")

    @cached_property
    def _serving(self) -> tuple[ServingPolicy, ...]:
        found = []
        for safeguard, context, config, provided in self._stage(Stage.SERVING):
            policy = safeguard.serving_policy(context, config, provided)
            if policy is not None:
                policy.name = safeguard.kind
                found.append(policy)
        return tuple(found)

    def _stage(self, stage: Stage) -> Iterator[tuple[Any, SafeguardContext, Any, Any]]:
        for one in self.made:
            safeguard = SAFEGUARDS.get(one["kind"])
            if stage in safeguard.stages:
                config = safeguard.Config.model_validate(one["config"], strict=False)
                context = context_of(self.subject, one, self.folder, self.probabilities)
                context = replace(context, load=self.store.load)
                yield safeguard, context, config, one["provided"]

    def ask(
        self,
        asked: Any,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        **how: Any,
    ) -> list[Generation]:
        """Replies as the provider gives them, in the order of requests: one that is screened out
        has none."""
        ways = list(servings)
        for policy in self._serving:
            ways = [policy.serve(serving) for serving in ways]
        requests = self.received(requests)
        stopped = self._stopped(requests)
        passed = [request for request in requests if request.item not in stopped]
        replies: list[Generation] = list(asked.ask(passed, ways, **how)) if passed else []
        if not stopped:
            return replies
        replies += (_rejected(r, stopped[r.item]) for r in requests if r.item in stopped)
        places = {request.item: place for place, request in enumerate(requests)}
        return sorted(replies, key=lambda reply: places[reply.item])

    def received(self, requests: Sequence[Request]) -> list[Request]:
        """Requests as the provider's policies make them before anything else."""
        found = list(requests)
        for policy in self._serving:
            found = list(policy.receive(found))
        return found

    def probabilities(self, requests: Sequence[Request], artefact: str | None) -> Any:
        """Class probabilities of the subject as it is mounted, or with other weights over it."""
        return probabilities(self.subject, self.store, requests, artefact)

    def shown(self, replies: Sequence[Generation]) -> list[Generation]:
        """Replies as records show them: what a policy keeps secret is a label there.

        A short secret is hidden in prompts only: its words may be those of an answer, and what is
        hidden is not judged.
        """
        found = list(replies)
        for policy in self._serving:
            if policy.secret:
                found = [_hidden(reply, policy.secret, policy.name) for reply in found]
        return found

    def _stopped(self, requests: Sequence[Request]) -> dict[str, str]:
        """By item, the safeguard that stopped it."""
        found: dict[str, str] = {}
        for policy in self._serving:
            for request, passes in zip(requests, policy.screen(requests), strict=True):
                if not passes:
                    found.setdefault(request.item, policy.name)
        return found


def _hidden(reply: Generation, secret: str, name: str) -> Generation:
    long = len(secret.split()) >= _LONG
    return reply.model_copy(
        update={
            "prompt": reply.prompt.replace(secret, f"[{name}]"),
            "reply": reply.reply.replace(secret, f"[{name}]") if long else reply.reply,
        }
    )


def _rejected(request: Request, by: str) -> Generation:
    return Generation(
        item=request.item,
        prompt=request.shown(request.prompt),
        attacker="",
        reply="",
        outcome=Outcome.REJECTED,
        detail=f"screened by {by}",
    )


def probabilities(
    subject: Any, store: ArtefactStore, requests: Sequence[Request], artefact: str | None
) -> Any:
    """Class probabilities (requests x classes) of a classifier, perhaps with other weights.

    Raises ThreatspecError TS-ACCESS for a subject that is none.
    """
    if Offer.CLASSES not in subject.card.offers:
        text = f"{subject.card.ref} must be a classifier, but is none"
        raise ThreatspecError("TS-ACCESS", text)
    from threatspec.subjects._mount import mount

    tampers = (WeightTamper(artefact=artefact, form="dense"),) if artefact else ()
    with mount(subject, tampers, store):
        return subject.probabilities(requests)


def context_of(
    subject: Any, one: Mapping[str, Any], folder: Path, read: Probabilities
) -> SafeguardContext:
    """What a safeguard works with: its rows drawn by its own seed, so always the same."""
    seeds = {Stream(name): seed for name, seed in one["seeds"].items()}
    rows = {role: _drawn(entry, seeds, role, folder) for role, entry in one["data"].items()}
    return SafeguardContext(
        subject=subject.card,
        safety=rows.get("safety", ()),
        benign=rows.get("benign", ()),
        seeds=seeds,
        **_words(subject),
        probabilities=read,
        folder=folder,
    )


def _words(subject: Any) -> dict[str, Any]:
    """What is there of a subject that reads text."""
    if Offer.TEXT not in subject.card.offers:
        return {}
    rendered = partial(_rendered, subject)
    return {"tokens": subject.tokens, "text": subject.text, "rendered": rendered}


def _rendered(subject: Any, system: str | None, prompt: str) -> list[int]:
    ids: list[int] = subject.render(Request(item="", prompt=prompt), Serving(system=system))[0]
    return ids


def _drawn(
    entry: Mapping[str, Any], seeds: Mapping[Stream, int], role: str, folder: Path
) -> tuple[TrainingRow, ...]:
    """Rows of one role: a random sample of their source."""
    rows = training_rows(entry["source"], folder, SAFEGUARD_SPLITS)
    chooser = random.Random(f"{seeds.get(Stream.DATA_SUBSET, 0)}/{role}")
    return tuple(chooser.sample(rows, entry["n"]))
