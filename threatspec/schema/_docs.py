"""What the fields of a model mean: the docstrings below them, read from the source when asked for.

pydantic can do this while a class is made, but then every verb pays for what few of them show.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from pydantic import BaseModel

__all__ = ["field_docs"]

Docs = dict[str, str]


@lru_cache(maxsize=256)
def field_docs(model: type[BaseModel]) -> Docs:
    """Description by name of the field, those of base classes included."""
    found: Docs = {}
    for base in reversed(model.__mro__):
        found |= _of_module(base.__module__).get(base.__qualname__, {})
    says = {n: i.description or found.get(n, "") for n, i in model.model_fields.items()}
    return {name: " ".join(text.split()) for name, text in says.items() if text}


@lru_cache(maxsize=64)
def _of_module(name: str) -> dict[str, Docs]:
    """Docstrings of fields by qualified name of the class."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (KeyError, OSError, SyntaxError, TypeError):  # built in, or made without a file
        return {}
    return dict(_classes(tree, ""))


def _classes(node: ast.AST, above: str) -> Iterator[tuple[str, Docs]]:
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.ClassDef):
            yield f"{above}{inner.name}", dict(_fields(inner))
            yield from _classes(inner, f"{above}{inner.name}.")
        elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _classes(inner, f"{above}{inner.name}.<locals>.")
        else:
            yield from _classes(inner, above)


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(node.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text
