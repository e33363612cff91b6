"""Data sets of a hub, `hf:REPO@REVISION`: pinned by commit, read with the user's own token."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.measures.benchmarks._descriptions import description_of, shipped_for
from threatspec.measures.benchmarks._files import FileBenchmark, read_benchmark
from threatspec.measures.benchmarks._find import copies_of, one_of
from threatspec.schema import HUB_NAME, BenchmarkCard, DescriptionCard

__all__ = ["absent_hub", "hub_benchmark", "hub_card"]

_NAME = re.compile(HUB_NAME)


def hub_benchmark(name: str, place: Path, *, fetch: bool) -> FileBenchmark:
    """The benchmark `hf:REPO@REVISION`, from the local cache or, with `fetch`, from its hub.

    Raises ThreatspecError TS-DATA, TS-GATED, TS-MISSING-EXTRA; SpecErrors for a wrong card.
    """
    card = hub_card(name, place)
    return read_benchmark(_file(name, card, fetch=fetch), card, place, place)


def hub_card(name: str, place: Path) -> BenchmarkCard:
    """How a data set is read: by a card of the workspace, or as a shipped description says.

    Raises ThreatspecError TS-DATA if the name is not pinned by a commit or nothing says.
    """
    if not _NAME.match(name):
        text = "a data set must be pinned by its commit (hf:OWNER/NAME@ and 40 hex digits, since "
        raise ThreatspecError("TS-DATA", f"{text}a branch can change), but got {name}")
    if found := copies_of(name, place):
        return one_of(name, [one for one in found if one[1].data_set == name])[1]
    repo = name.removeprefix("hf:").partition("@")[0]
    about = shipped_for(repo)
    if about is None or about.hub is None:
        text = f"a card in the workspace must say which columns {name} has, but none does"
        raise ThreatspecError("TS-DATA", f"{text}; write one with `data_set: {name}`")
    return _card(name, about)


def absent_hub(name: str, place: Path) -> DescriptionCard | None:
    """What is known of a well-formed data set that is not in the local cache; None if it is."""
    try:
        card = hub_card(name, place)
        _file(name, card, fetch=False)
    except ThreatspecError as error:
        if not isinstance(error, NotCached):
            return None
    else:
        return None
    about = description_of(card.description, place) if card.description else None
    return about or _description(name, card)


class NotCached(ThreatspecError):
    """A file that would have to be fetched."""


def _card(name: str, about: DescriptionCard) -> BenchmarkCard:
    assert about.hub is not None
    how = about.hub.model_dump(mode="json", exclude_unset=True, exclude={"repo"})
    told = {
        "schema": "threatspec/benchmark-card/v1",
        "name": about.name,
        "says": about.says,
        "licence": about.licence,
        "source": name,
        "gated": about.gated,
        "data_set": name,
        "description": about.name,
    }
    return BenchmarkCard.model_validate_json(json.dumps({**told, **how}))


def _description(name: str, card: BenchmarkCard) -> DescriptionCard:
    """A card as a description, for what can be said without the rows."""
    told = {
        "schema": "threatspec/description/v1",
        "name": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80].strip("-"),
        "kind": "benchmark",
        "says": card.says,
        "source": {"work": card.source, "section": "its card", "provenance": "own"},
        "licence": card.licence,
        "gated": card.gated,
        "obtain": "It is fetched from its hub when a claim about it is planned.",
    }
    return DescriptionCard.model_validate_json(json.dumps(told))


def _file(name: str, card: BenchmarkCard, *, fetch: bool) -> Path:
    """The file of a data set. A commit that is in the cache needs no network."""
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError:
        text = f"{name} needs the extra 'run': pip install 'threatspec-claims[run]'"
        raise ThreatspecError("TS-MISSING-EXTRA", text) from None
    repo, _, revision = name.removeprefix("hf:").partition("@")
    local = not fetch or _is_offline()
    try:
        found = hf_hub_download(
            repo,
            card.file,
            repo_type="dataset",
            revision=revision,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
            token=os.environ.get("HF_TOKEN") or None,
            local_files_only=local,
        )
    except Exception as error:
        raise _refusal(name, card, error, local=local) from error
    path = Path(found)
    if revision not in path.parts:
        text = f"the hub must answer with the commit of {name}, but did with another"
        raise ThreatspecError("TS-DATA", text)
    return path


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _refusal(name: str, card: BenchmarkCard, error: Exception, *, local: bool) -> ThreatspecError:
    """What a failed download means. Kinds of error are told by name, as libraries move them."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if local:
        why = "HF_HUB_OFFLINE is set" if _is_offline() else "nothing is fetched for a check"
        text = f"{name} ({card.file}) is not in the local cache, and {why}"
        return NotCached("TS-DATA", f"{text}; run once with network, or fill the cache by hand")
    if "GatedRepoError" in kinds:
        return _gated(name)
    if "RepositoryNotFoundError" in kinds:  # what a hub says of private ones too
        text = f"{name} is not on the hub, or only for a token that may read it (HF_TOKEN is "
        return ThreatspecError("TS-DATA", text + f"{'set' if _token() else 'not set'})")
    if "RevisionNotFoundError" in kinds:
        text = f"{name} must be a commit of the data set, but the hub has no such one"
        return ThreatspecError("TS-DATA", text)
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        text = f"{name} must have the file {card.file} that its card says, but has none"
        return ThreatspecError("TS-DATA", text)
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return ThreatspecError("TS-DATA", f"{name} cannot be fetched: {first}")


def _token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _gated(name: str) -> ThreatspecError:
    repo = name.removeprefix("hf:").partition("@")[0]
    page = f"https://huggingface.co/datasets/{repo}"
    if _token():
        text = f"{name} is gated, and your token may not read it; ask for access at {page}"
        return ThreatspecError("TS-GATED", f"{text}, with the account of the token")
    text = f"{name} is gated, and there is no token; ask for access at {page}, then set HF_TOKEN"
    return ThreatspecError("TS-GATED", f"{text} to a token of that account")
