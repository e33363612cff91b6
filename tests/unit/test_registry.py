from __future__ import annotations

import pytest

from threatspec.errors import ThreatspecError
from threatspec.registry import Registry


def registry() -> Registry[int]:
    return Registry("attack", "TS-UNKNOWN-ATTACK")


def test_a_miss_suggests_the_nearest_name_and_lists_the_known_ones() -> None:
    names = registry()
    names.register("lora-finetune", 1)
    names.register("none", 2)
    with pytest.raises(ThreatspecError) as caught:
        names.get("lora-finetun")
    assert str(caught.value) == (
        "unknown attack 'lora-finetun' (did you mean 'lora-finetune'?); "
        "known: lora-finetune, none [TS-UNKNOWN-ATTACK]"
    )


@pytest.mark.parametrize("name", ["", "Lora", "lora_finetune", "-lora", "lora--x", "a b", "a/"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be lower case words"):
        registry().register(name, 1)


def test_a_taken_name_is_refused() -> None:
    names = registry()
    names.register("none", 1)
    with pytest.raises(ValueError, match="'none' is taken"):
        names.register("none", 2)
