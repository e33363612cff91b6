"""Conformance of safeguards: fitted on a specimen with rows of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from threatspec.measures import benchmark
from threatspec.records import Stream
from threatspec.safeguards import (
    SAFEGUARDS,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    SafetyRow,
)
from threatspec.subjects import WeightTamper
from threatspec.testing._parts import check_config, check_says
from threatspec.training import TrainingJob, TrainingPolicy, TrainingRow

if TYPE_CHECKING:
    from threatspec.testing._bench import Bench

__all__ = ["SafeguardConformance"]

Fitted = tuple[list[TrainingJob], WeightTamper | None]


class SafeguardConformance:
    """Subclass it as `TestSomething` and set `kind`."""

    kind: ClassVar[str]
    """The safeguard's name."""
    knobs: ClassVar[dict[str, Any]] = {}
    """Knobs without a default, and few steps: fitting must take seconds."""
    subject: ClassVar[str] = "specimen:undefended"
    """What it is fitted to."""

    @property
    def safeguard(self) -> Safeguard:
        """The safeguard by its name."""
        return SAFEGUARDS.get(self.kind)

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """Trains in an empty results folder."""
        from threatspec.testing._bench import Bench

        return Bench(tmp_path, self.subject)

    def test_it_is_registered_under_its_name(self) -> None:
        assert isinstance(self.safeguard, Safeguard)
        assert self.safeguard.kind == self.kind

    def test_its_parts_are_present_and_typed(self) -> None:
        check_says(self.safeguard.says)
        check_config(self.safeguard.Config, SafeguardConfig, self.knobs)

    def test_it_acts_at_one_stage_at_least(self, bench: Bench) -> None:
        policy = self.safeguard.training_policy(self.safeguard.Config(**self.knobs))
        assert policy is None or isinstance(policy, TrainingPolicy)
        jobs, fitted = self._fit(bench, 0)
        assert fitted is None or isinstance(fitted, WeightTamper)
        assert policy is not None or fitted is not None, "it does nothing at any stage"
        assert fitted is not None or not jobs, "it trains and keeps nothing of it"

    def test_equal_seeds_fit_equal_weights(self, bench: Bench) -> None:
        first = self._fit(bench, 0)
        bench.disturb()
        assert self._fit(bench, 0) == first

    def test_fitting_and_unmounting_give_the_weights_back_bit_exactly(self, bench: Bench) -> None:
        before = bench.weights()
        _, fitted = self._fit(bench, 0)
        assert bench.weights() == before, "fitting changed the subject"
        if fitted is not None:
            with bench.mounted([fitted]):
                pass
        assert bench.weights() == before, "unmounting changed the subject"

    def _fit(self, bench: Bench, seed: int) -> Fitted:
        config = self.safeguard.Config(**self.knobs)
        steps = self.safeguard.fit(_context(bench, seed), config)
        jobs: list[TrainingJob] = []
        try:
            jobs.append(next(steps))
            while True:
                jobs.append(steps.send(bench.train(jobs[-1])))
        except StopIteration as stop:
            return jobs, stop.value


def _context(bench: Bench, seed: int) -> SafeguardContext:
    restricted = benchmark("specimen/restricted", Path()).items("safeguard_train")[:8]
    benign = benchmark("specimen/benign", Path()).items("safeguard_train")[:8]
    return SafeguardContext(
        subject=bench.card,
        safety=[
            SafetyRow(id=i.id, prompt=i.prompt, answer=i.answer, refusal=i.refusal)
            for i in restricted
        ],
        benign=[TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer) for i in benign],
        seeds=dict.fromkeys(Stream, seed),
    )
