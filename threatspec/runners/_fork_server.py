"""A process that has imported what every worker imports, and splits into workers.

Started as `python -P _fork_server.py FD`, where FD is its end of a socket of
whole messages. Each message is a JSON object with `environment`, `folder` and `path`, along with
the descriptors of the worker's standard input, output and error; its answer is the worker's pid.
It ends when the other end is closed, and what it has split into then leaves by itself.

Of the program itself nothing is imported before the split: a worker finds it as it is by then.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["main"]

_IMPORTED = (
    "numpy",
    "torch",
    "safetensors.torch",
    "transformers.modeling_layers",
    "transformers.generation.utils",
    "transformers.models.auto.modeling_auto",
)
"""None of them starts a thread or opens a device by being imported."""
_LONGEST = 2**18


def main() -> None:
    """Serve until the socket is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers that ended
    for name in _IMPORTED:
        with suppress(ImportError):
            importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        while True:
            message, descriptors, _, _ = socket.recv_fds(asked, _LONGEST, 3)
            if not message:
                return
            server, pid = os.getpid(), os.fork()
            if not pid:
                asked.close()
                _become(json.loads(message), descriptors, server)
            for descriptor in descriptors:
                os.close(descriptor)
            with suppress(OSError):
                asked.send(str(pid).encode())


def _become(told: dict[str, Any], descriptors: Sequence[int], server: int) -> None:
    """Be a worker, and end as one; the server may be gone before it has begun."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()  # Ctrl-C is for the driver
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(told["environment"])
        os.chdir(told["folder"])
        sys.path[:] = told["path"]
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        importlib.invalidate_caches()
        importlib.import_module("threatspec.runners._worker").main(server)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
