"""Subjects: what is attacked and asked. Loading and generation live in leaf modules with torch."""

from threatspec.subjects._card import Offer, SubjectCard
from threatspec.subjects._fetch import FETCHABLE, cache_folder, fetch_model, is_fetched
from threatspec.subjects._locate import check_reference, describe, locate
from threatspec.subjects._policy import ServingPolicy
from threatspec.subjects._request import PixelEdit, Request
from threatspec.subjects._tampers import (
    DataPoison,
    PixelTamper,
    RequestTamper,
    ServingTamper,
    Tamper,
    WeightTamper,
    tampers_from_data,
    tampers_to_data,
)

__all__ = [
    "FETCHABLE",
    "DataPoison",
    "Offer",
    "PixelEdit",
    "PixelTamper",
    "Request",
    "RequestTamper",
    "ServingPolicy",
    "ServingTamper",
    "SubjectCard",
    "Tamper",
    "WeightTamper",
    "cache_folder",
    "check_reference",
    "describe",
    "fetch_model",
    "is_fetched",
    "locate",
    "tampers_from_data",
    "tampers_to_data",
]
