"""What one entry of `attacks:` stands for: knobs, search, rows, back-ends, and the procedures' ids.

Pure functions of spec and cards: the compiler plans by them, and `verify` derives a plan again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from threatspec.attacks import ATTACKS, Attack, AttackConfig
from threatspec.attacks._chain import EITHER, JOINT
from threatspec.attacks._space import listed_knobs, space_of
from threatspec.campaign._search import planned_search
from threatspec.records import Knob, Search
from threatspec.schema import Adversary, AttackCard, DataRole, Link, Use, content_id

__all__ = [
    "as_attack",
    "count_of",
    "data_of",
    "each_config",
    "knobs_of",
    "procedure_id",
    "procedure_ids",
    "roles_of",
    "settings_of",
    "trainers_of",
    "with_knobs",
]

Data = dict[DataRole, dict[str, Any]]


def settings_of(
    use: Use, card: AttackCard | None, attack: Attack, adversary: Adversary
) -> tuple[AttackConfig, Search | None]:
    """Configuration of an entry, and what is searched of it.

    Raises ValueError if a value is not valid, or the search cannot be made.
    """
    knobs = knobs_of(use, card)
    listed = listed_knobs(attack, knobs)
    space = {**_ranged(use, attack, adversary, listed), **listed}
    first = {name: _first(knob) for name, knob in space.items()}
    config = attack.Config.model_validate_json(json.dumps({**knobs, **first}))
    if space:
        _check_rows(attack, {**knobs, **first}, listed)
        rule = use.search or "once"
        return config, planned_search(space, adversary.compute.configurations, rule, use.halving)
    if use.search is not None or use.halving is not None:
        raise ValueError("a search must have something to vary, but every knob has one value")
    return config, None


def as_attack(use: Use, cards: Mapping[str, AttackCard]) -> Use:
    """An entry whose `use` is a card or a kind: a chain is a kind with its links as a knob.

    Raises ThreatspecError TS-UNKNOWN-ATTACK.
    """
    if use.chain is None:
        return use
    links = [_linked(link, cards.get(link.use)) for link in use.chain]
    kind = JOINT.join(link["attack"] for link in links)
    return use.model_copy(update={"use": kind, "chain": None, "knobs": {"links": links}})


def _linked(link: Link, card: AttackCard | None) -> dict[str, Any]:
    attack = ATTACKS.get(card.attack if card else link.use)
    roles = _rows_of(link) if attack.uses_rows else ()
    return {"attack": attack.kind, "roles": list(roles), "config": knobs_of(link, card)}


def knobs_of(use: Use | Link, card: AttackCard | None) -> dict[str, Any]:
    """The card's knobs and the entry's; an entry that says one of two ways drops the other."""
    preset = dict(card.config) if card else {}
    for name, other in EITHER.items():
        if name in use.knobs:
            preset.pop(other, None)
    return {**preset, **use.knobs}


def each_config(
    attack: Attack, config: AttackConfig, search: Search | None
) -> Iterator[AttackConfig]:
    """The configuration, and what it is with every other value of searched knobs: all of a list,
    both ends of a range. Of several knobs one is moved at a time, and all to their last value."""
    yield config
    knobs = search.varied if search else {}
    for name, knob in knobs.items():
        for value in knob.choices or (knob.low, knob.high):
            yield with_knobs(attack, config, {name: value})
    yield with_knobs(attack, config, {n: k.choices[-1] if k.choices else k.high
                                      for n, k in knobs.items()})  # fmt: skip


def with_knobs(attack: Attack, config: AttackConfig, knobs: Mapping[str, Any]) -> AttackConfig:
    """The configuration with other values; one of two ways of saying a thing drops the other."""
    plain = config.model_dump(mode="json")
    dropped = {EITHER[name] for name in knobs if name in EITHER}
    kept = {name: value for name, value in plain.items() if name not in dropped}
    return attack.Config.model_validate_json(json.dumps({**kept, **_whole(knobs)}))


def _whole(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Ends of a range of whole numbers are whole numbers."""
    return {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in knobs.items()}


def _check_rows(attack: Attack, knobs: Mapping[str, Any], listed: Mapping[str, Knob]) -> None:
    """Rows are drawn once, so every value of a searched knob must read the same."""
    for name, knob in listed.items():
        each = (json.dumps({**knobs, name: value}) for value in knob.choices)
        found = [attack.Config.model_validate_json(text) for text in each]
        if len({attack.roles(config) for config in found}) > 1:
            text = f"values of a searched {name} must read the same rows, but these do not; "
            raise ValueError(f"{text}write an entry for each")
        if len({str(attack.scores(config)) for config in found}) > 1:
            text = f"values of a searched {name} must read the same scores, but these do not; "
            raise ValueError(f"{text}write an entry for each")


def _ranged(
    use: Use, attack: Attack, adversary: Adversary, listed: dict[str, Knob]
) -> dict[str, Knob]:
    """Ranges of a bare kind, if the adversary may try several configurations.

    With knobs an entry is its card; `search` written beside them searches the others.
    """
    bare = not use.knobs or (use.search is not None and not listed)
    if use.use != attack.kind or not bare or (adversary.compute.configurations or 1) < 2:
        return {}
    limits = adversary.limits
    most = {"steps": adversary.compute.steps, "rank": limits.rank_max, "share": limits.sparsity_max}
    given = {**use.knobs, **listed}
    if "epochs" in given:
        given["steps"] = None
    return space_of(attack.Config, given, {k: v for k, v in most.items() if v is not None})


def _first(knob: Knob) -> Any:
    """A value of a searched knob that stands for all of them where one is wanted."""
    if knob.choices:
        return knob.choices[0]
    return int(knob.low) if knob.integer else knob.low


def roles_of(use: Use, attack: Attack, config: AttackConfig) -> tuple[DataRole, ...]:
    """What an attack reads of the adversary's rows: what it says itself, or what the entry says."""
    own = attack.roles(config)
    if own is not None:
        return own
    if not attack.uses_rows:
        return ()
    return _rows_of(use)


def _rows_of(use: Use | Link) -> tuple[DataRole, ...]:
    return tuple(DataRole) if use.rows == "mix" else (DataRole(use.rows),)


def data_of(roles: Iterable[DataRole], adversary: Adversary) -> Data:
    """Source and number of rows by role. Raises KeyError for a role that the adversary lacks."""
    found = {role: adversary.data[role] for role in roles}
    return {role: {"source": one.source, "n": one.n} for role, one in found.items()}


def count_of(data: Data) -> int:
    """How many rows there are in all."""
    return sum(entry["n"] for entry in data.values())


def trainers_of(use: Use, attack: Attack) -> tuple[str, ...]:
    """Back-ends of an entry: each makes a procedure of its own; one without a name if none trains.

    Where none is written it is the attack's usual one.
    """
    if not attack.uses_rows:
        return ("",)
    written = "trainer" in use.model_fields_set and use.trainer != ("resident",)
    return tuple(dict.fromkeys(use.trainer if written else attack.trainers[:1]))


def procedure_id(
    attack: str,
    config: dict[str, Any],
    data: dict[str, Any],
    adversary: str,
    trainer: str,
    search: Search | None,
) -> str:
    """Derived from everything that a procedure is."""
    return content_id("procedure", [attack, config, data, adversary, trainer, search])


def procedure_ids(
    name: str, adversary: Adversary, use: Use, card: AttackCard | None, attack: Attack
) -> list[str]:
    """Ids of the procedures that an entry stands for. Raises ValueError or KeyError."""
    config, search = settings_of(use, card, attack, adversary)
    config = config.owning(adversary.owns)
    data = data_of(roles_of(use, attack, config), adversary)
    settled = config.settled(count_of(data)).model_dump(mode="json")
    plain = {role.value: entry for role, entry in data.items()}
    return [
        procedure_id(attack.kind, settled, plain, name, trainer, search)
        for trainer in trainers_of(use, attack)
    ]
