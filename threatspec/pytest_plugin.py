"""pytest plugin: claims files are collected, one item per claim; evidence is read or measured.

An item passes exactly when its claim alone would exit 0: inconclusive and vacuous are failures.
This module is imported in every pytest session of its environment, so it imports nothing but
pytest; the rest follows when a claims file is collected. `docs/pytest.md` is the manual.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest._code.code import TracebackStyle
    from _pytest._io import TerminalWriter

    from threatspec._campaigns import Campaigns
    from threatspec.api import Outcome
    from threatspec.claims import ClaimVerdict
    from threatspec.errors import ThreatspecError

__all__ = ["ClaimItem", "ClaimsFile", "threatspec_campaign"]

_STATUS = {
    "REFUTED": ("F", "REFUTED"),
    "INCONCLUSIVE": ("I", "INCONCLUSIVE"),
    "VACUOUS": ("V", "VACUOUS"),
    "INADMISSIBLE": ("X", "INADMISSIBLE"),
    "SUPPORTED": ("F", "SUPPORTED, UNEXPECTED"),
    "WAIVED": ("W", "SUPPORTED, WAIVED"),
}
"""Letter and word of a failure by verdict."""
_FOLDERS = pytest.StashKey[list[Path]]()
_CAMPAIGNS = pytest.StashKey["Campaigns"]()


# options and configuration


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the ini key."""
    group = parser.getgroup("threatspec", "claims about safeguards (threatspec)")
    group.addoption(
        "--threatspec-run",
        action="store_true",
        help="run the campaign of each claims file, or go on with it, and check its claims then",
    )
    group.addoption(
        "--threatspec-results",
        metavar="DIR",
        help="a results folder, or the folder that holds one per claims file [default: runs]",
    )
    group.addoption(
        "--threatspec-wait",
        metavar="SECONDS",
        type=float,
        default=3600.0,
        help="how long to wait for another process that runs the same campaign [default: 3600]",
    )
    group.addoption(
        "--threatspec-accept-waivers",
        action="store_true",
        help="let claims pass that are supported with rules waived "
        "[default: the ini key threatspec_accept_waivers]",
    )
    parser.addini(
        "threatspec_accept_waivers",
        type="bool",
        default=False,
        help="whether claims pass that are supported with rules waived",
    )
    parser.addini(
        "threatspec_claims",
        type="args",
        default=[],
        help="folders, relative to the rootdir, in which every YAML file is a claims file",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the session; a folder that is not there would be claims that nobody checks."""
    folders = config.stash[_FOLDERS] = [
        Path(os.path.abspath(config.rootpath / name)) for name in config.getini("threatspec_claims")
    ]
    for folder in folders:
        if not folder.is_dir():
            raise pytest.UsageError(f"threatspec_claims must name folders, but {folder} is none")
    if config.args_source is config.ArgsSource.TESTPATHS:
        known = [Path(os.path.abspath(config.invocation_params.dir / arg)) for arg in config.args]
        config.args += [
            str(folder)
            for folder in folders
            if not any(folder.is_relative_to(path) for path in known)
        ]


# collection


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ClaimsFile | None:
    """Take `*.claims.yaml`, and every YAML of the configured folders but cards."""
    name, folders = file_path.name, parent.config.stash[_FOLDERS]
    card = name.endswith(".card.yaml") or file_path.parent.name == "descriptions"
    card = card or (file_path.parent.name == "benchmarks" and _describes(file_path))
    listed = file_path.suffix in {".yaml", ".yml"} and not card
    if not name.endswith(".claims.yaml") and not (
        listed and any(file_path.is_relative_to(folder) for folder in folders)
    ):
        return None
    found: ClaimsFile = ClaimsFile.from_parent(parent, path=file_path)
    return found


def _describes(path: Path) -> bool:
    """Whether a file in a folder of benchmarks calls itself a description; others are claims."""
    try:
        return b"threatspec/description/" in path.read_bytes()[:1000]
    except OSError:
        return False


class ClaimsFile(pytest.File):
    """One claims file; what is wrong with it is one failing item, and the session goes on."""

    def collect(self) -> Iterator[pytest.Item]:
        from threatspec._campaigns import planned_claims
        from threatspec.errors import ThreatspecError

        try:
            claims = list(planned_claims(self.path))
        except ThreatspecError as error:
            yield BrokenFile.from_parent(self, name="claims-file", error=error)
            return
        for name, file, line in claims:
            yield ClaimItem.from_parent(self, name=name, file=file, line=line)


class _Item(pytest.Item):
    """Fails with a text instead of a traceback where the failure was foreseen."""

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: TracebackStyle | None = None
    ) -> Any:  # a TerminalRepr in all but name: pytest exports no class to derive from
        from threatspec._expect import NotAsExpected
        from threatspec.errors import ThreatspecError

        error, (file, line, _) = excinfo.value, self.location
        if isinstance(error, NotAsExpected):
            return _Text(f"{error}\n{file}:{(line or 0) + 1}", error.brief)
        if isinstance(error, ThreatspecError):
            return _Text(str(error), f"{error.message} [{error.code}]")
        return super().repr_failure(excinfo, style)


class BrokenFile(_Item):
    """Stands for all claims of a file that is not valid."""

    def __init__(self, *, error: ThreatspecError, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def runtest(self) -> None:
        raise self.error


class ClaimItem(_Item):
    """One claim of one file."""

    def __init__(self, *, file: Path, line: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.file, self.line = file, line

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.file, self.line - 1, self.name

    def runtest(self) -> None:
        from threatspec._expect import expect

        answer = expect(_campaigns(self.config).of(self.path)).claim(self.name)
        self.user_properties += _properties(answer.verdict)
        answer.passes(accept_waivers=_accept_waivers(self.config))


def _properties(claim: ClaimVerdict) -> list[tuple[str, object]]:
    """What JUnit's failure or success cannot say."""
    found: list[tuple[str, object]] = [
        ("verdict", claim.verdict.value),
        ("expected", claim.expected.value),
        ("scope", claim.scope),
    ]
    found += [("witness", claim.witness.says)] if claim.witness else []
    rules = dict.fromkeys(f"{rule.rule} {rule.answer}" for rule in claim.rules)
    flags = dict.fromkeys(flag.flag for flag in claim.flags)
    found += [("rules", "; ".join(rules))] if rules else []
    return [*found, ("flags", "; ".join(flags))] if flags else found


def _accept_waivers(config: pytest.Config) -> bool:
    return bool(
        config.getoption("threatspec_accept_waivers") or config.getini("threatspec_accept_waivers")
    )


def _campaigns(config: pytest.Config) -> Campaigns:
    """What this session knows of campaigns; made when it is first needed."""
    if _CAMPAIGNS not in config.stash:
        from threatspec._campaigns import Campaigns

        results = config.getoption("threatspec_results")
        config.stash[_CAMPAIGNS] = Campaigns(
            root=config.rootpath,
            results=None if results is None else config.invocation_params.dir / results,
            run=config.getoption("threatspec_run"),
            wait_s=config.getoption("threatspec_wait"),
        )
    return config.stash[_CAMPAIGNS]


# reporting


@dataclass(frozen=True, slots=True)
class _Crash:
    """Where pytest looks for the line of a summary, and JUnit for its message."""

    message: str

    def __str__(self) -> str:
        return self.message


class _Text:
    """A failure as it is shown."""

    def __init__(self, text: str, brief: str) -> None:
        from threatspec.reports import one_line, visible  # names in files may hold anything

        self.text = visible(text)
        self.reprcrash = _Crash(one_line(brief))

    def __str__(self) -> str:
        return self.text

    def toterminal(self, writer: TerminalWriter) -> None:
        for line in self.text.splitlines():
            writer.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the verdict with the report, which travels between the processes of pytest-xdist."""
    report = yield
    if isinstance(item, ClaimItem) and report.failed and call.excinfo:
        status = getattr(call.excinfo.value, "threatspec_status", None)  # of a NotAsExpected alone
        report.threatspec_status = status  # type: ignore[attr-defined]
    return report


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, str] | None:
    """Own letters; the category stays `failed`, as others get no text and no red summary."""
    status = getattr(report, "threatspec_status", None)
    return ("failed", *_STATUS[status]) if status else None


@pytest.fixture(scope="session")
def threatspec_campaign(pytestconfig: pytest.Config) -> Callable[[str | Path], Outcome]:
    """Evidence of a claims file (relative to the rootdir), as its claims' items have it."""

    def campaign(file: str | Path) -> Outcome:
        path = Path(os.path.abspath(pytestconfig.rootpath / file))
        return _campaigns(pytestconfig).of(path)

    return campaign
