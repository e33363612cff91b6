"""What images of a benchmark are like, in numbers, and which of them cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.measures.base import Item
from threatspec.schema import Model
from threatspec.subjects.images import read_image

__all__ = ["Looks", "looks_like"]

_MOST = 10_000
"""Images that are read; of more, every so many."""
_NAMED = 5


class Looks(Model):
    """Images of a benchmark."""

    prompts: int
    """Prompts that show one."""
    read: int
    """Images that were read: of very many a part, evenly."""
    grey: int
    coloured: int
    smallest: tuple[int, int] = (0, 0)
    """Height and width in pixels, of the fewest pixels that were read."""
    largest: tuple[int, int] = (0, 0)
    unusable: int = 0
    """Of those that were read."""
    why: tuple[str, ...] = ()
    """The first of these, by their prompts."""

    @property
    def says(self) -> str:
        """In one line."""
        part = f", of which {self.read:,} were read" if self.read < self.prompts else ""
        sizes = dict.fromkeys(f"{h} x {w}" for h, w in (self.smallest, self.largest) if h)
        kinds = [f"{n:,} {kind}" for kind, n in (("grey", self.grey), ("coloured", self.coloured))
                 if n]  # fmt: skip
        bad = f"; {self.unusable:,} cannot be used" if self.unusable else ""
        return f"{self.prompts:,}{part}: {', '.join(kinds)}, {' to '.join(sizes)} pixels{bad}"


def looks_like(items: Sequence[Item], folder: Path, most: int = _MOST) -> Looks | None:
    """Read images, those of files in `folder`; None if no prompt shows one."""
    shown = [item for item in items if item.image]
    if not shown:
        return None
    chosen = shown[:: -(-len(shown) // most)]
    sizes: list[tuple[int, int, int]] = []
    why: list[str] = []
    for item in chosen:
        try:
            height, width, channels = read_image(item.image, folder).shape
        except ThreatspecError as error:
            why.append(f"{item.id}: {error.message}")
        else:
            sizes.append((height, width, channels))
    ordered = sorted({(h, w) for h, w, _ in sizes}, key=lambda size: (size[0] * size[1], size))
    return Looks(
        prompts=len(shown),
        read=len(chosen),
        grey=sum(channels == 1 for _, _, channels in sizes),
        coloured=sum(channels == 3 for _, _, channels in sizes),
        smallest=ordered[0] if ordered else (0, 0),
        largest=ordered[-1] if ordered else (0, 0),
        unusable=len(why),
        why=tuple(why[:_NAMED]),
    )
