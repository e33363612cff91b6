"""The rulebook, the codes, the manual and the language say the same of every rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repo.test_error_docs import SECTIONS
from threatspec.claims import RULES, Rule, RuleKind
from threatspec.claims._design_attacks import OF_ATTACKS
from threatspec.claims._design_measuring import FORESEEN, OF_MEASURING
from threatspec.claims._wording import CAPABILITY, UNBOUNDED
from threatspec.errors import CODES
from threatspec.schema import ClaimScope, Waiver, field_docs

ROOT = Path(__file__).parents[2]
ADMISSIBILITY = (ROOT / "docs" / "design" / "admissibility.md").read_text(encoding="utf-8")
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
SECTION = dict(section.split("\n", 1) for section in SECTIONS)
WHEN = {"design": "by design", "run": "by the run", "both": "by design and by the run"}


def plain(text: str) -> str:
    return " ".join(text.split())


def test_rules_are_codes_in_the_same_order() -> None:
    assert [code for code in CODES if re.fullmatch(r"TS-R\d[a-z]?", code)] == list(RULES)
    assert all(rule.code == code for code, rule in RULES.items())


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_a_section_of_the_manual_says_what_the_rulebook_says(rule: Rule) -> None:
    assert CODES[rule.code] == f"rule: {rule.title}"
    meaning, _, remedy = re.split(r"^```.*$", SECTION[rule.code], flags=re.MULTILINE)
    kind = f"{rule.kind.value.capitalize()}, {WHEN[rule.when]}."
    assert plain(meaning) == f"{rule.says} {kind} Asked of {rule.applies}."
    assert plain(remedy).startswith(rule.remedy)
    assert (f"`{rule.scope}`" in plain(remedy)) == bool(rule.scope)
    assert ("waiver" in remedy) == rule.waivable


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_texts_of_a_rule_read_alike(rule: Rule) -> None:
    assert rule.says.endswith(".")
    assert rule.remedy.endswith(".")
    assert "; " not in rule.remedy, "it stands behind a semicolon"
    assert not rule.title.endswith(".")
    assert rule.title[0].islower()
    assert rule.source


def test_only_sufficiency_is_answered() -> None:
    for rule in RULES.values():
        if rule.kind is not RuleKind.SUFFICIENCY:
            assert not rule.scoped_by
            assert not rule.waivable
    assert {r.code for r in RULES.values() if r.essential} == {"TS-R0c", "TS-R3"}


def test_every_field_of_a_scope_answers_the_rule_that_it_names() -> None:
    answers = {
        name: re.findall(r"Answers (TS-R\w+|no rule)\.", says)
        for name, says in field_docs(ClaimScope).items()
    }
    by_field = {rule.scoped_by: [rule.code] for rule in RULES.values() if rule.scoped_by}
    assert answers == {**by_field, "text": ["no rule"]}
    table = LANGUAGE[LANGUAGE.index("### Scope") : LANGUAGE.index("### Waivers")]
    for name, codes in by_field.items():
        [row] = re.findall(rf"^\| `{name}` .*$", table, flags=re.MULTILINE)
        assert f"Answers {codes[0]}." in row


def test_codes_are_of_the_form_that_waivers_take() -> None:
    pattern = Waiver.model_fields["rule"].metadata[0].pattern
    assert all(re.fullmatch(pattern, code) for code in RULES)


def test_what_a_design_can_break_is_read_from_it() -> None:
    read = {*OF_ATTACKS, *OF_MEASURING, "TS-R8e"}
    assert read == {code for code, rule in RULES.items() if rule.when != "run"}
    assert all(RULES[code].when != "design" for code in FORESEEN)


def test_rules_named_on_the_page_of_the_decision_exist() -> None:
    assert set(re.findall(r"TS-R\d[a-z]?", ADMISSIBILITY)) <= set(RULES)


def test_the_words_of_the_page_are_the_words_that_are_looked_for() -> None:
    lists = re.findall(r"^- (?:unbounded|of a capability)[^:]*: "
                       r"((?:.*\n)(?:  .*\n)*)", ADMISSIBILITY, flags=re.MULTILINE)  # fmt: skip
    found = [tuple(word.strip() for word in plain(text).split(",")) for text in lists]
    assert found == [UNBOUNDED, CAPABILITY]
    assert list(UNBOUNDED) == sorted(UNBOUNDED)
    assert list(CAPABILITY) == sorted(CAPABILITY)
