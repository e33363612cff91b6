"""A bench: one resident subject and an executor, as a worker has them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.attacks import ATTACKS
from threatspec.records import ArtefactStore, Budget, Execution, Spend, Stream, Trial, TrialKind
from threatspec.runners._asks import Asks
from threatspec.runners._executor import Executor
from threatspec.runners._instruments import read_instrument
from threatspec.runners._stopwatch import Stopwatch
from threatspec.subjects import SubjectCard, Tamper, describe
from threatspec.training import Meter

if TYPE_CHECKING:
    from threatspec.records import Curve, TrialResult

__all__ = ["Bench"]


class Bench:
    """Runs attacks and training on one subject in an empty results folder."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.card: SubjectCard = describe(subject, Path())
        self.store = ArtefactStore(folder / "artefacts")
        self._executor = Executor(self.store, Path(), Execution())
        self.spent = Spend()
        """Of what was driven last."""

    @property
    def subject(self) -> Any:
        """The very subject that trials run on."""
        return self._executor.subject(self.card.ref)

    def attack(
        self,
        kind: str,
        config: dict[str, Any],
        data: dict[str, Any],
        seeds: dict[Stream, int],
        budget: Budget | None,
    ) -> TrialResult:
        """One attack trial, after those of the scores that it reads."""
        named = {stream.value: seed for stream, seed in seeds.items()}
        work = {"attack": kind, "config": config, "data": data, "seeds": named}
        scores = self._scores(kind, config, data)
        trial = Trial(
            id="conformance", kind=TrialKind.ATTACK, subject=self.card.ref, needs=tuple(scores),
            work=work, budget=budget,
        )  # fmt: skip
        return self._executor.run(trial, scores)

    def _scores(
        self, kind: str, config: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, TrialResult]:
        attack = ATTACKS.get(kind)
        found = {}
        asked = attack.scores(attack.Config.model_validate(config, strict=False))
        for number, request in enumerate(asked):
            name = f"score-{number}"
            trial = Trial(
                id=name, kind=TrialKind.SCORE, subject=self.card.ref, needs=(),
                work={"score": request.model_dump(mode="json"), "data": data},
            )  # fmt: skip
            found[name] = self._executor.run(trial, {})
        return found

    def reading(
        self, kind: str, settings: dict[str, Any], base: str | None, folder: Path
    ) -> tuple[Curve, ...]:
        """Curves of one instrument; what it spent is in `spent`."""
        work: dict[str, Any] = {
            "instrument": kind,
            "settings": settings,
            "base": base,
            "benchmarks": [],
        }
        trial = Trial(
            id="conformance", kind=TrialKind.INSTRUMENT, subject=self.card.ref, needs=(), work=work
        )
        meter = Meter()
        asks = Asks(self.subject, self.store, meter, Stopwatch())
        compared = None if base is None else self._executor.subject(base)
        found = read_instrument(trial, asks, compared, folder, Execution().micro_batch)
        self.spent = meter.spend
        return found

    def drive(self, steps: Generator[Any, Any, Any]) -> Any:
        """Answer everything that a generator asks for, without a budget; what it returns."""
        meter = Meter()
        found = Asks(self.subject, self.store, meter, Stopwatch()).drive(steps)
        self.spent = meter.spend
        return found

    @contextmanager
    def mounted(self, tampers: Sequence[Tamper]) -> Iterator[None]:
        """The subject with `tampers` applied."""
        from threatspec.subjects._mount import mount

        with mount(self.subject, tampers, self.store):
            yield

    def weights(self) -> dict[str, str]:
        """Hash of the bits of every parameter and buffer, by name."""
        model = self.subject.model
        return {
            name: hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
        }

    def disturb(self) -> None:
        """Move every global source of randomness: only seeds that are given may decide."""
        import numpy
        import torch

        for step in (random.random, numpy.random.random, lambda: torch.rand(1)):
            step()
