"""Reading an instrument on a resident subject. What it trains on the way is deleted in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError
from threatspec.instruments import INSTRUMENTS, InstrumentContext, Prompts
from threatspec.measures import Item, benchmark
from threatspec.records import Curve, Trial
from threatspec.runners._asks import Asks
from threatspec.subjects import Tamper
from threatspec.training import TrainingJob, Trajectory

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

__all__ = ["read_instrument"]


def read_instrument(
    trial: Trial, asks: Asks, base: ResidentSubject | None, folder: Path, micro_batch: int
) -> tuple[Curve, ...]:
    """The curves of one subject.

    Args:
        trial: which instrument, with its settings.
        asks: trains on the subject; its store is the trial's own.
        base: what the subject is compared with.
        folder: where relative files of the spec are looked for.
        micro_batch: rows that go through the model at once.

    Raises ThreatspecError for what cannot be read.
    """
    instrument = INSTRUMENTS.get(trial.work["instrument"])
    config = instrument.Config.model_validate(trial.work["settings"], strict=False)
    made = _Made(asks)
    context = InstrumentContext(
        subject=asks.subject,
        base=base,
        items={one.name: _items(one, folder) for one in instrument.prompts(config)},
        micro_batch=micro_batch,
        train=made.train,
        mounted=made.mounted,
    )
    try:
        return _drawn(instrument.read(context, config), [panel.key for panel in instrument.panels])
    finally:
        made.remove()


def _items(prompts: Prompts, folder: Path) -> Sequence[Item]:
    clusters = benchmark(prompts.benchmark, folder).reading_order(prompts.split)
    return [item for cluster in clusters for item in cluster][: prompts.n]


def _drawn(curves: tuple[Curve, ...], panels: Sequence[str]) -> tuple[Curve, ...]:
    """Curves that can be drawn: each in one of the panels, as long as its axis."""
    for curve in curves:
        sizes = {len(curve.x), len(curve.y), *(len(v) for v in (curve.low, curve.high) if v)}
        if len(sizes) > 1 or not curve.x or curve.name.partition("/")[0] not in panels:
            text = f"a curve must be of a panel and have a value at each place, but {curve.name!r}"
            raise ThreatspecError("TS-INSTRUMENT", f"{text} is not so")
    return curves


class _Made:
    """What was trained on the way."""

    def __init__(self, asks: Asks) -> None:
        self._asks = asks
        self._names: dict[str, None] = {}

    def train(self, job: TrainingJob) -> Trajectory:
        """Do it, and remember what it leaves."""
        trajectory: Trajectory = self._asks.answer(job)
        self._names.update(dict.fromkeys(t.artefact for t in trajectory.checkpoints.values()))
        return trajectory

    @contextmanager
    def mounted(self, tamper: Tamper) -> Iterator[None]:
        """The subject with it."""
        from threatspec.subjects._mount import mount

        with mount(self._asks.subject, [tamper], self._asks.store):
            yield

    def remove(self) -> None:
        """Delete what was left."""
        for name in self._names:
            self._asks.store.remove(name)
