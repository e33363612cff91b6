"""`doctor` says what is there and what is wrong, and its exit code tells usable from broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import threatspec.cli._diagnosis as diagnosis
from tests.cli.conftest import Said
from threatspec.cli._diagnosis import Finding, State, diagnose

Verb = Callable[..., Said]


def found(about: str) -> list[Finding]:
    return [finding for finding in diagnose() if finding.about == about]


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREATSPEC_CACHE", str(folder / "cache"))


def test_a_working_installation_is_usable(verb: Verb) -> None:
    said = verb("doctor", "--json")
    data = json.loads(said.out)
    assert said.code == 0
    assert data["usable"] is True
    assert data["schema"] == "threatspec/doctor/v1"
    about = {finding["about"] for finding in data["findings"]}
    assert {"python", "threatspec", "pydantic", "cpu", "disk", "hub", "cache", "model",
            "workspace"} <= about  # fmt: skip
    assert verb("doctor").out.splitlines()[-1] == "usable"


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [
        (None, State.BROKEN, "is missing"),
        ("2.1.0", State.BROKEN, "2.1.0 is older than 2.11"),
        ("9.9.9", State.OK, "9.9.9 (tested: "),
    ],
)
def test_versions_of_what_every_verb_needs(
    monkeypatch: pytest.MonkeyPatch, verb: Verb, version: str | None, state: State, words: str
) -> None:
    real = metadata.version

    def pretend(name: str) -> str:
        if name == "pydantic" and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == "pydantic" and version else real(name)

    monkeypatch.setattr(metadata, "version", pretend)
    [finding] = found("pydantic")
    assert finding.state is state
    assert words in finding.says
    assert verb("doctor").code == (3 if state is State.BROKEN else 0)


def test_a_missing_extra_is_a_note_with_the_command(
    monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    real = metadata.version

    def pretend(name: str) -> str:
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", pretend)
    [finding] = found("extra run")
    assert finding == Finding(
        "extra run", "torch is missing", State.NOTE, "pip install 'threatspec-claims[run]'"
    )
    assert verb("doctor").code == 0


def test_another_distribution_of_the_same_name_is_broken(
    monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    both = {"threatspec": ["threatspec-claims", "threatspec"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: both)
    [finding] = found("name")
    assert finding.state is State.BROKEN
    assert "pip uninstall threatspec" in finding.remedy
    assert verb("doctor").code == 3


@pytest.mark.parametrize("name", ["threatspec.py", "threatspec/__init__.py"])
def test_a_shadow_in_the_current_folder_is_noted(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    [finding] = found("name")
    assert finding.state is State.NOTE
    assert str(folder / "threatspec") in finding.says


def test_little_room_on_the_disk_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_SMALL_DISK", 2**80)
    assert found("disk")[0].state is State.NOTE


def test_a_wrong_workspace_file_is_broken(folder: Path, verb: Verb) -> None:
    (folder / "threatspec.yaml").write_text("out: 1\n")
    assert found("workspace")[0].state is State.BROKEN
    assert verb("doctor").code == 3


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from threatspec.cli._diagnosis import diagnose; diagnose()\n"
        "print(sorted(set(sys.modules) & {'torch', 'transformers', 'peft', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
