"""Conformance of attacks: run on a specimen as a worker would run them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from threatspec.attacks import ATTACKS, Attack, AttackConfig, DataCard, Surface, training_rows
from threatspec.records import Budget, Spend, Stream, TrialResult, TrialStatus
from threatspec.schema import Capability, DataRole
from threatspec.subjects import (
    DataPoison,
    Offer,
    PixelTamper,
    Request,
    RequestTamper,
    ServingTamper,
    Tamper,
    WeightTamper,
    tampers_from_data,
    tampers_to_data,
)
from threatspec.subjects.images import image_of
from threatspec.testing._parts import check_config, check_says, ground_of

if TYPE_CHECKING:
    from threatspec.testing._bench import Bench

__all__ = ["AttackConformance"]

_SPENT = ("steps", "tokens", "flops", "queries")
_TAMPERS = {
    Surface.TRAINING_DATA: (DataPoison, WeightTamper, PixelTamper),
    Surface.WEIGHTS: (WeightTamper, PixelTamper),
    Surface.SERVING: (ServingTamper,),
    Surface.REQUEST: (RequestTamper,),
    Surface.PIXELS: (RequestTamper,),
}
"""A backdoor is weights and the trigger that opens it."""


class AttackConformance:
    """Subclass it as `TestSomething` and set `kind`."""

    kind: ClassVar[str]
    """The attack's name."""
    knobs: ClassVar[dict[str, Any]] = {}
    """Knobs without a default, and few steps: everything below runs within seconds."""
    subject: ClassVar[str] = ""
    """What is attacked; it must offer what the attack needs. Empty: a specimen that does, a
    classifier of digits for attacks on images."""
    source: ClassVar[str] = ""
    """Where rows come from, for attacks that read rows; empty: what fits that specimen."""
    benign: ClassVar[str] = ""
    """Where benign rows come from, for attacks that tell them apart; empty: likewise."""
    rows: ClassVar[int] = 0
    """How many of them; 0: 4, or 40 images."""
    folder: ClassVar[Path] = Path()
    """Where files that its knobs name are."""
    idle: ClassVar[frozenset[Stream]] = frozenset()
    """Declared streams that move nothing with these knobs on this subject (say, dropout at 0)."""

    @property
    def attack(self) -> Attack:
        """The attack by its name."""
        return ATTACKS.get(self.kind)

    @property
    def config(self) -> AttackConfig:
        """Its configuration with the suite's knobs."""
        return self.attack.Config(**self.knobs)

    @property
    def attacked(self) -> str:
        """Reference of what is attacked."""
        return self.subject or ground_of(self.attack.offers).attacked

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """Runs trials in an empty results folder."""
        from threatspec.testing._bench import Bench

        return Bench(tmp_path, self.attacked)

    # parts

    def test_it_is_registered_under_its_name(self) -> None:
        assert isinstance(self.attack, Attack)
        assert self.attack.kind == self.kind

    def test_its_parts_are_present_and_typed(self) -> None:
        attack = self.attack
        check_says(attack.says)
        assert isinstance(attack.surface, Surface)
        assert isinstance(attack.streams, frozenset)
        assert isinstance(attack.offers, frozenset)
        assert all(isinstance(stream, Stream) for stream in attack.streams)
        assert all(isinstance(offer, Offer) for offer in attack.offers)
        assert isinstance(attack.uses_rows, bool)

    def test_what_it_needs_are_sets_of_capabilities(self) -> None:
        needs = self.attack.needs
        assert isinstance(needs, tuple)
        for need in needs:
            assert isinstance(need, frozenset)
            assert need, "needing nothing is written as no sets at all"
            assert all(isinstance(capability, Capability) for capability in need)

    def test_its_configuration_is_frozen_strict_and_described(self) -> None:
        check_config(self.attack.Config, AttackConfig, self.knobs)

    def test_rows_are_drawn_from_a_stream_of_their_own(self) -> None:
        assert not self.attack.uses_rows or Stream.DATA_SUBSET in self.attack.streams

    # cost

    def test_the_cost_is_predicted_before_the_run(self, bench: Bench) -> None:
        cost = self._cost(bench)
        assert isinstance(cost, Spend)
        for name in (*_SPENT, "seconds"):
            assert math.isfinite(getattr(cost, name))
            assert getattr(cost, name) >= 0
        assert cost == self._cost(bench)

    def test_the_predicted_cost_is_within_a_factor_of_two_of_what_is_metered(
        self, bench: Bench
    ) -> None:
        cost, spent = self._cost(bench), self._run(bench, 0).spend
        for name in _SPENT:
            predicted, metered = getattr(cost, name), getattr(spent, name)
            assert predicted <= 2 * metered, name
            assert metered <= 2 * predicted, name

    def test_a_budget_of_nothing_stops_whatever_costs_anything(self, bench: Bench) -> None:
        result = self._result(bench, 0, Budget(steps=0, flops=0.0))
        costly = self._cost(bench).steps > 0 or self._cost(bench).flops > 0
        wanted = TrialStatus.OVER_BUDGET if costly else TrialStatus.DONE
        assert result.status is wanted, result.message
        assert (result.spend.steps, result.spend.flops) == (0, 0)

    # what it leaves

    def test_equal_seeds_leave_equal_tampers(self, bench: Bench) -> None:
        first = self._run(bench, 0).tamper
        bench.disturb()
        assert self._run(bench, 0).tamper == first

    def test_every_declared_stream_matters(self, bench: Bench) -> None:
        assert self.idle <= self._streams
        assert self._streams <= self.attack.streams
        first = self._run(bench, 0).tamper
        used = self._streams - self.idle - {Stream.EVAL}  # drawn from when subjects are asked
        for stream in sorted(used):
            seeds = {**self._seeds(0), stream: 1}
            assert self._run(bench, seeds).tamper != first, f"{stream.value} moves nothing"

    def test_its_tampers_are_of_its_surface_and_survive_being_written(self, bench: Bench) -> None:
        tampers = self._tampers(bench)
        for tamper in tampers:
            assert isinstance(tamper, _TAMPERS[self.attack.surface])
            assert tamper.kind, "a tamper without a kind cannot be read back"
        assert tampers_from_data(tampers_to_data(tampers)) == tampers

    def test_a_rewritten_request_is_still_the_same_item(self, bench: Bench) -> None:
        shown = ground_of(self.attack.offers).request
        request = Request(item="an-item", prompt="a prompt", answer="an answer", image=shown)
        for tamper in self._tampers(bench):
            if isinstance(tamper, RequestTamper):
                tamper = tamper.opened(bench.store.load, self.folder)
                assert tamper.encode(request) == tamper.encode(request)
                assert tamper.encode(request).item == request.item
                assert isinstance(tamper.decode("a reply"), str)
                if shown:
                    first, again = (image_of(tamper.encode(request), self.folder) for _ in range(2))
                    assert (first == again).all()

    def test_running_and_unmounting_give_the_weights_back_bit_exactly(self, bench: Bench) -> None:
        before = bench.weights()
        tampers = self._tampers(bench)
        assert bench.weights() == before, "running it changed the subject"
        with bench.mounted(tampers):
            pass
        assert bench.weights() == before, "unmounting its tampers changed the subject"

    # how it is run

    def _cost(self, bench: Bench) -> Spend:
        return self.attack.cost(bench.card, self.config, self._data())

    def _data(self) -> DataCard | None:
        data = self._sources()
        if not data:
            return None
        rows = [row for one in data.values() for row in training_rows(one["source"], Path())]
        words = max(len(f"{row.prompt} {row.answer}".split()) for row in rows)
        return DataCard(rows=sum(one["n"] for one in data.values()), words=words)

    def _sources(self) -> dict[str, dict[str, Any]]:
        """What the adversary's data are, by role: those that the attack reads."""
        roles = self.attack.roles(self.config)
        if roles is None:
            roles = (DataRole.HARMFUL,) if self.attack.uses_rows else ()
        ground = ground_of(self.attack.offers)
        known = {
            DataRole.HARMFUL: self.source or f"{ground.harmful}#attack_train",
            DataRole.BENIGN: self.benign or f"{ground.benign}#attack_train",
        }
        count = self.rows or ground.rows
        return {role.value: {"source": known[role], "n": count} for role in roles}

    @property
    def _streams(self) -> frozenset[Stream]:
        return self.attack.streams_of(self.config)

    def _seeds(self, seed: int) -> dict[Stream, int]:
        return dict.fromkeys(self._streams, seed)

    def _result(
        self, bench: Bench, seeds: int | dict[Stream, int], budget: Budget | None = None
    ) -> TrialResult:
        given = self._seeds(seeds) if isinstance(seeds, int) else seeds
        config = self.config.model_dump(mode="json")
        return bench.attack(self.kind, config, self._sources(), given, budget)

    def _run(self, bench: Bench, seeds: int | dict[Stream, int]) -> TrialResult:
        result = self._result(bench, seeds)
        assert result.status is TrialStatus.DONE, result.message
        return result

    def _tampers(self, bench: Bench) -> tuple[Tamper, ...]:
        data = self._run(bench, 0).tamper
        return tampers_from_data(data) if data else ()
