"""Results as a driver keeps them: what the open work and running verdicts read, and no more.

A hundred thousand finished trials must fit beside the plan. Rows, replies and curves are in the
ledger; results that are alike but for their trial are kept once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import fsum

from threatspec.records import (
    Optimised,
    Realised,
    Replies,
    Spend,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)

__all__ = ["KeptResults"]

_Key = tuple[TrialStatus, str, str, Spend, Replies]


class KeptResults(Mapping[str, TrialResult]):
    """Results of trials by id, without what nobody reads while a campaign runs.

    They have no rows, generations and seconds, spend only where it is charged, and no curves.
    """

    def __init__(self) -> None:
        self._found: dict[str, TrialResult] = {}
        self._shared: dict[_Key, TrialResult] = {}

    def enter(self, trial: Trial, result: TrialResult) -> None:
        """Keep the result of `trial`."""
        charged = trial.kind in {TrialKind.ATTACK, TrialKind.SCORE}
        self._found[trial.id] = self._kept(
            TrialResult(
                trial="",
                status=result.status,
                spend=result.spend.model_copy(update={"seconds": 0.0}) if charged else Spend(),
                realised=tuple(_brief(run) for run in result.realised),
                edits=result.edits,
                optimised=tuple(_first_and_last(run) for run in result.optimised),
                config=result.config,
                proposal=result.proposal,
                scores=result.scores,
                tamper=result.tamper,
                blocked=result.blocked,
                replies=result.replies,
                code=result.code,
                message=result.message,
            )
        )

    def forget_tamper(self, trial: str) -> None:
        """Nobody mounts what an attack has made any more."""
        bare = self._found[trial].model_copy(update={"tamper": None, "scores": None})
        self._found[trial] = self._kept(bare)

    def _kept(self, result: TrialResult) -> TrialResult:
        did = (
            result.realised, result.edits, result.optimised, result.scores, result.config,
            result.blocked,
        )  # fmt: skip
        if result.tamper is not None or any(did):
            return result
        key = (result.status, result.code, result.message, result.spend, result.replies)
        return self._shared.setdefault(key, result)

    def __getitem__(self, trial: str) -> TrialResult:
        return self._found[trial].model_copy(update={"trial": trial})

    def __contains__(self, trial: object) -> bool:
        return trial in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _brief(run: Realised) -> Realised:
    """What verdicts ask of a run: its numbers, the lengths of its curves, and whether they differ
    from those of another run."""
    return run.model_copy(
        update={
            "lr": _flat(len(run.lr), float(any(run.lr))),
            "loss": _flat(len(run.loss), 0.0),
            "loss_tokens": _flat(len(run.loss_tokens), 0),
            "grad_norm": (fsum((*run.loss, *run.grad_norm)),),
        }
    )


def _first_and_last(run: Optimised) -> Optimised:
    """What verdicts ask of an optimisation of words: whether its loss fell."""
    return run.model_copy(update={"loss": (*run.loss[:1], *run.loss[-1:])})


@lru_cache(maxsize=1024, typed=True)  # 0 and 0.0 are not the same number of tokens
def _flat(steps: int, value: float) -> tuple[float, ...]:
    return (value,) * steps
