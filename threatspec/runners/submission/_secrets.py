"""Files that look like secrets: they never leave the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from threatspec.errors import ThreatspecError

__all__ = ["refuse_secrets"]

_NAMES = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "*.ppk", "id_rsa*",
    "id_dsa*", "id_ed25519*", "id_ecdsa*", ".netrc", "_netrc", ".pypirc", ".pgpass",
    ".git-credentials", ".htpasswd", ".dockerconfigjson", "credentials", "credentials.json",
    "application_default_credentials.json", "service-account*.json", "auth_token", "kubeconfig",
    "secrets.yaml", "secrets.yml", "secrets.json",
)  # fmt: skip
_MARKS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}"
    rb"|glpat-[A-Za-z0-9_-]{20,}|A(KIA|SIA)[0-9A-Z]{16}|AIza[A-Za-z0-9_-]{35}"
    rb"|sk-[A-Za-z0-9_-]{32,}|xox[abprs]-[A-Za-z0-9-]{20,})"
)
_MOST_BYTES = 2**20
"""Of a file that is looked into; keys and tokens stand in small files."""


def refuse_secrets(root: Path, files: Iterable[str]) -> None:
    """Raises ThreatspecError TS-UPLOAD-SECRET that names every file that looks like a secret."""
    found = [f"{name} ({why})" for name in files for why in _reasons(root / name)]
    if found:
        text = f"{', '.join(found)} would be uploaded, but looks like a secret; ignore it in "
        raise ThreatspecError("TS-UPLOAD-SECRET", f"{text}.gitignore or .threatspecignore")


def _reasons(path: Path) -> Iterator[str]:
    if any(fnmatch(path.name.lower(), pattern) for pattern in _NAMES):
        yield "its name"
    elif path.stat().st_size <= _MOST_BYTES and _MARKS.search(path.read_bytes()):
        yield "its content"
