"""The wheel beside a project that has `attacks`, `claims`, `reports` and `runners` of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.specs import ABSENT, scoped, spec_data

NAMES = ("attacks", "claims", "reports", "runners")
CHANGES = {
    "adversaries.tuner": {
        "goal": "obtain the restricted procedures",
        "access": "completion-api",
        "attacks": [{"use": "prefill", "k": 2}],
    }
}
LIMITS = {"families": ["prefill"], "trainer": ABSENT, "replicates": ABSENT, "search": ABSENT,
          "data": ABSENT}  # fmt: skip
SPEC = spec_data(scoped(CHANGES, **LIMITS))
ORIGINS = f"""
import attacks, claims, reports, runners
import threatspec as ts, threatspec.attacks, threatspec.claims, threatspec.reports
import threatspec.runners
MINE = [attacks, claims, reports, runners]
assert [module.MINE for module in MINE] == {list(NAMES)!r}
THEIRS = [ts.attacks, ts.claims, ts.reports, ts.runners]
assert not any(hasattr(module, "MINE") for module in THEIRS)
"""


def test_a_wheel_has_one_top_level_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    [info] = tops - {"threatspec"}
    assert info.startswith("threatspec_claims-")
    assert info.endswith(".dist-info")


@pytest.fixture(params=["packages", "modules"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project whose own code has the names of our folders; its claims lie beside it."""
    for name in NAMES:
        package = request.param == "packages"
        path = tmp_path / name / "__init__.py" if package else tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"MINE = {name!r}\n", encoding="utf-8")
    if request.param == "packages":
        (tmp_path / "attacks" / "config.yaml").write_text("defaults: [*x, _self_]\n")
        (tmp_path / "attacks" / "base.py").write_text("raise RuntimeError('not yours')\n")
        (tmp_path / "runners" / "pool.yaml").write_text("machine: mine\n")
    (tmp_path / "mine.yaml").write_text(json.dumps(SPEC), encoding="utf-8")
    return tmp_path


def python(site: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the project's root, with the wheel installed and the checkout out of sight."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_plain_python_finds_both(site: Path, project: Path) -> None:
    code = f"{ORIGINS}\nts.check('mine.yaml')\nprint(ts.__file__)"
    done = python(site, project, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))


def test_the_command_line_works_in_the_project(site: Path, project: Path) -> None:
    for arguments in (["check", "mine.yaml"], ["list", "attacks"], ["plan", "mine.yaml"]):
        done = python(site, project, "-m", "threatspec", *arguments)
        assert done.returncode == 0, done.stderr


def test_a_campaign_runs_in_the_project(site: Path, project: Path) -> None:
    done = python(site, project, "-m", "threatspec", "run", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "runs" / "mine" / "plan.json").is_file()


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_pytest_in_the_projects_root_finds_both(site: Path, project: Path, mode: str) -> None:
    test = f"def test_both():\n    import threatspec as ts\n    ts.check('mine.yaml')\n{ORIGINS}"
    (project / "test_mine.py").write_text(test, encoding="utf-8")
    (project / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    arguments = ["-q", "-p", "no:cacheprovider", f"--import-mode={mode}"]
    done = python(site, project, "-m", "pytest", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
