"""The language as frozen models: spec, access, units, predicates, content ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threatspec._lazy import lazy
from threatspec.schema._access import PRESETS, Access, Capability, capabilities
from threatspec.schema._adversary import (
    Adversary,
    Compute,
    DataRole,
    DataSource,
    Knowledge,
    Limits,
    Link,
    Owns,
    Use,
)
from threatspec.schema._base import Described, Model, canonical_json, content_id
from threatspec.schema._benchmark_card import (
    HUB_NAME,
    BenchmarkCard,
    BenchmarkColumns,
    Domain,
    HubFile,
)
from threatspec.schema._build import AdaptStep, BuildStep, MergeStep
from threatspec.schema._cards import AttackCard, CardSource, DescriptionCard
from threatspec.schema._claim import Claim, Expectation, Seeds, Verdict
from threatspec.schema._docs import field_docs
from threatspec.schema._governance import ClaimScope, Day, Governance, Property, Protects, Waiver
from threatspec.schema._lists import each_value, listed_values
from threatspec.schema._predicate import (
    ARMS,
    Binary,
    Comparison,
    Number,
    Operand,
    Predicate,
    PredicateError,
    Term,
    operands,
    parse_predicate,
    rewrite,
    unparse,
)
from threatspec.schema._safeguard import SafeguardBudget, SafeguardRole, SafeguardUse
from threatspec.schema._spec import Spec
from threatspec.schema._subject import (
    Calibration,
    InstrumentUse,
    JudgeUse,
    Measure,
    Serving,
    Subject,
    is_judge,
)
from threatspec.schema._units import Count, Flops, Level, Share, parse_quantity
from threatspec.schema._workspace import Workspace

if TYPE_CHECKING:
    from threatspec.schema._json_schema import Knobs, Offer, json_schema

__all__ = [
    "ARMS",
    "HUB_NAME",
    "PRESETS",
    "Access",
    "AdaptStep",
    "Adversary",
    "AttackCard",
    "BenchmarkCard",
    "BenchmarkColumns",
    "Binary",
    "BuildStep",
    "Calibration",
    "Capability",
    "CardSource",
    "Claim",
    "ClaimScope",
    "Comparison",
    "Compute",
    "Count",
    "DataRole",
    "DataSource",
    "Day",
    "Described",
    "DescriptionCard",
    "Domain",
    "Expectation",
    "Flops",
    "Governance",
    "HubFile",
    "InstrumentUse",
    "JudgeUse",
    "Knobs",
    "Knowledge",
    "Level",
    "Limits",
    "Link",
    "Measure",
    "MergeStep",
    "Model",
    "Number",
    "Offer",
    "Operand",
    "Owns",
    "Predicate",
    "PredicateError",
    "Property",
    "Protects",
    "SafeguardBudget",
    "SafeguardRole",
    "SafeguardUse",
    "Seeds",
    "Serving",
    "Share",
    "Spec",
    "Subject",
    "Term",
    "Use",
    "Verdict",
    "Waiver",
    "Workspace",
    "canonical_json",
    "capabilities",
    "content_id",
    "each_value",
    "field_docs",
    "is_judge",
    "json_schema",
    "listed_values",
    "operands",
    "parse_predicate",
    "parse_quantity",
    "rewrite",
    "unparse",
]

__getattr__ = lazy(__name__, {"_json_schema": ("Knobs", "Offer", "json_schema")})
