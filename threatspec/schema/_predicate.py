"""Predicates over measures: a small typed grammar, parsed to a tree with positions, never eval.

::

    predicate  := comparison ("and" comparison)*
    comparison := sum ("<=" | ">=" | "<" | ">") sum
    sum        := product (("+" | "-") product)*
    product    := atom (("*" | "/") atom)*
    atom       := NUMBER ["%"] | operand | "(" sum ")" | "-" atom
    operand    := [ARM "."] MEASURE

``ARM`` is ``undefended``, ``control`` or ``before`` (the subject itself, untouched); without one
the measure is read where the predicate is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "ARMS",
    "Binary",
    "Comparison",
    "Number",
    "Operand",
    "Predicate",
    "PredicateError",
    "Term",
    "operands",
    "parse_predicate",
]

ARMS = ("before", "control", "undefended")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:\s*%)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)?)"
    r"|(?P<op><=|>=|<|>|\+|-|\*|/|\(|\)|\[))"
)


class PredicateError(ValueError):
    """Text that is no predicate. ``column`` is the 0-based offset of the trouble in the text."""

    def __init__(self, message: str, column: int, code: str = "TS-PREDICATE-SYNTAX") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.code = code


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float
    column: int


@dataclass(frozen=True, slots=True)
class Operand:
    """A measured rate: ``measure`` read on ``arm`` ("" = where the predicate is read)."""

    measure: str
    arm: str
    column: int

    def __str__(self) -> str:
        return f"{self.arm}.{self.measure}" if self.arm else self.measure


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic: ``op`` is one of ``+ - * /``."""

    op: str
    left: Term
    right: Term
    column: int


Term = Number | Operand | Binary


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left op right`` with op one of ``<= >= < >``."""

    op: str
    left: Term
    right: Term
    column: int


@dataclass(frozen=True, slots=True)
class Predicate:
    """A conjunction of comparisons, and the text it was parsed from."""

    comparisons: tuple[Comparison, ...]
    text: str

    def __str__(self) -> str:
        return self.text


def operands(node: Predicate | Comparison | Term) -> Iterator[Operand]:
    """Every operand of ``node``, left to right, repeated ones repeated."""
    match node:
        case Operand():
            yield node
        case Predicate(comparisons=comparisons):
            for comparison in comparisons:
                yield from operands(comparison)
        case Binary(left=left, right=right) | Comparison(left=left, right=right):
            yield from operands(left)
            yield from operands(right)


def parse_predicate(text: str) -> Predicate:
    """Parse ``text``; raises PredicateError with the column of the first trouble."""
    parser = _Parser(text)
    comparisons = [parser.comparison()]
    while parser.take("and"):
        comparisons.append(parser.comparison())
    if parser.kind:
        raise PredicateError(f"expected 'and' or the end, but got {parser.text!r}", parser.column)
    return Predicate(tuple(comparisons), " ".join(text.split()))


class _Parser:
    """Recursive descent with one token of look-ahead (``kind``, ``text``, ``column``)."""

    MAX_DEPTH = 40

    def __init__(self, source: str) -> None:
        self.source = source
        self.end = 0
        self.depth = 0
        self.kind = self.text = ""
        self.column = 0
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.source, self.end)
        if match is None:
            rest = self.source[self.end :]
            self.column = self.end + len(rest) - len(rest.lstrip())
            if rest.strip():
                raise PredicateError(f"unexpected {rest.strip()[0]!r}", self.column)
            self.kind = self.text = ""
            return
        self.kind = match.lastgroup or ""
        self.text = match[self.kind]
        self.column = match.start(self.kind)
        self.end = match.end()

    def take(self, *texts: str) -> str:
        if self.kind and self.text in texts:
            taken = self.text
            self.advance()
            return taken
        return ""

    def expected(self, what: str) -> PredicateError:
        got = repr(self.text) if self.kind else "the end"
        return PredicateError(f"expected {what}, but got {got}", self.column)

    def comparison(self) -> Comparison:
        left = self.sum()
        column = self.column
        op = self.take("<=", ">=", "<", ">")
        if not op:
            raise self.expected("a comparison (<=, >=, <, >)")
        return Comparison(op, left, self.sum(), column)

    def sum(self) -> Term:
        return self.chain(self.product, "+", "-")

    def product(self) -> Term:
        return self.chain(self.atom, "*", "/")

    def chain(self, part: object, *ops: str) -> Term:
        assert callable(part)
        left: Term = part()
        while True:
            column = self.column
            op = self.take(*ops)
            if not op:
                return left
            left = Binary(op, left, part(), column)

    def atom(self) -> Term:
        self.depth += 1
        if self.depth > self.MAX_DEPTH:
            raise PredicateError("the predicate is nested too deeply", self.column)
        try:
            return self._atom()
        finally:
            self.depth -= 1

    def _atom(self) -> Term:
        kind, text, column = self.kind, self.text, self.column
        if kind == "number":
            self.advance()
            share = text.endswith("%")
            return Number(float(text.rstrip("% ")) / (100 if share else 1), column)
        if kind == "name" and text != "and":
            return self.operand()
        if self.take("-"):
            return Binary("-", Number(0.0, column), self.atom(), column)
        if self.take("("):
            inner = self.sum()
            if not self.take(")"):
                raise self.expected("')'")
            return inner
        raise self.expected("a measure or a number")

    def operand(self) -> Operand:
        arm, _, measure = self.text.rpartition(".")
        column = self.column
        if arm and arm not in ARMS:
            raise PredicateError(
                f"the arm must be one of {', '.join(ARMS)}, but got {arm!r}", column
            )
        self.advance()
        if self.text == "[":
            raise PredicateError(
                "slices of a measure are not evaluated by this version",
                self.column,
                "TS-NOT-EVALUATED",
            )
        return Operand(measure, arm, column)
