"""Domains and categories of a described benchmark, as slices of the items of a copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from threatspec.errors import did_you_mean
from threatspec.schema import DescriptionCard

__all__ = ["Taxonomy", "UnknownCategory"]


class UnknownCategory(ValueError):
    """A row that belongs to no category of its benchmark."""


@dataclass(frozen=True)
class Taxonomy:
    """Which category and domain an item belongs to."""

    card: DescriptionCard

    @cached_property
    def domains(self) -> dict[str, str]:
        """Domain by category, in the order of the categories' numbers."""
        return {
            category: domain
            for domain, about in self.card.domains.items()
            for category in about.categories
        }

    @cached_property
    def _by_title(self) -> dict[str, str]:
        return {
            title.casefold(): category
            for domain in self.card.domains.values()
            for category, title in domain.categories.items()
        }

    def slices(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`category` and `slices` of an item. Raises UnknownCategory."""
        if not self.card.domains:
            return {}
        category = self._category(given)
        slices = {**(given.get("slices") or {}), "domain": self.domains[category]}
        return {"category": category, "slices": slices}

    def _category(self, given: Mapping[str, Any]) -> str:
        if self.card.ids_per_category is not None:
            return self._by_id(given["id"], self.card.ids_per_category)
        told = str(given.get("category", ""))
        found = told if told in self.domains else self._by_title.get(told.casefold())
        if found is None:
            text = f"the category must be one of {self.card.name}, but got {told!r}"
            raise UnknownCategory(text + did_you_mean(told, list(self.domains)))
        return found

    def _by_id(self, name: str, each: int) -> str:
        """As the authors number them: the first `each` ids, from 1, are the first category."""
        number = int(name) if name.isascii() and name.isdigit() else 0
        if not 1 <= number <= each * len(self.domains):
            text = f"an id of {self.card.name} must be 1 to {each * len(self.domains)}"
            raise UnknownCategory(f"{text}, but got {name!r}")
        return list(self.domains)[(number - 1) // each]
