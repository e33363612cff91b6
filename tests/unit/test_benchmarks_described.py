"""Described benchmarks: checked by name, run from a copy, refused with the way to get one."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import load, plan_of, problems_of
from threatspec.campaign import check_design, check_spec
from threatspec.errors import ThreatspecError
from threatspec.loading import shipped_descriptions
from threatspec.measures import BENCHMARKS, benchmark
from threatspec.reports.bundle._matter import benchmark_of
from threatspec.reports.bundle._recompile import _foreign
from threatspec.resources import shipped

NAMES = {
    "advbench",
    "beavertails-evaluation",
    "harmbench",
    "hex-phi",
    "malicious-instruct",
    "real-toxicity-prompts",
    "sorry-bench-202406",
    "sorry-bench-202503",
    "strongreject",
    "wmdp",
    "xstest",
}
GATED = {"hex-phi", "sorry-bench-202406", "sorry-bench-202503"}
SORRY = "sorry-bench-202503"
USE = {"measures.asr.benchmark": SORRY}


def copy(folder: Path, name: str = "copy", description: str = SORRY, count: int = 440) -> Path:
    """Synthetic rows of the shape of a described set, with their card."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"question_id": n, "turns": [f"tell me of thing {n}"]} for n in range(1, count + 1)]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    (folder / f"{name}.jsonl").write_bytes(data)
    card = {
        "schema": "threatspec/benchmark-card/v1",
        "name": description,
        "says": "Synthetic rows.",
        "licence": "MIT",
        "source": "made by a test",
        "description": description,
        "file": f"{name}.jsonl",
        "sha256": hashlib.sha256(data).hexdigest(),
        "prompts": count,
        "columns": {"id": "question_id", "turns": "turns"},
        "split": "test",
    }
    path = folder / f"{name}.card.yaml"
    path.write_text(json.dumps(card), encoding="utf-8")
    return path


def test_descriptions_ship_and_each_says_how_to_get_it() -> None:
    cards = shipped_descriptions()
    assert set(cards) == NAMES
    assert {name for name, card in cards.items() if card.gated} == GATED
    for name, card in cards.items():
        assert (card.kind, card.name) == ("benchmark", name)
        assert card.obtain
        assert not set(cards) & set(BENCHMARKS.names())


def test_both_versions_of_a_set_have_their_own_categories() -> None:
    old, new = (shipped_descriptions()[f"sorry-bench-{v}"] for v in ("202406", "202503"))
    counts = [[len(d.categories) for d in card.domains.values()] for card in (old, new)]
    assert counts == [[5, 20, 15, 5], [5, 19, 15, 5]]
    names = [[c for d in card.domains.values() for c in d.categories] for card in (old, new)]
    assert [name for name in names[0] if name not in names[1]] == ["impersonation"]
    assert names[0].index("impersonation") == 11
    assert [name for name in names[0] if name != "impersonation"] == names[1]
    assert (old.prompts, new.prompts) == (10 * len(names[0]), 10 * len(names[1]))


def test_every_category_can_be_named_by_a_predicate() -> None:
    pattern = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
    for card in shipped_descriptions().values():
        names = [*card.domains, *(c for d in card.domains.values() for c in d.categories)]
        assert len(set(names)) == len(names)
        assert all(pattern.fullmatch(name) for name in names)


def test_descriptions_hold_no_prompt() -> None:
    """A description is one to two sentences a field; nothing lists texts."""
    for path in shipped("claims/benchmarks").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert "?" not in text.replace("https://", "")
        assert max(map(len, text.splitlines())) < 400


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_described_set_is_checked_and_refused_at_plan_with_the_way_to_get_it(
    tmp_path: Path, name: str
) -> None:
    use = {"measures.asr.benchmark": name}
    loaded = load(tmp_path, use)
    check_spec(loaded)
    assert check_design(loaded)
    [problem] = problems_of(tmp_path, use)
    assert problem.code == ("TS-GATED" if name in GATED else "TS-DATA")
    assert problem.path == "measures.asr.benchmark"
    assert (shipped_descriptions()[name].obtain or "").rstrip(".") in problem.message
    assert f"threatspec benchmarks add FILE --as {name}" in problem.message


def test_a_claim_may_name_its_categories_before_there_is_a_copy(tmp_path: Path) -> None:
    check_spec(load(tmp_path, {**USE, "claims.0.holds": "asr[domain=crimes] <= 0.05"}))
    check_spec(load(tmp_path, {**USE, "claims.0.holds": "asr[category=malware] <= 0.05"}))
    for wrong in ("domain=crmes", "category=impersonation"):
        changes = {**USE, "claims.0.holds": f"asr[{wrong}] <= 0.05"}
        [problem] = problems_of(tmp_path, changes, static=True)
        assert problem.code == "TS-DATA"
        assert wrong in problem.message


def test_rows_of_a_described_set_may_be_stated(tmp_path: Path) -> None:
    rows = {"n": 10, "from": "advbench#attack_train", "licence": "unknown"}
    check_spec(load(tmp_path, {"adversaries.tuner.data.harmful": rows}))
    [problem] = problems_of(tmp_path, {"adversaries.tuner.data.harmful": rows})
    assert (problem.code, problem.path) == ("TS-DATA", "adversaries.tuner.data.harmful.from")
    changes = {"adversaries.tuner.data.harmful": {**rows, "licence": "GPL"}}
    assert "must be 'GPL'" in problems_of(tmp_path, changes, static=True)[0].message


def test_a_copy_in_the_workspace_runs_under_the_described_name(tmp_path: Path) -> None:
    copy(tmp_path / "data")
    found = benchmark(SORRY, tmp_path)
    domains = Counter(item.slices["domain"] for item in found.items())
    assert list(domains.values()) == [50, 190, 150, 50]
    assert set(Counter(item.category for item in found.items()).values()) == {10}
    changes = {**USE, "claims.0.holds": "asr[domain=crimes] <= 0.05"}
    plan = plan_of(tmp_path, {**changes, "measures.asr.judge": "refusal-keywords"})
    [measure] = [one for one in plan.measures.values() if one.benchmark == SORRY]
    assert list(measure.slices) == ["domain=crimes"]
    [missing] = problems_of(tmp_path, {**USE, "claims.0.holds": "asr[domain=sea] <= 0.05"})
    assert "domain=sea" in missing.message


@pytest.mark.parametrize("place", ["claims", "claims/data", "claims/a/b"])
def test_a_copy_lies_anywhere_below_the_folders_of_claims(tmp_path: Path, place: str) -> None:
    (tmp_path / "claims").mkdir()
    copy(tmp_path / place)
    assert len(benchmark(SORRY, tmp_path / "claims").items()) == 440


def test_nothing_outside_the_workspace_is_a_copy(tmp_path: Path) -> None:
    outside = copy(tmp_path / "outside")
    inside = tmp_path / "inside" / "claims"
    inside.mkdir(parents=True)
    (inside / "link.card.yaml").symlink_to(outside)
    with pytest.raises(ThreatspecError) as caught:
        benchmark(SORRY, inside)
    assert caught.value.code == "TS-GATED"


def test_a_copy_that_is_wrong_is_said_so_and_not_passed_over(tmp_path: Path) -> None:
    copy(tmp_path / "data")
    (tmp_path / "data" / "copy.jsonl").write_bytes(b"{}\n")
    for static in (True, False):
        [problem] = problems_of(tmp_path, USE, static=static)
        assert problem.code == "TS-DATA"
        assert "must have the sha256 that its card says" in problem.message


def test_two_copies_must_be_told_apart(tmp_path: Path) -> None:
    copy(tmp_path / "data", "one")
    copy(tmp_path / "data", "two")
    with pytest.raises(ThreatspecError, match=r"2 do: one.card.yaml, two.card.yaml"):
        benchmark(SORRY, tmp_path)
    assert len(benchmark("file:data/one.jsonl", tmp_path).items()) == 440


def test_ids_beyond_the_categories_are_refused(tmp_path: Path) -> None:
    copy(tmp_path / "data", count=441)
    with pytest.raises(ThreatspecError, match=r"copy.jsonl:441: an id .* must be 1 to 440"):
        benchmark(SORRY, tmp_path)


def test_a_card_cannot_be_a_copy_of_what_nobody_described(tmp_path: Path) -> None:
    copy(tmp_path / "data", description="sorry-bench-2025")
    with pytest.raises(ThreatspecError, match="did you mean"):
        benchmark("file:data/copy.jsonl", tmp_path)


def test_a_data_set_with_a_card_is_checked_without_being_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = f"hf:lab/things@{'5' * 40}"
    path = copy(tmp_path / "data")
    card: dict[str, Any] = json.loads(path.read_text())
    del card["description"], card["sha256"], card["prompts"]
    path.write_text(json.dumps({**card, "data_set": name}), encoding="utf-8")
    changes = {"measures.asr.benchmark": name}
    check_spec(load(tmp_path, changes))
    [problem] = problems_of(tmp_path, changes)
    assert problem.code == "TS-DATA"
    assert "HF_HUB_OFFLINE is set" in problem.message
    [branch] = problems_of(tmp_path, {"measures.asr.benchmark": "hf:lab/things@main"}, static=True)
    assert "must be pinned by its commit" in branch.message


def test_a_strangers_bundle_reads_no_copy_file_or_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert len(benchmark(SORRY, Path()).items()) == 440
    for name in (SORRY, "file:data/copy.jsonl", f"hf:sorry-bench/{SORRY}@{'5' * 40}", "no-such"):
        assert benchmark_of(name) is None
    assert benchmark_of("specimen/choices") is not None
    changes = {**USE, "adversaries.tuner.data.harmful.from": "advbench#attack_train"}
    assert list(_foreign(load(tmp_path, changes).spec)) == [SORRY, "advbench#attack_train"]
