"""Judges as options name them: a name, or a mapping as a claims file has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from threatspec.errors import ExitCode, SpecErrors, ThreatspecError, did_you_mean
from threatspec.loading import read_text
from threatspec.measures import JUDGES, Item, Judge, benchmark, judge_of
from threatspec.records import Ledger, PlannedMeasure
from threatspec.schema import JudgeUse

__all__ = ["ChosenJudge", "chosen_judge", "items_of", "spec_folder"]


@dataclass(frozen=True, slots=True)
class ChosenJudge:
    """A judge that is ready to be asked."""

    name: str
    """As it was written."""
    judge: Judge
    config: Any
    """Its settings, with files where they are."""

    @property
    def notes(self) -> Sequence[str]:
        """What is known to be wrong with it."""
        return tuple(f"known fault: {fault}" for fault in self.judge.faults(self.config))


def chosen_judge(text: str, folder: Path) -> ChosenJudge:
    """The judge that `text` names or spells out (`{use: keywords, any_of: [sure]}`).

    Files of the judge are looked for in `folder`. Raises ThreatspecError TS-UNKNOWN-JUDGE,
    TS-USAGE for a text or for settings that mean nothing, and what the judge itself raises.
    """
    use = _use(text)
    if use.use not in JUDGES:
        hint = did_you_mean(use.use, JUDGES.names())
        code, message = "TS-UNKNOWN-JUDGE", f"unknown judge {use.use!r}{hint}"
        raise ThreatspecError(code, message, exit_code=ExitCode.USAGE)
    try:
        judge, config = judge_of(use, folder)
    except ValidationError as error:
        wrong = "; ".join(_told(error))
        raise _usage(f"judge {use.use!r} must be set as `threatspec explain {use.use}` says, but "
                     f"{wrong}") from None  # fmt: skip
    judge.identity(config)  # its files must be there
    return ChosenJudge(text, judge, config)


def _use(text: str) -> JudgeUse:
    try:
        data = read_text(text, "--judge") if text.lstrip().startswith("{") else {"use": text}
        return JudgeUse.model_validate(data)
    except SpecErrors as errors:
        raise _usage(f"--judge must be a name or a mapping, but {errors.problems[0].message}"
                     ) from None  # fmt: skip
    except ValidationError as error:
        raise _usage(f"--judge must have `use`, but {'; '.join(_told(error))}") from None


def _told(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False):
        place = ".".join(map(str, one["loc"]))
        yield f"{place}: {one['msg']}" if place else one["msg"]


def _usage(message: str) -> ThreatspecError:
    return ThreatspecError("TS-USAGE", message, exit_code=ExitCode.USAGE)


def spec_folder(ledger: Ledger) -> Path:
    """Folder of the claims file of a campaign."""
    places = ledger.events("spec-folder")
    return Path(places[-1]["path"]) if places else Path.cwd()


def items_of(ledger: Ledger, planned: PlannedMeasure) -> dict[str, Item]:
    """Prompts of a measure by id. Raises ThreatspecError TS-DATA if they have changed since."""
    found = benchmark(planned.benchmark, spec_folder(ledger))
    if ledger.plan.digests.get(planned.benchmark, found.digest) != found.digest:
        text = f"{planned.benchmark} must be as it was planned, but its items have changed"
        raise ThreatspecError("TS-DATA", f"{text}; restore it, or leave --judge out")
    return {item.id: item for item in found.items(planned.split)}
