"""Predicates over measures: a small typed grammar, parsed to a tree with positions, never eval.

::

    predicate  := comparison ("and" comparison)*
    comparison := sum ("<=" | ">=" | "<" | ">") sum
    sum        := product (("+" | "-") product)*
    product    := atom (("*" | "/") atom)*
    atom       := NUMBER ["%"] | operand | "(" sum ")" | "-" atom
    operand    := [ARM "."] MEASURE ["[" KEY "=" VALUE "]"]

``ARM`` is ``undefended``, ``control`` or ``before`` (the subject itself, untouched); without one
the measure is read where the predicate is read. ``[category=fire]`` reads the prompts of one slice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

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
    "rewrite",
    "unparse",
]

ARMS = ("before", "control", "undefended")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?:\s*%)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)?)"
    r"|(?P<op><=|>=|<|>|\+|-|\*|/|\(|\)|\[))"
)
_SLICE = re.compile(
    r"\s*\[\s*(?P<key>[A-Za-z_][A-Za-z0-9_-]*)\s*=\s*(?P<value>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*\]"
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
    slice: str = ""
    """`KEY=VALUE`, or "" for all prompts."""

    @property
    def reading(self) -> str:
        """What is read, wherever: `asr`, or `asr[category=fire]`."""
        return f"{self.measure}[{self.slice}]" if self.slice else self.measure

    def __str__(self) -> str:
        return f"{self.arm}.{self.reading}" if self.arm else self.reading


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


@lru_cache(maxsize=4096)
def parse_predicate(text: str) -> Predicate:
    """Parse ``text``; raises PredicateError with the column of the first trouble."""
    parser = _Parser(text)
    comparisons = [parser.comparison()]
    while parser.take("and"):
        comparisons.append(parser.comparison())
    if parser.kind:
        raise PredicateError(f"expected 'and' or the end, but got {parser.text!r}", parser.column)
    return Predicate(tuple(comparisons), " ".join(text.split()))


def unparse(node: Predicate | Comparison | Term) -> str:
    """Text that parses to ``node`` again; numbers are written so that nothing is lost."""
    match node:
        case Number(value):
            return repr(value) if value >= 0 else f"(0 - {-value!r})"
        case Operand():
            return str(node)
        case Binary(op, left, right):
            return f"({unparse(left)} {op} {unparse(right)})"
        case Comparison(op, left, right):
            return f"{_bare(unparse(left))} {op} {_bare(unparse(right))}"
        case Predicate(comparisons):
            return " and ".join(map(unparse, comparisons))


def _bare(text: str) -> str:
    """Without the parentheses around the whole."""
    depth = 0
    for index, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return text[1:-1] if letter == ")" and index == len(text) - 1 else text
    return text


def rewrite(comparison: Comparison, change: Callable[[Operand], Term]) -> Comparison:
    """``comparison`` with every operand replaced by what ``change`` makes of it."""
    left, right = _rewritten(comparison.left, change), _rewritten(comparison.right, change)
    return Comparison(comparison.op, left, right, comparison.column)


def _rewritten(term: Term, change: Callable[[Operand], Term]) -> Term:
    match term:
        case Operand():
            return change(term)
        case Binary(op, left, right, column):
            return Binary(op, _rewritten(left, change), _rewritten(right, change), column)
    return term


class _Parser:
    """Recursive descent with one token of look-ahead (``kind``, ``text``, ``column``)."""

    MAX_DEPTH = 40
    MAX_OPERATORS = 300
    """A sum is as deep as it is long, and whatever walks it recurses."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.end = 0
        self.depth = 0
        self.operators = 0
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
            self.operators += 1
            if self.operators > self.MAX_OPERATORS:
                text = f"a predicate must have at most {self.MAX_OPERATORS} operators"
                raise PredicateError(text, column)
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
        if self.source[self.end :].lstrip().startswith("["):
            return Operand(measure, arm, column, self.slice())
        self.advance()
        return Operand(measure, arm, column)

    def slice(self) -> str:
        """`[KEY=VALUE]` behind the current token, which is read as well."""
        match = _SLICE.match(self.source, self.end)
        if match is None:
            column = self.source.index("[", self.end)
            raise PredicateError("a slice must be [KEY=VALUE], for example [category=fire]", column)
        self.end = match.end()
        self.advance()
        return f"{match['key']}={match['value']}"
