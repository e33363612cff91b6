"""Rows with a place for a suffix, in token ids that are those of the rendered text.

A request is text: what it is tokenised to need not be what a search chose. So only suffixes count
whose text, in every row's own rendered prompt, comes back as the very same ids around and inside
it; everything else would be optimised for a prompt that nobody can send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._job import TrainingRow
from threatspec.training.suffixes._spend import Lengths

__all__ = ["Frame", "Frames", "with_suffix"]


def with_suffix(prompt: str, suffix: str) -> str:
    """How a suffix stands after a prompt."""
    return f"{prompt} {suffix}"


@dataclass(frozen=True, slots=True)
class Frame:
    """One row: ids before and after the suffix, and the start of its complying answer."""

    head: tuple[int, ...]
    tail: tuple[int, ...]
    target: tuple[int, ...]
    before: str
    """Text before the suffix, with the space that sets it off."""
    after: str

    def lengths(self, suffix: int) -> Lengths:
        """Tokens that go through the model."""
        return Lengths(len(self.head), suffix, len(self.tail) + len(self.target) - 1)


class Frames:
    """Rows of a search in the subject's native template, the suffix at the end of the user's turn.

    Args:
        subject: whose template and tokenizer.
        rows: prompts, and answers whose first `target` tokens are wanted.
        target: tokens at most.
        probe: text of one token, to see where a suffix stands.
    """

    def __init__(
        self, subject: ResidentSubject, rows: Sequence[TrainingRow], target: int, probe: str
    ) -> None:
        self.tokenizer: Any = subject.tokenizer
        self.rows = tuple(self._frame(subject, row, target, probe) for row in rows)

    def _frame(self, subject: ResidentSubject, row: TrainingRow, target: int, probe: str) -> Frame:
        wanted = with_suffix(row.prompt, probe)
        _, text, _ = subject.render(Request(item=row.id, prompt=wanted), Serving())
        place = text.rfind(wanted) + len(wanted) - len(probe)
        if wanted not in text:
            raise ThreatspecError(
                "TS-TEMPLATE",
                f"a chat template must show the user's words as they are for a suffix to be "
                f"searched, but that of {subject.card.ref} changes row {row.id}",
            )
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        inside = [
            number for number, (first, last) in enumerate(found["offset_mapping"])
            if last > place and first < place + len(probe)
        ]  # fmt: skip
        ids = found["input_ids"]
        return Frame(
            head=tuple(ids[: inside[0]]),
            tail=tuple(ids[inside[-1] + 1 :]),
            target=tuple(subject.tokens(row.answer)[:target]),
            before=text[:place],
            after=text[place + len(probe) :],
        )

    def text(self, ids: Sequence[int]) -> str:
        """The words of a suffix; the space that sets it off is not part of them."""
        found = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(found).removeprefix(" ")

    def kept(self, candidates: Sequence[Sequence[int]]) -> list[bool]:
        """Whether each comes back as the same ids in every row."""
        texts = [self.text(ids) for ids in candidates]
        fine = [bool(text) and text == text.strip() for text in texts]
        for row in self.rows:
            there = [number for number, one in enumerate(fine) if one]
            for number, ids in zip(there, self._ids(row, [texts[n] for n in there]), strict=True):
                fine[number] = ids == [*row.head, *candidates[number], *row.tail]
        return fine

    def _ids(self, row: Frame, texts: list[str]) -> list[list[int]]:
        whole = [f"{row.before}{text}{row.after}" for text in texts]
        if not whole:
            return []
        found: list[list[int]] = self.tokenizer(whole, add_special_tokens=False)["input_ids"]
        return found
