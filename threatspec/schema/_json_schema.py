"""The language as JSON Schema, from which editors complete, check and explain what is written.

Generated from the models, so that it cannot drift: fields, types, ranges and docstrings are theirs.
Only what validators do before a model is looked at (short forms) has to be said here. The result
keeps to draft 7, which is what editors read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from threatspec.schema._claim import Verdict
from threatspec.schema._docs import field_docs
from threatspec.schema._spec import Spec

__all__ = ["Knobs", "Offer", "json_schema"]

Node = dict[str, Any]

_QUANTITY = {"type": "string", "pattern": r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*(\S.*)?$"}
_TEXT = {"type": "string", "minLength": 1}


def _or(short: Node) -> Callable[[Node], Node]:
    return lambda inner: {"anyOf": [inner, short]}


def _or_one(inner: Node) -> Node:
    return {"anyOf": [inner, inner["items"]]}


def _chained(inner: Node) -> Node:
    """The attacks of a chain: two or more, each of which may be a name alone."""
    [listed] = [option for option in inner.get("anyOf", [inner]) if "items" in option]
    return {**listed, "items": {"anyOf": [listed["items"], _TEXT]}, "minItems": 2}


_SHORT: dict[str, Callable[[Node], Node]] = {
    "_count": _or(_QUANTITY),
    "_expectation": _or({"enum": [verdict.value for verdict in Verdict]}),
    "_flops": _or(_QUANTITY),
    "_judge": _or(_TEXT),
    "_links": _chained,
    "_listed": _or_one,
    "_safeguard": _or(_TEXT),
    "_several": _or_one,
    "_share": _or(_QUANTITY),
    "_use": _or(_TEXT),
}
"""Short forms by the name of the validator that takes them."""
_KEYWORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_MAPS = ("definitions", "patternProperties", "properties")
_LISTS = ("allOf", "anyOf", "oneOf")
_NODES = ("additionalProperties", "items", "propertyNames")


@dataclass(frozen=True, slots=True)
class Offer:
    """Names that a field offers; any other text is valid as far as the schema can say."""

    names: Mapping[str, str]
    """What each name means, by name."""
    pattern: str = ""
    """Form of further names, for example those of files."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """Fields that may stand beside one of some names."""

    names: Sequence[str]
    config: type[BaseModel]


def json_schema(offers: Mapping[str, Offer], knobs: Mapping[str, Sequence[Knobs]]) -> Node:
    """JSON Schema of a claims file.

    Args:
        offers: names by field, written `Model.field`.
        knobs: settings that stand beside `use`, by model: `Use`, `Link`, `JudgeUse`,
            `InstrumentUse`; of `SafeguardUse` they stand beside `kind`.
    """
    found = _schema_of(Spec)
    definitions = found["definitions"]
    for owner, entries in knobs.items():
        key = "kind" if owner == "SafeguardUse" else "use"
        _open(definitions[owner], definitions, entries, key, searched=owner in {"Link", "Use"})
    if {"Link", "Use"} <= set(knobs):
        _shared(definitions, "AttackKnobs", ("Link", "Use"))
    _or_chain(definitions["Use"])
    for field, offer in offers.items():
        owner, _, name = field.partition(".")
        _offer(definitions[owner]["properties"], name, offer)
    _offer_short(definitions, offers)
    definitions["Spec"] = _whole({k: v for k, v in found.items() if k != "definitions"})
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "threatspec claims file",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": _overriding(definitions["Spec"]),
        "else": {"$ref": "#/definitions/Spec"},
        "definitions": dict(sorted(definitions.items())),
    }


def _whole(spec: Node) -> Node:
    """A file that includes others need not be complete."""
    one = [{"required": ["subject"]}, {"required": ["subjects"]}]
    return {
        **spec,
        "required": ["threatspec"],
        "if": {"not": {"required": ["include"]}},
        "then": {"required": spec["required"], "oneOf": one},
    }


def _overriding(spec: Node) -> Node:
    """A file that extends another holds any part of any part."""
    says = {name: field.get("description", "") for name, field in spec["properties"].items()}
    fields = {name: {"description": text} for name, text in says.items()}
    return {"required": ["threatspec"], "properties": fields, "additionalProperties": False}


class _Generator(GenerateJsonSchema):
    """Knows what short forms validators take."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        for name, says in field_docs(model).items():
            field = found.get("properties", {}).get(model.model_fields[name].alias or name)
            if field is not None:
                field.setdefault("description", says)
        return found

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        name = getattr(schema["function"]["function"], "__name__", "")
        return _SHORT[name](inner) if name in _SHORT else inner


def _schema_of(model: type[BaseModel]) -> Node:
    raw = model.model_json_schema(
        ref_template="#/definitions/{model}", schema_generator=_Generator, mode="validation"
    )
    raw["definitions"] = raw.pop("$defs", {})
    return _tidied(raw)


def _tidied(node: Node) -> Node:
    """The same in terms of draft 7, without titles that repeat names and without null."""
    found = {_KEYWORDS.get(key, key): value for key, value in node.items() if key != "title"}
    if "prefixItems" in found:  # draft 7 has a list of items in its place
        found["items"] = [_tidied(inner) for inner in found.pop("prefixItems")]
    for key in _MAPS:
        if key in found:
            found[key] = {name: _tidied(inner) for name, inner in found[key].items()}
    for key in _LISTS:
        if key in found:
            found[key] = [_tidied(inner) for inner in found[key] if inner.get("type") != "null"]
    for key in _NODES:
        if isinstance(found.get(key), dict):
            found[key] = _tidied(found[key]) if key != "items" else _item(found[key])
    if "patternProperties" in found:
        found.setdefault("additionalProperties", False)
    if found.get("default", ...) in (None, {}, []) or isinstance(found.get("default"), dict):
        found.pop("default", None)
    return _referring(_bounded(_single(found)))


def _item(node: Node) -> Node:
    """In a list null is a value; a field that is null is left out instead."""
    may_be_null = any(option.get("type") == "null" for option in node.get("anyOf", ()))
    found = _tidied(node)
    return _single({"anyOf": [found, {"type": "null"}]}) if may_be_null else found


def _single(node: Node) -> Node:
    """A choice of one is no choice; a choice of choices is one."""
    if "anyOf" not in node:
        return node
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    flat: list[Node] = []
    for option in node["anyOf"]:
        flat += option["anyOf"] if set(option) == {"anyOf"} else [option]
    return {**flat[0], **rest} if len(flat) == 1 else {**rest, "anyOf": flat}


def _bounded(node: Node) -> Node:
    """Bounds belong to the number of a choice, not beside the choice."""
    bounds = {key: node[key] for key in _KEYWORDS.values() if key in node}
    if not bounds or "anyOf" not in node:
        return node
    rest = {key: value for key, value in node.items() if key not in bounds}
    numbers = {"integer", "number"}
    return {
        **rest,
        "anyOf": [{**o, **bounds} if o.get("type") in numbers else o for o in node["anyOf"]],
    }


def _referring(node: Node) -> Node:
    """Draft 7 reads nothing beside a reference."""
    if "$ref" not in node or len(node) == 1:
        return node
    rest = {key: value for key, value in node.items() if key != "$ref"}
    return {**rest, "allOf": [{"$ref": node["$ref"]}]}


def _open(
    use: Node, definitions: Node, knobs: Sequence[Knobs], key: str, *, searched: bool
) -> None:
    """Knobs are written beside `key`: those of what is known are described, others let through."""
    for name in ("knobs", "settings"):
        use["properties"].pop(name, None)
    use["additionalProperties"] = True
    use["allOf"] = []
    for entry in knobs:
        config = _schema_of(entry.config)
        for name, one in config.pop("definitions").items():
            definitions.setdefault(name, one)  # one that is there may have been opened already
        named = {"required": [key], "properties": {key: {"enum": sorted(entry.names)}}}
        written = config.get("properties", {}).items()
        fields = {name: _searched(field) if searched else field for name, field in written}
        if fields:
            use["allOf"].append({"if": named, "then": {"properties": fields}})


def _shared(definitions: Node, name: str, owners: Sequence[str]) -> None:
    """Knobs of several owners are written out once."""
    definitions[name] = {"allOf": definitions[owners[0]]["allOf"]}
    for owner in owners:
        definitions[owner]["allOf"] = [{"$ref": f"#/definitions/{name}"}]


def _or_chain(use: Node) -> None:
    """An entry says what it uses, or which attacks are chained."""
    use["required"] = [name for name in use.get("required", ()) if name != "use"]
    use["anyOf"] = [{"required": ["use"]}, {"required": ["chain"]}]


def _searched(field: Node) -> Node:
    """A knob takes a value, or a list of values to search."""
    says: Node = {key: field[key] for key in ("default", "description") if key in field}
    value = {key: inner for key, inner in field.items() if key not in says}
    return _single({**says, "anyOf": [value, {"type": "array", "items": value, "minItems": 1}]})


def _offer(fields: Node, name: str, offer: Offer) -> None:
    fields[name] = {
        **{key: value for key, value in fields[name].items() if key == "description"},
        "anyOf": [*_names(offer), {k: v for k, v in fields[name].items() if k != "description"}],
    }


def _offer_short(definitions: Node, offers: Mapping[str, Offer]) -> None:
    """The short forms of judges and attacks are names too."""
    judge = definitions["Measure"]["properties"]["judge"]
    entry = definitions["Adversary"]["properties"]["attacks"]["items"]
    for field, node in (("JudgeUse.use", judge), ("Use.use", entry)):
        if field in offers:
            node["anyOf"] = [*_names(offers[field]), *node["anyOf"]]


def _names(offer: Offer) -> list[Node]:
    says = list(offer.names.values())
    known: list[Node] = [{"enum": list(offer.names), "enumDescriptions": says}]
    form = {"type": "string", "pattern": offer.pattern}
    return [*known, *([cast(Node, form)] if offer.pattern else [])]
