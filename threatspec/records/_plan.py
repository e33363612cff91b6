"""What is planned: every cell and trial of a campaign, written down before the first one runs.

``plan.json`` (schema ``threatspec/plan/v2``) is read by every verb that works on a results folder;
its id is derived from its content, so a changed plan is another plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from threatspec.records._results import Spend
from threatspec.schema import Calibration, Claim, Model, content_id

__all__ = [
    "UNTOUCHED",
    "Arm",
    "Budget",
    "Cell",
    "Execution",
    "InstrumentReading",
    "Knob",
    "Overlap",
    "Panel",
    "Plan",
    "PlannedClaim",
    "PlannedInstrument",
    "PlannedMeasure",
    "PlannedSlice",
    "Procedure",
    "Search",
    "Stream",
    "Trial",
    "TrialKind",
]

UNTOUCHED = "untouched"
"""Name of the pseudo-procedure under which a subject is read as it is."""


class Arm(StrEnum):
    """Which of a claim's subjects a cell is about."""

    DEFENDED = "defended"
    CONTROL = "control"
    UNDEFENDED = "undefended"


class Stream(StrEnum):
    """One source of randomness of a replicate."""

    DATA_SUBSET = "data_subset"
    ORDER = "order"
    INIT = "init"
    TRAIN = "train"
    EVAL = "eval"


class TrialKind(StrEnum):
    """What a trial does: build a subject, score its weights, make a tamper, repair what it left,
    ask, judge, or read an instrument."""

    BUILD = "build"
    SCORE = "score"
    ATTACK = "attack"
    REPAIR = "repair"
    GENERATE = "generate"
    JUDGE = "judge"
    INSTRUMENT = "instrument"


class Budget(Model):
    """What one pass of the adversary may spend; None = not bounded."""

    steps: int | None = None
    flops: float | None = None
    queries: int | None = None


class Knob(Model):
    """What a search may set one knob to: one of `choices`, or a number from `low` to `high`."""

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    """Drawn evenly in the logarithm."""
    integer: bool = False


def knob_of(config: Mapping[str, Any], name: str) -> Any:
    """A knob of a configuration; `N.KNOB` is that of the attack at place N of a chain."""
    place, dot, knob = name.partition(".")
    return config["links"][int(place)]["config"].get(knob) if dot else config.get(name)


class Search(Model):
    """A search that is planned: how many configurations of what, and by which rule."""

    space: dict[str, Knob]
    configurations: int
    """How many are tried."""
    start: int
    """Of these, how many fill the space before any outcome is read."""
    batch: int
    """How many later ones are proposed at once, from the same outcomes."""
    rule: Literal["once", "per-replicate", "free"] = "once"
    rungs: tuple[int, ...] = ()
    """Successive halving: steps of each rung. The best of one go on to the next, trained from the
    start with the same seeds: where the rate is constant, the same trajectory."""
    keep: int = 2
    """One of so many goes on to the next rung."""

    @property
    def varied(self) -> dict[str, Knob]:
        """Everything that differs between configurations: the space, and the steps of rungs."""
        return {**self.space, **({"steps": Knob(choices=self.rungs)} if self.rungs else {})}


class Procedure(Model):
    """An attack with everything fixed but the seed."""

    id: str
    """Derived from the attack, its configuration, its rows and the adversary's name."""
    name: str
    """What people see: the card's name and what was overridden, e.g. `lora-finetune lr=0.001`."""
    attack: str
    """Kind of the attack."""
    card: str | None
    """Name of the attack card, if one was used."""
    source: str = ""
    """Where the card's configuration comes from."""
    config: dict[str, Any]
    """Resolved configuration."""
    adversary: str
    """Name of the adversary in the spec."""
    data: dict[str, Any]
    """Training rows: `{role: {"source": ..., "n": ...}}`; empty if the attack trains nothing."""
    named: bool
    """False if it was selected because nothing was named."""
    deterministic: bool
    """True if it declares no seed streams: one replicate, seed rules do not apply."""
    trainer: str = ""
    """Back-end that trains; empty if the attack trains nothing."""
    runs: tuple[int, ...] = ()
    """Optimiser steps of each training run that is planned; empty if a search decides them."""
    search: Search | None = None
    """What is searched before the first replicate; None: everything is fixed."""
    against: str = ""
    """Safeguard that it is made for; other subjects do not meet it. Empty: for none."""


class Cell(Model):
    """Procedure x replicate on one subject: the unit of evidence."""

    id: str
    procedure: str
    """Id of the procedure, or `untouched`."""
    subject: str
    """Reference of the model, e.g. `specimen:deep`; of a built one also how it was built."""
    replicate: int
    seeds: dict[Stream, int]
    attack: str | None
    """Id of the trial that makes the tamper; None if the subject is untouched."""
    measures: dict[str, tuple[str, ...]]
    """Ids of the judging trials by name of the measure, one per look."""
    predicted: Spend = Spend()
    """What the attack is expected to spend; not part of the id."""


class Trial(Model):
    """One piece of work. The id is derived from everything that determines the result."""

    id: str
    kind: TrialKind
    subject: str
    needs: tuple[str, ...]
    """Trials whose results this one reads."""
    after: tuple[str, ...] = ()
    """Trials to wait for, because what they find may make this one needless; not part of the id."""
    history: tuple[str, ...] = ()
    """Trials whose results it reads whatever became of them; those without a result are left
    out."""
    work: dict[str, Any]
    """What to do; its form depends on the kind."""
    budget: Budget | None = None
    """What an attack may spend."""


class PlannedSlice(Model):
    """The prompts of one slice of a measure."""

    items: tuple[str, ...]
    units: int


class PlannedMeasure(Model):
    """A measure with what its identity depends on."""

    id: str
    """Content-derived; measures with different ids never compare."""
    benchmark: str
    split: str
    judge: dict[str, Any]
    span: str
    cluster: Literal["any", "all"]
    query: Literal["generate", "logprob"] = "generate"
    requests: Literal["attacked", "plain"] = "attacked"
    """Whether what an attack does to requests is done to these."""
    aggregation: Literal["any", "all", "mean"] = "any"
    """What counts of several replies to one prompt."""
    prompts: int
    units: int
    """Clusters of prompts: what bounds count."""
    calibration: tuple[Calibration, ...] = ()
    """How the judge errs, by family of attacks."""
    exact: bool
    """Whether the judge is programmatic, so that it has no error to speak of."""
    order: tuple[tuple[str, ...], ...]
    """Prompts, cluster by cluster, in the random order in which they are read."""
    looks: tuple[int, ...]
    """Units that have been read at each look; the last is `units`."""
    slices: dict[str, PlannedSlice] = Field(default_factory=dict)
    """Slices that a claim reads or a report shows, by `KEY=VALUE`."""
    images: bool = False
    """Whether each prompt comes with an image of its own."""

    @property
    def noun(self) -> str:
        """What is counted, for people."""
        return "images" if self.images else "prompts"


class Panel(Model):
    """One drawing of an instrument: what its axes are."""

    key: str
    """Curves called `KEY`, or `KEY/LABEL`, are drawn in it."""
    title: str
    x: str
    """What is on the horizontal axis, with its unit."""
    y: str
    """What is on the vertical axis, with its unit."""


class InstrumentReading(Model):
    """One subject on which an instrument is read."""

    subject: str
    """Name of the subject in the spec."""
    arm: Arm
    model: str
    """Reference of the arm's model."""
    trial: str


class PlannedInstrument(Model):
    """What is read beside measures. It decides nothing, so no claim and no cell refers to it."""

    use: str
    """Kind of the instrument."""
    settings: dict[str, Any]
    """Resolved."""
    panels: tuple[Panel, ...]
    readings: tuple[InstrumentReading, ...]


class PlannedClaim(Model):
    """A claim and the cells that are to decide it."""

    id: str
    """The claim's id; with `[subject][attack][perspective]` where it stands for several."""
    claim: Claim
    """`holds` is what is decided: a perspective has been written out."""
    subject: str
    """Name of the subject in the spec."""
    models: dict[Arm, str]
    """Reference of the model of each arm that the subject declares."""
    untouched: dict[Arm, str]
    """Cell of each arm as it is."""
    attacked: dict[Arm, tuple[str, ...]]
    """Cells under attack, by arm; those of the undefended arm decide nothing."""
    not_run: tuple[str, ...] = ()
    """Attacks that access allows and the adversary does not list."""
    classifies: bool = False
    """Whether the subject is a classifier, which no serving says anything to."""


class Execution(Model):
    """What fixes the arithmetic: the same plan gives the same rows on one kind of CPU."""

    threads: int = Field(default=1, ge=1)
    micro_batch: int = Field(default=64, ge=1)
    exhaustive: bool = False
    """Read every prompt of every cell; otherwise a cell is read until it is settled."""


class Overlap(Model):
    """How many prompts of one set occur in another."""

    left: str
    right: str
    """Sets as `BENCHMARK#SPLIT`; the share is of the left one."""
    prompts: int
    """Prompts of the left set."""
    equal: int
    """Of these, how many also stand in the right set once spelling is normalised."""
    near: int
    """How many stand there nearly; those that are equal are among them."""
    categories: dict[str, int] = Field(default_factory=dict)
    """`near` by category of the left set, where it is not 0."""


class Plan(Model):
    """A frozen campaign."""

    format: Literal["threatspec/plan/v2"] = Field(default="threatspec/plan/v2", alias="schema")
    spec_file: str
    """Name of the claims file, without folders."""
    spec: dict[str, Any]
    """The spec as it was read."""
    execution: Execution
    digests: dict[str, str]
    """sha256 of every model, benchmark and component the plan depends on, by name."""
    measures: dict[str, PlannedMeasure]
    procedures: dict[str, Procedure]
    cells: dict[str, Cell]
    trials: dict[str, Trial]
    overlaps: tuple[Overlap, ...] = ()
    """Between training rows, the safeguard's rows and what is measured."""
    claims: tuple[PlannedClaim, ...]
    instruments: dict[str, PlannedInstrument] = Field(default_factory=dict)
    """By name; what they read is drawn, and judges nothing."""

    def size(self, reading: str) -> tuple[int, int]:
        """Prompts and units of a reading such as `asr`, `control.asr` or `asr[category=fire]`."""
        name, bracket, rest = reading.partition("[")
        measure = self.measures[name.rpartition(".")[2]]
        if not bracket:
            return measure.prompts, measure.units
        part = measure.slices[rest.removesuffix("]")]
        return len(part.items), part.units

    @property
    def text(self) -> str:
        """What `plan.json` holds: receipts are over its bytes."""
        return self.model_dump_json(by_alias=True, indent=1)

    @property
    def id(self) -> str:
        """Derived from everything in the plan but the file's name."""
        # what older plans do not have leaves their ids as they are
        absent: set[str] = set() if self.instruments else {"instruments"}
        plain = self.model_dump(mode="json", exclude={"spec_file", *absent})
        for procedure in plain["procedures"].values():
            if not procedure["against"]:
                del procedure["against"]
        return content_id("plan", plain)
