"""Conformance of benchmarks: ids, splits, digest, licence and source."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar, get_args

from threatspec.measures import Benchmark, Item, benchmark
from threatspec.measures.base import Split
from threatspec.schema import BenchmarkCard
from threatspec.testing._parts import check_says

__all__ = ["BenchmarkConformance"]

_SPLITS: frozenset[str] = frozenset(get_args(Split))
_DIGEST = "import sys; from threatspec.measures import benchmark; from pathlib import Path; "
_DIGEST += "print(benchmark(sys.argv[1], Path(sys.argv[2])).digest)"


class BenchmarkConformance:
    """Subclass it as `TestSomething` and set `name`."""

    name: ClassVar[str]
    """The benchmark's name, `file:PATH` or `hf:OWNER/NAME@COMMIT`."""
    folder: ClassVar[Path] = Path()
    """Where a file is looked for."""
    splits: ClassVar[tuple[Split, ...]] = ("test",)
    """Splits that must hold prompts; rows to train on have `attack_train` only."""

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark by its name."""
        return benchmark(self.name, self.folder)

    def test_it_is_known_by_its_name(self) -> None:
        assert isinstance(self.benchmark, Benchmark)
        assert self.name.startswith("file:") or self.benchmark.name == self.name

    def test_it_says_what_it_is_and_has_a_licence_and_a_source(self) -> None:
        found = self.benchmark
        check_says(found.says)
        card = BenchmarkCard.model_validate(
            {
                "schema": "threatspec/benchmark-card/v1",
                "name": found.name, "says": found.says, "licence": found.licence,
                "source": found.source, "file": "none.jsonl", "sha256": "0" * 64,
                "prompts": len(found.items()),
            }
        )  # fmt: skip
        assert card.licence.strip()
        assert card.source.strip()

    def test_ids_are_unique(self) -> None:
        counts = Counter(item.id for item in self.benchmark.items())
        assert [name for name, count in counts.items() if count > 1] == []

    def test_every_item_has_a_prompt_a_cluster_and_a_known_split(self) -> None:
        for item in self.benchmark.items():
            assert isinstance(item, Item)
            assert item.prompt.strip(), item.id
            assert item.cluster, item.id
            assert item.split in _SPLITS, item.id

    def test_its_splits_are_not_empty(self) -> None:
        assert [split for split in self.splits if not self.benchmark.items(split)] == []

    def test_a_split_is_its_items_in_the_order_of_all(self) -> None:
        everything = self.benchmark.items()
        for split in _SPLITS:
            own = tuple(item for item in everything if item.split == split)
            assert tuple(self.benchmark.items(split)) == own
        assert not self.benchmark.items("no-such-split")

    def test_no_prompt_and_no_cluster_stands_in_two_splits(self) -> None:
        splits: dict[tuple[str, str], set[str]] = {}
        for item in self.benchmark.items():
            prompt = " ".join((*item.prompt.casefold().split(), item.image))
            for key in (("prompt", prompt), ("cluster", item.cluster)):
                splits.setdefault(key, set()).add(item.split)
        assert {key: found for key, found in splits.items() if len(found) > 1} == {}

    def test_the_digest_is_of_the_content_and_the_same_in_every_process(self) -> None:
        found = self.benchmark
        assert found.digest == Benchmark.digest.__get__(found), "the digest must not be replaced"
        assert {self._digest_elsewhere(seed) for seed in ("1", "2")} == {found.digest}

    def _digest_elsewhere(self, hash_seed: str) -> str:
        path = os.pathsep.join(place or os.getcwd() for place in sys.path)
        done = subprocess.run(
            [sys.executable, "-P", "-c", _DIGEST, self.name, str(self.folder.resolve())],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
