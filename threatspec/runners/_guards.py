"""What a subject's provider does while others train and ask: policies of fitted safeguards."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from threatspec.attacks import SAFEGUARD_SPLITS, training_rows
from threatspec.records import Generation, Outcome, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardContext, Stage
from threatspec.schema import Serving
from threatspec.subjects import Request, ServingPolicy
from threatspec.training import TrainingPolicy, TrainingRow, together

__all__ = ["Guards", "context_of"]


@dataclass(frozen=True)
class Guards:
    """Safeguards of one subject as plain data, with what fitting them has provided."""

    made: Sequence[Mapping[str, Any]]
    subject: Any
    folder: Path
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
                context = context_of(self.subject, one, self.folder)
                yield safeguard, context, config, one["provided"]

    def ask(
        self,
        asked: Any,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        **how: Any,
    ) -> list[Generation]:
        """Replies as the provider gives them: a request that is screened out has none."""
        ways = list(servings)
        for policy in self._serving:
            ways = [policy.serve(serving) for serving in ways]
        stopped = self._stopped(requests)
        passed = [request for request in requests if request.item not in stopped]
        replies: list[Generation] = list(asked.ask(passed, ways, **how)) if passed else []
        return [*replies, *(_rejected(r, stopped[r.item]) for r in requests if r.item in stopped)]

    def _stopped(self, requests: Sequence[Request]) -> dict[str, str]:
        """By item, the safeguard that stopped it."""
        found: dict[str, str] = {}
        for policy in self._serving:
            for request, passes in zip(requests, policy.screen(requests), strict=True):
                if not passes:
                    found.setdefault(request.item, policy.name)
        return found


def _rejected(request: Request, by: str) -> Generation:
    return Generation(
        item=request.item,
        prompt=request.shown(request.prompt),
        attacker="",
        reply="",
        outcome=Outcome.REJECTED,
        detail=f"screened by {by}",
    )


def context_of(subject: Any, one: Mapping[str, Any], folder: Path) -> SafeguardContext:
    """What a safeguard works with: its rows drawn by its own seed, so always the same."""
    seeds = {Stream(name): seed for name, seed in one["seeds"].items()}
    rows = {role: _drawn(entry, seeds, role, folder) for role, entry in one["data"].items()}
    return SafeguardContext(
        subject=subject.card,
        safety=rows.get("safety", ()),
        benign=rows.get("benign", ()),
        seeds=seeds,
        tokens=subject.tokens,
        text=subject.text,
    )


def _drawn(
    entry: Mapping[str, Any], seeds: Mapping[Stream, int], role: str, folder: Path
) -> tuple[TrainingRow, ...]:
    """Rows of one role: a random sample of their source."""
    rows = training_rows(entry["source"], folder, SAFEGUARD_SPLITS)
    chooser = random.Random(f"{seeds.get(Stream.DATA_SUBSET, 0)}/{role}")
    return tuple(chooser.sample(rows, entry["n"]))
