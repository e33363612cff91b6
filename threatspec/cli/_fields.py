"""Fields of the language by dotted path: `claim.holds`, `adversary.compute.flops`.

Read from the JSON Schema, so that `explain`, editors and the program say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["Field", "language_fields", "normal_path"]

Node = dict[str, Any]

_SINGULAR = {"adversaries": "adversary", "claims": "claim", "measures": "measure",
             "subjects": "subject"}  # fmt: skip
"""Paths speak of one claim or adversary, wherever it stands in the file."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the language."""

    path: str
    says: str
    takes: str
    """What may be written, in words."""
    required: bool
    default: Any = None


def normal_path(path: str) -> str:
    """`claims.holds` and `claim.holds` are one field."""
    first, dot, rest = path.partition(".")
    return f"{_SINGULAR.get(first, first)}{dot}{rest}"


@lru_cache(maxsize=1)
def language_fields() -> dict[str, Field]:
    """Every field by its path."""
    from threatspec.schema import json_schema

    schema = json_schema({}, {})
    definitions = schema["definitions"]
    spec = definitions["Spec"]
    wanted = {**spec, "required": spec["then"]["required"]}
    found: dict[str, Field] = {}
    for field in _fields(wanted, definitions, ""):
        found.setdefault(field.path, field)  # `subject` itself, not `subjects`, is called so
    return dict(sorted(found.items()))


def _fields(node: Node, definitions: Node, above: str) -> Iterator[Field]:
    required = node.get("required", ())
    for name, field in node.get("properties", {}).items():
        path = normal_path(f"{above}.{name}" if above else name)
        yield Field(
            path,
            _says(field, definitions),
            _takes(field, definitions),
            name in required,
            field.get("default"),
        )
        for inner in _models(field, definitions):
            yield from _fields(inner, definitions, path)


def _says(field: Node, definitions: Node) -> str:
    """The field's own words, or those of the one model it holds."""
    names = [node["$ref"].rpartition("/")[2] for node in (field, *field.get("allOf", ()))
             if "$ref" in node]  # fmt: skip
    says = [field, *(definitions[name] for name in names)]
    return next((" ".join(n["description"].split()) for n in says if "description" in n), "")


def _models(node: Node, definitions: Node) -> Iterator[Node]:
    """Models that may stand at `node`: itself, in a list or as values of a mapping."""
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        if "properties" in target:
            yield target
    for inner in _inner(node):
        yield from _models(inner, definitions)


def _inner(node: Node) -> Iterator[Node]:
    for key in ("allOf", "anyOf"):
        yield from node.get(key, ())
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield node[key]
    yield from node.get("patternProperties", {}).values()


def _takes(node: Node, definitions: Node) -> str:
    """What may be written: `one of every, some`, `a whole number or text`."""
    if "$ref" in node:
        return _takes(definitions[node["$ref"].rpartition("/")[2]], definitions)
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    if "const" in node:
        return str(node["const"])
    for key in ("allOf", "anyOf"):
        if key in node:
            return " or ".join(dict.fromkeys(_takes(o, definitions) for o in node[key]))
    if node.get("type") == "array":
        return f"a list of: {_takes(node.get('items', {}), definitions)}"
    return _TYPES.get(str(node.get("type")), "anything")


_TYPES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
