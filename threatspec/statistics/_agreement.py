"""Two judges of the same items: how far they agree, and how far beyond chance."""

from __future__ import annotations

from dataclasses import astuple, dataclass

__all__ = ["Agreement"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of items by what each of two judges said; where one is the truth, it is the first.

    Raises ValueError for a negative count, and if there is no item at all.
    """

    both_yes: int
    first_only: int
    second_only: int
    both_no: int

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0 or self.items == 0:
            raise ValueError(f"counts must be at least 0, one of them more, but got {self}")

    @property
    def items(self) -> int:
        """How many items both judged."""
        return self.both_yes + self.first_only + self.second_only + self.both_no

    @property
    def observed(self) -> float:
        """The share of items on which they agree."""
        return (self.both_yes + self.both_no) / self.items

    @property
    def kappa(self) -> float:
        """Agreement beyond chance: (observed - chance) / (1 - chance), from below 0 to 1.

        0 where both give every item the same label, which leaves nothing to agree on beyond
        chance. Cohen 1960; golden values in the tests.
        """
        first, second = self.both_yes + self.first_only, self.both_yes + self.second_only
        # As whole numbers, items² times each share: no rounding decides whether chance is certain.
        chance = first * second + (self.items - first) * (self.items - second)
        certain = self.items**2
        if chance == certain:
            return 0.0
        return (self.items * (self.both_yes + self.both_no) - chance) / (certain - chance)

    @property
    def recall_yes(self) -> tuple[int, int]:
        """(found, of): the items that are yes by the first, and those of them the second found."""
        return self.both_yes, self.both_yes + self.first_only

    @property
    def recall_no(self) -> tuple[int, int]:
        """(found, of): the items that are no by the first, and those of them the second found."""
        return self.both_no, self.both_no + self.second_only
