"""What was shown: images before and after an attack, and the difference, made visible.

Made from records with the standard library alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from threatspec.claims import ClaimVerdict
from threatspec.records import Arm, Cell, Picture, PictureStage, png_bytes, png_read
from threatspec.reports._visible import shortened

__all__ = ["Frame", "Gallery", "Ledgered", "Shown", "galleries", "within"]

_GREY = 128
_MOST_TIMES = 64
_LONGEST = 300
"""Characters of a reply below an image."""
_MOST_BYTES = 8_000_000
"""Of all pictures of one report: it stays a page that a browser opens at once."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image with its words."""

    name: str
    """`clean`, `change`, `attacked` or `received`."""
    says: str
    alt: str
    height: int
    width: int
    """Of the picture, in pixels."""
    uri: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What one prompt showed, and what came of it."""

    item: str
    frames: tuple[Frame, ...]
    reply: str
    judged: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Gallery:
    """What one cell showed."""

    claim: str
    cell: str
    shown: tuple[Shown, ...]
    left: int = 0
    """Requests whose images stand in the records, but not in the report."""

    @property
    def size(self) -> int:
        """Characters that its images take up in a page."""
        return sum(len(frame.uri) for one in self.shown for frame in one.frames)


class Ledgered(Protocol):
    """What galleries are made from."""

    def pictures(self, cell: Cell, measure: str) -> tuple[Picture, ...]:
        """Kept images of a cell."""
        ...

    def said(self, cell: Cell, measure: str, item: str) -> tuple[str, Mapping[str, str]]:
        """A reply, and how it was judged by each measure."""
        ...


def galleries(
    reader: Ledgered, cells: Mapping[str, Cell], claim: ClaimVerdict, measure: str
) -> Iterator[Gallery]:
    """What cells of a claim showed: of its witness, then of each procedure's first replicate."""
    for name in _cells(claim):
        found: dict[str, list[Picture]] = {}
        for picture in reader.pictures(cells[name], measure):
            found.setdefault(picture.item, []).append(picture)
        shown = tuple(
            Shown(item, _frames(item, kept), *_said(reader, cells[name], measure, item))
            for item, kept in found.items()
        )
        if shown:
            yield Gallery(claim.id, name, shown)


def within(found: Iterable[Gallery], most: int = _MOST_BYTES) -> Iterator[Gallery]:
    """As many as a page holds, those of one cell once per claim; others say that they are left."""
    for gallery in found:
        if gallery.size <= most:
            most -= gallery.size
            yield gallery
        else:
            yield Gallery(gallery.claim, gallery.cell, (), len(gallery.shown))


def _cells(claim: ClaimVerdict) -> list[str]:
    witness = [claim.witness.cell] if claim.witness else []
    first = [c.cell for c in claim.cells if c.arm is Arm.DEFENDED and c.replicate == 0]
    return list(dict.fromkeys((*witness, *first)))


def _said(reader: Ledgered, cell: Cell, measure: str, item: str) -> tuple[str, Mapping[str, str]]:
    reply, judged = reader.said(cell, measure, item)
    return shortened(reply, _LONGEST), judged


def _frames(item: str, pictures: Sequence[Picture]) -> tuple[Frame, ...]:
    by_stage = {picture.stage: picture for picture in pictures}
    clean, attacked = (by_stage.get(s) for s in (PictureStage.CLEAN, PictureStage.ATTACKED))
    found = [_frame(item, clean)] if clean else []
    if clean and attacked and (change := _change(item, clean, attacked)):
        found.append(change)
    found += [_frame(item, one) for one in pictures if one is not clean]
    return tuple(found)


_SAYS = {
    PictureStage.CLEAN: "clean",
    PictureStage.ATTACKED: "attacked",
    PictureStage.RECEIVED: "received, as the provider made it",
}


def _frame(item: str, picture: Picture) -> Frame:
    _, height, width, _ = png_read(base64.b64decode(picture.png))
    says = _SAYS[picture.stage]
    alt = f"image of {item}, {says}"
    if picture.change is not None:
        says += f"; at most {picture.change}/255 from the clean one"
    if picture.stage is PictureStage.CLEAN and (picture.height, picture.width) != (height, width):
        says += f"; it has {picture.height} × {picture.width} pixels"
    uri = f"data:image/png;base64,{picture.png}"
    return Frame(picture.stage.value, says, alt, height, width, uri)


def _change(item: str, clean: Picture, attacked: Picture) -> Frame | None:
    """The difference around grey, as much stronger as fits; None where sizes differ."""
    before, height, width, from_ = png_read(base64.b64decode(clean.png))
    after, *size, to = png_read(base64.b64decode(attacked.png))
    if size != [height, width]:
        return None
    both = zip(_channels(after, to, from_), _channels(before, from_, to), strict=True)
    differences = [a - b for a, b in both]
    most = max(map(abs, differences), default=0)
    times = min(_MOST_TIMES, 127 // most) if most else 0
    by = times or 0.5
    levels = bytes(min(255, max(0, round(_GREY + by * d))) for d in differences)
    png = base64.b64encode(png_bytes(levels, height, width, max(from_, to))).decode()
    says = f"change, {times} times as strong" if times > 1 else "change, as strong as it is"
    says = "no change" if not most else says if times else "change, half as strong"
    alt = f"{says}: difference of the attacked image of {item} from the clean one, around grey"
    return Frame("change", says, alt, height, width, f"data:image/png;base64,{png}")


def _channels(data: bytes, own: int, other: int) -> Iterable[int]:
    """Grey pixels three times, where they are compared with coloured ones."""
    return data if own >= other else (value for value in data for _ in range(other))
