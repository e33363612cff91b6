"""Resident workers on a Ray cluster. Ray places and watches them; we say who does what."""

from threatspec.runners.ray._connect import answers_at, asks_for_token, require_ray, token_mode
from threatspec.runners.ray._pool import RayPool

__all__ = ["RayPool", "answers_at", "asks_for_token", "require_ray", "token_mode"]
