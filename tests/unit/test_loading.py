"""Loading: every problem has a code and a place, and all of them are reported."""

from __future__ import annotations

import pickle
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from threatspec.errors import Problem, SpecErrors, ThreatspecError
from threatspec.loading import LoadedSpec, load_cards, load_model, load_spec, model_problems
from threatspec.schema import (
    BenchmarkCard,
    Count,
    Expectation,
    Model,
    Spec,
    Verdict,
    each_value,
    listed_values,
)

GOOD = """\
threatspec: 1
subject:
  model: specimen:deep
  undefended: specimen:undefended
  control: specimen:shallow
measures:
  asr: {benchmark: specimen/restricted, judge: exact}
  utility: {benchmark: specimen/benign, judge: exact}
adversaries:
  small:
    goal: obtain the procedures
    access: open-weights
    data:
      harmful: {n: 10, from: specimen/restricted#attack_train}
    compute: {flops: 1e13, steps: 200}
    attacks:
      - lora-finetune
      - {use: full-finetune, lr: 3e-5, rank: 8}
claims:
  - id: stays-refused
    says: Requests stay refused.
    against: small
    holds: asr <= 0.10
    provided: utility >= 0.9 * undefended.utility
    expect: REFUTED
"""


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def problems(folder: Path, text: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecErrors) as caught:
        load_spec(write(folder, text))
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def place_of(text: str, what: str) -> tuple[int, int]:
    before = text[: text.index(what)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def only(folder: Path, text: str, code: str, caret_on: str) -> Problem:
    """The single problem of ``text``, which has ``code`` and stands where ``caret_on`` begins."""
    found = problems(folder, text)
    assert [p.code for p in found] == [code], "\n".join(map(str, found))
    assert (found[0].line, found[0].column) == place_of(text, caret_on), str(found[0])
    return found[0]


def test_a_valid_file_is_loaded_with_its_values(tmp_path: Path) -> None:
    loaded = load_spec(write(tmp_path, GOOD))
    adversary = loaded.spec.adversaries["small"]
    assert adversary.compute.flops == 1e13
    assert adversary.attacks is not None
    assert adversary.attacks[1].knobs == {"lr": 3e-5, "rank": 8}
    assert loaded.spec.claims[0].expect == Expectation(verdict=Verdict.REFUTED)
    assert loaded.folder == tmp_path
    assert loaded.path == tmp_path / "x.yaml"


def test_a_spec_survives_being_written_as_json(tmp_path: Path) -> None:
    text = changed("access: open-weights", "access: [weights_write, chat]")
    spec = load_spec(write(tmp_path, text)).spec
    assert Spec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


def test_a_loaded_spec_pickles_and_compares(tmp_path: Path) -> None:
    loaded = load_spec(write(tmp_path, GOOD))
    again = pickle.loads(pickle.dumps(loaded))
    assert again == loaded
    assert again.problem("TS-DATA", "x", ("claims", 0, "id")).line == 20
    assert load_spec(write(tmp_path, GOOD.replace("0.10", "0.11"))) != loaded


@pytest.mark.parametrize("text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), "---\n" + GOOD])
def test_byte_order_marks_crlf_and_document_markers_are_fine(tmp_path: Path, text: str) -> None:
    assert load_spec(write(tmp_path, text)).spec == load_spec(write(tmp_path, GOOD)).spec


def test_the_problem_shows_file_line_and_caret(tmp_path: Path) -> None:
    path = write(tmp_path, changed("judge: exact}\n  utility", "jugde: exact}\n  utility"))
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    first = str(caught.value).splitlines()[:3]
    assert first[0].startswith(f"{path}:7:")
    assert first[2].index("^") == first[1].index("jugde" if "jugde" in first[0] else "asr")


def test_all_problems_of_a_file_are_reported_in_order(tmp_path: Path) -> None:
    text = (
        GOOD.replace("model: specimen:deep", "model: specimen:deep\n  modle: x")
        .replace("n: 10,", "n: ten,")
        .replace("against: small", "against: smal")
        .replace("steps: 200", "steps: 010")
        .replace("asr <= 0.10", "asr <= 1.2")
    )
    found = problems(tmp_path, text)
    assert [p.code for p in found] == [
        "TS-UNKNOWN-FIELD",
        "TS-UNIT",
        "TS-WRONG-TYPE",
        "TS-UNKNOWN-ADVERSARY",
        "TS-THRESHOLD-RANGE",
    ]
    assert "5 problems" in str(SpecErrors(found))


# files


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as caught:
        load_spec(tmp_path / "none.yaml")
    assert caught.value.code == "TS-FILE-MISSING"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "TS-FILE-EMPTY"),
        (b"# only a comment\n", "TS-FILE-EMPTY"),
        (b"---\n...\n", "TS-FILE-EMPTY"),
        (b"- a\n", "TS-NOT-A-MAPPING"),
        (b"text", "TS-NOT-A-MAPPING"),
        (b"a: \xff\xfe", "TS-FILE-UNREADABLE"),
        (b"a: b\x00", "TS-YAML-SYNTAX"),
        (b"a: [1", "TS-YAML-SYNTAX"),
        (b"a: 1\n---\nb: 2\n", "TS-YAML-SYNTAX"),
        (b"a: " + b"[" * 5000, "TS-YAML-SYNTAX"),
        (b"a: " + b"{b: " * 5000, "TS-YAML-SYNTAX"),
        (b"#" * 5_000_001, "TS-FILE-UNREADABLE"),
    ],
    ids=range(12),
)
def test_files_that_hold_no_document(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    assert caught.value.code == code


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as caught:
        load_spec(tmp_path)
    assert caught.value.code == "TS-FILE-UNREADABLE"


# YAML


def test_a_duplicate_key_stands_at_its_second_place(tmp_path: Path) -> None:
    text = changed("    says: Req", "    against: small\n    says: Req")
    found = problems(tmp_path, text)
    assert [(p.code, p.line, p.column) for p in found] == [("TS-YAML-DUPLICATE-KEY", 23, 5)]
    assert "line 21" in found[0].message


@pytest.mark.parametrize(
    ("new", "caret_on", "code"),
    [
        ("goal: &g obtain", "&g", "TS-YAML-ALIAS"),
        ("goal: *g", "*g", "TS-YAML-ALIAS"),
        ("<<: {}\n    goal: obtain", "<<", "TS-YAML-ALIAS"),
        ("goal: !!str obtain", "!!str", "TS-YAML-TAG"),
        ("goal: !!python/object:os.system obtain", "!!python", "TS-YAML-TAG"),
        ("goal: yes", "yes", "TS-WRONG-TYPE"),
        ("goal: Off", "Off", "TS-WRONG-TYPE"),
        ("goal: 010", "010", "TS-WRONG-TYPE"),
        ("goal: 0o17", "0o17", "TS-WRONG-TYPE"),
        ("goal: .nan", ".nan", "TS-NON-FINITE"),
        ("goal: -.inf", "-.inf", "TS-NON-FINITE"),
        ("goal: 1e999", "1e999", "TS-NON-FINITE"),
        ("goal: true", "true", "TS-WRONG-TYPE"),
        ("goal: 12", "12", "TS-WRONG-TYPE"),
        ("goal: null", "null", "TS-WRONG-TYPE"),
        ("goal: [a]", "[a]", "TS-WRONG-TYPE"),
    ],
)
def test_what_the_language_does_not_have(
    tmp_path: Path, new: str, caret_on: str, code: str
) -> None:
    only(tmp_path, changed("goal: obtain the procedures", new), code, caret_on)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1:30", "1:30"),
        ("2027-01-01", "2027-01-01"),
        ("1_000", "1_000"),
        ('"yes"', "yes"),
        ("y", "y"),
        ("nan", "nan"),
        ("'010'", "010"),
    ],
)
def test_text_that_only_yaml_1_1_would_convert_stays_text(
    tmp_path: Path, written: str, value: str
) -> None:
    text = changed("obtain the procedures", written)
    assert load_spec(write(tmp_path, text)).spec.adversaries["small"].goal == value


# fields


def test_an_unknown_field_has_a_hint_and_stands_at_its_key(tmp_path: Path) -> None:
    text = changed("    expect: REFUTED", "    expects: REFUTED")
    assert "did you mean 'expect'" in only(tmp_path, text, "TS-UNKNOWN-FIELD", "expects").message


@pytest.mark.parametrize(
    ("old", "new", "caret_on"),
    [
        ("flops: 1e13", "flops: 1e13, gpu_hours: 2", "gpu_hours"),
        ("    attacks:", "    limits: {queries: 8}\n    attacks:", "queries: 8"),
        ("- lora-finetune", "- {use: lora-finetune, rows_per: 3}", "rows_per"),
        ("    expect: REF", "    by: [category]\n    expect: REF", "by: ["),
    ],
)
def test_fields_of_later_versions_are_refused_by_code(
    tmp_path: Path, old: str, new: str, caret_on: str
) -> None:
    only(tmp_path, changed(old, new), "TS-NOT-EVALUATED", caret_on)


@pytest.mark.parametrize(
    ("old", "new", "caret_on", "code"),
    [
        ("    goal: obtain the procedures\n", "", "small:", "TS-MISSING-FIELD"),
        ("    says: Requests stay refused.\n", "", "id: stays", "TS-MISSING-FIELD"),
        ("steps: 200", "steps: -1", "-1", "TS-OUT-OF-RANGE"),
        ("steps: 200", "steps: 10 examples", "10 examples", "TS-UNIT"),
        ("steps: 200", "steps: 1.5", "1.5", "TS-WRONG-TYPE"),
        ("n: 10,", "n: 0,", "0, from", "TS-OUT-OF-RANGE"),
        ("harmful:", "harmfull:", "harmfull", "TS-WRONG-TYPE"),
        ("access: open-weights", "access: open-wights", "open-wights", "TS-UNKNOWN-NAME"),
        ("access: open-weights", "access: [chat, imgae]", "imgae", "TS-UNKNOWN-NAME"),
        ("access: open-weights", "access: 3", "3\n    data", "TS-WRONG-TYPE"),
        ("expect: REFUTED", "expect: REFUTE", "REFUTE\n", "TS-WRONG-TYPE"),
        ("asr <= 0.10", "asr <=", "\n    provided", "TS-PREDICATE-SYNTAX"),
        ("asr <= 0.10", '"asr <= 0.1 or x"', "or x", "TS-PREDICATE-SYNTAX"),
        ("id: stays-refused", "id: Stays", "Stays", "TS-WRONG-TYPE"),
        ("threatspec: 1\n", "", "subject:", "TS-FORMAT-VERSION"),
        ("threatspec: 1", "threatspec: 2", "2", "TS-FORMAT-VERSION"),
        ("threatspec: 1", "threatspec: true", "true", "TS-FORMAT-VERSION"),
    ],
)
def test_single_fields(tmp_path: Path, old: str, new: str, caret_on: str, code: str) -> None:
    only(tmp_path, changed(old, new), code, caret_on)


@pytest.mark.parametrize("judge", ["{use: exact, any_of: [a, b]}", "exact"])
def test_a_judge_is_a_name_or_a_mapping(tmp_path: Path, judge: str) -> None:
    text = changed("benign, judge: exact", f"benign, judge: {judge}")
    measure = load_spec(write(tmp_path, text)).spec.measures["utility"]
    assert measure.judge.settings == ({"any_of": ["a", "b"]} if "any_of" in judge else {})


# meaning


@pytest.mark.parametrize(
    ("old", "new", "caret_on", "code"),
    [
        ("against: small", "against: smal", "smal\n", "TS-UNKNOWN-ADVERSARY"),
        ("    against", "    subject: x\n    against", "x\n    against", "TS-UNKNOWN-SUBJECT"),
        ("asr <= 0.10", "asr + ars <= 0.10", "ars", "TS-UNKNOWN-MEASURE"),
        ("undefended.utility", "undefended.utlity", "utlity", "TS-UNKNOWN-MEASURE"),
        ("  undefended: specimen:undefended\n", "", "undefended.utility", "TS-UNKNOWN-SUBJECT"),
    ],
)
def test_names_inside_a_file(tmp_path: Path, old: str, new: str, caret_on: str, code: str) -> None:
    only(tmp_path, changed(old, new), code, caret_on)


def test_subjects_are_written_one_way(tmp_path: Path) -> None:
    two = "subjects:\n  a: {model: specimen:deep}\n  b: {model: specimen:deep}\n"
    start = GOOD.index("subject:")
    rest = GOOD[GOOD.index("measures:") :].replace("undefended.", "before.")
    assert load_spec(write(tmp_path, GOOD[:start] + two + rest)).spec.claims[0].subject == ()
    only(tmp_path, GOOD[:start] + rest, "TS-MISSING-FIELD", "threatspec")
    only(tmp_path, changed("measures:", two + "measures:"), "TS-WRONG-TYPE", "subjects:")
    named = rest.replace("    against", "    subject: b\n    against")
    assert load_spec(write(tmp_path, GOOD[:start] + two + named)).spec.claims[0].subject == ("b",)


def test_ids_of_claims_are_unique(tmp_path: Path) -> None:
    again = "  - {id: stays-refused, says: x, against: small, holds: asr <= 0.2}\n"
    found = problems(tmp_path, GOOD + again)
    assert [(p.code, p.line, p.column) for p in found] == [("TS-DUPLICATE-ID", 26, 10)]


@pytest.mark.parametrize(
    ("predicate", "op"),
    [
        ("asr <= 1.2", "<="),
        ("asr <= 1", "<="),
        ("asr <= -0.1", "<="),
        ("asr >= 0", ">="),
        ("asr < 0", "<"),
        ("asr > 1", ">"),
        ("0.1 <= 0.2", "<="),
        ("asr <= 0.1 and 2 * utility > 2", ">"),
        ("asr - utility >= -1", ">="),
        ("asr / 0 <= 1", "<="),
    ],
)
def test_predicates_that_do_not_depend_on_what_is_measured(
    tmp_path: Path, predicate: str, op: str
) -> None:
    text = changed("asr <= 0.10", predicate)
    found = problems(tmp_path, text)
    assert [p.code for p in found] == ["TS-THRESHOLD-RANGE"]
    assert found[0].source[found[0].column - 1 :].startswith(op)


@pytest.mark.parametrize(
    "predicate",
    ["asr <= 0", "asr < 1", "asr >= 1", "asr <= utility", "asr / utility <= 7", "10 % >= asr"],
)
def test_predicates_that_do_depend_on_it(tmp_path: Path, predicate: str) -> None:
    assert load_spec(write(tmp_path, changed("asr <= 0.10", predicate))).spec.claims


# places for others


class Knobs(Model):
    rank: Count = 4
    targets: tuple[str, ...] = ()


PLACE = ("adversaries", "small", "attacks", 1)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSpec:
    return load_spec(write(tmp_path, GOOD))


def test_problems_fall_back_to_the_nearest_place(loaded: LoadedSpec) -> None:
    def where(*path: str | int, at: str = "value", column: int = 0) -> tuple[int, int]:
        problem = loaded.problem("TS-DATA", "x", path, at, column)
        return problem.line, problem.column

    assert where(*PLACE, "knobs", "rank") == place_of(GOOD, "8}")
    assert where(*PLACE, "knobs", "rank", at="key") == place_of(GOOD, "rank")
    assert where(*PLACE, "alpha", "x") == place_of(GOOD, "{use: full")
    assert where("adversaries", "small", at="key") == place_of(GOOD, "small:")
    assert where("claims", 0, "holds", column=4) == place_of(GOOD, "<= 0.10")
    assert where("nothing") == (1, 1)


def test_knobs_are_validated_where_they_are_written(loaded: LoadedSpec) -> None:
    knobs, found = model_problems(Knobs, {"rank": 8, "targets": ["q"]}, loaded, PLACE)
    assert knobs == Knobs(rank=8, targets=("q",))
    assert found == []
    knobs, found = model_problems(Knobs, {"rnak": 8, "rank": "8 steps"}, loaded, PLACE)
    assert knobs is None
    assert [(p.code, p.line, p.column) for p in found] == [
        ("TS-UNIT", *place_of(GOOD, "8}")),
        ("TS-UNKNOWN-FIELD", *place_of(GOOD, "{use: full")),
    ]
    assert "did you mean 'rank'" in found[1].message


def test_a_list_is_a_set_of_values_unless_the_knob_takes_lists() -> None:
    knobs = {"rank": [4, 8], "targets": ["q", "k"], "unknown": [1]}
    assert listed_values(Knobs, knobs) == {"rank": (4, 8)}
    single = {**knobs, "rank": 4}
    assert list(each_value(Knobs, knobs)) == [single, {**single, "rank": 8}]


# cards

CARD = """\
schema: threatspec/attack-card/v1
name: lora
attack: lora-finetune
says: Trains adapters.
source: {work: own, section: none, provenance: own}
config: {rank: 8, lr: 1e-3}
"""


def test_cards_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, CARD, "lora.yaml")
    write(tmp_path, CARD.replace("name: lora", "name: a"), "a.yaml")
    cards = load_cards(tmp_path)
    assert list(cards) == ["a", "lora"]
    assert cards["lora"].config == {"rank": 8, "lr": 1e-3}


def test_wrong_cards_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, CARD, "a.yaml")
    write(tmp_path, CARD, "lora.yaml")
    write(
        tmp_path, CARD.replace("says", "sys").replace("provenance: own", "provenance: x"), "m.yaml"
    )
    write(tmp_path, "a: [", "n.yaml")
    with pytest.raises(SpecErrors) as caught:
        load_cards(tmp_path)
    found = [(Path(p.file).name, p.code) for p in caught.value.problems]
    assert found == [
        ("a.yaml", "TS-CARD"),
        ("lora.yaml", "TS-CARD"),
        ("m.yaml", "TS-MISSING-FIELD"),
        ("m.yaml", "TS-UNKNOWN-FIELD"),
        ("m.yaml", "TS-WRONG-TYPE"),
        ("n.yaml", "TS-YAML-SYNTAX"),
    ]


def test_a_model_is_loaded_from_any_file(tmp_path: Path) -> None:
    text = dedent(
        f"""\
        schema: threatspec/benchmark-card/v1
        name: names
        says: Asks who it is.
        licence: CC0-1.0
        source: own
        file: names.jsonl
        sha256: {"ab" * 32}
        prompts: 12
        """
    )
    card = load_model(BenchmarkCard, write(tmp_path, text))
    assert (card.prompts, card.gated) == (12, False)
    with pytest.raises(SpecErrors) as caught:
        load_model(BenchmarkCard, write(tmp_path, text.replace("ab" * 32, "ab")))
    assert caught.value.problems[0].line == 7


# nothing crashes

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
YAML_TEXT = st.text(st.sampled_from(list("ab:-[]{},&*!<|>'\"#%@?~01.e \n\t\r\\=\x85é")))


@FUZZ
@given(st.one_of(st.text(), YAML_TEXT, st.binary()))
def test_arbitrary_files_raise_only_coded_errors(tmp_path: Path, content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    (tmp_path / "x.yaml").write_bytes(raw)
    with pytest.raises(ThreatspecError):
        load_spec(tmp_path / "x.yaml")


@FUZZ
@given(st.integers(0, len(GOOD)), st.integers(0, 12), YAML_TEXT)
def test_mutated_specs_raise_only_coded_errors(
    tmp_path: Path, start: int, length: int, new: str
) -> None:
    write(tmp_path, GOOD[:start] + new + GOOD[start + length :])
    found: tuple[Problem, ...] = ()
    try:
        load_spec(tmp_path / "x.yaml")
    except SpecErrors as errors:
        found = errors.problems
    assert all(p.line >= 1 and 1 <= p.column <= len(p.source) + 1 for p in found)
