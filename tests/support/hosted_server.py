"""A small OpenAI-compatible server on this machine that really trains a specimen and answers.

Files, fine-tuning jobs with events and checkpoints, models, chat completions, completions of bare
text and their echo with log-probabilities. Trouble is ordered with :meth:`HostedServer.trouble`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import torch

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Stream
from threatspec.schema import Serving
from threatspec.subjects import Request, WeightTamper
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import Hyperparameters, Meter, TrainingJob, TrainingPolicy, TrainingRow
from threatspec.training._resident import ResidentTrainer

__all__ = ["HostedServer", "Refusal", "serving"]

RATE, BATCH, EPOCHS = 1e-4, 10, 3
"""What the service chooses itself."""


class Refusal(Exception):
    """An answer with an HTTP status and the error object of such interfaces."""

    def __init__(self, status: int, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.status = status
        self.body = json.dumps({"error": {"message": message, "code": code}}).encode()


@dataclass
class Job:
    id: str
    body: dict[str, Any]
    rows: tuple[TrainingRow, ...]
    status: str = "queued"
    model: str | None = None
    error: dict[str, str] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0

    def seen(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "fine_tuning.job",
            "status": self.status,
            "fine_tuned_model": self.model,
            "error": self.error,
            "trained_tokens": self.tokens or None,
        }


class HostedServer:
    """State of the server: files, jobs, models, and what goes wrong next."""

    def __init__(self, subject: ResidentSubject, folder: Path, key: str) -> None:
        self.subject, self.store, self.key = subject, ArtefactStore(folder), key
        self.models: dict[str, WeightTamper | None] = {"specimen": None}
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, Job] = {}
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.fails = ""
        self.offers_events = True
        self.says: Callable[[str], str | float] | None = None
        """Answers of the chat by the user's last turn, instead of the specimen's; a number is so
        many seconds of silence before the specimen answers."""
        self.tells_logprobs = True
        self.hurries = False
        """Whether it asks to be tried again at once."""
        self._troubles: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
        self._busy = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.url = ""

    @property
    def ref(self) -> str:
        """The specimen behind it, as a spec names it."""
        return f"endpoint:{self.url}#specimen"

    def trouble(self, call: str, *answers: int | str) -> None:
        """The next answers to `call` ("POST /files"): statuses, or a body that is sent with 200."""
        for answer in answers:
            status, text = (200, answer) if isinstance(answer, str) else (answer, "trouble")
            self._troubles[call].append((status, text))

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> Any:
        """The JSON object (or raw text) that a call is answered with. Raises Refusal."""
        call = f"{method} {re.sub(r'/(file-|job-|tuned:)[^/]+', '/ID', path)}"
        self.calls.append(call)
        if self._troubles[call]:
            status, text = self._troubles[call].popleft()
            if status != 200:
                raise Refusal(status, text, "rate_limit" if status == 429 else "server_error")
            return text
        return self._routes(call)(path, query, body, kind)

    def _routes(self, call: str) -> Any:
        known = {
            "POST /files": self._upload,
            "DELETE /files/ID": self._delete,
            "POST /fine_tuning/jobs": self._start,
            "GET /fine_tuning/jobs/ID": self._status,
            "POST /fine_tuning/jobs/ID/cancel": self._cancel,
            "GET /models": self._models,
            "DELETE /models/ID": self._forget,
            "POST /chat/completions": self._chat,
            "POST /completions": self._bare,
        }
        if self.offers_events:
            known["GET /fine_tuning/jobs/ID/events"] = self._events
            known["GET /fine_tuning/jobs/ID/checkpoints"] = self._checkpoints
        if call not in known:
            raise Refusal(404, f"no such call: {call}")
        return known[call]

    # files

    def _upload(self, path: str, query: Any, body: bytes, kind: str) -> Any:
        parts = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        given = {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
            for part in parts.get_payload()  # type: ignore[union-attr]
        }
        if given.get("purpose") != b"fine-tune":
            raise Refusal(400, "purpose must be fine-tune")
        name = f"file-{len(self.files)}"
        self.files[name] = bytes(given["file"])  # type: ignore[arg-type]
        _rows(self.files[name])
        return {"id": name, "status": "processed"}

    def _delete(self, path: str, *_: Any) -> Any:
        self.files.pop(path.rpartition("/")[2], None)
        return {"deleted": True}

    # jobs

    def _start(self, path: str, query: Any, body: bytes, kind: str) -> Any:
        asked = json.loads(body)
        self.bodies.append(asked)
        if asked["model"] not in self.models:
            raise Refusal(404, f"no such model: {asked['model']}")
        job = Job(f"job-{len(self.jobs)}", asked, _rows(self.files[asked["training_file"]]))
        self.jobs[job.id] = job
        thread = threading.Thread(target=self._train, args=(job,))
        self._threads.append(thread)
        thread.start()
        return job.seen()

    def _train(self, job: Job) -> None:
        job.status = "running"
        if self.fails:
            job.error = {"code": "invalid_training_file", "message": self.fails}
            job.status = "failed"
            return
        asked = job.body["method"]["supervised"]["hyperparameters"]
        batch = min(asked.get("batch_size", BATCH), len(job.rows))
        epochs = asked.get("n_epochs", EPOCHS)
        per_epoch = ceil(len(job.rows) / batch)
        hyper = Hyperparameters(
            lr=RATE * asked.get("learning_rate_multiplier", 1.0),
            steps=epochs * per_epoch,
            batch_size=batch,
        )
        ends = tuple(per_epoch * epoch for epoch in range(1, epochs + 1))
        work = TrainingJob(
            rows=job.rows,
            hyperparameters=hyper,
            seeds={Stream.ORDER: job.body.get("seed", 0)},
            checkpoints=ends,
        )
        with self._busy:
            [done] = ResidentTrainer(self.subject, self.store).train(
                [work], TrainingPolicy(), Meter()
            )
        for step, tamper in done.checkpoints.items():
            name = f"tuned:{job.id}:{step}"
            self.models[name] = tamper
            job.checkpoints.append(
                {"id": f"ckpt-{step}", "step_number": step, "fine_tuned_model_checkpoint": name}
            )
        job.events = [
            {"id": f"ev-{i}", "type": "metrics", "data": {"step": i, "train_loss": loss}}
            for i, loss in enumerate(done.realised.loss, start=1)
        ]
        job.tokens = sum(done.realised.loss_tokens)
        job.model = f"tuned:{job.id}:{hyper.steps}"
        job.status = "succeeded"

    def _job(self, path: str) -> Job:
        name = path.split("/")[3]
        if name not in self.jobs:
            raise Refusal(404, f"no such job: {name}")
        return self.jobs[name]

    def _status(self, path: str, *_: Any) -> Any:
        return self._job(path).seen()

    def _cancel(self, path: str, *_: Any) -> Any:
        job = self._job(path)
        job.status = "cancelled"
        return job.seen()

    def _events(self, path: str, query: dict[str, str], *_: Any) -> Any:
        newest_first = [{"id": "ev-0", "type": "message", "message": "created"}]
        newest_first = [*reversed(self._job(path).events), *newest_first]
        start = 0
        if "after" in query:
            start = 1 + [event["id"] for event in newest_first].index(query["after"])
        page = newest_first[start : start + 4]  # small pages, whatever was asked for
        return {"data": page, "has_more": start + 4 < len(newest_first)}

    def _checkpoints(self, path: str, *_: Any) -> Any:
        return {"data": self._job(path).checkpoints, "has_more": False}

    # answers

    def _models(self, *_: Any) -> Any:
        return {"data": [{"id": name} for name in self.models]}

    def _forget(self, path: str, *_: Any) -> Any:
        if self.models.pop(path.rpartition("/")[2], None) is None:
            raise Refusal(404, f"no such model: {path}")
        return {"deleted": True}

    def _chat(self, path: str, query: Any, body: bytes, kind: str) -> Any:
        asked = json.loads(body)
        if asked["model"] not in self.models:
            raise Refusal(404, f"no such model: {asked['model']}")
        said = {turn["role"]: turn["content"] for turn in asked["messages"]}
        continues = asked.get("continue_final_message", False)
        users = [turn["content"] for turn in asked["messages"] if turn["role"] == "user"]
        request = Request("a", users[-1], prefix=said["assistant"] if continues else "",
                          turns=tuple(users[:-1]))  # fmt: skip
        if self.says is not None:
            words = self.says(said["user"])
            if isinstance(words, str):
                return _completion(words)
            time.sleep(words)
        tamper = self.models[asked["model"]]
        served = Serving(
            system=said.get("system"), max_tokens=asked["max_tokens"], **_decoding(asked)
        )
        seed = asked.get("seed", 0)
        with self._busy, mount(self.subject, [tamper] if tamper else [], self.store):
            [reply] = self.subject.ask([request], [served], micro_batch=1, seed=seed)
        if reply.outcome is not None:
            raise Refusal(400, reply.detail, "context_length_exceeded")
        return _completion(reply.reply.rpartition("\n")[2])

    def _bare(self, path: str, query: Any, body: bytes, kind: str) -> Any:
        """Bare text goes on; with `echo` it is only told how probable it is."""
        asked = json.loads(body)
        if asked["model"] not in self.models:
            raise Refusal(404, f"no such model: {asked['model']}")
        self.bodies.append(asked)
        tamper = self.models[asked["model"]]
        with self._busy, mount(self.subject, [tamper] if tamper else [], self.store):
            if asked.get("echo"):
                return self._echo(asked)
            served = Serving(template="none", max_tokens=asked["max_tokens"], **_decoding(asked))
            request = Request("a", asked["prompt"])
            [reply] = self.subject.ask(
                [request], [served], micro_batch=1, seed=asked.get("seed", 0)
            )
        if reply.outcome is not None:
            raise Refusal(400, reply.detail, "context_length_exceeded")
        return {"choices": [{"index": 0, "text": f" {reply.reply}", "finish_reason": "stop"}]}

    def _echo(self, asked: dict[str, Any]) -> Any:
        """Tokens with the white space before each, as tokenizers of bytes have them."""
        text, tokenizer = asked["prompt"], self.subject.tokenizer
        if asked["max_tokens"] != 0:
            raise Refusal(400, "echo must be asked for with max_tokens 0")
        read = tokenizer(text, return_offsets_mapping=True)
        ids = torch.tensor([read["input_ids"]])
        if ids.shape[1] > self.subject.card.context:
            raise Refusal(400, "the prompt does not fit into the context")
        with torch.inference_mode():
            chances = self.subject.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        own = chances.gather(-1, ids[0, 1:, None])[:, 0].tolist()
        ends = [end for _, end in read["offset_mapping"]]
        starts = [0, *ends[:-1]]
        told = {
            "tokens": [text[start:end] for start, end in zip(starts, ends, strict=True)],
            "token_logprobs": [None, *own],
            "text_offset": starts,
        }
        choice = {"index": 0, "text": text, "finish_reason": "length"}
        return {"choices": [{**choice, "logprobs": told if self.tells_logprobs else None}]}

    def close(self) -> None:
        for thread in self._threads:
            thread.join()


def _decoding(asked: dict[str, Any]) -> dict[str, Any]:
    """Fields of a serving for how a caller wants tokens chosen."""
    if not asked.get("temperature"):
        return {}
    names = ("temperature", "top_p", "top_k")
    return {"decoding": "sample", **{n: asked[n] for n in names if n in asked}}


def _completion(words: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": words}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def _rows(data: bytes) -> tuple[TrainingRow, ...]:
    """Rows of an uploaded file. Raises Refusal."""
    rows = []
    for number, line in enumerate(data.decode().splitlines()):
        turns = json.loads(line)["messages"]
        said = {turn["role"]: turn for turn in turns}
        if turns[-1]["role"] != "assistant" or not said["assistant"]["content"]:
            raise Refusal(400, f"line {number} must end with words of the assistant")
        rows.append(
            TrainingRow(
                id=str(number),
                prompt=said["user"]["content"],
                answer=said["assistant"]["content"],
                system=said["system"]["content"] if "system" in said else None,
                weight=said["assistant"].get("weight", 1),
            )
        )
    return tuple(rows)


@contextmanager
def serving(folder: Path, model: str = "specimen:shallow", key: str = "") -> Iterator[HostedServer]:
    """A server on a free port of this machine for as long as the context lasts."""
    state = HostedServer(ResidentSubject.load(model, threads=1), folder, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        state.close()


def _handler(state: HostedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            place = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(place.query).items()}
            path = unquote(place.path).removeprefix("/v1")
            try:
                if state.key and self.headers.get("Authorization") != f"Bearer {state.key}":
                    given = self.headers.get("Authorization", "nothing")
                    raise Refusal(401, f"wrong key: {given}", "invalid_api_key")
                kind = self.headers.get("Content-Type", "")
                found = state.answer(self.command, path, query, body, kind)
                text = found if isinstance(found, str) else json.dumps(found)
                self._send(200, text.encode())
            except Refusal as refusal:
                self._send(refusal.status, refusal.body)
            except ThreatspecError as error:
                self._send(400, Refusal(400, error.message).body)

        do_GET = do_POST = do_DELETE = _serve

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if state.hurries and status in {429, 500, 503}:
                self.send_header("Retry-After", "0")
            with suppress(ConnectionError):  # who asked may have gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the screen."""

    return Handler


if __name__ == "__main__":  # for trying things by hand
    import tempfile

    with tempfile.TemporaryDirectory() as place, serving(Path(place)) as running:
        print(running.ref)
        while True:
            time.sleep(1)
