"""Claims files of several files: what is merged, where problems stand, what may be read."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.specs import write_benchmark
from threatspec.campaign import check_spec
from threatspec.errors import Problem, SpecErrors
from threatspec.loading import LoadedSpec, load_spec

OWN = """\
threatspec: 1
subject: {model: specimen:deep, undefended: specimen:undefended, control: specimen:shallow}
measures:
  asr: {benchmark: specimen/restricted, judge: exact}
adversaries:
  tuner:
    goal: obtain the procedures
    access: open-weights
    data: {harmful: {n: 10, from: specimen/restricted#attack_train}}
    compute: {steps: 30, flops: 1e12}
    attacks: [full-finetune]
claims:
  - {id: holds, says: It holds., against: tuner, holds: asr <= 0.1}
"""
MEASURES = """\
threatspec: 1
measures:
  utility: {benchmark: specimen/benign, judge: exact}
"""


def write(folder: Path, **files: str) -> Path:
    """Files by name without `.yaml`, `__` for a folder; the path of the first."""
    paths = [folder / f"{name.replace('__', '/')}.yaml" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return paths[0]


def including(*names: str, text: str = OWN) -> str:
    return f"{text}include: [{', '.join(names)}]\n"


def claim(name: str = "c", against: str = "tuner", holds: str = "asr <= 0.1") -> str:
    return f"{{id: {name}, says: x, against: {against}, holds: {holds}}}"


def problems(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    return caught.value.problems


def only(path: Path, code: str, file: Path, caret_on: str) -> Problem:
    """The single problem, which stands in `file` where `caret_on` begins."""
    found = problems(path)
    assert [p.code for p in found] == [code], "\n".join(map(str, found))
    text = file.read_text(encoding="utf-8")
    before = text[: text.index(caret_on)]
    place = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert (found[0].file, found[0].line, found[0].column) == (str(file), *place), str(found[0])
    assert found[0].source == text.split("\n")[place[0] - 1]
    return found[0]


# include


def test_included_definitions_are_added(tmp_path: Path) -> None:
    more = """\
    threatspec: 1
    adversaries:
      reader: {goal: read, access: chat-api, attacks: [none]}
    claims:
      - {id: first, says: x, against: reader, holds: utility >= 0.5}
    """
    path = write(tmp_path, x=including("shared/m.yaml", "more.yaml"), shared__m=MEASURES, more=more)
    loaded = load_spec(path)
    assert list(loaded.spec.measures) == ["utility", "asr"]
    assert set(loaded.spec.adversaries) == {"tuner", "reader"}
    assert [claim.id for claim in loaded.spec.claims] == ["first", "holds"]
    assert loaded.files == (path, tmp_path / "shared/m.yaml", tmp_path / "more.yaml")
    assert loaded.spec.include == ()
    check_spec(loaded)


def test_the_merged_spec_is_that_of_one_file(tmp_path: Path) -> None:
    path = write(tmp_path, x=including("m.yaml"), m=MEASURES)
    utility = MEASURES.splitlines()[-1]
    whole = OWN.replace("measures:\n", f"measures:\n{utility}\n")
    assert load_spec(path).spec == load_spec(write(tmp_path, whole=whole)).spec


def test_included_files_include_others_relative_to_themselves(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        x=including("a/one.yaml"),
        a__one="threatspec: 1\ninclude: [b/two.yaml, ../m.yaml]\n",
        a__b__two="threatspec: 1\ninclude: [../../m.yaml]\n",
        m=MEASURES,
    )
    loaded = load_spec(path)
    assert set(loaded.spec.measures) == {"asr", "utility"}  # m.yaml came twice and counts once
    assert [p.relative_to(tmp_path).as_posix() for p in loaded.files] == [
        "x.yaml",
        "a/one.yaml",
        "a/b/two.yaml",
        "m.yaml",
    ]


def test_files_that_a_fragment_names_are_beside_it(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p", "split": "test", "answer": "b", "references": ["b"]}]
    rows += [{"id": "t", "prompt": "q", "split": "attack_train", "answer": "b"}]
    write_benchmark(tmp_path / "shared", rows)
    more = """\
    threatspec: 1
    measures: {mine: {benchmark: "file:items.jsonl", judge: exact}}
    adversaries:
      other:
        goal: x
        access: open-weights
        data: {harmful: {n: 1, from: "file:items.jsonl#attack_train"}}
        attacks: [full-finetune]
    """
    loaded = load_spec(write(tmp_path, x=including("shared/more.yaml"), shared__more=more))
    assert loaded.spec.measures["mine"].benchmark == "file:shared/items.jsonl"
    check_spec(loaded)


@pytest.mark.parametrize(
    ("fragment", "code", "caret_on"),
    [
        ("measures: {u: {benchmark: specimen/benign, jugde: exact}}", "TS-MISSING-FIELD", "u:"),
        ("measures: {u: {benchmark: specimen/benign, judge: 3}}", "TS-WRONG-TYPE", "3"),
        ("adversaries: {a: {goal: no, access: chat-api}}", "TS-WRONG-TYPE", "no,"),
        ("measures: [a]", "TS-WRONG-TYPE", "measures"),
        ("claims: {}", "TS-WRONG-TYPE", "claims"),
        ("serving: {template: none}", "TS-UNKNOWN-FIELD", "serving"),
        ("extends: x.yaml", "TS-UNKNOWN-FIELD", "extends"),
        ("bogus: 1", "TS-UNKNOWN-FIELD", "bogus"),
        ("include: x", "TS-WRONG-TYPE", "x"),
        ("include: [[x]]", "TS-WRONG-TYPE", "[x]"),
        (f"claims: [{claim(against='tnuer')}]", "TS-UNKNOWN-ADVERSARY", "tnuer"),
        (f"claims: [{claim(holds='ars <= 0.1')}]", "TS-UNKNOWN-MEASURE", "ars"),
        (f"claims: [{claim('holds')}]", "TS-DUPLICATE-ID", "id: h"),
        ("measures: {u: *u}", "TS-YAML-ALIAS", "*u"),
        ("subjects: {s: {model: specimen:deep}}", "TS-WRONG-TYPE", "subjects"),
    ],
)  # fmt: skip
def test_problems_stand_in_the_file_of_their_text(
    tmp_path: Path, fragment: str, code: str, caret_on: str
) -> None:
    path = write(tmp_path, x=including("more.yaml"), more=f"threatspec: 1\n\n{fragment}\n")
    found = problems(path)
    assert code in {p.code for p in found}
    if code == "TS-DUPLICATE-ID":  # the later place is the file's own, and names the first
        assert found[0].file == str(path)
        assert f"{tmp_path / 'more.yaml'}:3" in found[0].message
        return
    mine = next(p for p in found if p.code == code)
    assert (mine.file, mine.line) == (str(tmp_path / "more.yaml"), 3), str(mine)
    assert mine.source[mine.column - 1 :].startswith(caret_on), str(mine)


@pytest.mark.parametrize("section", ["measures", "adversaries"])
def test_a_name_that_is_defined_twice_names_the_first_place(tmp_path: Path, section: str) -> None:
    name, kind = {"measures": ("asr", "measure"), "adversaries": ("tuner", "adversary")}[section]
    lines = OWN.splitlines(keepends=True)
    start = lines.index(f"{section}:\n")
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith(" "))
    again = "threatspec: 1\n# again\n" + "".join(lines[start:end])
    path = write(tmp_path, x=including("again.yaml"), again=again)
    found = only(path, "TS-DUPLICATE-ID", path, f"{name}:")
    assert f"the {kind} {name!r} is also defined at {tmp_path / 'again.yaml'}:4" in found.message


def test_all_problems_of_all_files_are_reported(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        x=including("a.yaml", "b.yaml", "gone.yaml", text=OWN.replace("steps: 30", "steps: x")),
        a="threatspec: 1\nmeasures: {u: {benchmark: specimen/benign, judge: 3}}\n",
        b="threatspec: 7\nbogus: 1\n",
    )
    found = [(Path(p.file).name, p.code) for p in problems(path)]
    assert found == [
        ("a.yaml", "TS-WRONG-TYPE"),
        ("b.yaml", "TS-FORMAT-VERSION"),
        ("x.yaml", "TS-UNIT"),
        ("x.yaml", "TS-FILE-MISSING"),
    ]


def test_what_could_not_be_read_is_not_called_unknown(tmp_path: Path) -> None:
    own = OWN.replace("against: tuner", "against: other").replace("asr <=", "more <=")
    path = write(tmp_path, x=including("broken.yaml", text=own), broken="a: [1")
    assert [p.code for p in problems(path)] == ["TS-YAML-SYNTAX"]


def test_a_fragment_says_its_format(tmp_path: Path) -> None:
    path = write(tmp_path, x=including("m.yaml"), m=MEASURES.removeprefix("threatspec: 1\n"))
    only(path, "TS-FORMAT-VERSION", tmp_path / "m.yaml", "measures")


def test_a_merged_spec_pickles_with_its_places(tmp_path: Path) -> None:
    path = write(tmp_path, x=including("m.yaml"), m=MEASURES)
    loaded: LoadedSpec = pickle.loads(pickle.dumps(load_spec(path)))
    there = loaded.problem("TS-DATA", "x", ("measures", "utility", "judge"))
    here = loaded.problem("TS-DATA", "x", ("measures", "asr", "judge"))
    assert (Path(there.file).name, there.line) == ("m.yaml", 3)
    assert (Path(here.file).name, here.line) == ("x.yaml", 4)


# extends

BASE: Mapping[str, str] = {"base": OWN}


def extended(folder: Path, text: str) -> LoadedSpec:
    return load_spec(write(folder, x=f"threatspec: 1\nextends: base.yaml\n{text}", base=OWN))


def test_a_file_that_overrides_nothing_is_its_base(tmp_path: Path) -> None:
    loaded = extended(tmp_path, "")
    assert loaded.spec == load_spec(tmp_path / "base.yaml").spec
    assert loaded.path == tmp_path / "x.yaml"


def test_mappings_are_merged_by_key_and_lists_replaced(tmp_path: Path) -> None:
    spec = extended(
        tmp_path,
        "serving: {max_tokens: 3}\n"
        "adversaries: {tuner: {compute: {steps: 5}, attacks: [lora-finetune, prefill]}}\n",
    ).spec
    tuner = spec.adversaries["tuner"]
    assert (tuner.compute.steps, tuner.compute.flops) == (5, 1e12)
    assert [use.use for use in tuner.attacks or ()] == ["lora-finetune", "prefill"]
    assert (tuner.goal, spec.serving[0].max_tokens) == ("obtain the procedures", 3)


def test_claims_are_merged_by_id(tmp_path: Path) -> None:
    spec = extended(
        tmp_path,
        "claims:\n"
        "  - {id: new, says: New., against: tuner, holds: asr <= 0.2}\n"
        "  - {id: holds, says: Other., against: tuner, holds: asr <= 0.3}\n",
    ).spec
    assert [(claim.id, claim.says) for claim in spec.claims] == [
        ("holds", "Other."),
        ("new", "New."),
    ]


def test_a_chain_of_bases_and_what_they_include(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        x="threatspec: 1\nextends: mid.yaml\nmeasures: {utility: {split: attack_dev}}\n",
        mid="threatspec: 1\nextends: base.yaml\ninclude: [m.yaml]\n",
        m=MEASURES,
        base=OWN,
    )
    loaded = load_spec(path)
    assert loaded.spec.measures["utility"].split == "attack_dev"
    assert loaded.spec.extends is None
    assert {p.name for p in loaded.files} == {"x.yaml", "mid.yaml", "m.yaml", "base.yaml"}


@pytest.mark.parametrize(
    ("text", "code", "caret_on"),
    [
        ("serving: {max_tokens: x}", "TS-UNIT", "x}"),
        ("adversaries: {tuner: {data: {harmful: {n: 0}}}}", "TS-OUT-OF-RANGE", "0}"),
        ("measures: {asr: {judge: [a]}}", "TS-WRONG-TYPE", "[a]"),
        ("measures: [a]", "TS-WRONG-TYPE", "[a]"),
        ("subjects: {s: {model: specimen:deep}}", "TS-WRONG-TYPE", "subjects"),
        ("bogus: 1", "TS-UNKNOWN-FIELD", "bogus"),
        (f"claims: [{claim(holds='ars <= 0.1')}]", "TS-UNKNOWN-MEASURE", "ars"),
        ("claims: [{id: c, against: tuner, holds: asr <= 0.1}]", "TS-MISSING-FIELD", "{id"),
        (f"claims: [{claim()}, {claim(holds='asr <= 0.2')}]", "TS-DUPLICATE-ID", "c, says"),
    ],
)  # fmt: skip
def test_problems_of_an_override_stand_in_it(
    tmp_path: Path, text: str, code: str, caret_on: str
) -> None:
    path = write(tmp_path, x=f"threatspec: 1\nextends: base.yaml\n{text}\n", base=OWN)
    found = problems(path)
    mine = next(p for p in found if p.code == code)
    assert (mine.file, mine.line) == (str(path), 3), str(mine)
    assert mine.source[mine.column - 1 :].startswith(caret_on), str(mine)


def test_problems_of_the_base_stand_in_the_base(tmp_path: Path) -> None:
    broken = OWN.replace("steps: 30", "steps: x")
    path = write(tmp_path, x="threatspec: 1\nextends: base.yaml\n", base=broken)
    only(path, "TS-UNIT", tmp_path / "base.yaml", "x, flops")


def test_an_override_repairs_its_base(tmp_path: Path) -> None:
    broken = OWN.replace("steps: 30", "steps: x")
    text = "threatspec: 1\nextends: base.yaml\nadversaries: {tuner: {compute: {steps: 3}}}\n"
    spec = load_spec(write(tmp_path, x=text, base=broken)).spec
    assert spec.adversaries["tuner"].compute.steps == 3


# where links lead


def test_a_circle_shows_its_chain(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        x=including("a.yaml"),
        a="threatspec: 1\ninclude: [b.yaml]\n",
        b="threatspec: 1\ninclude: [a.yaml]\n",
    )
    found = only(path, "TS-INCLUDE-CYCLE", tmp_path / "b.yaml", "a.yaml")
    names = ("x", "a", "b", "a")
    assert " -> ".join(str(tmp_path / f"{name}.yaml") for name in names) in found.message


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("extends: x.yaml", ""),
        ("extends: y.yaml", "extends: x.yaml"),
        ("extends: y.yaml", "include: [x.yaml]"),
        ("include: [./x.yaml]", ""),
    ],
)
def test_circles_of_every_kind_end(tmp_path: Path, own: str, other: str) -> None:
    path = write(tmp_path, x=f"threatspec: 1\n{own}\n", y=f"threatspec: 1\n{other}\n")
    assert [p.code for p in problems(path)] == ["TS-INCLUDE-CYCLE"]


def test_a_circle_through_a_symbolic_link_ends(tmp_path: Path) -> None:
    path = write(tmp_path, x="threatspec: 1\nextends: link.yaml\n")
    (tmp_path / "link.yaml").symlink_to(path)
    assert [p.code for p in problems(path)] == ["TS-INCLUDE-CYCLE"]


@pytest.mark.parametrize(("deep", "fits"), [(19, True), (20, False)])
def test_files_may_be_nested_20_deep(tmp_path: Path, deep: int, fits: bool) -> None:
    chain = {f"f{n}": f"threatspec: 1\nextends: f{n + 1}.yaml\n" for n in range(deep)}
    path = write(tmp_path, **chain, **{f"f{deep}": OWN})
    if fits:
        assert len(load_spec(path).files) == 20
        return
    (found,) = problems(path)
    assert (found.code, Path(found.file).name) == ("TS-INCLUDE-CYCLE", "f19.yaml")
    assert "at most 20 deep" in found.message


def test_a_missing_file_is_reported_where_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, x=including("measure.yaml"), measures=MEASURES)
    found = only(path, "TS-FILE-MISSING", path, "measure.yaml")
    assert "did you mean 'measures.yaml'" in found.message


@pytest.mark.parametrize("name", ["../out.yaml", "a/../../out.yaml", "ABSOLUTE"])
def test_files_outside_the_workspace_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, out=MEASURES)
    inside = tmp_path / "inside"
    name = name.replace("ABSOLUTE", str(tmp_path / "out.yaml"))
    path = write(inside, x=including(name))
    (inside / "a").mkdir()
    only(path, "TS-INCLUDE-OUTSIDE", path, name)


def test_a_file_outside_is_refused_whether_it_is_there_or_not(tmp_path: Path) -> None:
    path = write(tmp_path / "inside", x=including("../nothing.yaml"))
    only(path, "TS-INCLUDE-OUTSIDE", path, "../nothing")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_symbolic_links_out_of_the_workspace_are_refused(tmp_path: Path, what: str) -> None:
    outside = write(tmp_path, out__m=MEASURES)
    path = write(tmp_path / "inside", x=including("m.yaml" if what == "file" else "dir/m.yaml"))
    link = path.parent / ("m.yaml" if what == "file" else "dir")
    link.symlink_to(outside if what == "file" else outside.parent)
    only(path, "TS-INCLUDE-OUTSIDE", path, "m.yaml" if what == "file" else "dir")


def test_dots_behind_a_symbolic_link_lead_where_the_link_leads(tmp_path: Path) -> None:
    # Read as text, `dir/../m.yaml` is beside x.yaml; the file system says otherwise.
    write(tmp_path, out__m=MEASURES, out__sub__none=MEASURES)
    path = write(tmp_path / "inside", x=including("dir/../m.yaml"), m=MEASURES)
    (path.parent / "dir").symlink_to(tmp_path / "out" / "sub")
    only(path, "TS-INCLUDE-OUTSIDE", path, "dir/..")


def test_links_inside_the_workspace_are_fine(tmp_path: Path) -> None:
    path = write(tmp_path, x=including("link.yaml", str(tmp_path / "n.yaml")), m=MEASURES)
    write(tmp_path, n=MEASURES.replace("utility", "more"))
    (tmp_path / "link.yaml").symlink_to("m.yaml")
    assert set(load_spec(path).spec.measures) == {"asr", "utility", "more"}


def test_the_workspace_is_around_the_folder_claims(tmp_path: Path) -> None:
    path = write(tmp_path, claims__x=including("../shared/m.yaml"), shared__m=MEASURES)
    loaded = load_spec(path)
    assert set(loaded.spec.measures) == {"asr", "utility"}
    assert loaded.files[1] == tmp_path / "shared" / "m.yaml"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("3", "TS-WRONG-TYPE"),
        ('""', "TS-WRONG-TYPE"),
        ('"a\\0b"', "TS-FILE-MISSING"),
        ("https://example.org/x.yaml", "TS-FILE-MISSING"),
        ("folder", "TS-FILE-UNREADABLE"),
        ("loop.yaml", "TS-FILE-MISSING"),
    ],
)
def test_names_that_are_no_files(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "folder").mkdir()
    os.symlink("loop.yaml", tmp_path / "loop.yaml")
    path = write(tmp_path, x=including(name))
    assert [p.code for p in problems(path)] == [code]
