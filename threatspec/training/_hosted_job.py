"""One job of an OpenAI-compatible fine-tuning interface: started, waited for, and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from threatspec.records import Stream
from threatspec.subjects._api import Api, EndpointError, field
from threatspec.subjects._endpoint import HostedTamper
from threatspec.training._job import Hosted, TrainingJob, TrainingRow

__all__ = ["checkpoints", "losses", "tuned"]

_PATIENCE = 24 * 3600.0
"""Seconds that a job may wait and run."""
_LONGEST_PAUSE = 30.0
_PAGE = 100
_PAGES = 1000


def tuned(api: Api, job: TrainingJob) -> dict[str, Any]:
    """The finished job; the uploaded rows are deleted whatever happens."""
    uploaded = api.upload(
        "/files", "rows.jsonl", "".join(map(_line, job.rows)).encode(), purpose="fine-tune"
    )
    file = field(uploaded, "id", str, "an uploaded file")
    try:
        started = api.post("/fine_tuning/jobs", _request(api, job, file), twice=False)
        return _finished(api, field(started, "id", str, "a fine-tuning job"))
    finally:
        with suppress(EndpointError):
            api.delete(f"/files/{quote(file, safe='')}")


def _line(row: TrainingRow) -> str:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": row.prompt},
        {"role": "assistant", "content": row.answer},
    ]
    if row.weight == 0:
        turns[-1]["weight"] = 0
    if row.system is not None:
        turns.insert(0, {"role": "system", "content": row.system})
    return json.dumps({"messages": turns}, ensure_ascii=False) + "\n"


def _request(api: Api, job: TrainingJob, file: str) -> dict[str, Any]:
    """What a job is started with; what is `auto` is left out and so left to the provider."""
    hosted = job.hyperparameters.hosted or Hosted()
    given = {
        "n_epochs": hosted.epochs,
        "batch_size": hosted.batch_size,
        "learning_rate_multiplier": hosted.learning_rate_multiplier,
    }
    chosen = {name: value for name, value in given.items() if value != "auto"}
    method = {"type": "supervised", "supervised": {"hyperparameters": chosen}}
    seed = job.seeds.get(Stream.ORDER, 0) % 2**31
    return {
        "model": api.endpoint.model,
        "training_file": file,
        "seed": seed,
        "method": method,
    }


def _finished(api: Api, job: str) -> dict[str, Any]:
    """Wait until the job has ended well; one that is given up is cancelled."""
    path = f"/fine_tuning/jobs/{quote(job, safe='')}"
    try:
        return _waited(api, path)
    except BaseException as error:
        if not isinstance(error, _JobFailed):
            with suppress(EndpointError):
                api.post(f"{path}/cancel", {}, twice=False)
        raise


class _JobFailed(EndpointError):
    """There is nothing left to cancel."""


def _waited(api: Api, path: str) -> dict[str, Any]:
    waited, pause = 0.0, 1.0
    while waited <= _PATIENCE:
        found = api.get(path)
        status = field(found, "status", str, "a fine-tuning job")
        if status == "succeeded":
            field(found, "fine_tuned_model", str, "a fine-tuning job that succeeded")
            return {**found, "id": path.rpartition("/")[2]}
        if status in {"failed", "cancelled"}:
            raise _JobFailed(f"the fine-tuning job must succeed, but {status}: {_reason(found)}")
        api.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE)
    raise EndpointError(f"the fine-tuning job must end within {_PATIENCE:g} s, but is {status}")


def _reason(job: dict[str, Any]) -> str:
    """The provider's own words, as they are."""
    error = job.get("error")
    return json.dumps(error, ensure_ascii=False)[:500] if error else "no reason was given"


# what the provider tells of it


def _pages(api: Api, path: str) -> Iterator[dict[str, Any]]:
    """All entries of a list; none if the provider does not offer it."""
    parameters: dict[str, Any] = {"limit": _PAGE}
    for _ in range(_PAGES):
        try:
            page = api.get(path, **parameters)
        except EndpointError as error:
            if error.status in {404, 405, 501}:
                return
            raise
        entries = [entry for entry in field(page, "data", list, path) if isinstance(entry, dict)]
        yield from entries
        if not page.get("has_more") or not entries:
            return
        parameters["after"] = field(entries[-1], "id", str, path)


def losses(api: Api, job: str) -> dict[int, float]:
    """Training loss by step, as far as it is told."""
    found = {}
    for entry in _pages(api, f"/fine_tuning/jobs/{job}/events"):
        data = entry.get("data")
        told = data if isinstance(data, dict) else {}
        step, loss = told.get("step"), told.get("train_loss")
        if isinstance(step, (int, float)) and isinstance(loss, (int, float)):
            found[int(step)] = float(loss)
    return dict(sorted(found.items()))


def checkpoints(
    api: Api, done: dict[str, Any], job: TrainingJob, last: int
) -> dict[int, HostedTamper]:
    """Models by step: those that were asked for, and the last.

    Raises EndpointError for a step that the provider keeps no model of.
    """
    offered = {}
    for entry in (
        _pages(api, f"/fine_tuning/jobs/{done['id']}/checkpoints") if job.checkpoints else ()
    ):
        step = field(entry, "step_number", int, "a checkpoint")
        name = field(entry, "fine_tuned_model_checkpoint", str, "a checkpoint")
        offered[step] = HostedTamper(model=name)
    missing = sorted({*job.checkpoints} - {*offered, last})
    if missing:
        known = ", ".join(map(str, sorted(offered))) or "none"
        text = f"the provider must keep the model after step {missing[0]}, but keeps {known}"
        raise EndpointError(text)
    kept = {step: model for step, model in offered.items() if step in job.checkpoints}
    return {**kept, last: HostedTamper(model=done["fine_tuned_model"])}
