"""Conformance of instruments: curves that can be drawn, the same every time, and nothing moved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from threatspec.instruments import INSTRUMENTS, Instrument, InstrumentConfig
from threatspec.records import Arm, Curve
from threatspec.testing._parts import check_config, check_says

if TYPE_CHECKING:
    from threatspec.testing._bench import Bench

__all__ = ["InstrumentConformance"]


class InstrumentConformance:
    """Subclass it as `TestSomething` and set `kind`."""

    kind: ClassVar[str]
    """The instrument's name."""
    settings: ClassVar[dict[str, Any]] = {}
    """Settings without a default, and few prompts: everything below runs within seconds."""
    subject: ClassVar[str] = "specimen:shallow"
    """What is read; it must offer what the instrument needs."""
    base: ClassVar[str] = "specimen:undefended"
    """What it is compared with, by instruments that compare."""
    folder: ClassVar[Path] = Path()
    """Where files that its settings name are."""

    @property
    def instrument(self) -> Instrument:
        """The instrument by its name."""
        return INSTRUMENTS.get(self.kind)

    @property
    def config(self) -> InstrumentConfig:
        """Its configuration with the suite's settings."""
        return self.instrument.Config(**self.settings)

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """Runs trials in an empty results folder."""
        from threatspec.testing._bench import Bench

        return Bench(tmp_path, self.subject)

    # parts

    def test_it_is_registered_under_its_name(self) -> None:
        assert isinstance(self.instrument, Instrument)
        assert self.instrument.kind == self.kind

    def test_its_parts_are_present_and_typed(self) -> None:
        check_says(self.instrument.says)
        assert self.instrument.arms, "it must be read on some arm"
        assert set(self.instrument.arms) <= set(Arm)
        keys = [panel.key for panel in self.instrument.panels]
        assert keys
        assert len(set(keys)) == len(keys), "panels must have different keys"
        for panel in self.instrument.panels:
            assert panel.title.strip()
            assert panel.x.strip()
            assert panel.y.strip()

    def test_its_configuration_is_frozen_strict_and_described(self) -> None:
        check_config(self.instrument.Config, InstrumentConfig, self.settings)

    def test_it_says_which_prompts_it_reads_and_what_it_trains(self) -> None:
        """Settings that name prompts are settings that it has; plans tell how many there are."""
        prompts = self.instrument.prompts(self.config)
        names = {field.alias or name for name, field in type(self.config).model_fields.items()}
        assert prompts
        assert {one.key for one in prompts} <= names
        assert all(one.n > 0 for one in prompts)
        assert len({one.name for one in prompts}) == len(prompts), "each is found by its name"
        assert self.instrument.steps(self.config) >= 0

    # what it does

    def test_its_curves_can_be_drawn(self, bench: Bench) -> None:
        """Finite, rising along the axis, each in a panel and under a name of its own; the band
        around what is drawn, or none."""
        curves = self._read(bench)
        panels = {panel.key for panel in self.instrument.panels}
        assert {curve.name.partition("/")[0] for curve in curves} == panels
        assert len({curve.name for curve in curves}) == len(curves)
        for curve in curves:
            assert list(curve.x) == sorted(set(curve.x))
            assert all(map(math.isfinite, (*curve.x, *curve.y, *curve.low, *curve.high)))
            assert bool(curve.low) == bool(curve.high)
            assert all(low <= high for low, high in zip(curve.low, curve.high, strict=True))

    def test_it_reads_the_same_every_time(self, bench: Bench) -> None:
        """Whatever else has drawn random numbers before."""
        first = self._read(bench)
        bench.disturb()
        assert self._read(bench) == first

    def test_the_subject_and_the_store_are_as_they_were(self, bench: Bench) -> None:
        """Weights bit for bit, evaluation mode, no gradients left, nothing trained left behind."""
        before, wanted = bench.weights(), self._flags(bench)
        stored = self._stored(bench)
        self._read(bench)
        assert bench.weights() == before
        assert self._flags(bench) == wanted
        assert self._stored(bench) == stored
        assert not bench.subject.model.training
        assert all(one.grad is None for one in bench.subject.model.parameters())

    def test_a_reading_takes_the_steps_that_it_said(self, bench: Bench) -> None:
        self._read(bench)
        assert bench.spent.steps == self.instrument.steps(self.config)

    def _read(self, bench: Bench) -> tuple[Curve, ...]:
        settings = self.config.model_dump(mode="json", by_alias=True)
        base = self.base if self.instrument.compares else None
        return bench.reading(self.kind, settings, base, self.folder)

    def _flags(self, bench: Bench) -> dict[str, bool]:
        return {n: one.requires_grad for n, one in bench.subject.model.named_parameters()}

    def _stored(self, bench: Bench) -> set[str]:
        path = bench.store.place.path
        return set() if path is None else {one.name for one in path.rglob("*") if one.is_file()}
