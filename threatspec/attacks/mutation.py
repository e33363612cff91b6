"""Attack `mutation`: every prompt in one of the 20 styles of SORRY-Bench (arXiv 2406.14598).

A cipher is computed; anything else is rewritten by what the adversary owns. Replies are decoded, or
translated back, before they are judged against the prompt as it was. A prompt that cannot be
rewritten is a missing row, and a reply that cannot be read back an unscorable one.

A reply that is not in the code is judged as it is, since a subject may answer in plain words. Of
Caesar and Atbash nobody sees it, so that the judge reads the decoded reply and the reply below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from threatspec.attacks._rewriter import BACK, Rewriter, Task, digest_of, rewriter_of
from threatspec.attacks.base import ATTACKS, AttackConfig, PromptAttack
from threatspec.attacks.mutations import STYLES, cipher, framed
from threatspec.attacks.mutations.rewriting import Rewriting, owned
from threatspec.errors import ThreatspecError
from threatspec.schema import Owns
from threatspec.subjects import Request, RequestTamper, Tamper

__all__ = ["CipherTamper", "Mutation", "MutationConfig", "RewriteTamper"]

StyleName = Literal[
    "question", "slang", "uncommon_dialects", "technical_terms", "role_play", "misspellings",
    "logical_appeal", "authority_endorsement", "misrepresentation", "evidence-based_persuasion",
    "expert_endorsement", "ascii", "caesar", "morse", "atbash", "translate-ml", "translate-ta",
    "translate-mr", "translate-zh-cn", "translate-fr",
]  # fmt: skip


class MutationConfig(AttackConfig):
    """One style; several styles are several entries of `attacks:`."""

    style: StyleName = "caesar"
    """Name of the style."""
    frame: bool = True
    """For ciphers: whether words around the prompt explain the code and ask for a reply in it."""
    cipherchat_compat: bool = False
    """For `atbash`: the defect of CipherChat, which makes control characters of capital letters."""
    replies: Literal["either", "code"] = "either"
    """For ciphers: replies in plain words are judged as they are, or only what is in the code
    counts, as published scores have it, and others are unscorable where one sees it."""
    back: Annotated[str, Field(min_length=1)] | None = None
    """For translations by rows: a model that translates replies back into English."""
    rewriter: str | None = None
    """Filled from what the adversary `owns`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.cipherchat_compat and self.style != "atbash":
            raise ValueError(f"cipherchat_compat is for atbash, but the style is {self.style}")
        return self

    def owning(self, owns: Owns) -> Self:
        """The same with the adversary's rewriter."""
        return self.model_copy(update={"rewriter": owns.rewriter})


class CipherTamper(RequestTamper):
    """Writes prompts in a cipher, and reads replies back."""

    kind: ClassVar[str] = "cipher"

    style: str
    frame: bool
    compat: bool
    replies: Literal["either", "code"]

    def encode(self, request: Request) -> Request:
        """The request in the code; the first turn is framed."""
        code = cipher(self.style, compat=self.compat)
        turns = [code.encode(turn) for turn in (*request.turns, request.prompt)]
        if self.frame:
            turns[0] = framed(self.style, turns[0])
        return replace(request, prompt=turns[-1], turns=tuple(turns[:-1]))

    def decode(self, reply: str) -> str:
        """The reply, decoded. Raises ValueError for one not in the code, if only that counts."""
        code = cipher(self.style, compat=self.compat)
        plain = code.decode(reply)
        if self.replies == "code":
            if code.tells and plain == reply and reply.strip():
                raise ValueError(f"a reply must be in {self.style}, but is not")
            return plain
        return plain if code.tells or plain == reply else f"{plain}\n\n{reply}"


class RewriteTamper(Rewriting):
    """Has prompts rewritten in a style, and replies to translations translated back."""

    kind: ClassVar[str] = "rewrite"

    style: str
    back: str = ""
    """What translates replies back; empty = nothing does."""
    _back: Rewriter | None = PrivateAttr(default=None)

    def opened(self, load: Callable[[str], dict[str, Any]], folder: Path) -> Self:
        """The same with its rewriters. Raises ThreatspecError as `rewriter_of`."""
        found = super().opened(load, folder)
        found._back = rewriter_of(self.back, folder) if self.back else None
        return found

    def encode_all(self, requests: Sequence[Request]) -> list[Request]:
        """All requests. Raises ValueError before it is opened, and what a rewriter raises."""
        texts = [(r.item, text) for r in requests if not r.lacking for text in (*r.turns, r.prompt)]
        new = self._rewritten(_task(self.style), texts)
        return [
            r if r.lacking else _rewritten(r, [next(new) for _ in (*r.turns, r.prompt)])
            for r in requests
        ]

    def decode(self, reply: str) -> str:
        """The reply in English. Raises ValueError if it cannot be translated."""
        [found] = self.decode_all([reply])
        if found is None:
            raise ValueError("the reply cannot be translated back")
        return found

    def decode_all(self, replies: Sequence[str]) -> list[str | None]:
        """All replies; an empty one needs no translation."""
        if self._back is None:
            return list(replies)
        texts = [("", reply) for reply in replies if reply.strip()]
        new = iter(self._back.rewrite(BACK, texts))
        found = [next(new) if reply.strip() else None for reply in replies]
        return [
            reply if one is None else (None if one.fault else one.text)
            for reply, one in zip(replies, found, strict=True)
        ]


def _task(style: str) -> Task:
    about = STYLES[style]
    translates = about.group == "translation"
    return Task(style, about.instruction, "fault" if translates else "fine", cut=translates)


def _rewritten(request: Request, new: Sequence[Any]) -> Request:
    faults = [one.fault for one in new if one.fault]
    if faults:
        return replace(request, lacking=faults[0])
    turns = tuple(one.text for one in new)
    return replace(request, prompt=turns[-1], turns=turns[:-1])


class Mutation(PromptAttack):
    """Deterministic: no seed streams, one replicate."""

    kind = "mutation"
    says = "puts every prompt in one of 20 styles: ciphers, translations, ways of asking"
    Config = MutationConfig

    def reads(self, config: MutationConfig, folder: Path) -> dict[str, str]:
        """Digests of rewriter and translator. Raises ThreatspecError TS-REWRITER if one lacks."""
        style = STYLES[config.style]
        found = {}
        if style.how == "rewriter":
            rewriter = owned(config.rewriter, f"style {config.style}")
            found["rewriter"] = digest_of(rewriter, folder, config.style)
        elif config.rewriter is not None:
            found["rewriter"] = digest_of(config.rewriter, folder)
        if style.group == "translation":
            found["back"] = digest_of(_back(config), folder)
        return found

    def tamper(self, config: MutationConfig, reads: Mapping[str, str]) -> Tamper:
        """Requests in a cipher, or rewritten."""
        style = STYLES[config.style]
        if style.how == "cipher":
            return CipherTamper(
                style=config.style,
                frame=config.frame,
                compat=config.cipherchat_compat,
                replies=config.replies,
            )
        return RewriteTamper(
            style=config.style,
            rewriter=config.rewriter or "",
            sha256=reads.get("rewriter", ""),
            back=_back(config) if style.group == "translation" else "",
        )


def _back(config: MutationConfig) -> str:
    """What translates replies back. Raises ThreatspecError TS-REWRITER if nothing can."""
    back = config.back or config.rewriter or ""
    if back.startswith("rows:"):
        text = f"replies to {config.style} must be translated back, which rows cannot do; "
        raise ThreatspecError("TS-REWRITER", f"{text}name a model with `back`")
    return back


ATTACKS.register(Mutation.kind, Mutation())
