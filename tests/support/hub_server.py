"""A small hub on this machine: files of data sets by commit, some of them gated.

It speaks what `huggingface_hub` asks for a file: HEAD and GET of
`/datasets/OWNER/NAME/resolve/REVISION/FILE`, with an ETag, the commit, and the codes of refusals.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["DataSet", "HubServer", "hub"]

COMMIT = "5" * 40


@dataclass
class DataSet:
    """One data set: files by commit, and who may read them."""

    commits: Mapping[str, Mapping[str, bytes]]
    readers: frozenset[str] | None = None
    """Tokens that may read it; None = everybody."""
    answers_with: str | None = None
    """Commit that it claims to answer with, if it lies."""


@dataclass
class HubServer:
    """Data sets by OWNER/NAME, and what was asked."""

    sets: dict[str, DataSet]
    calls: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def hub(**sets: DataSet) -> Iterator[HubServer]:
    """A running hub; names are OWNER__NAME."""
    state = HubServer({name.replace("__", "/"): one for name, one in sets.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(state: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            state.calls.append(f"{self.command} {path}")
            parts = path.split("/")
            if len(parts) < 7 or parts[1] != "datasets" or parts[4] != "resolve":
                self._refuse(404, "RepoNotFound")
                return
            found = state.sets.get("/".join(parts[2:4]))
            if found is None:
                self._refuse(401, "RepoNotFound")
                return
            token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            if found.readers is not None and token not in found.readers:
                self._refuse(403 if token else 401, "GatedRepo")
                return
            files = found.commits.get(parts[5])
            if files is None:
                self._refuse(404, "RevisionNotFound")
                return
            data = files.get("/".join(parts[6:]))
            if data is None:
                self._refuse(404, "EntryNotFound")
                return
            self._give(data, found.answers_with or parts[5])

        def _give(self, data: bytes, commit: str) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"refused: {code}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
