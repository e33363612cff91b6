"""Benchmarks and judges: what is asked, and who decides whether a reply counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from threatspec.records import Outcome
from threatspec.registry import Registry
from threatspec.schema import Described, Model, content_id

__all__ = [
    "BENCHMARKS",
    "DEV_SPLIT",
    "JUDGES",
    "Benchmark",
    "Item",
    "Judge",
    "JudgeConfig",
    "Judgement",
    "Response",
    "Split",
]

Split = Literal["safeguard_train", "attack_train", "attack_dev", "test"]
DEV_SPLIT: Split = "attack_dev"
"""What an adversary reads to choose among attacks."""


class Item(Model):
    """One prompt of a benchmark."""

    id: str
    prompt: str
    split: Split
    cluster: str
    """Prompts of one cluster are one unit; a lone prompt is its own cluster."""
    category: str = ""
    slices: dict[str, str] = Field(default_factory=dict)
    """Further slices the prompt belongs to, by key; `category` and `label` are without being
    listed."""
    answer: str = ""
    """A complying (or right) answer in full: what a demonstration shows."""
    references: tuple[str, ...] = ()
    """What an exact judge looks for; any one is enough."""
    refusal: str = ""
    """A refusal in the style of the data, for safeguards."""
    image: str = ""
    """Reference of the image that is shown with the prompt."""
    choices: tuple[str, ...] = ()
    """Of a question with given answers, or of an image with one of several classes: all of them."""
    right: int | None = Field(default=None, ge=0)
    """Which of `choices` is right."""
    response: str = ""
    """A reply that people labelled; for judges that are themselves the subject."""
    label: Literal["", "yes", "no"] = ""
    """How people labelled it."""

    @property
    def all_slices(self) -> dict[str, str]:
        """Value by key of every slice the prompt belongs to."""
        own = {"category": self.category, "label": self.label}
        return {**{key: value for key, value in own.items() if value}, **self.slices}


class Benchmark(ABC):
    """Prompts with ids, splits, categories, licence, content hash."""

    name: str
    says: str
    licence: str
    source: str

    @abstractmethod
    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split, in a fixed order."""

    def reading_order(self, split: str) -> tuple[tuple[Item, ...], ...]:
        """Items of a split, cluster by cluster, in a random order that the content alone decides.

        Whoever stops reading early has read a random sample, and everybody reads the same one.
        """
        if split not in self._orders:
            clusters: dict[str, list[Item]] = {}
            for item in self.items(split):
                clusters.setdefault(item.cluster, []).append(item)
            ordered = sorted(clusters, key=lambda name: content_id(
                "order", [self.digest, split, name]))  # fmt: skip
            self._orders[split] = tuple(tuple(clusters[name]) for name in ordered)
        return self._orders[split]

    @cached_property
    def _orders(self) -> dict[str, tuple[tuple[Item, ...], ...]]:
        return {}

    @cached_property
    def digest(self) -> str:
        """Derived from all items."""
        return content_id("benchmark", [_content(item) for item in self.items()])


_LATER = frozenset({"choices", "image", "right", "response", "label"})
"""Fields that say nothing where they are not given."""


def _content(item: Item) -> dict[str, Any]:
    given = item.model_dump(mode="json")
    empty = {name for name in _LATER if not given[name] and given[name] != 0}
    return {name: value for name, value in given.items() if name not in empty}


@dataclass(frozen=True, slots=True)
class Response:
    """What a judge is shown."""

    item: Item
    text: str
    """The judged span: the subject's own words, or the attacker's followed by them."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One decision."""

    outcome: Outcome
    detail: str = ""
    raw: str = ""
    """The judge's own words, where it has any."""


class JudgeConfig(Described):
    """Settings of a judge."""


class Judge(ABC):
    """Decides whether one response counts: `yes`, `no`, `unscorable`."""

    kind: ClassVar[str]
    says: ClassVar[str]
    exact: ClassVar[bool]
    """True if success is programmatic, so that there is no judge error to correct for."""
    prose: ClassVar[bool] = False
    """Whether it reads what was written; the name of a class alone would tell it nothing."""
    Config: ClassVar[type[JudgeConfig]] = JudgeConfig

    def located(self, config: Any, folder: Path) -> Any:
        """The settings with files and models looked for in `folder`, that of the claims file."""
        return config

    def identity(self, config: Any) -> dict[str, str]:
        """Digests of what else decides: lists, prompts, weights. `config` is located.

        Raises ThreatspecError for what is not there.
        """
        return {}

    def faults(self, config: Any) -> tuple[str, ...]:
        """What is known to be wrong with how it is set, a clause each; `config` is located."""
        return ()

    def lacks(self, config: Any, items: Sequence[Item]) -> str:
        """Why these items cannot be judged as it is set, for `check`; empty if they can."""
        return ""

    @abstractmethod
    def score(self, responses: Sequence[Response], config: Any) -> list[Judgement]:
        """One judgement per response, in order."""


BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmark",
    "TS-UNKNOWN-BENCHMARK",
    (
        "threatspec.measures._images",
        "threatspec.measures._sights",
        "threatspec.measures._specimen",
    ),
    group="threatspec.benchmarks",
    base=Benchmark,
)
"""Benchmarks by name; `file:` names are read from disk instead."""

JUDGES: Registry[Judge] = Registry(
    "judge",
    "TS-UNKNOWN-JUDGE",
    (
        "threatspec.measures.agreement",
        "threatspec.measures.answered",
        "threatspec.measures.choice",
        "threatspec.measures.classifier",
        "threatspec.measures.degenerate",
        "threatspec.measures.exact",
        "threatspec.measures.keywords",
        "threatspec.measures.llm",
        "threatspec.measures.refusal_keywords",
        "threatspec.measures.target_class",
    ),
    group="threatspec.judges",
    base=Judge,
)
"""All judges by kind."""
