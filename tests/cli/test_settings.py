"""Flag before environment before workspace file before default; and where a workspace is."""

from __future__ import annotations

from pathlib import Path

import pytest

from threatspec.cli._settings import settings
from threatspec.errors import SpecErrors
from threatspec.loading import find_workspace, load_workspace

FILE = "schema: threatspec/workspace/v1\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and nothing in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("THREATSPEC_OUT", "THREATSPEC_RUNNER"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "claims").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("flag", "environment", "file", "expected"),
    [
        (None, None, None, "local"),
        (None, None, "filed", "filed"),
        (None, "set", None, "set"),
        (None, "set", "filed", "set"),
        ("named", None, None, "named"),
        ("named", None, "filed", "named"),
        ("named", "set", None, "named"),
        ("named", "set", "filed", "named"),
        (None, "", "filed", "filed"),
    ],
)
def test_the_runner_is_the_first_that_is_said(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str | None,
    environment: str | None,
    file: str | None,
    expected: str,
) -> None:
    if environment is not None:
        monkeypatch.setenv("THREATSPEC_RUNNER", environment)
    if file:
        (here / "threatspec.yaml").write_text(f"{FILE}runner: {file}\n")
    assert settings(here / "claims" / "x.yaml", runner=flag).runner == expected


@pytest.mark.parametrize(
    ("flag", "environment", "file", "expected"),
    [
        (None, None, None, "runs/x"),
        (None, None, "filed", "filed/x"),
        (None, "set", None, "set/x"),
        (None, "set", "filed", "set/x"),
        ("named", None, None, "named"),
        ("named", "set", "filed", "named"),
    ],
)
def test_results_go_where_it_is_said_first(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str | None,
    environment: str | None,
    file: str | None,
    expected: str,
) -> None:
    if environment:
        monkeypatch.setenv("THREATSPEC_OUT", environment)
    if file:
        (here / "threatspec.yaml").write_text(f"{FILE}out: {file}\n")
    found = settings(here / "claims" / "x.yaml", out=Path(flag) if flag else None)
    assert found.out == Path(expected)


def test_paths_of_the_file_start_at_the_workspace(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "out: results\nrunner: profiles/big.yaml\nclaims: [claims, more]\n"
    (here / "threatspec.yaml").write_text(FILE + text)
    elsewhere = here.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    monkeypatch.chdir(elsewhere)
    found = settings(here / "claims" / "x.yaml")
    assert found.out == here / "results" / "x"
    assert found.runner == str(here / "profiles/big.yaml")
    assert found.claims == (here / "claims", here / "more")
    assert found.workspace == here / "threatspec.yaml"


def test_a_profile_of_the_workspace_comes_before_one_that_ships(here: Path) -> None:
    (here / "runners").mkdir()
    (here / "runners" / "local.yaml").write_text("schema: threatspec/runner/v1\n")
    place = here / "claims" / "x.yaml"
    assert settings(place).runner == str(here / "runners" / "local.yaml")
    assert settings(place, runner="other").runner == "other"


def test_where_a_workspace_is(here: Path) -> None:
    inner = here / "claims" / "2025" / "x.yaml"
    inner.parent.mkdir()
    assert find_workspace(inner) == here
    assert find_workspace(here / "loose.yaml") == here
    (here / "claims" / "2025" / "threatspec.yaml").write_text(FILE)
    assert find_workspace(inner) == inner.parent


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("out: runs\n", "TS-MISSING-FIELD"),
        ("schema: threatspec/workspace/v2\n", "TS-WRONG-TYPE"),
        (f"{FILE}runer: local\n", "TS-UNKNOWN-FIELD"),
    ],
)
def test_a_wrong_workspace_file_is_refused_at_its_place(here: Path, text: str, code: str) -> None:
    (here / "threatspec.yaml").write_text(text)
    with pytest.raises(SpecErrors) as caught:
        settings(here / "claims" / "x.yaml")
    [problem] = caught.value.problems
    assert problem.code == code
    assert problem.file == str(here / "threatspec.yaml")


def test_the_checkout_is_a_workspace() -> None:
    found = load_workspace(Path(__file__).parents[2])
    assert found is not None
    assert found.claims == ("claims",)
