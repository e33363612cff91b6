"""Conformance of safeguards: fitted on a specimen with rows of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from threatspec.attacks import SAFEGUARD_SPLITS, training_rows
from threatspec.records import Stream
from threatspec.runners._guards import probabilities
from threatspec.safeguards import (
    SAFEGUARDS,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)
from threatspec.schema import Serving
from threatspec.subjects import Request, ServingPolicy, WeightTamper
from threatspec.testing._parts import Ground, check_config, check_says, ground_of
from threatspec.training import TrainingPolicy

if TYPE_CHECKING:
    from threatspec.testing._bench import Bench

__all__ = ["SafeguardConformance"]


class SafeguardConformance:
    """Subclass it as `TestSomething` and set `kind`."""

    kind: ClassVar[str]
    """The safeguard's name."""
    knobs: ClassVar[dict[str, Any]] = {}
    """Knobs without a default, and few steps: fitting must take seconds."""
    subject: ClassVar[str] = ""
    """What it is fitted to; empty: a specimen that offers what it needs, a classifier of digits for
    safeguards of images."""

    @property
    def safeguard(self) -> Safeguard:
        """The safeguard by its name."""
        return SAFEGUARDS.get(self.kind)

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """Trains in an empty results folder."""
        from threatspec.testing._bench import Bench

        return Bench(tmp_path, self.subject or ground_of(self.safeguard.offers).safeguarded)

    def test_it_is_registered_under_its_name(self) -> None:
        assert isinstance(self.safeguard, Safeguard)
        assert self.safeguard.kind == self.kind

    def test_its_parts_are_present_and_typed(self) -> None:
        check_says(self.safeguard.says)
        check_config(self.safeguard.Config, SafeguardConfig, self.knobs)
        assert self.safeguard.stages, "it acts at no stage"
        assert self.safeguard.stages <= set(Stage)

    def test_it_acts_at_the_stages_that_it_declares(self, bench: Bench) -> None:
        fitted, context = self._fit(bench, 0), self._context(bench, 0)
        given = (context, self._config, fitted.provided)
        training = self.safeguard.training_policy(*given)
        serving = self.safeguard.serving_policy(*given)
        assert training is None or isinstance(training, TrainingPolicy)
        assert serving is None or isinstance(serving, ServingPolicy)
        acts = {
            Stage.RELEASE: bool(fitted.tampers) and not self._repairs,
            Stage.TRAINING: training is not None,
            Stage.REPAIR: self._repairs and bool(fitted.tampers or fitted.provided),
            Stage.SERVING: serving is not None,
        }
        assert {stage for stage, there in acts.items() if there} == self.safeguard.stages

    def test_equal_seeds_fit_equally(self, bench: Bench) -> None:
        first = self._fit(bench, 0)
        bench.disturb()
        assert self._fit(bench, 0) == first

    def test_fitting_and_unmounting_give_the_weights_back_bit_exactly(self, bench: Bench) -> None:
        own = bench.weights()
        with bench.mounted(self._met(bench)):
            before = bench.weights()
            fitted = self._fit(bench, 0)
            assert bench.weights() == before, "fitting changed the subject"
            with bench.mounted(fitted.tampers):
                moved = any(t.form != "perturbation" for t in fitted.tampers)
                assert (bench.weights() != before) is moved
            assert bench.weights() == before, "unmounting changed the subject"
        assert bench.weights() == own

    def test_its_cost_is_near_what_is_metered(self, bench: Bench) -> None:
        """A repair may stop early; what it is predicted to take is the most it can take."""
        context = self._context(bench, 0)
        rows = [*context.safety, *context.benign]
        words = max(len(f"{row.prompt} {row.answer}".split()) for row in rows)
        predicted = self.safeguard.cost(bench.card, self._config, len(rows), words)
        self._fit(bench, 0)
        spent = bench.spent
        assert predicted.steps >= spent.steps if self._repairs else predicted.steps == spent.steps
        if spent.flops:
            assert predicted.flops / spent.flops > 1 / 3
            assert self._repairs or predicted.flops / spent.flops < 3

    @property
    def _config(self) -> Any:
        return self.safeguard.Config(**self.knobs)

    @property
    def _repairs(self) -> bool:
        return Stage.REPAIR in self.safeguard.stages

    def _fit(self, bench: Bench, seed: int) -> Fitted:
        work = self.safeguard.repair if self._repairs else self.safeguard.fit
        found: Fitted = bench.drive(work(self._context(bench, seed), self._config))
        return found

    def _met(self, bench: Bench) -> tuple[WeightTamper, ...]:
        """What it is fitted on: repairs meet weights that somebody has changed."""
        if not self._repairs:
            return ()
        *_, (name, tensor) = bench.subject.model.named_parameters()
        return (WeightTamper(artefact=bench.store.save({name: tensor * 1.01}), form="dense"),)

    def _context(self, bench: Bench, seed: int) -> SafeguardContext:
        return _context(bench, ground_of(self.safeguard.offers), seed)


def _context(bench: Bench, ground: Ground, seed: int) -> SafeguardContext:
    sources = (f"{name}#safeguard_train" for name in (ground.harmful, ground.benign))
    count = 2 * ground.rows
    safety, benign = (training_rows(s, Path(), SAFEGUARD_SPLITS)[:count] for s in sources)
    return SafeguardContext(
        subject=bench.card,
        safety=() if ground.request else safety,
        benign=benign,
        seeds=dict.fromkeys(Stream, seed),
        probabilities=partial(probabilities, bench.subject, bench.store),
        load=bench.store.load,
        **({} if ground.request else _words(bench)),
    )


def _words(bench: Bench) -> dict[str, Any]:
    """What is there of a subject that reads text."""
    return {
        "tokens": bench.subject.tokens,
        "text": bench.subject.text,
        "rendered": lambda system, prompt: bench.subject.render(
            Request(item="", prompt=prompt), Serving(system=system)
        )[0],
    }
