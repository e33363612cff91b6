"""Subjects: what is attacked and asked. Loading and generation live in leaf modules with torch."""

from threatspec.subjects._card import Offer, SubjectCard
from threatspec.subjects._request import Request
from threatspec.subjects._tampers import (
    DataPoison,
    RequestTamper,
    ServingTamper,
    Tamper,
    WeightTamper,
    tampers_from_data,
    tampers_to_data,
)

__all__ = [
    "DataPoison",
    "Offer",
    "Request",
    "RequestTamper",
    "ServingTamper",
    "SubjectCard",
    "Tamper",
    "WeightTamper",
    "tampers_from_data",
    "tampers_to_data",
]
