"""What fields of several models share: names, texts, predicates, complaints."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from threatspec.schema._predicate import PredicateError, parse_predicate

__all__ = ["ClaimId", "Name", "PredicateText", "Text", "as_tuple", "complaint", "later"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=64)]
ClaimId = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


def _predicate_text(value: str) -> str:
    try:
        parse_predicate(value)
    except PredicateError as error:
        raise complaint("predicate", error.code, error.message, column=error.column) from None
    return value


def complaint(kind: str, code: str, message: str, **more: Any) -> PydanticCustomError:
    """An error whose ``message`` is the whole sentence; readers of files show it as it is.

    ``more`` may hold a finer place (``field``, ``index``, ``column``), and ``name`` with the
    ``known`` names for a hint.
    """
    return PydanticCustomError(kind, "{message}", {"message": message, "code": code, **more})


def later(*values: str) -> BeforeValidator:
    """Values of the language that this version does not evaluate yet."""

    def refuse(value: Any) -> Any:
        if isinstance(value, str) and value in values:
            text = f"{value!r} is not evaluated by this version"
            raise complaint("not_evaluated", "TS-NOT-EVALUATED", text)
        return value

    return BeforeValidator(refuse)


PredicateText = Annotated[str, Field(max_length=20_000), AfterValidator(_predicate_text)]


def as_tuple(value: Any) -> Any:
    # A before-validator of the field around it has turned JSON into Python, where strict
    # tuples do not take lists.
    return tuple(value) if isinstance(value, list) else value
