"""Mutations of prompts: the 20 styles by name, and the four ciphers among them."""

from threatspec.attacks.mutations.ciphers import CIPHERS, Cipher, cipher
from threatspec.attacks.mutations.frames import framed
from threatspec.attacks.mutations.styles import STYLES, Style

__all__ = ["CIPHERS", "STYLES", "Cipher", "Style", "cipher", "framed"]
