"""Where files are kept that must outlive a machine: a path, or a URL that fsspec can open."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records._disk import disk_full, says_full

__all__ = ["Storage", "campaign_storage"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_USER = re.compile(r"[^\s/@:\"']+:[^\s/@\"']+@")
"""User and password of a URL."""


class Storage:
    """A folder of whole files, by path or fsspec URL.

    Everything raises ThreatspecError: TS-STORAGE for what the place refuses, TS-DISK-FULL,
    TS-MISSING-EXTRA if a URL's fsspec package is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        self._address = str(url).removeprefix("file://").rstrip("/")
        if not self._address or self._address.endswith(":"):
            text = f"storage must be a folder of its own, but is {str(url)!r}"
            raise ThreatspecError("TS-STORAGE", text, exit_code=ExitCode.USAGE)
        self._remote = "://" in self._address
        self._opened: Any = None

    @property
    def url(self) -> str:
        """Where it is, without user and password."""
        if not self._remote:
            return self._address
        parts = urlsplit(self._address)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def path(self) -> Path | None:
        """The folder on disk; None for a URL."""
        return None if self._remote else Path(self._address)

    def child(self, name: str) -> Storage:
        """The folder `name` in this one."""
        found = Storage(f"{self._address}/{_checked(name)}")
        found._opened = self._opened
        return found

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file there, or nothing; one of the same name is replaced."""
        with self._told("written"):
            if self._remote:
                self._system.pipe_file(self._full(name), data)
            else:
                _write(Path(self._full(name)), data)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A file to be written, on the same disk where that is a local one; gone afterwards."""
        folder = Path(tempfile.gettempdir() if self._remote else self._address)
        path = folder / f"{secrets.token_hex(8)}.tmp"
        with self._told("written"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)

    def take(self, file: Path, name: str) -> None:
        """Put a whole file that was written to `scratch` there, or nothing."""
        with self._told("written"):
            if self._remote:
                self._system.put_file(str(file), self._full(name))
            else:
                os.replace(file, self._full(name))

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        with self._told("read"):
            if self._remote:
                return bytes(self._system.cat_file(self._full(name)))
            return Path(self._full(name)).read_bytes()

    def names(self) -> list[str]:
        """Names of what lies in the folder, sorted; none if there is no such folder."""
        with self._told("read"):
            if self._remote:
                return self._remote_names()
            folder = Path(self._address)
            return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def _remote_names(self) -> list[str]:
        self._system.invalidate_cache()
        try:
            found = self._system.ls(self._address, detail=False)
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)

    def __contains__(self, name: str) -> bool:
        with self._told("read"):
            if self._remote:
                self._system.invalidate_cache()
                return bool(self._system.exists(self._full(name)))
            return Path(self._full(name)).exists()

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with self._told("written"), suppress(FileNotFoundError):
            if self._remote:
                self._system.rm_file(self._full(name))
            else:
                Path(self._full(name)).unlink()

    def remove_all(self) -> None:
        """Delete the folder with everything in it."""
        with self._told("written"), suppress(FileNotFoundError):
            if self._remote:
                self._system.rm(self._address, recursive=True)
            else:
                shutil.rmtree(self._address, ignore_errors=True)

    def _full(self, name: str) -> str:
        return f"{self._address}/{_checked(name)}"

    @property
    def _system(self) -> Any:
        if self._opened is None:
            self._opened = _file_system(self._address)
        return self._opened

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except ThreatspecError:
            raise
        except Exception as error:  # each kind of storage has errors of its own
            if isinstance(error, OSError) and says_full(error):
                raise disk_full() from error
            raise _refused(self.url, what, error) from error


def campaign_storage(url: str, plan: str) -> Storage:
    """The part of a profile's `storage` that belongs to one plan."""
    return Storage(url).child(plan)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ThreatspecError("TS-STORAGE", f"{name!r} must be the plain name of a file")
    return name


def _file_system(address: str) -> Any:
    protocol = address.partition("://")[0]
    try:
        import fsspec

        system, _ = fsspec.core.url_to_fs(address)
        return system
    except ImportError as error:
        text = f"storage at {protocol}:// needs the package that opens it: {error}"
        raise ThreatspecError("TS-MISSING-EXTRA", text) from None
    except ValueError:
        text = f"storage must be a path or a URL that fsspec knows, but is {protocol}://"
        raise ThreatspecError("TS-STORAGE", text, exit_code=ExitCode.USAGE) from None


def _refused(url: str, what: str, error: Exception) -> ThreatspecError:
    detail = _USER.sub("", " ".join(str(error).split()))[:200] or type(error).__name__
    text = f"{url} cannot be {what}: {detail}; change `storage` in the profile, or the credentials"
    return ThreatspecError("TS-STORAGE", text)


def _write(path: Path, data: bytes) -> None:
    """With the rights that the user's files have: others may be meant to read them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
