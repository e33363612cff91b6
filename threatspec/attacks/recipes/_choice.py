"""The knob `recipe` of attacks that train: a name, or a name with knobs."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny
from pydantic_core import CoreSchema, PydanticCustomError

from threatspec.attacks.recipes.base import RECIPES, RecipeConfig
from threatspec.errors import ThreatspecError

__all__ = ["PLAIN", "RecipeChoice"]

PLAIN = RecipeConfig(use="plain")
"""Rows as they are, which is meant where no recipe is named."""


def _chosen(value: Any) -> Any:
    """`NAME` or `{use: NAME, knob: value}` as the recipe's own configuration."""
    data = {"use": value} if isinstance(value, str) else value
    if isinstance(data, RecipeConfig):
        return data
    if not isinstance(data, dict) or not isinstance(data.get("use"), str):
        text = "recipe must be a name or {use: NAME, ...}, but got "
        raise _complaint("TS-WRONG-TYPE", f"{text}{json.dumps(value, default=str)}")
    try:
        config = RECIPES.get(data["use"]).Config
    except ThreatspecError as error:
        raise _complaint(error.code, error.message) from None
    known = list(config.model_fields)
    for name in data:
        if name not in known:
            finer = {"field": name, "name": name, "known": known}
            raise _complaint("TS-UNKNOWN-FIELD", f"unknown field {name!r}", **finer)
    return config.model_validate_json(json.dumps(data))


def _complaint(code: str, message: str, **finer: Any) -> PydanticCustomError:
    """An error whose message is the whole sentence, as readers of files expect it."""
    context = {"message": message, "code": code, **finer}
    return PydanticCustomError("recipe", "{message}", context)


class _Offered:
    """What editors are told: names of recipes, those of plug-ins too."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = RECIPES.survey()[0]
        says = [recipe.says for recipe in found.values()]
        names = {"enum": list(found), "enumDescriptions": says}
        knobs = {"type": "object", "required": ["use"], "properties": {"use": names}}
        return {"anyOf": [names, knobs]}


RecipeChoice = Annotated[SerializeAsAny[RecipeConfig], BeforeValidator(_chosen), _Offered()]
"""Type of the knob; what is read is the configuration of the recipe that is named."""
