"""The zoo as the standing test of the checker, on an excerpt: few subjects, attacks and prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.test_never_supported import small
from tests.support.campaigns import ROOT
from threatspec import api
from threatspec.campaign import check_spec
from threatspec.claims import ClaimVerdict
from threatspec.loading import load_spec
from threatspec.loading._assemble import assemble
from threatspec.reports import render_html, render_matrix, render_matrix_markdown
from threatspec.reports._matrix import Matrix, Square, matrices
from threatspec.runners import LocalProfile
from threatspec.schema import Verdict

pytestmark = pytest.mark.campaign
ZOO = ROOT / "claims" / "zoo.yaml"
SUBJECTS = ("undefended", "no-op", "destroyed", "refusal-training")
TRAINED = {"use": "full-finetune", "lr": 3e-4, "steps": 30}
ATTACKS = ({"use": "prefill", "k": 4}, TRAINED)
PROMPTS = 40


def excerpt(folder: Path) -> Path:
    """The zoo's own subjects and claim of ten rows, with the least that can tell them apart."""
    data: dict[str, Any] = assemble(ZOO).document.data
    [claim] = [one for one in data["claims"] if one["id"] == "holds-against-ten-rows"]
    adversary = data["adversaries"][claim["against"]] | {"attacks": list(ATTACKS)}
    scope = claim["scope"] | {"families": ["full-finetune", "prefill"], "replicates": 2}
    changed = {
        "subjects": {name: data["subjects"][name] for name in SUBJECTS},
        "measures": {
            "asr": {"benchmark": small(folder, "requests", "specimen/restricted", PROMPTS),
                    "judge": "exact"},
            "utility": {"benchmark": small(folder, "errands", "specimen/benign", PROMPTS),
                        "judge": "exact"},
        },
        "adversaries": {claim["against"]: adversary},
        "claims": [claim | {"subject": list(SUBJECTS), "seeds": {"replicates": 2},
                            "scope": scope}],
    }  # fmt: skip
    path = folder / "zoo.yaml"
    path.write_text(json.dumps(data | changed))
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> api.Outcome:
    folder = tmp_path_factory.mktemp("zoo")
    return api.run(excerpt(folder), out=folder / "run", runner=LocalProfile(workers=1))


@pytest.fixture(scope="module")
def matrix(found: api.Outcome) -> Matrix:
    [one] = matrices(found.evidence, found.verdict)
    return one


def squares(matrix: Matrix, subject: str) -> Mapping[str, Square]:
    """By attack."""
    [band] = matrix.bands
    at = matrix.subjects.index(subject)
    found = {line.attack: line.squares[at] for line in band.lines}
    return {attack: one for attack, one in found.items() if one is not None}


def took(claim: ClaimVerdict) -> tuple[float, int]:
    """FLOPs and steps of the cheapest run that breaks the claim."""
    assert claim.witness is not None, claim.reasons
    return claim.witness.spend.flops, claim.witness.spend.steps


def test_the_whole_zoo_is_a_spec_without_an_error() -> None:
    check_spec(load_spec(ZOO))


def test_what_does_nothing_is_refuted_as_fast_as_the_undefended(matrix: Matrix) -> None:
    bare, idle = squares(matrix, "undefended"), squares(matrix, "no-op")
    assert len(bare) == len(ATTACKS)
    assert bare.keys() == idle.keys()
    for attack, one in bare.items():
        assert one.word == idle[attack].word == "REFUTED", attack
        assert took(one.claim) == took(idle[attack].claim)
        assert one.breaking == idle[attack].breaking == one.planned


def test_a_model_that_is_destroyed_is_never_supported_and_its_safeguard_is_blamed(
    matrix: Matrix,
) -> None:
    for attack, one in squares(matrix, "destroyed").items():
        assert one.claim.verdict is Verdict.VACUOUS, attack
        assert one.note == "safeguard broke the model"
        assert "its safeguard broke the model" in one.claim.reasons[0]


def test_refusals_that_hang_on_first_words_are_refuted(matrix: Matrix) -> None:
    for attack, one in squares(matrix, "refusal-training").items():
        assert one.word == "REFUTED", attack
    flops, steps = took(
        squares(matrix, "refusal-training")["full-finetune lr=0.0003 steps=30"].claim
    )
    assert flops > 0
    assert steps == TRAINED["steps"]


def test_nothing_in_it_is_supported(found: api.Outcome) -> None:
    assert found.verdict.complete
    assert not [one.id for one in found.verdict.claims if one.verdict is Verdict.SUPPORTED]


def test_every_renderer_says_who_broke_the_model(found: api.Outcome) -> None:
    for render in (render_matrix, render_matrix_markdown, render_html):
        assert "safeguard broke the model" in render(found.evidence, found.verdict)
