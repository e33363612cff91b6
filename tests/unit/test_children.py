"""Worker processes: where they start, that they end, and what is left of them."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from threatspec.runners import _children
from threatspec.runners._children import Child, begin
from threatspec.runners._work import Errand

Start = Callable[[], Child]


@pytest.fixture(params=["split", "new"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts workers of either kind, and ends those that are left."""
    started: list[Child] = []

    def one() -> Child:
        with (tmp_path / "log").open("a") as log:
            started.append(begin(log) if request.param == "split" else _children._New(log))
        return started[-1]

    yield one
    for child in started:
        child.kill()
        child.stdin.close()
        child.stdout.close()


def say(child: Child, line: str) -> None:
    child.stdin.write(line + "\n")
    child.stdin.flush()


def test_a_worker_stands_where_its_driver_does(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()  # what they are split off is there by now
    monkeypatch.chdir(tmp_path)
    worker = psutil.Process(start().pid)
    for _ in range(600):
        if Path(worker.cwd()) == tmp_path:
            return
        time.sleep(0.1)
    raise AssertionError(f"it stands in {worker.cwd()}")


def test_a_worker_finds_modules_and_environment_as_they_are_at_its_start(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    told = "print('told', os.environ['TOLD'], sys.path[0], file=sys.stderr, flush=True)"
    (tmp_path / "threatspec").mkdir()
    another = f"import os, sys\n{told}\nos._exit(0)"
    (tmp_path / "threatspec" / "__init__.py").write_text(another)
    monkeypatch.setenv("TOLD", "early enough")
    monkeypatch.syspath_prepend(tmp_path)
    child = start()
    assert child.stdout.read() == ""
    assert f"told early enough {tmp_path}" in (tmp_path / "log").read_text()


def test_a_worker_that_is_ended_is_gone(start: Start, tmp_path: Path) -> None:
    child = start()
    errand = asdict(
        Errand(folder=str(tmp_path), spec_folder=str(tmp_path), plan="", execution="{}")
    )
    say(child, json.dumps(errand))
    assert psutil.pid_exists(child.pid)
    child.kill()
    assert not psutil.pid_exists(child.pid)
    assert child.stdout.read() == ""
    child.kill()


def test_what_a_worker_says_beside_answers_is_in_the_log(start: Start, tmp_path: Path) -> None:
    child = start()
    say(child, "no errand")
    assert child.stdout.read() == ""
    assert "JSONDecodeError" in (tmp_path / "log").read_text()


def test_a_lost_server_is_begun_anew(tmp_path: Path) -> None:
    log: io.TextIOWrapper
    with (tmp_path / "log").open("a") as log:
        first = begin(log)
        server = psutil.Process(first.pid).parent()
        assert server is not None
        assert server.ppid() == os.getpid()
        server.kill()
        server.wait()
        assert first.stdout.read() == "", "workers leave with it"
        second = begin(log)
    assert psutil.Process(second.pid).ppid() not in {server.pid, os.getpid()}
    for child in (first, second):
        child.kill()
        child.stdin.close()
        child.stdout.close()
