"""Plug-ins: loaded when asked for, checked, named when broken, part of every trial's id."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.distributions import lay_out
from tests.support.specs import scoped, spec_data
from threatspec.attacks import ATTACKS, Attack
from threatspec.campaign._digests import component_digest
from threatspec.errors import ThreatspecError
from threatspec.measures import JUDGES
from threatspec.registry import Origin, Registry
from threatspec.runners._children import search_path
from threatspec.safeguards import SAFEGUARDS

GROUP = "threatspec.attacks"
GOOD = """
from threatspec.attacks.none import NoAttack
class {name}(NoAttack):
    kind = {kind!r}
    says = "does nothing, elsewhere"
"""


def good(kind: str, name: str = "Mine") -> str:
    return GOOD.format(kind=kind, name=name)


def registry() -> Registry[Attack]:
    """A registry as ATTACKS is, that has not looked for plug-ins yet."""
    return Registry(
        "attack", "TS-UNKNOWN-ATTACK", ("threatspec.attacks.none",), group=GROUP, base=Attack
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def attacks(site: Path) -> Registry[Attack]:
    names = registry()
    names.register("none", ATTACKS.get("none"))
    return names


def test_a_plug_in_is_loaded_when_it_is_asked_for_and_not_before(
    site: Path, attacks: Registry[Attack]
) -> None:
    lay_out(site, "acme", GROUP, {"lazy": "acme_lazy:Mine"}, {"acme_lazy.py": good("lazy")})
    assert "lazy" in attacks.names()
    assert attacks.get("none")
    assert "nothing" not in attacks
    assert "acme_lazy" not in sys.modules
    assert attacks.get("lazy").kind == "lazy"
    assert attacks.origin("lazy") == Origin("acme_lazy", "acme", "1.0")
    assert attacks.origin("none") is None


@pytest.mark.parametrize("suffix", ["Mine", "ready"])
def test_an_entry_point_names_a_class_or_an_object(
    site: Path, attacks: Registry[Attack], suffix: str
) -> None:
    source = good("either") + "ready = Mine()\n"
    lay_out(site, "acme", GROUP, {"either": f"acme_either:{suffix}"}, {"acme_either.py": source})
    assert attacks.get("either").says == "does nothing, elsewhere"


def test_a_miss_names_plug_ins_without_loading_them(site: Path, attacks: Registry[Attack]) -> None:
    lay_out(site, "acme", GROUP, {"wobble": "acme_wobble:Mine"}, {"acme_wobble.py": "1 / 0"})
    with pytest.raises(ThreatspecError, match="did you mean 'wobble'") as caught:
        attacks.get("wobbel")
    assert caught.value.code == "TS-UNKNOWN-ATTACK"


BROKEN = {
    "raises": ({"bad": "m:Mine"}, "1 / 0", "ZeroDivisionError: division by zero"),
    "exits": ({"bad": "m:Mine"}, "raise SystemExit(3)", "SystemExit: 3"),
    "lacks a module": ({"bad": "m:Mine"}, "import no_such_thing", "ModuleNotFoundError: No mod"),
    "lacks the object": ({"bad": "m:Yours"}, good("bad"), "AttributeError: module"),
    "is not Python": ({"bad": "m:Mine"}, "def (", "SyntaxError: invalid syntax"),
    "of a wrong type": ({"bad": "m:Mine"}, "Mine = 7", "derived from Attack, but is of type int"),
    "a class of a wrong type": (
        {"bad": "m:Mine"},
        "class Mine: kind = 'bad'",
        "derived from Attack, but is of type Mine",
    ),
    "abstract": (
        {"bad": "m:Mine"},
        "from threatspec.attacks import Attack\nclass Mine(Attack): kind = 'bad'",
        "Can't instantiate abstract class Mine",
    ),
    "calls itself otherwise": (
        {"bad": "m:Mine"},
        good("worse"),
        "called as its entry point, but calls itself 'worse'",
    ),
    "registers a taken name": (
        {"bad": "m:Mine"},
        good("bad") + "from threatspec.attacks import ATTACKS\nATTACKS.register('none', Mine())",
        "names must be unique, but 'none' is taken",
    ),
    "has an ill-formed name": (
        {"Bad_Name": "m:Mine"},
        good("Bad_Name"),
        "names must be lower case words joined by '-'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plug_in_is_one_coded_error_that_names_the_distribution(
    site: Path, attacks: Registry[Attack], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    entries, source, reason = BROKEN[case]
    module = f"acme_{case.replace(' ', '_').replace('-', '_')}"
    entries = {key: value.replace("m:", f"{module}:") for key, value in entries.items()}
    lay_out(site, "acme", GROUP, entries, {f"{module}.py": source}, version="2.5")
    [name] = entries
    with pytest.raises(ThreatspecError) as caught:
        attacks.get(name)
    assert caught.value.code == "TS-PLUGIN"
    assert caught.value.message.startswith(f"attack {name!r} of acme 2.5 cannot be used: ")
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert attacks.get("none").kind == "none"
    found, wrong = attacks.survey()
    assert set(found) == {"none"}
    assert [error.code for error in wrong] == ["TS-PLUGIN"]


def test_a_plug_in_with_a_built_in_name_changes_nothing_and_is_reported(
    site: Path, attacks: Registry[Attack]
) -> None:
    lay_out(site, "acme", GROUP, {"none": "acme_none:Mine"}, {"acme_none.py": good("none")})
    assert attacks.get("none") is ATTACKS.get("none")
    assert attacks.origin("none") is None
    assert "acme_none" not in sys.modules
    found, [error] = attacks.survey()
    assert set(found) == {"none"}
    assert "attack 'none' of acme 1.0" in error.message
    assert "'none' is taken" in error.message


def test_two_distributions_with_one_name_are_both_named(
    site: Path, attacks: Registry[Attack]
) -> None:
    for owner in ("acme", "bolt"):
        source = {f"{owner}_twice.py": good("twice")}
        lay_out(site, owner, GROUP, {"twice": f"{owner}_twice:Mine"}, source)
    with pytest.raises(ThreatspecError, match=r"of \w+ 1.0 and \w+ 1.0 cannot be used"):
        attacks.get("twice")


def test_a_plug_in_that_registers_more_than_itself_leaves_nothing_behind(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process would not have that name unless it loaded this plug-in first."""
    source = good("first") + (
        "from threatspec.attacks import ATTACKS\n"
        "class Second(Mine):\n    kind = 'second'\n"
        "ATTACKS.register('second', Second())\n"
    )
    lay_out(site, "acme", GROUP, {"first": "acme_first:Mine"}, {"acme_first.py": source})
    monkeypatch.setattr(ATTACKS, "_found", None)
    with pytest.raises(ThreatspecError, match="registers 'second'"):
        ATTACKS.get("first")
    assert "second" not in ATTACKS
    monkeypatch.undo()


def test_groups_are_the_four_that_the_documentation_names() -> None:
    from threatspec.measures import BENCHMARKS

    groups = {r._group for r in (ATTACKS, BENCHMARKS, JUDGES, SAFEGUARDS)}
    names = ("attacks", "benchmarks", "judges", "safeguards")
    assert groups == {f"threatspec.{name}" for name in names}


# what determines a result


def digest(registry: Registry[Attack], name: str) -> str:
    from threatspec.campaign import _digests

    _digests._foreign_digest.cache_clear()
    return component_digest(registry, name)


def test_the_digest_covers_the_package_and_the_version(
    site: Path, attacks: Registry[Attack]
) -> None:
    modules = {"acme_pack/__init__.py": "", "acme_pack/deep/__init__.py": ""}
    modules |= {"acme_pack/deep/mine.py": good("deep"), "acme_pack/helper.py": "X = 1\n"}
    lay_out(site, "acme", GROUP, {"deep": "acme_pack.deep.mine:Mine"}, modules)
    before = digest(attacks, "deep")
    assert digest(attacks, "deep") == before
    for file in ("helper.py", "deep/mine.py", "__init__.py"):
        path = site / "acme_pack" / file
        text = path.read_text(encoding="utf-8")
        path.write_text(text + "# changed\n", encoding="utf-8")
        assert digest(attacks, "deep") != before, file
        path.write_text(text, encoding="utf-8")
    assert digest(attacks, "deep") == before
    [entry] = attacks._entries()["deep"]
    (site / "acme-1.0.dist-info" / "METADATA").write_text("Name: acme\nVersion: 1.1\n")
    assert entry.dist is not None
    assert digest(attacks, "deep") != before


def test_the_digest_of_a_lone_module_is_of_that_module(
    site: Path, attacks: Registry[Attack]
) -> None:
    modules = {"acme_alone.py": good("alone"), "acme_beside.py": ""}
    lay_out(site, "acme", GROUP, {"alone": "acme_alone:Mine"}, modules)
    before = digest(attacks, "alone")
    (site / "acme_beside.py").write_text("# changed\n")
    assert digest(attacks, "alone") == before
    (site / "acme_alone.py").write_text("# changed\n")
    assert digest(attacks, "alone") != before


def test_built_in_components_are_digested_one_by_one() -> None:
    digests = {component_digest(ATTACKS, name) for name in ATTACKS.names()}
    assert len(digests) == len(ATTACKS.names())


# a whole process


def threatspec(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), search_path()])
    return subprocess.run(
        [sys.executable, "-P", "-m", "threatspec", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def spec(folder: Path, changes: Mapping[str, object] | None = None) -> str:
    (folder / "x.yaml").write_text(json.dumps(spec_data(changes if changes else scoped())))
    return "x.yaml"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    lay_out(site, "acme", GROUP, {"bad": "acme_bad:Mine"}, {"acme_bad.py": "1 / 0"})
    return site


def test_list_shows_what_works_and_names_what_does_not(broken: Path, tmp_path: Path) -> None:
    done = threatspec(broken, tmp_path, "list", "attacks")
    assert done.returncode == 3
    assert "full-finetune" in done.stdout
    assert not re.search(r"^ *bad ", done.stdout, flags=re.MULTILINE)
    assert done.stderr.count("TS-PLUGIN") == 1
    assert "attack 'bad' of acme 1.0 cannot be used: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_does_not_name_it_is_checked_as_ever(broken: Path, tmp_path: Path) -> None:
    done = threatspec(broken, tmp_path, "check", spec(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_file_that_names_it_has_the_error_at_that_place(broken: Path, tmp_path: Path) -> None:
    name = spec(tmp_path, {"adversaries.tuner.attacks": ["bad"]})
    done = threatspec(broken, tmp_path, "check", name)
    assert done.returncode == 2
    assert "x.yaml:1:" in done.stderr
    assert "attack 'bad' of acme 1.0 cannot be used: ZeroDivisionError" in done.stderr


def test_explain_says_why_it_cannot_be_used(broken: Path, tmp_path: Path) -> None:
    done = threatspec(broken, tmp_path, "explain", "bad")
    assert done.returncode == 3
    assert "TS-PLUGIN" in done.stderr
    assert threatspec(broken, tmp_path, "explain", "prefill").returncode == 0
