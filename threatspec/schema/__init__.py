"""The language as frozen models: spec, access, units, predicates, content ids."""

from threatspec.schema._access import PRESETS, Access, Capability, capabilities
from threatspec.schema._adversary import (
    Adversary,
    Compute,
    DataRole,
    DataSource,
    Knowledge,
    Use,
)
from threatspec.schema._base import Described, Model, canonical_json, content_id
from threatspec.schema._cards import AttackCard, BenchmarkCard, CardSource
from threatspec.schema._claim import Claim, Expectation, Seeds, Verdict
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
from threatspec.schema._spec import Spec
from threatspec.schema._subject import JudgeUse, Measure, Serving, Subject
from threatspec.schema._units import Count, Flops, Share, parse_quantity

__all__ = [
    "ARMS",
    "PRESETS",
    "Access",
    "Adversary",
    "AttackCard",
    "BenchmarkCard",
    "Binary",
    "Capability",
    "CardSource",
    "Claim",
    "Comparison",
    "Compute",
    "Count",
    "DataRole",
    "DataSource",
    "Described",
    "Expectation",
    "Flops",
    "JudgeUse",
    "Knowledge",
    "Measure",
    "Model",
    "Number",
    "Operand",
    "Predicate",
    "PredicateError",
    "Seeds",
    "Serving",
    "Share",
    "Spec",
    "Subject",
    "Term",
    "Use",
    "Verdict",
    "canonical_json",
    "capabilities",
    "content_id",
    "operands",
    "parse_predicate",
    "parse_quantity",
    "rewrite",
    "unparse",
]
