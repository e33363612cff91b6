"""Loading: YAML with marks, validated, and every problem of a file at its place."""

from threatspec.loading._card import load_cards, load_user_cards
from threatspec.loading._descriptions import load_descriptions, shipped_descriptions
from threatspec.loading._model import load_model
from threatspec.loading._notes import notes
from threatspec.loading._spec import LoadedSpec, load_spec, model_problems
from threatspec.loading._workspace import WORKSPACE_FILE, find_workspace, load_workspace
from threatspec.loading._yaml import read_document, read_text

__all__ = [
    "WORKSPACE_FILE",
    "LoadedSpec",
    "find_workspace",
    "load_cards",
    "load_descriptions",
    "load_model",
    "load_spec",
    "load_user_cards",
    "load_workspace",
    "model_problems",
    "notes",
    "read_document",
    "read_text",
    "shipped_descriptions",
]
