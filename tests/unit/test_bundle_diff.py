"""`diff`: a difference is named by its place, and equal things have none."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from tests.support.bundles import SUPPORTED, breaks, bundled, made_run
from tests.support.specs import ABSENT as NOT_THERE
from tests.support.specs import Changes, load
from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.reports.bundle import Change, diff, diff_json, diff_lines
from threatspec.reports.bundle._values import ABSENT, changes

MORE = {"id": "more", "says": "More.", "against": "tuner", "holds": "asr <= 0.2"}


def written(folder: Path, name: str, edit: Changes | None = None) -> Path:
    own = {k: v for k, v in (edit or {}).items() if v is NOT_THERE}  # copied, it is another object
    return load(folder, {**copy.deepcopy({**SUPPORTED, **(edit or {})}), **own}, name).path


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    return made_run(folder)


@pytest.mark.parametrize(
    ("edit", "path", "old", "new"),
    [
        ({"claims.0.holds": "asr <= 0.2"}, "claims.holds.holds", "asr <= 0.10", "asr <= 0.2"),
        ({"claims.0.seeds.replicates": 7, "claims.0.scope.replicates": 7},
         "claims.holds.seeds.replicates", 2, 7),
        ({"adversaries.tuner.compute.steps": 60}, "adversaries.tuner.compute.steps", 30, 60),
        ({"adversaries.tuner.attacks.0.lr": 2e-4}, "adversaries.tuner.attacks.0.knobs.lr",
         1e-4, 2e-4),
        ({"measures.asr.cluster": "all"}, "measures.asr.cluster", "any", "all"),
        ({"subject.control": NOT_THERE}, "subjects.subject.control", "specimen:shallow", None),
        ({"serving.max_tokens": 9}, "serving.0.max_tokens", 12, 9),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(
    edit: Changes, path: str, old: object, new: object, tmp_path: Path
) -> None:
    found = diff(written(tmp_path, "a.yaml"), written(tmp_path, "b.yaml", edit))
    assert Change(path, old, new) in found
    assert Change(path, new, old) in diff(
        written(tmp_path, "b.yaml", edit), written(tmp_path, "a.yaml")
    )


def test_claims_are_told_apart_by_their_names(tmp_path: Path) -> None:
    one, other = written(tmp_path, "a.yaml"), written(tmp_path, "b.yaml", {"claims.1": MORE})
    [added] = diff(one, other)
    assert (added.path, added.old) == ("claims.more", ABSENT)
    [removed] = diff(other, one)
    assert (removed.path, removed.new) == ("claims.more", ABSENT)


def test_a_campaign_is_equal_to_its_spec_its_bundle_and_itself(held: Path, tmp_path: Path) -> None:
    bundle, spec = bundled(tmp_path, held), written(tmp_path, "a.yaml")
    for one, other in ((held, bundle), (bundle, held), (spec, bundle), (held, spec), (held, held)):
        assert diff(one, other) == ()


def test_verdicts_witnesses_and_counts_are_compared(held: Path, tmp_path: Path) -> None:
    broken = bundled(tmp_path, made_run(tmp_path, says=breaks))
    found = {change.path: (change.old, change.new) for change in diff(held, broken)}
    assert found["verdicts.holds"] == ("SUPPORTED", "REFUTED")
    old, new = found["witnesses.holds"]
    assert (old, new["replicate"], new["steps"]) == (None, 0, 30)
    cell = "cells.holds.defended/full-finetune lr=0.0001/0.asr"
    assert found[cell] == ("0 of 256", "256 of 256")


def test_counts_of_another_measure_are_not_compared(held: Path, tmp_path: Path) -> None:
    """Other prompts are another question, whatever it is called."""
    edit = {**SUPPORTED, "measures.asr.cluster": "all"}
    other = bundled(tmp_path, made_run(tmp_path, edit, says=breaks))
    paths = [change.path for change in diff(held, other)]
    assert any(path.startswith("identity of asr (another measure") for path in paths)
    assert not any(path.endswith(".asr") and path.startswith("cells.") for path in paths)


def test_lines_and_json_say_the_same(tmp_path: Path) -> None:
    edit = {"claims.0.holds": "asr <= 0.2", "claims.1": MORE}
    found = diff(written(tmp_path, "a.yaml"), written(tmp_path, "b.yaml", edit))
    lines = list(diff_lines(found))
    assert "~ claims.holds.holds: asr <= 0.10 -> asr <= 0.2" in lines
    assert any(line.startswith("+ claims.more: ") for line in lines)
    data = json.loads(diff_json(found))
    assert (data["schema"], data["equal"]) == ("threatspec/diff/v1", False)
    assert [entry["path"] for entry in data["differences"]] == [change.path for change in found]
    [added] = [entry for entry in data["differences"] if entry["kind"] == "added"]
    assert "old" not in added
    assert json.loads(diff_json(()))["equal"] is True


def test_what_cannot_be_read_is_refused_as_elsewhere(held: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("threatspec: 1\n", encoding="utf-8")
    with pytest.raises(SpecErrors):
        diff(held, tmp_path / "bad.yaml")
    with pytest.raises(ThreatspecError, match="TS-NO-RUN"):
        diff(tmp_path, held)


@pytest.mark.parametrize(
    ("old", "new", "within", "paths"),
    [
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, 0.0, ["a.2"]),
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, 0.0, ["a"]),
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, 1e-6, []),
        ({"a": 1.0}, {"a": 1.1}, 1e-6, ["a"]),
        ({"a": 5e-300}, {"a": 6e-300}, 1e-6, []),
        ({"a": True}, {"a": 1}, 1e-6, ["a"]),
        ({"a": 1}, {"a": 2}, 0.9, ["a"]),
        ({"a": {"b": 1}}, {"a": None}, 0.0, ["a"]),
        ([], {}, 0.0, [""]),
    ],
)
def test_plain_data_is_compared_place_by_place(
    old: object, new: object, within: float, paths: list[str]
) -> None:
    assert [change.path for change in changes(old, new, within=within)] == paths
