"""One claim about several subjects: maps of subjects x slices, and where their numbers are from."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.answers import evidence_of
from tests.support.specs import ABSENT, BASE, plan_of, scoped
from tests.unit.test_reports import Page
from threatspec.claims import CampaignVerdict, Evidence, decide, gather
from threatspec.measures import benchmark
from threatspec.records import Cell, Execution, Plan
from threatspec.reports import render_csv, render_html, render_markdown, report_json
from threatspec.reports._subjects import SubjectMap, subject_maps

SHARES = {"specimen:deep": 0.0, "specimen:shallow": 0.75, "specimen:undefended": 1.0}
MODELS = {"kept": "specimen:deep", "weak": "specimen:shallow", "bare": "specimen:undefended"}
CATEGORIES = sorted(
    {item.category for item in benchmark("specimen/restricted", Path()).items("test")}
)
WORST = CATEGORIES[2]
"""The slice in which the attack on `kept` comes through."""


def share(plan: Plan, cell: Cell, measure: str, category: str) -> float:
    if measure == "utility":
        return 1.0
    if not cell.attack:
        return float(cell.subject == "specimen:undefended")
    if cell.subject == "specimen:deep":
        return float(category == WORST)
    return SHARES[cell.subject]


def evidence(folder: Path, by: tuple[str, ...] = ("category",), **changes: Any) -> Evidence:
    subjects = {name: {**BASE["subject"], "model": model} for name, model in MODELS.items()}
    given = {"subject": ABSENT, "subjects": subjects, "measures.asr.by": by, **changes}
    return evidence_of(plan_of(folder, scoped(given), execution=Execution(exhaustive=True)), share)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return evidence(tmp_path_factory.mktemp("subjects"))


@pytest.fixture(scope="module")
def verdict(seen: Evidence) -> CampaignVerdict:
    return decide(seen)


@pytest.fixture(scope="module")
def found(seen: Evidence, verdict: CampaignVerdict) -> SubjectMap:
    [one] = subject_maps(seen, verdict)
    return one


def test_the_worst_subject_and_the_worst_slice_come_first(found: SubjectMap) -> None:
    assert [line.subject for line in found.lines] == ["bare", "weak", "kept"]
    assert (found.claim, found.measure, found.key) == ("holds", "asr", "category")
    assert found.values[0] == WORST
    assert sorted(found.values) == CATEGORIES


def test_numbers_are_counts_of_cells_of_that_subject(seen: Evidence, found: SubjectMap) -> None:
    for line in found.lines:
        for side in ("untouched", "attacked"):
            for name in found.columns:
                counted = line.of(side)[name]
                assert counted is not None
                cell = seen.cells[counted.cell]
                assert cell.cell.subject == MODELS[line.subject]
                assert bool(cell.cell.attack) == (side == "attacked")
                reading = f"asr[{name}]" if name else "asr"
                assert counted.tally == cell.tallies[reading]
    kept = found.lines[2]
    alone = kept.attacked[f"category={WORST}"]
    assert alone is not None
    assert (alone.tally.yes, alone.tally.units) == (32, 32)  # which the mean over all hides
    whole = kept.attacked[""]
    assert whole is not None
    assert (whole.tally.yes, whole.tally.units) == (32, 256)


def test_slices_that_were_not_planned_are_not_made_up(tmp_path: Path) -> None:
    seen = evidence(tmp_path, by=())
    [one] = subject_maps(seen, decide(seen))
    assert (one.key, one.values, one.columns) == ("", (), ("",))


def test_what_was_not_run_has_no_number(tmp_path: Path) -> None:
    plan = evidence(tmp_path).plan
    seen = gather(plan, {})
    [one] = subject_maps(seen, decide(seen))
    for line in one.lines:
        assert set(line.attacked.values()) == set(line.untouched.values()) == {None}
        assert one.squares(line, "attacked") == (("–", None, ""),) * (1 + len(CATEGORIES))


def test_one_subject_has_no_map(tmp_path: Path) -> None:
    seen = evidence_of(plan_of(tmp_path, scoped({"measures.asr.by": ["category"]})), share)
    assert subject_maps(seen, decide(seen)) == ()
    assert 'id="subjects"' not in render_html(seen, decide(seen))


def test_the_page_has_a_table_for_each_side_with_every_number(
    seen: Evidence, verdict: CampaignVerdict, found: SubjectMap
) -> None:
    html = render_html(seen, verdict)
    section = html.partition('id="subjects"')[2].partition("</section>")[0]
    assert section.count("<table") == section.count("<caption>") == 2
    assert section.count('<th scope="row">') == 2 * len(MODELS)
    assert section.count('<th scope="col">') == 2 * (3 + len(CATEGORIES))
    for category in CATEGORIES:
        assert section.count(f"<span>{category}</span>") == 2
    assert '<td class="l10" title="32 of 32">100' in section
    assert '<td class="l8" title="24 of 32">75' in section
    Page(html)


def test_markdown_json_and_csv_say_the_same(
    seen: Evidence, verdict: CampaignVerdict, found: SubjectMap
) -> None:
    text = render_markdown(seen, verdict)
    assert "## Subjects side by side" in text
    [line] = [line for line in text.splitlines() if line.startswith("| kept |")]
    assert "0 → 12.5" in line
    assert "0 → 100" in line

    [data] = json.loads(report_json(seen, verdict))["subjects"]
    [kept] = [one for one in data["subjects"] if one["subject"] == "kept"]
    assert kept["slices"][f"category={WORST}"]["attacked"]["yes"] == 32
    assert kept["slices"]["all"]["untouched"]["yes"] == 0

    rows = list(csv.DictReader(io.StringIO(render_csv(seen, verdict))))
    alone = [r for r in rows if r["claim"] == "holds[kept]"
             and r["measure"] == f"asr[category={WORST}]"]  # fmt: skip
    assert {r["procedure"]: (r["yes"], r["units"]) for r in alone} == {
        "untouched": ("0", "32"),
        "full-finetune lr=0.0001": ("32", "32"),
    }


DRAWN = {"decoding": "sample", "samples": 4}
DECODE = {"use": "decoding-exploit", "temperatures": [0.7, 1.0], "samples": 4}
BOTH = {"chain": [{"use": "serving-exploit", "templates": ["native", "none"]}, DECODE]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "(test split); "),
        ({"serving": DRAWN}, "(test split), any of 4 replies to a prompt; "),
        (
            {"serving": [{}, {"template": "none"}], "measures.asr.aggregation": "all"},
            "(test split), all of 2 replies to a prompt; ",
        ),
        (
            {"measures.asr.aggregation": "mean", "adversaries.tuner.attacks": [DECODE]},
            "(test split), mean of 1 reply to a prompt (9 under decoding-exploit ",
        ),
        (
            {"adversaries.tuner.attacks": [BOTH]},
            "(test split), any of 1 reply to a prompt (18 under serving-exploit ",
        ),
    ],
)
def test_a_scope_says_how_many_replies_a_prompt_has(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    seen = evidence_of(plan_of(tmp_path, changes), share)
    assert says in decide(seen).claims[0].scope


def test_a_part_of_a_slice_is_marked(tmp_path: Path) -> None:
    """Cells that are settled early have read few prompts of a slice."""
    subjects = {name: {**BASE["subject"], "model": model} for name, model in MODELS.items()}
    given = {"subject": ABSENT, "subjects": subjects, "measures.asr.by": ["category"]}
    seen = evidence_of(plan_of(tmp_path, scoped(given)), share)
    [one] = subject_maps(seen, decide(seen))
    assert one.partly
    [weak] = [line for line in one.lines if line.subject == "weak"]
    for name, square in zip(one.columns, one.squares(weak, "attacked"), strict=True):
        counted = weak.attacked[name]
        assert counted is not None
        assert counted.tally.units < counted.planned == (32 if name else 256)
        assert square[0].endswith("°")
    assert not any(one.partly for one in weak.untouched.values() if one)
    assert "A ring (°)" in render_html(seen, decide(seen))
