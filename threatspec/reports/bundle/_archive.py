"""A zip file of somebody else, read in place: nothing is unpacked to the disk, nothing is trusted.

A bundle is a narrow kind of zip: plain files with plain names, deflated, one index at the end and
no comment. Whatever goes beyond that is refused before a member is read.
"""

from __future__ import annotations

import copy
import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.reports.bundle._format import (
    MAX_BYTES,
    MAX_LINE,
    MAX_MEMBERS,
    MEMBER,
    FileEntry,
    limit_of,
    refused,
)

__all__ = ["Archive"]

_END = struct.Struct("<4s4H2LH")
"""End of the index: signature, two disks, two counts, size and place of the index, comment."""
_LOCATOR = 20
"""Bytes before it where an index for large files would be announced."""
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_CHUNK = 1 << 20
_LONGEST_ENTRY = 1 << 10


class Archive:
    """Members of a zip file by name; open until it is closed.

    Raises ThreatspecError TS-BUNDLE for what is wrong with the file, TS-FILE-MISSING if there is
    none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        try:
            _check_end(self._file, path)
            with _readable(path.name):
                self._zip = zipfile.ZipFile(self._file)
            self._members = _checked(self._zip.infolist())
        except BaseException:
            self._file.close()
            raise
        self._entries: dict[str, FileEntry] = {}

    def close(self) -> None:
        """Give the file back."""
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> frozenset[str]:
        """All members."""
        return frozenset(self._members)

    def expect(self, entries: Iterable[FileEntry]) -> None:
        """Hold every member that is read from now on against these entries."""
        self._entries = {entry.name: entry for entry in entries}
        for name, entry in self._entries.items():
            size = self._members[name].file_size
            if size != entry.size:
                text = f"it says {size:,} bytes where the manifest says {entry.size:,}"
                raise refused(f"{name} must have the size that the manifest says", text)

    def read(self, name: str) -> bytes:
        """A member as a whole."""
        return b"".join(self.chunks(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """Lines of a member, without their ends."""
        left = b""
        for chunk in self.chunks(name):
            *lines, left = (left + chunk).split(b"\n")
            if len(left) > MAX_LINE:
                raise refused(
                    f"a line of {name} must have at most {MAX_LINE:,} bytes", "one has more"
                )
            yield from lines
        if left:
            raise refused(f"{name} must end with the end of a line", "its last line is cut off")

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member piece by piece; its digest is compared at the end."""
        seen, digest = 0, hashlib.sha256()
        longer = copy.copy(self._members[name])
        longer.file_size += 1  # a byte more than there may be, and never another one
        with _readable(name), self._zip.open(longer) as member:
            while chunk := member.read(_CHUNK):
                seen += len(chunk)
                digest.update(chunk)
                yield chunk
        self._compare(name, seen, digest.hexdigest())

    def _compare(self, name: str, size: int, digest: str) -> None:
        if size != self._members[name].file_size:
            text = f"it has {size:,} bytes where its index says {self._members[name].file_size:,}"
            raise refused(f"{name} must have the size that it says", text)
        entry = self._entries.get(name)
        if entry is not None and digest != entry.sha256:
            text = f"it has {digest[:16]} where the manifest says {entry.sha256[:16]}"
            raise refused(f"{name} must have the sha256 that the manifest says", text)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        text = f"{path} must be a bundle, but cannot be opened: {error.strerror or error}"
        raise ThreatspecError("TS-FILE-MISSING", text, exit_code=ExitCode.USAGE) from None


def _check_end(file: IO[bytes], path: Path) -> None:
    """The index must be small and end the file, before anything takes it into memory."""
    size = file.seek(0, 2)
    if size > MAX_BYTES:
        raise refused(
            f"a bundle must have at most {MAX_BYTES:,} bytes", f"{path.name} has {size:,}"
        )
    file.seek(max(0, size - _END.size - _LOCATOR))
    found = file.read()
    before, tail = found[: -_END.size], found[-_END.size :]
    if len(tail) < _END.size or not tail.startswith(b"PK\x05\x06"):
        raise refused(
            f"{path.name} must be a whole zip file without a comment", "it does not end like one"
        )
    _, *disks, here, count, length, start, comment = _END.unpack(tail)
    if count > MAX_MEMBERS:
        raise refused(f"a bundle must have at most {MAX_MEMBERS} members", f"it has {count}")
    whole = start + length + _END.size == size and length <= count * _LONGEST_ENTRY
    large = before.startswith(b"PK\x06\x07")  # a second index, which would be read instead
    if any(disks) or comment or here != count or not whole or large:
        raise refused(
            f"{path.name} must be a zip file and nothing else", "its index does not fit it"
        )


def _checked(found: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    if len(found) > MAX_MEMBERS:
        raise refused(f"a bundle must have at most {MAX_MEMBERS} members", f"it has {len(found)}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in found:
        _check_member(info)
        if info.filename in members:
            raise refused("names of members must be unique", f"{info.filename} is there twice")
        members[info.filename] = info
    total = sum(info.file_size for info in found)
    if total > MAX_BYTES:
        raise refused(
            f"members must have at most {MAX_BYTES:,} bytes in all", f"they have {total:,}"
        )
    return members


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename  # as it is written; `filename` ends at the first NUL
    if not re.fullmatch(MEMBER, name):
        rule = "members must have plain names (letters, digits, `.`, `_`, `-`; only receipts/)"
        raise refused(rule, f"one is called {name[:100]!r}")
    if info.flag_bits & _ENCRYPTED:
        raise refused("members must not be encrypted", f"{name} is")
    if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG}:
        raise refused("members must be plain files", f"{name} is something else")
    if info.compress_type not in _METHODS:
        raise refused("members must be stored or deflated", f"{name} is packed in another way")
    if info.file_size > limit_of(name):
        rule = f"{name} must have at most {limit_of(name):,} bytes"
        raise refused(rule, f"it says that it has {info.file_size:,}")


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """What the zip library says of damage, as a coded error."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise refused(f"{name} must be whole", text) from None
