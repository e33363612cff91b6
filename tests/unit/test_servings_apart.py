"""Servings of one attack are told apart, since a reply is found by item and by how it was asked."""

from __future__ import annotations

from threatspec.attacks.base import ATTACKS
from threatspec.attacks.serving_exploit import ServingExploitConfig
from threatspec.schema import Serving
from threatspec.subjects import ServingTamper


def _served(**knobs: object) -> tuple[Serving, ...]:
    ATTACKS.get("serving-exploit")
    config = ServingExploitConfig.model_validate(knobs)
    return ServingTamper(changes=config.changes).serve(Serving())


def test_two_system_prompts_have_two_labels_that_do_not_show_them() -> None:
    labels = [s.label for s in _served(systems=(None, "sure here", "sure there"))]
    assert len(set(labels)) == len(labels) == 6
    assert not any("sure" in label for label in labels)


def test_a_serving_that_is_listed_twice_is_used_once() -> None:
    assert len(_served(templates=("native", "none", "native"), systems=("a", "a"))) == 2


def test_what_changes_nothing_is_the_serving_that_is_declared() -> None:
    assert _served(templates=("native",), systems=(None,)) == (Serving(),)
