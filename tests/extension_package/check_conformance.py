"""`pytest check_conformance.py`: the attack, the judge and the benchmark keep the rules."""

from __future__ import annotations

from threatspec.testing import AttackConformance, BenchmarkConformance, JudgeConformance


class TestLeadIn(AttackConformance):
    kind = "lead-in"


class TestWordsInOrder(JudgeConformance):
    kind = "words-in-order"
    texts = ("the lamp", "the blue lamp", "lamp the", "a then b", "42")


class TestLamps(BenchmarkConformance):
    name = "example/lamps"
