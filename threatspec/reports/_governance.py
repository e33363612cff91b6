"""What a claim protects and who answers for its evidence, in words."""

from __future__ import annotations

from threatspec.schema import Governance, Protects

__all__ = ["governed", "protected"]

Facts = tuple[tuple[str, str], ...]
"""Labels with texts; what is not said is left out."""


def protected(found: Protects | None) -> Facts:
    """External harm, and the asset with its property."""
    if found is None:
        return ()
    asset = f"{found.property.value} of {found.asset}" if found.asset and found.property else ""
    return _said(("Against harm", ", ".join(found.harm or ())), ("Asset", asset))


def governed(found: Governance | None) -> Facts:
    """Owner, standards, disclosure, retention, expiry."""
    if found is None:
        return ()
    return _said(
        ("Owner", found.owner or ""),
        ("Standards", "; ".join(found.standards or ())),
        ("Disclosure", found.disclosure or ""),
        ("Evidence kept", found.retention or ""),
        ("Expires", found.expires.isoformat() if found.expires else ""),
    )


def _said(*facts: tuple[str, str]) -> Facts:
    return tuple((label, text) for label, text in facts if text)
