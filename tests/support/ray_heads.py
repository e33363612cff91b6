"""Real Ray heads for tests: started by `ray start --head`, in a process group of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Head", "start_head"]

_AS = """
import sys, ray, ray._private.utils as utils
versions = utils.compute_version_info()
if sys.argv[1]: ray.__version__ = sys.argv[1]
said = tuple(given or own for given, own in zip(sys.argv[1:3], versions))
utils.compute_version_info = lambda: said
from ray.scripts.scripts import main
sys.argv = ["ray", *sys.argv[3:]]
main()
"""
_PLAIN = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""As in a machine image: `python` is the one that Ray runs on."""


@dataclass(frozen=True, slots=True)
class Head:
    """A running head."""

    address: str
    dashboard: str
    """Job server; nothing answers there if it was started without."""
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it with all its processes, as a power cut would."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start_head(
    *,
    cpus: int = 2,
    jobs: bool = False,
    version: str = "",
    python: str = "",
    environment: Mapping[str, str] | None = None,
    port: int = 0,
) -> Iterator[Head]:
    """A head with so many CPUs; with its job server if `jobs`.

    It says that it is of `version`, on `python`, where these are given.
    """
    port, dashboard = port or free_port(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="ts-ray-"))  # short: sockets have short names
    command = [
        sys.executable, "-c", _AS, version, python, "start", "--head", "--block",
        f"--port={port}", f"--num-cpus={cpus}", "--node-ip-address=127.0.0.1",
        f"--object-store-memory={100 * 2**20}", f"--temp-dir={folder}",
        f"--include-dashboard={str(jobs).lower()}", f"--dashboard-port={dashboard}",
        "--disable-usage-stats", f"--dashboard-agent-listen-port={free_port()}",
    ]  # fmt: skip
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **_PLAIN, **(environment or {})},
        )
    head = Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", process)
    try:
        _wait(head, folder, [port, *([dashboard] if jobs else [])])
        yield head
    finally:
        head.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(head: Head, folder: Path, ports: list[int]) -> None:
    for port in ports:
        for _ in range(600):
            if head.process.poll() is not None:
                raise RuntimeError((folder / "start.log").read_text())
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            raise RuntimeError((folder / "start.log").read_text())
