"""Conformance suites: subclass one in your tests to see whether a plug-in keeps the rules.

from threatspec.testing import AttackConformance

class TestMyAttack(AttackConformance):
    kind = "my-attack"
    knobs = {"steps": 3}
"""

import pytest

# Before the suites are imported, so that a failing assertion shows what it compared.
pytest.register_assert_rewrite(
    "threatspec.testing._attacks",
    "threatspec.testing._benchmarks",
    "threatspec.testing._instruments",
    "threatspec.testing._judges",
    "threatspec.testing._parts",
    "threatspec.testing._safeguards",
)

from threatspec.testing._attacks import AttackConformance  # noqa: E402
from threatspec.testing._benchmarks import BenchmarkConformance  # noqa: E402
from threatspec.testing._instruments import InstrumentConformance  # noqa: E402
from threatspec.testing._judges import JudgeConformance  # noqa: E402
from threatspec.testing._safeguards import SafeguardConformance  # noqa: E402

__all__ = [
    "AttackConformance",
    "BenchmarkConformance",
    "InstrumentConformance",
    "JudgeConformance",
    "SafeguardConformance",
]
