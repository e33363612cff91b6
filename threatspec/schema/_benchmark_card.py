"""Cards of benchmarks: what is known of rows in a file, and how its columns are read."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from threatspec.schema._base import Described

__all__ = ["HUB_NAME", "BenchmarkCard", "BenchmarkColumns", "Domain", "HubFile", "Reading"]

_WORDS = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_KEY = r"^[A-Za-z_][A-Za-z0-9_-]*$"
_FILE = r"^[A-Za-z0-9_-][A-Za-z0-9_. -]*(/[A-Za-z0-9_-][A-Za-z0-9_. -]*)*$"
"""A path inside a data set; no part begins with a dot."""
HUB_NAME = r"^hf:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+@[0-9a-f]{40}$"
"""A data set of a hub at one commit; the name of a branch is none, since it moves."""
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Key = Annotated[str, Field(pattern=_KEY, max_length=80)]
SplitName = Literal["safeguard_train", "attack_train", "attack_dev", "test"]
Portion = Annotated[float, Field(ge=0, le=1)]


class BenchmarkColumns(Described):
    """Which column of a file holds what; further columns are not read. `a.b` is `b` inside `a`."""

    id: Column | None = None
    """Names the row; absent = its line in the file."""
    prompt: Column | None = None
    """What is asked."""
    turns: Column | None = None
    """In place of `prompt`: a list with what is asked as its only entry."""
    split: Column | None = None
    """Which split the row belongs to."""
    cluster: Column | None = None
    """Rows of one cluster are one unit of evidence; absent = each row is its own."""
    category: Column | None = None
    """The slice `category` that the row belongs to."""
    answer: Column | None = None
    """A complying (or right) answer in full."""
    references: Column | None = None
    """What the judge `exact` looks for: text, or a list of texts."""
    refusal: Column | None = None
    """A refusal of the prompt."""
    image: Column | None = None
    """The image that is shown: a file beside this one, or a reference such as `photo:chelsea`."""
    choices: Annotated[tuple[Column, ...], Field(max_length=26)] = ()
    """Given answers: one column that holds a list, or a column for each."""
    right: Column | None = None
    """Which of the choices is right."""
    response: Column | None = None
    """A reply that people labelled."""
    label: Column | None = None
    """How people labelled it."""
    slices: dict[Key, Column] = Field(default_factory=dict)
    """Further slices, by key."""

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if (self.prompt is None) == (self.turns is None):
            text = "the prompt must come from one column, so either `prompt` or `turns`"
            raise ValueError(f"{text}, but got {'none' if self.prompt is None else 'both'}")
        if bool(self.choices) != (self.right is not None):
            raise ValueError("`choices` and `right` must be given together, but one is missing")
        return self


class Reading(Described):
    """How rows are read, beside their columns."""

    columns: BenchmarkColumns | None = None
    """Which column holds what; absent = columns are called like the fields of an item."""
    split: SplitName | None = None
    """The split of every row that names none."""
    splits: Annotated[dict[str, SplitName], Field(max_length=100)] = Field(default_factory=dict)
    """What the file calls splits, by its own names; absent = as here."""
    shares: dict[SplitName, Portion] = Field(default_factory=dict)
    """Shares of splits that are drawn by the hash of each cluster's name; they sum to 1."""
    labels: Annotated[dict[str, Literal["yes", "no"]], Field(max_length=100)] = Field(
        default_factory=dict
    )
    """What the file's labels mean; absent = they are `yes` and `no`."""
    right: Literal["index", "number", "letter", "text"] = "index"
    """How the right choice is told: `index` from 0, `number` from 1, `letter` from A, or `text`."""
    where: Annotated[dict[Column, str], Field(max_length=20)] = Field(default_factory=dict)
    """Only rows that hold these values; others do not count."""
    null_rows: Annotated[int, Field(ge=0)] | None = None
    """Rows without a prompt, which are left out; any other number of them is an error."""

    @model_validator(mode="after")
    def _one_way_of_splitting(self) -> Self:
        named = self.columns is not None and self.columns.split is not None
        if self.shares and (named or self.split):
            raise ValueError("splits must be drawn by `shares` or named, but both are given")
        if self.shares and abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError(f"`shares` must sum to 1, but got {sum(self.shares.values()):g}")
        return self


class BenchmarkCard(Reading):
    """What is known of rows in a file. The card is `NAME.card.yaml`, beside the file."""

    format: Annotated[Literal["threatspec/benchmark-card/v1"], Field(alias="schema")]
    """Version of the card's format."""
    name: Text
    """Name of the benchmark."""
    says: Text
    """What the prompts ask, in one plain sentence."""
    licence: Text
    """Under which licence the prompts may be used."""
    source: Text
    """Where the prompts come from."""
    file: Text
    """The file (JSON Lines, CSV or Parquet), beside the card or in the data set."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash of the file's bytes; needed for a file beside the card."""
    prompts: Annotated[int, Field(ge=1)] | None = None
    """How many rows are read; needed for a file beside the card."""
    gated: bool = False
    """True if the user's own access is needed to load them."""
    data_set: Annotated[str, Field(pattern=HUB_NAME)] | None = None
    """`hf:REPO@REVISION` that holds the file; absent = it lies beside the card."""
    description: Annotated[str, Field(pattern=_WORDS, max_length=80)] | None = None
    """The described benchmark that this is a copy of; its domains become slices."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        lacking = [name for name in ("sha256", "prompts") if getattr(self, name) is None]
        if self.data_set is None and lacking:
            text = f"a file beside its card must be described by {' and '.join(lacking)}"
            raise ValueError(f"{text}, which are missing")
        if self.data_set is not None and not re.match(_FILE, self.file):
            raise ValueError(f"`file` must be a path inside the data set, but got {self.file!r}")
        return self


class HubFile(Reading):
    """Where a data set lies on a hub, and how it is read there."""

    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
    """Name of the data set: OWNER/NAME."""
    file: Annotated[str, Field(pattern=_FILE, max_length=200)]
    """The file in it."""


class Domain(Described):
    """Categories that belong together."""

    title: Text
    """What it is about, in words near those of its authors."""
    categories: dict[Annotated[str, Field(pattern=_WORDS)], Text]
    """What each is about, by the name that slices use; in the order of the authors."""
