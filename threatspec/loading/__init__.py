"""Loading: YAML with marks, validated, and every problem of a file at its place."""

from threatspec.loading._card import load_cards
from threatspec.loading._spec import LoadedSpec, load_model, load_spec, model_problems

__all__ = ["LoadedSpec", "load_cards", "load_model", "load_spec", "model_problems"]
