"""Whether rows with a suffix fit into a subject."""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.errors import ThreatspecError
from threatspec.subjects import SubjectCard
from threatspec.training._job import TrainingRow
from threatspec.training.suffixes._frames import Frames

__all__ = ["check_room"]


def check_room(
    subject: SubjectCard, rows: Sequence[TrainingRow], frames: Frames, length: int
) -> None:
    """Raises ThreatspecError TS-DATA for a row without a target, or too long a row."""
    for row, frame in zip(rows, frames.rows, strict=True):
        whole = frame.lengths(length).whole + 1
        if not frame.target or whole > subject.context:
            raise ThreatspecError(
                "TS-DATA",
                f"row {row.id} with a suffix of {length} tokens must have an answer and fit into "
                f"the context of {subject.context} tokens, but has {len(frame.target)} tokens of "
                f"an answer and {whole} in all",
            )
