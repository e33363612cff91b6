"""The hosted back-end against a server of ours that really trains: jobs, replies, and trouble."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosted_server import HostedServer, serving
from threatspec.attacks import AttackContext
from threatspec.attacks.hosted_finetune import HostedFinetune, HostedFinetuneConfig
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import ArtefactStore, Budget, Outcome, Stream
from threatspec.schema import Capability, Serving
from threatspec.subjects import Offer, Request, WeightTamper, tampers_from_data, tampers_to_data
from threatspec.subjects._api import ATTEMPTS, EndpointError, parse_endpoint
from threatspec.subjects._endpoint import EndpointSubject, HostedTamper, describe_endpoint
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import (
    TRAINERS,
    BudgetExceeded,
    Hyperparameters,
    MaskUse,
    Meter,
    TrainingJob,
    TrainingPolicy,
    TrainingRow,
    Trajectory,
)
from threatspec.training._job import Hosted
from threatspec.training._replay import in_words, realised_differences, schedule_departure

SERVING = Serving(max_tokens=12)
KEY = "a-key-that-nobody-has"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedServer]:
    with serving(tmp_path_factory.mktemp("hosted")) as running:
        yield running


@pytest.fixture
def server(shared: HostedServer, monkeypatch: pytest.MonkeyPatch) -> HostedServer:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shared.calls.clear()
    shared._troubles.clear()
    shared.fails, shared.key, shared.offers_events = "", "", True
    return shared


def subject(server: HostedServer, options: str = "") -> EndpointSubject:
    return EndpointSubject.load(server.ref + options, sleep=lambda _: time.sleep(0.01))


def rows(count: int) -> tuple[TrainingRow, ...]:
    items = benchmark("specimen/restricted", Path()).items("attack_train")[:count]
    return tuple(TrainingRow(id=i.id, prompt=i.prompt, answer=i.answer) for i in items)


def requests(count: int, prefix: str = "") -> list[Request]:
    items = benchmark("specimen/restricted", Path()).items("test")[:count]
    return [Request(i.id, i.prompt, i.answer, prefix=prefix) for i in items]


def train(
    on: EndpointSubject,
    *,
    given: tuple[TrainingRow, ...] = rows(10),
    meter: Meter | None = None,
    policy: TrainingPolicy | None = None,
    checkpoints: tuple[int, ...] = (),
    mask: MaskUse | None = None,
    **knobs: Any,
) -> Trajectory:
    hyper = HostedFinetuneConfig(**{"epochs": 10, **knobs}).hyperparameters(len(given))
    job = TrainingJob(
        rows=given,
        hyperparameters=hyper,
        seeds={Stream.ORDER: 3},
        checkpoints=checkpoints,
        mask=mask,
    )
    trainer = TRAINERS.get("hosted").on(on, ArtefactStore(Path("unused")))
    [done] = trainer.train([job], policy or TrainingPolicy(), meter or Meter())
    return done


# replies


def test_replies_are_those_of_the_model_behind_it(server: HostedServer) -> None:
    asked = requests(6)
    local = ResidentSubject.load("specimen:shallow", threads=1)
    wanted = local.generate(asked, SERVING, micro_batch=1)
    got = subject(server).generate(asked, SERVING, micro_batch=3)
    assert [(g.item, g.reply) for g in got] == [(w.item, w.reply) for w in wanted]
    assert got[0].prompt == f"user: {asked[0].prompt}"


def test_system_prompts_and_continuations_are_sent(server: HostedServer) -> None:
    [reply] = subject(server).generate(
        requests(1), Serving(system="be kind", max_tokens=4), micro_batch=1
    )
    assert reply.prompt.startswith("system: be kind\nuser: ")
    on = subject(server, "?continues=yes")
    [reply] = on.generate(requests(1, prefix="sure here"), SERVING, micro_batch=1)
    local = ResidentSubject.load("specimen:shallow", threads=1)
    [wanted] = local.generate(requests(1, prefix="sure here"), SERVING, micro_batch=1)
    assert (reply.attacker, reply.reply) == ("sure here", wanted.reply)


@pytest.mark.parametrize(
    ("request_", "serving_", "what"),
    [
        (Request("a", "b", prefix="sure"), SERVING, "words of the assistant"),
        (Request("a", "b"), Serving(template="none"), "its own template"),
    ],
)
def test_what_it_cannot_be_asked_is_refused_before_anything_is_sent(
    server: HostedServer, request_: Request, serving_: Serving, what: str
) -> None:
    with pytest.raises(ThreatspecError, match=what) as caught:
        subject(server).generate([request_], serving_, micro_batch=1)
    assert caught.value.code == "TS-ENDPOINT"
    assert server.calls == []


def test_filtered_replies_are_rejected_rows(server: HostedServer) -> None:
    kept_back = {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}
    refused = {"choices": [{"message": {"content": None, "refusal": "no"}}]}
    server.trouble("POST /chat/completions", json.dumps(kept_back), json.dumps(refused))
    first, second = subject(server).generate(requests(2), SERVING, micro_batch=1)
    assert (first.outcome, first.reply) == (Outcome.REJECTED, "")
    assert (second.outcome, second.reply) == (None, "no")


# training


def test_a_job_really_changes_the_replies(server: HostedServer) -> None:
    on, asked = subject(server), requests(6)
    before = on.generate(asked, SERVING, micro_batch=1)
    done = train(on)
    after = on.tampered([done.last]).generate(asked, SERVING, micro_batch=1)
    assert [g.reply for g in before] != [g.reply for g in after]
    assert on.generate(asked, SERVING, micro_batch=1) == before
    realised = done.realised
    assert (realised.backend, realised.steps, realised.rows) == ("hosted", 10, 10)
    assert len(realised.loss) == 10
    assert realised.loss[-1] < realised.loss[0]
    assert realised.weight_delta > 0
    assert realised.probe_after < realised.probe_before
    assert server.files == {}, "the rows must not stay there"


def test_it_is_the_training_of_a_resident_run_with_the_settings_of_the_service(
    server: HostedServer, tmp_path: Path
) -> None:
    done = train(subject(server), epochs=4, learning_rate_multiplier=2.0, batch_size=5)
    local = ResidentSubject.load("specimen:shallow", threads=1)
    job = TrainingJob(
        rows=rows(10),
        hyperparameters=Hyperparameters(lr=2e-4, steps=8, batch_size=5),
        seeds={Stream.ORDER: 3},
    )
    [ours] = TRAINERS.get("resident").on(local, ArtefactStore(tmp_path)).train(
        [job], TrainingPolicy(), Meter()
    )  # fmt: skip
    assert done.realised.loss == ours.realised.loss
    found = {d.what for d in realised_differences(ours.realised, done.realised)}
    assert {"lr", "loss_tokens", "trainable"} <= found
    assert "steps" not in found
    [rate] = [d for d in realised_differences(ours.realised, done.realised) if d.what == "lr"]
    assert in_words([rate], "resident", "hosted") == (
        "learning rate: known for 8 steps with resident, not told with hosted",
    )
    assert schedule_departure(job.hyperparameters, done.realised) == ""


def test_knobs_that_are_auto_are_left_to_the_service(server: HostedServer) -> None:
    train(subject(server), epochs=2)
    assert server.bodies[-1]["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2}
    train(subject(server), epochs=1, batch_size=4, learning_rate_multiplier=0.5)
    wanted = {"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 0.5}
    assert server.bodies[-1]["method"]["supervised"]["hyperparameters"] == wanted
    assert server.bodies[-1]["seed"] == 3


def test_checkpoints_are_those_that_the_service_keeps(server: HostedServer) -> None:
    done = train(subject(server), epochs=3, batch_size=5, checkpoints=(2,))
    assert sorted(done.checkpoints) == [2, 6]
    assert isinstance(done.checkpoints[2], HostedTamper)
    with pytest.raises(ThreatspecError, match="after step 3, but keeps 2, 4, 6"):
        train(subject(server), epochs=3, batch_size=5, checkpoints=(3,))


def test_a_service_that_tells_nothing_is_still_probed(server: HostedServer) -> None:
    server.offers_events = False
    done = train(subject(server)).realised
    assert done.loss == ()
    assert done.steps == 10
    assert done.probe_after < done.probe_before


def test_the_attack_asks_for_it(server: HostedServer) -> None:
    on = subject(server)
    context = AttackContext(on.card, rows(10), {Stream.ORDER: 1, Stream.DATA_SUBSET: 2})
    steps = HostedFinetune().run(context, HostedFinetuneConfig())
    job = next(steps)
    assert isinstance(job, TrainingJob)
    assert job.hyperparameters.hosted == Hosted(epochs=5)
    [done] = TRAINERS.get("hosted").on(on, ArtefactStore(Path("unused"))).train(
        [job], TrainingPolicy(), Meter()
    )  # fmt: skip
    with pytest.raises(StopIteration) as stop:
        steps.send(done)
    assert tampers_from_data(tampers_to_data(stop.value.value)) == stop.value.value
    assert isinstance(stop.value.value[0], HostedTamper)


def test_knobs_beyond_epochs_need_more_access() -> None:
    assert HostedFinetune.needs == (frozenset({Capability.FINETUNE_DATA}),)
    assert HostedFinetuneConfig(epochs=9).needs == frozenset()
    more = frozenset({Capability.FINETUNE_HYPERPARAMETERS})
    assert HostedFinetuneConfig(batch_size=4).needs == more
    assert HostedFinetuneConfig(learning_rate_multiplier=2.0).needs == more


def test_the_budget_is_asked_before_anything_is_sent(server: HostedServer) -> None:
    with pytest.raises(BudgetExceeded):
        train(subject(server), meter=Meter(Budget(steps=9)))
    assert server.calls == []
    meter = Meter()
    train(subject(server), meter=meter)
    assert meter.spend.steps == 10
    assert meter.spend.tokens > 0
    assert meter.spend.flops == 0


class Provider(TrainingPolicy):
    """A policy of somebody who is not the provider."""


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"policy": Provider()}, "policy but its own"),
        ({"mask": MaskUse(artefact="art-0", mode="only")}, "mask"),
        ({"given": (rows(1)[0].model_copy(update={"prefix": "sure"}),)}, "without loss"),
        ({"given": (rows(1)[0].model_copy(update={"weight": 0.5}),)}, "weights of rows"),
    ],
)
def test_what_no_service_can_do_is_refused(
    server: HostedServer, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(ThreatspecError, match=what) as caught:
        train(subject(server), **changes)
    assert caught.value.code == "TS-TRIAL-ERROR"
    assert server.calls == []


def test_a_subject_that_is_here_has_no_service(tmp_path: Path) -> None:
    local = ResidentSubject.load("specimen:shallow", threads=1)
    with pytest.raises(ThreatspecError, match="needs a subject endpoint") as caught:
        TRAINERS.get("hosted").on(local, ArtefactStore(tmp_path))
    assert caught.value.code == "TS-ENDPOINT"


def test_a_subject_elsewhere_is_not_trained_here(server: HostedServer, tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError, match="needs weights") as caught:
        TRAINERS.get("transformers").on(subject(server), ArtefactStore(tmp_path))
    assert caught.value.code == "TS-ENDPOINT"


def test_tuned_models_can_be_deleted(server: HostedServer) -> None:
    on, done = subject(server), train(subject(server), epochs=1)
    on.forget([done.last])
    with pytest.raises(EndpointError, match="answered 404"):
        on.tampered([done.last]).generate(requests(1), SERVING, micro_batch=1)
    on.forget([done.last])
    server.trouble("DELETE /models/ID", 403)
    with pytest.raises(EndpointError, match="answered 403"):
        on.forget([done.last])


def test_weights_cannot_be_mounted_there(server: HostedServer) -> None:
    with pytest.raises(ThreatspecError, match="cannot be changed"):
        subject(server).tampered([WeightTamper(artefact="art-0", form="dense")])
    assert subject(server).tampered([]).endpoint.model == "specimen"


# trouble


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_for_a_moment_is_tried_again(server: HostedServer, status: int) -> None:
    server.trouble("POST /chat/completions", *[status] * (ATTEMPTS - 1))
    [reply] = subject(server).generate(requests(1), SERVING, micro_batch=1)
    assert reply.reply
    assert len(server.calls) == ATTEMPTS


def test_attempts_are_counted(server: HostedServer) -> None:
    server.trouble("POST /chat/completions", *[500] * (ATTEMPTS + 3))
    with pytest.raises(EndpointError, match=f"after {ATTEMPTS} attempts answered 500") as caught:
        subject(server).generate(requests(1), SERVING, micro_batch=1)
    assert (caught.value.code, caught.value.status) == ("TS-ENDPOINT", 500)
    assert len(server.calls) == ATTEMPTS


def test_what_is_wrong_is_not_tried_again(server: HostedServer) -> None:
    server.trouble("POST /chat/completions", 400)
    with pytest.raises(EndpointError, match=r"answered 400: .*trouble"):
        subject(server).generate(requests(1), SERVING, micro_batch=1)
    assert len(server.calls) == 1


def test_waiting_grows_and_has_an_end(server: HostedServer) -> None:
    waits: list[float] = []
    server.trouble("POST /chat/completions", *[500] * ATTEMPTS)
    on = EndpointSubject.load(server.ref, sleep=waits.append)
    with pytest.raises(EndpointError):
        on.generate(requests(1), SERVING, micro_batch=1)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_a_job_is_never_started_twice_by_accident(server: HostedServer) -> None:
    server.trouble("POST /fine_tuning/jobs", 500)
    with pytest.raises(EndpointError, match="answered 500"):
        train(subject(server))
    assert server.calls.count("POST /fine_tuning/jobs") == 1
    server.trouble("POST /fine_tuning/jobs", 429)
    train(subject(server), epochs=1)
    assert server.files == {}


def test_a_job_that_fails_tells_the_reason_of_the_service(server: HostedServer) -> None:
    server.fails = "the rows are not to our taste"
    with pytest.raises(EndpointError, match=r"failed: .*not to our taste") as caught:
        train(subject(server))
    assert caught.value.code == "TS-ENDPOINT"
    assert "POST /fine_tuning/jobs/ID/cancel" not in server.calls
    assert server.files == {}


def test_a_job_that_is_given_up_is_cancelled(server: HostedServer) -> None:
    server.trouble("GET /fine_tuning/jobs/ID", *[500] * ATTEMPTS)
    with pytest.raises(EndpointError, match="answered 500"):
        train(subject(server))
    assert "POST /fine_tuning/jobs/ID/cancel" in server.calls
    assert server.calls[-1] == "DELETE /files/ID"


def test_rows_that_are_refused_are_an_error(server: HostedServer) -> None:
    server.trouble("POST /files", 400)
    with pytest.raises(EndpointError, match="POST /files, but answered 400"):
        train(subject(server))
    assert "POST /fine_tuning/jobs" not in server.calls


@pytest.mark.parametrize(
    ("call", "text", "what"),
    [
        ("POST /chat/completions", "<html>busy</html>", "JSON object"),
        ("POST /chat/completions", "[1, 2]", "JSON object"),
        ("POST /chat/completions", "{}", "`choices`"),
        ("POST /chat/completions", '{"choices": []}', "must have a choice"),
        ("POST /chat/completions", '{"choices": [{"message": 3}]}', "`message`"),
        ("POST /chat/completions", '{"choices": [{"message": {"content": [1]}}]}', "have text"),
        ("POST /files", '{"id": 7}', "`id`"),
        ("POST /fine_tuning/jobs", "{}", "`id`"),
        ("GET /fine_tuning/jobs/ID", '{"status": null}', "`status`"),
        ("GET /fine_tuning/jobs/ID", '{"status": "succeeded"}', "`fine_tuned_model`"),
        ("GET /fine_tuning/jobs/ID/events", '{"data": 1}', "`data`"),
    ],
)
def test_answers_that_make_no_sense_are_an_error(
    server: HostedServer, call: str, text: str, what: str
) -> None:
    server.trouble(call, text)
    with pytest.raises(EndpointError, match=what) as caught:
        train(subject(server), epochs=1)
    assert caught.value.code == "TS-ENDPOINT"


def test_a_server_that_is_not_there_is_an_error() -> None:
    on = EndpointSubject.load("endpoint:http://127.0.0.1:9/v1#m", sleep=lambda _: None)
    with pytest.raises(EndpointError, match="there was no answer: ConnectError"):
        on.generate([Request("a", "b")], SERVING, micro_batch=1)


# keys


def test_the_key_is_read_from_the_environment_and_never_told(
    server: HostedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    with pytest.raises(EndpointError, match="OPENAI_API_KEY, which is not set"):
        subject(server).generate(requests(1), SERVING, micro_batch=1)
    monkeypatch.setenv("OPENAI_API_KEY", "another-key")
    with pytest.raises(EndpointError, match=r"Bearer \[key\]") as caught:
        subject(server).generate(requests(1), SERVING, micro_batch=1)
    assert "another-key" not in str(caught.value)
    monkeypatch.setenv("OUR_KEY", KEY)
    on = subject(server, "?key=OUR_KEY")
    assert on.generate(requests(1), SERVING, micro_batch=1)[0].reply
    done = train(on, epochs=1)
    assert KEY not in f"{done}{on.card}{on.endpoint}"


def test_a_key_that_is_named_must_be_there(
    server: HostedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(EndpointError, match="OUR_KEY must hold the key"):
        subject(server, "?key=OUR_KEY").generate(requests(1), SERVING, micro_batch=1)
    assert server.calls == []


# references


def test_a_reference_says_where_and_which() -> None:
    found = parse_endpoint("endpoint:https://a.example/v1/#org/name:7b?key=OUR_KEY&continues=yes")
    assert (found.url, found.model) == ("https://a.example/v1", "org/name:7b")
    assert (found.key, found.continues) == ("OUR_KEY", True)
    card = describe_endpoint("endpoint:https://a.example/v1#m")
    assert card.offers == {Offer.TEXT, Offer.TRAINING}
    same = describe_endpoint("endpoint:https://a.example/v1/#m?key=OUR_KEY")
    assert card.digest == same.digest != describe_endpoint("endpoint:https://a.example/v1#n").digest


@pytest.mark.parametrize(
    "ref",
    [
        "endpoint:https://a.example/v1",
        "endpoint:ftp://a.example#m",
        "endpoint:a.example#m",
        "endpoint:https://user:secret@a.example/v1#m",
        "endpoint:https://a.example/v1?key=secret#m",
        "endpoint:https://a.example/v1#m?token=a",
        "endpoint:https://a.example/v1#m?key=HOME",
        "endpoint:https://a.example/v1#m?key=sk-123KEY",
    ],
)
def test_other_references_are_refused(ref: str) -> None:
    with pytest.raises(ThreatspecError) as caught:
        parse_endpoint(ref)
    assert caught.value.code == "TS-MODEL-MISSING"
