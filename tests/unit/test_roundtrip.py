"""What is written is what is read, and whatever a file becomes, every problem has a place in it."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.specs import BASE
from threatspec.errors import SpecErrors
from threatspec.loading import load_spec
from threatspec.loading._nodes import BREAK
from threatspec.resources import shipped
from threatspec.schema import PRESETS, Capability, Verdict

FILE = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Dumper(yaml.SafeDumper):
    """Quotes all text: what YAML 1.1 leaves bare, such as `1e5`, is a number in our language."""


Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def dump(spec: Any, **options: bool) -> str:
    data = spec.model_dump(mode="json", by_alias=True, **options)
    return yaml.dump(data, Dumper=Dumper, sort_keys=False)


def reread(folder: Path, text: str) -> Any:
    path = folder / "again.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path).spec


# load of dump is identity

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,10}", fullmatch=True)
IDS = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+){0,3}", fullmatch=True).filter(lambda s: len(s) <= 80)
KNOBS = st.one_of(
    st.integers(-(10**9), 10**9), st.booleans(), TEXT, st.floats(allow_nan=False, width=32).filter(
        lambda value: abs(value) < 1e30
    ),
)  # fmt: skip
ACCESS = st.one_of(
    st.sampled_from(sorted(PRESETS)),
    st.lists(st.sampled_from([c.value for c in Capability]), min_size=1, unique=True),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Valid claims files of many shapes, as plain data."""
    data = copy.deepcopy(BASE)
    adversary = {
        "goal": draw(TEXT),
        "access": draw(ACCESS),
        "compute": draw(
            st.fixed_dictionaries({}, optional={"steps": st.integers(0, 10**6),
                                                "flops": st.floats(0, 1e30)})
        ),
        "attacks": draw(st.lists(st.fixed_dictionaries(
            {"use": TEXT, "knobs": st.dictionaries(NAMES, KNOBS, max_size=3)}
        ), max_size=3)),
    }  # fmt: skip
    data["adversaries"] = {draw(NAMES): adversary}
    [against] = data["adversaries"]
    bound = draw(st.integers(1, 99)) / 100
    data["claims"] = [
        {
            "id": name,
            "says": draw(TEXT),
            "against": against,
            "holds": f"asr <= {bound}",
            "confidence": draw(st.floats(0.51, 0.99)),
            "seeds": {"replicates": draw(st.integers(1, 1000))},
            "expect": {"verdict": draw(st.sampled_from(list(Verdict))).value},
        }
        for name in draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    ]
    return data


@FILE
@given(documents(), st.booleans())
def test_load_of_dump_is_identity(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any], short: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    spec = reread(folder, yaml.dump(data, Dumper=Dumper, sort_keys=False))
    assert reread(folder, dump(spec, exclude_unset=short, exclude_defaults=not short)) == spec


@pytest.mark.parametrize("path", sorted(shipped("claims").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_claims_survive_being_dumped(tmp_path: Path, path: Path) -> None:
    spec = load_spec(path).spec
    for options in ({"exclude_unset": True}, {"exclude_defaults": True}):
        assert reread(tmp_path, dump(spec, **options)) == spec


# every problem of a mutated file has a place in it

VALID = (shipped("claims") / "quickstart.yaml").read_text(encoding="utf-8")
CHARACTERS = st.one_of(
    st.sampled_from(" \t\n\r:-[]{},#&*!|>'\"%@`?~0\\\x85\u2028\ufeff\0"),
    st.characters(exclude_categories=("Cs",)),
)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """The quickstart after one to three slips of the hand."""
    text = VALID
    for _ in range(draw(st.integers(1, 3))):
        mutate = draw(st.sampled_from([_characters, _lines, _values]))
        text = mutate(draw, text)
    return text


def _characters(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, max(len(text) - 1, 0)))
    removed = draw(st.integers(0, 3))
    written = draw(st.one_of(st.text(CHARACTERS, max_size=4), st.just(text[at : at + 2])))
    return text[:at] + written + text[at + removed :]


def _lines(draw: st.DrawFn, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    match draw(st.sampled_from(["delete", "duplicate", "swap", "indent", "cut"])):
        case "delete":
            del lines[at]
        case "duplicate":
            lines.insert(other, lines[at])
        case "swap":
            lines[at], lines[other] = lines[other], lines[at]
        case "indent":
            lines[at] = draw(st.sampled_from([" ", "  ", "\t", "- "])) + lines[at]
        case "cut":
            lines = lines[: at + 1]
    return "".join(lines)


def _values(draw: st.DrawFn, text: str) -> str:
    found = [match.span() for match in re.finditer(r"(?<=: )[^\s,{}\[\]#]+", text)]
    if not found:
        return text
    start, end = draw(st.sampled_from(found))
    other = draw(st.sampled_from(found))
    odd = st.sampled_from(["yes", "null", "[]", "{}", "-1", "1e400", "0x1", "''", "*x", "!!str x"])
    value = draw(st.one_of(odd, st.just(text[slice(*other)])))
    return text[:start] + value + text[end:]


@settings(FILE, max_examples=300)
@given(mutations())
def test_a_mutated_file_is_valid_or_has_problems_at_places_inside_it(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(text.encode())
    try:
        load_spec(path)
    except SpecErrors as errors:
        last = len(BREAK.split(text)) + 1
        for problem in errors.problems:
            assert problem.file == str(path)
            assert 1 <= problem.line <= last, problem
            assert problem.column >= 1, problem
