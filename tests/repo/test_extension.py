"""A distribution of somebody else's is installed, and its attack, judge and benchmark are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from tests.support.wheels import ROOT, build_wheel, install
from threatspec.records import Ledger

PACKAGE = ROOT / "tests" / "extension_package"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    install(build_wheel(PACKAGE, tmp_path_factory.mktemp("built")), site)
    return site


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The author's folder with claims and cards, without the source of the plug-ins."""
    project = tmp_path_factory.mktemp("project")
    for folder in ("attacks", "claims"):
        copytree(PACKAGE / folder, project / folder)
    return project


def python(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def threatspec(site: Path, folder: Path, *arguments: str) -> str:
    done = python(site, folder, "threatspec", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("attacks", {"lead-in", "polite-lead-in", "prefill"}),
        ("recipes", {"repeated", "plain"}),
        ("judges", {"words-in-order", "exact"}),
        ("benchmarks", {"example/lamps", "specimen/benign"}),
    ],
)
def test_list_shows_them_beside_the_built_in_ones(
    site: Path, project: Path, kind: str, names: set[str]
) -> None:
    listed = json.loads(threatspec(site, project, "list", kind, "--json"))["names"]
    assert names <= {entry["name"] for entry in listed}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lead-in", ["words of the adversary's own", "needs access: prefill", "in words."]),
        ("polite-lead-in", ["attack card", "words = certainly here", "this example, attacks"]),
        ("repeated", ["(recipe)", "several times", "times = 2"]),
        ("words-in-order", ["(judge)", "in their order"]),
        ("example/lamps", ["16 test", "Apache-2.0"]),
    ],
)
def test_explain_knows_them(site: Path, project: Path, name: str, words: list[str]) -> None:
    said = threatspec(site, project, "explain", name)
    for word in words:
        assert word in said


def test_editors_are_offered_them(site: Path, project: Path) -> None:
    offered = threatspec(site, project, "schema")
    for name in ("lead-in", "polite-lead-in", "repeated", "words-in-order", "example/lamps"):
        assert f'"{name}"' in offered


def test_without_the_distribution_check_names_what_is_missing(project: Path) -> None:
    done = python(project, project, "threatspec", "check", "claims/lamps.yaml")
    assert done.returncode == 2
    for code in ("TS-UNKNOWN-ATTACK", "TS-UNKNOWN-JUDGE", "TS-UNKNOWN-BENCHMARK"):
        assert code in done.stderr
    assert "polite-lead-in.yaml:3:9: unknown attack 'lead-in'" in done.stderr


def test_check_and_a_campaign_see_them_in_worker_processes_too(
    site: Path, project: Path, tmp_path: Path
) -> None:
    threatspec(site, project, "check", "claims/lamps.yaml")
    done = python(site, project, "threatspec", "run", "claims/lamps.yaml", "--out", str(tmp_path))
    assert done.returncode in {0, 1, 5, 6, 7}, done.stderr
    with Ledger.open(tmp_path) as ledger:
        plan, results = ledger.plan, ledger.results()
    assert {result.status.value for result in results.values()} == {"done"}
    assert {p.name for p in plan.procedures.values()} == {
        "lead-in words=sure here",
        "polite-lead-in",
    }
    tampers = [r.tamper["tampers"] for r in results.values() if r.tamper]
    assert {(t["kind"], t["words"]) for [t] in tampers} == {
        ("lead-in", "sure here"),
        ("lead-in", "certainly here"),
    }
    assert {"attack lead-in", "judge words-in-order"} <= set(plan.digests)


def test_the_plan_depends_on_the_source_of_the_plug_in(
    site: Path, project: Path, tmp_path: Path
) -> None:
    """On that of its helpers too, and on its version."""

    def plan(changed: Path) -> str:
        out = threatspec(changed, project, "plan", "claims/lamps.yaml", "--json")
        return str(json.loads(out)["plan"])

    before = plan(site)
    for file, old, new in (
        ("example_threats/lead_in.py", "prefix=self.words", "prefix=self.words.upper()"),
        ("example_threats/__init__.py", "An attack", "One attack"),
        ("example_threats-0.1.dist-info/METADATA", "Version: 0.1", "Version: 0.2"),
    ):
        other = Path(copytree(site, tmp_path / file.replace("/", "-")))
        text = (other / file).read_text(encoding="utf-8")
        assert old in text
        (other / file).write_text(text.replace(old, new), encoding="utf-8")
        assert plan(other) != before, file


def test_they_conform(site: Path, tmp_path: Path) -> None:
    suite = tmp_path / "check_conformance.py"
    suite.write_bytes((PACKAGE / suite.name).read_bytes())
    done = python(site, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", suite.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
