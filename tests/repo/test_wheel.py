"""A built wheel brings its content along: cards, claims, profiles, templates, weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def probe(site: Path, code: str) -> str:
    """What `code` prints with the installed wheel, away from the checkout."""
    setup = f"import sys; sys.path.insert(0, {str(site)!r}); "
    done = subprocess.run(
        [sys.executable, "-P", "-c", setup + code], capture_output=True, text=True, cwd=site
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_content_is_found(site: Path) -> None:
    code = (
        "from threatspec.resources import shipped; from threatspec.campaign import attack_cards; "
        "print(shipped('claims'), sorted(attack_cards()), "
        "(shipped('reports') / 'templates' / 'report.html.j2').is_file())"
    )
    out = probe(site, code)
    assert str(site) in out
    assert "lora-finetune" in out
    assert out.strip().endswith("True")


def test_the_quickstart_can_be_planned_from_a_wheel(site: Path) -> None:
    code = (
        "import threatspec as ts; from threatspec.resources import shipped; "
        "print(len(ts.plan(shipped('claims') / 'quickstart.yaml').claims))"
    )
    assert probe(site, code).strip() == "5"


def test_the_manual_of_errors_and_the_tested_versions_come_along(site: Path) -> None:
    code = (
        "from threatspec.cli._explanations import explanations; "
        "from threatspec.cli._diagnosis import _tested; "
        "print('```text' in next(explanations('TS-BUDGET')).text, 'pydantic' in _tested())"
    )
    assert probe(site, code).strip() == "True True"
