"""A judge as the subject of a claim: of labelled replies it says yes, no or unscorable.

`judge:NAME` is a judge as it comes; `judge:NAME?KEY=VALUE&KEY=VALUE` one with settings. A value is
JSON where it can be read so, else text; `&` and `%` in it are written `%26` and `%25`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from threatspec.errors import ThreatspecError
from threatspec.measures.base import JUDGES, Item, Judge, Response
from threatspec.records import Generation, Outcome
from threatspec.schema import JudgeUse, Serving, content_id, is_judge
from threatspec.subjects import Request, SubjectCard, Tamper, check_reference, describe

__all__ = ["JudgeSubject", "check_subject", "describe_subject", "judge_use"]

_UNBOUNDED = 2**31
"""Nothing is cut for a context."""


def check_subject(ref: str) -> None:
    """What can be said of the reference of a model or judge alone. Raises ThreatspecError
    TS-MODEL-MISSING, TS-UNKNOWN-JUDGE, TS-JUDGE."""
    if is_judge(ref):
        _set(ref, Path())
    else:
        check_reference(ref)


def describe_subject(ref: str, folder: Path = Path()) -> SubjectCard:
    """Size and identity of a model or judge, from its files; relative ones start in `folder`.

    A judge offers nothing: there is no attack on one but `none`. What decides beside its source
    (settings, lists, prompts, weights) is its digest.

    Raises ThreatspecError TS-MODEL-MISSING, TS-MODEL-DIGEST, TS-UNKNOWN-JUDGE, TS-JUDGE, and
    whatever a judge's files raise.
    """
    if not is_judge(ref):
        return describe(ref, folder)
    judge, config = _set(ref, folder)
    given = judge_use(ref).model_dump(mode="json")
    return SubjectCard(
        ref=ref,
        digest=content_id("judge", [given, judge.identity(config)]),
        parameters=0,
        context=_UNBOUNDED,
        tokens_per_word=0.0,
        offers=frozenset(),
    )


def judge_use(ref: str) -> JudgeUse:
    """The judge and the settings that a reference names. Raises ThreatspecError TS-JUDGE."""
    name, _, options = ref.partition(":")[2].partition("?")
    settings: dict[str, Any] = {}
    for option in filter(None, options.split("&")):
        key, equals, value = option.partition("=")
        if not equals or not key or key in settings:
            text = "settings of a judge must be KEY=VALUE, each once and `&` between them"
            raise ThreatspecError("TS-JUDGE", f"{text}, but got {option!r} in {ref!r}")
        settings[key] = _value(unquote(value))
    return JudgeUse(use=name, settings=settings)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(ref: str, folder: Path) -> tuple[Judge, Any]:
    use = judge_use(ref)
    judge = JUDGES.get(use.use)
    try:
        config = judge.Config.model_validate_json(json.dumps(use.settings))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
        text = f"{ref} must be set as `threatspec explain {use.use}` says, but {wrong}"
        raise ThreatspecError("TS-JUDGE", text) from None
    return judge, judge.located(config, folder)


@dataclass(frozen=True)
class JudgeSubject:
    """A judge with its settings.

    Args:
        card: what is known of it.
        judge: the judge.
        config: its settings, with files where they are.
        items: labelled replies that it can be asked about, by id.
    """

    card: SubjectCard
    judge: Judge
    config: Any
    items: dict[str, Item] = field(default_factory=dict)

    @classmethod
    def load(cls, ref: str, folder: Path) -> JudgeSubject:
        """The subject `ref`. Raises ThreatspecError as `describe_subject` does."""
        return cls(describe_subject(ref, folder), *_set(ref, folder))

    def about(self, items: Sequence[Item]) -> JudgeSubject:
        """The same judge, to be asked about these."""
        return replace(self, items={item.id: item for item in items})

    def tampered(self, tampers: Sequence[Tamper]) -> JudgeSubject:
        """The judge after an attack that left nothing. Raises ThreatspecError TS-ACCESS."""
        if tampers:
            text = f"nothing can be done to {self.card.ref}, but an attack left {tampers[0].kind}"
            raise ThreatspecError("TS-ACCESS", text)
        return self

    def ask(
        self,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        *,
        micro_batch: int,
        seed: int = 0,
        query: str = "generate",
    ) -> list[Generation]:
        """What it says of the reply of every item that people labelled, in the order of requests.

        Servings are for models, and change nothing here. An item without a label is a missing row.
        """
        asked = [self.items[request.item] for request in requests]
        labelled = [item for item in asked if item.label]
        said = self.judge.score([Response(item, item.response) for item in labelled], self.config)
        found = {
            item.id: _said(item, one.outcome.value, one.detail)
            for item, one in zip(labelled, said, strict=True)
        }
        return [found.get(item.id) or _unlabelled(item) for item in asked]


def _said(item: Item, word: str, detail: str) -> Generation:
    seen = f"{item.prompt}\n\n{item.response}"
    return Generation(item=item.id, prompt=seen, attacker="", reply=word, detail=detail)


def _unlabelled(item: Item) -> Generation:
    bare = _said(item, "", "nobody has labelled a reply")
    return bare.model_copy(update={"outcome": Outcome.MISSING})
