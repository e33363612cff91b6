"""Worker processes as this one starts them: split off a process that has imported all, or new."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, ClassVar, Protocol

__all__ = ["Child", "begin", "search_path"]

_FORK_SERVER = Path(__file__).with_name("_fork_server.py")
"""Run as a file: by its name as a module the packages around it would be imported first."""
_DEVICES = ("/dev/nvidiactl", "/dev/kfd")
"""Where one of these is, there is a GPU."""
_LONGEST = 2**17
"""Bytes of a message that every kernel lets through in one piece."""


class Child(Protocol):
    """A worker process."""

    stdin: IO[str]
    stdout: IO[str]

    @property
    def pid(self) -> int:
        """Once it is there; 0 if it could not be started."""
        ...

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        ...


def begin(log: IO[str]) -> Child:
    """Start a worker that writes what it has to say beside results to `log`."""
    told = {"environment": _environment(), "folder": os.getcwd(), "path": _path()}
    message = json.dumps(told).encode()
    if not _may_split() or len(message) > _LONGEST:
        return _New(log)
    return _Split(_Server.there(), message, log)


def search_path() -> str:
    """Where this process finds modules and plug-ins; a worker must find the very same."""
    return os.pathsep.join(_path())


def _path() -> list[str]:
    return [path or os.getcwd() for path in sys.path]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": search_path()}


def _may_split() -> bool:
    """Where a process can be split, and has no device of which a split-off part would lose hold."""
    return sys.platform == "linux" and not any(map(os.path.exists, _DEVICES))


class _New:
    """A new interpreter."""

    def __init__(self, log: IO[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "threatspec.runners._worker"],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the driver, which then stops the workers
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin: IO[str] = self._process.stdin
        self.stdout: IO[str] = self._process.stdout
        self.pid = self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class _Server:
    """The process that workers are split off; it ends when this one does."""

    _only: ClassVar[_Server | None] = None

    @classmethod
    def there(cls) -> _Server:
        """The one of this process, begun anew if it was lost."""
        if cls._only is None or cls._only.lost:
            cls._only = cls()
        return cls._only

    @property
    def lost(self) -> bool:
        return self._process.poll() is not None

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket, self._turn = ours, threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_FORK_SERVER), str(theirs.fileno())],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )  # fmt: skip
        atexit.register(self.close)

    def split(self, message: bytes, descriptors: list[int]) -> int:
        """The pid of a worker; 0 if the server is gone."""
        with self._turn:
            try:
                socket.send_fds(self._socket, [message], descriptors)
                return int(self._socket.recv(32) or b"0")
            except OSError:
                return 0

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


class _Split:
    """A part of the server's process."""

    def __init__(self, server: _Server, message: bytes, log: IO[str]) -> None:
        reads, writes = os.pipe(), os.pipe()
        self.stdin: IO[str] = os.fdopen(reads[1], "w", encoding="utf-8")
        self.stdout: IO[str] = os.fdopen(writes[0], encoding="utf-8")
        theirs = [reads[0], writes[1], os.dup(log.fileno())]
        self._pid, self._known = 0, threading.Event()
        threading.Thread(target=self._born, args=(server, message, theirs), daemon=True).start()

    def _born(self, server: _Server, message: bytes, descriptors: list[int]) -> None:
        self._pid = server.split(message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._known.set()

    @property
    def pid(self) -> int:
        self._known.wait()
        return self._pid

    def kill(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                _end(self.pid)


def _end(pid: int) -> None:
    """Of a process that somebody else waits for. Raises ProcessLookupError if there is none."""
    try:
        watched = os.pidfd_open(pid)
    except PermissionError:  # some containers forbid it
        os.kill(pid, signal.SIGKILL)
        return
    try:
        signal.pidfd_send_signal(watched, signal.SIGKILL)
        select.select([watched], [], [])
    finally:
        os.close(watched)
