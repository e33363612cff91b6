"""Suffixes: words after a prompt that make complying answers likely, found by swapping tokens.

Two methods with one budget. `gradient` (GCG, arXiv 2307.15043) draws swaps among the tokens to
which the loss falls fastest, `random` draws them among all: the control that shows what gradients
are worth. Everything before the suffix goes through the model once per row and is shared by all
candidates. Words that were found are an artefact; records show a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from threatspec.records import ArtefactStore
from threatspec.training._asks import Suffix, SuffixRequest
from threatspec.training._meter import Meter
from threatspec.training.suffixes._spend import Lengths, rows_at, search_spend
from threatspec.training.suffixes._text import kept_text, label_of, stored_text

if TYPE_CHECKING:
    from threatspec.subjects._resident import ResidentSubject

__all__ = [
    "Lengths",
    "find_suffix",
    "kept_text",
    "label_of",
    "rows_at",
    "search_spend",
    "stored_text",
]


def find_suffix(
    subject: ResidentSubject, request: SuffixRequest, store: ArtefactStore, meter: Meter
) -> Suffix:
    """Search a suffix on a subject, whose weights stay as they are; a surrogate is given as one.

    Raises BudgetExceeded before a step that the meter's budget does not cover; ThreatspecError
    TS-TEMPLATE for a template that does not show the user's words as they are, TS-DATA for rows
    that do not fit the context, TS-TRIAL-ERROR for a tokenizer whose words do not come back.
    """
    from threatspec.training.suffixes._search import search

    return search(subject, request, store, meter)
