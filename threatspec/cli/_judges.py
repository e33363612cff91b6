"""`threatspec judges`: label judged replies, and say how a judge errs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from threatspec.cli._options import json_option
from threatspec.errors import ExitCode, ThreatspecError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from threatspec.cli._labelling import Wanted
    from threatspec.records import LabelBook, Ledger

__all__ = ["command"]

_STDIO = Path("-")


@click.group()
def command() -> None:
    """Measure how a judge errs: label replies, compare judges with labels and each other."""


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--measure", help="Only this measure [default: those whose judge is not exact].")
@click.option("--family", metavar="KIND", help="Only this kind of attack; `none` is untouched.")
@click.option(
    "--judged",
    type=click.Choice(["yes", "no"]),
    help="Only replies of which the judge says this; who labels then knows it.",
)
@click.option(
    "--per-stratum",
    type=click.IntRange(min=1),
    help="Replies of each measure, attack, arm and answer of the judge [default: 60 per cell, "
    "since labels speak for the cell that gave the reply].",
)
@click.option("--labeller", help="Who labels [default: user name].")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Of the random order; fixed by the first label [default: 0].",
)
@click.option(
    "--csv-out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write what is left to label as CSV instead; `-` is standard output.",
)
@click.option(
    "--csv-in",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Read labels (yes, no or ?) from such a file; `-` is standard input.",
)
def label(
    run: Path,
    measure: str | None,
    family: str | None,
    judged: str | None,
    per_stratum: int | None,
    labeller: str | None,
    seed: int | None,
    csv_out: Path | None,
    csv_in: Path | None,
) -> int:
    """Label replies in RUN, blind to their origin.

    Nothing tells the model, the attack, the arm or what the judge said. Replies are drawn at random
    for each measure, kind of attack, arm and answer of the judge, and shown mixed. Each label is
    kept at once; the same command goes on where it stopped. With --csv-in all labels of a file are
    kept, or none if anything is wrong.

    \b
    threatspec judges label runs/mine
    threatspec judges label runs/mine --measure complies --csv-out sample.csv
    threatspec judges label runs/mine --csv-in sample.csv --labeller anna
    """
    from threatspec.cli._labelling import Wanted
    from threatspec.records import LabelBook, Ledger, Outcome

    if csv_out and csv_in:
        raise _usage("a spreadsheet must be written or read, but --csv-out and --csv-in say both")
    who = _labeller(labeller)
    answer = Outcome(judged) if judged else None
    wanted = Wanted(measure, family, answer, per_stratum)
    with Ledger.open(run) as ledger:
        book = LabelBook.open(run, ledger.plan, seed=seed)
        if csv_in:
            return _read(ledger, book, who, csv_in)
        if csv_out:
            return _write(ledger, book, who, wanted, csv_out)
        return _ask(ledger, book, who, wanted)


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--measure", help="Only this measure [default: all that have labels].")
@click.option(
    "--judge",
    "kinds",
    metavar="KIND",
    multiple=True,
    help="Also ask this judge about the labelled replies; several times for several.",
)
@json_option
def evaluate(run: Path, measure: str | None, kinds: tuple[str, ...], as_json: bool) -> int:
    """Compare judges with the labels in RUN.

    Kappa, recalls, precision, false omission and seconds, for each measure, kind of attack
    and arm. Only labels that are a random sample are counted: those before the first reply of
    their stratum that has none.

    \b
    threatspec judges evaluate runs/mine
    threatspec judges evaluate runs/mine --measure complies --judge exact
    """
    from threatspec.cli._judge_errors import evaluate as compared
    from threatspec.cli._judge_table import render_evaluation
    from threatspec.cli._outcome import terminal
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.records import LabelBook, Ledger

    with Ledger.open(run) as ledger:
        found = compared(ledger, LabelBook.open(run, ledger.plan), measure, kinds)
    with unread_is_no_failure():
        if as_json:
            _print_json(found)
        else:
            render_evaluation(terminal(), found)
    return 0


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--judge",
    "text",
    metavar="JUDGE",
    required=True,
    help="A name, or a mapping as a claims file has it.",
)
@click.option("--measure", help="Only this measure [default: all].")
@json_option
def rejudge(run: Path, text: str, measure: str | None, as_json: bool) -> int:
    """Judge the stored replies of RUN again with another judge.

    Nothing is asked of a subject. For each measure and cell: the recorded rate, the rate that the
    other judge gives, and how far the two agree. This is exploratory, and no verdict is made of
    it. Files of the judge are looked for beside the claims file.

    \b
    threatspec judges rejudge runs/mine --judge refusal-keywords
    threatspec judges rejudge runs/mine --judge '{use: keywords, any_of: [sure]}'
    """
    from threatspec.cli._judge_again import judged_again
    from threatspec.cli._judge_option import chosen_judge, spec_folder
    from threatspec.cli._judge_table import render_again
    from threatspec.cli._outcome import terminal
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.records import Ledger

    with Ledger.open(run) as ledger:
        found = judged_again(ledger, chosen_judge(text, spec_folder(ledger)), measure)
    with unread_is_no_failure():
        if as_json:
            _print_json(found)
        else:
            render_again(terminal(), found)
    return 0


@command.command()
@click.argument("name", metavar="BENCHMARK")
@click.option(
    "--judge",
    "texts",
    metavar="JUDGE",
    multiple=True,
    required=True,
    help="A name, or a mapping as a claims file has it; several times for several.",
)
@json_option
def compare(name: str, texts: tuple[str, ...], as_json: bool) -> int:
    """Compare judges on the labelled rows of BENCHMARK.

    BENCHMARK is `file:PATH` or a name; its items have a `response` and a `label`, yes or no. For
    each judge: kappa, both recalls with bounds, and seconds.

    \b
    threatspec judges compare file:labelled.jsonl --judge refusal-keywords --judge exact
    """
    from threatspec.cli._judge_compare import compared
    from threatspec.cli._judge_option import chosen_judge
    from threatspec.cli._judge_table import render_compared
    from threatspec.cli._outcome import terminal
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.measures import benchmark

    here = Path.cwd()
    judges = [chosen_judge(text, here) for text in dict.fromkeys(texts)]
    found = compared(benchmark(name, here), judges)
    with unread_is_no_failure():
        if as_json:
            _print_json(found)
        else:
            render_compared(terminal(), found)
    return 0


def _print_json(found: BaseModel) -> None:
    data = found.model_dump(mode="json", by_alias=True, exclude_none=True)
    click.echo(json.dumps(data, indent=1, allow_nan=False))


def _ask(ledger: Ledger, book: LabelBook, who: str, wanted: Wanted) -> int:
    from threatspec.cli._labelling import Session, queue, shown
    from threatspec.cli._outcome import terminal
    from threatspec.records import strata

    pairs = queue(ledger.plan, strata(ledger.plan, ledger.marks(), book.seed), book.seed, wanted)
    done = Session(terminal(), book, who, shown(ledger, pairs)).run()
    _say(f"{done} of {len(pairs)} labelled by {who}; they are in {book.path}")
    return 0


def _write(ledger: Ledger, book: LabelBook, who: str, wanted: Wanted, path: Path) -> int:
    from threatspec.cli._labelling import queue, said_by, shown
    from threatspec.cli._labels_csv import row_ids, sample_csv
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.records import strata
    from threatspec.reports import write_atomic

    if path != _STDIO and path.exists():
        raise _usage(
            f"{path} must not be there yet, because it may hold labels; name another file, or read "
            "it first with --csv-in and move it away"
        )
    pairs = queue(ledger.plan, strata(ledger.plan, ledger.marks(), book.seed), book.seed, wanted)
    said = said_by(book, who)
    left = [pair for pair in pairs if pair not in said]
    text = sample_csv(row_ids(ledger.plan, left), shown(ledger, left))
    if path == _STDIO:
        with unread_is_no_failure():
            click.echo(text.encode("utf-8"), nl=False)
    else:
        write_atomic(path, text)
    _say(f"{len(left)} of {len(pairs)} replies are left to label by {who}", err=path == _STDIO)
    return 0


def _read(ledger: Ledger, book: LabelBook, who: str, path: Path) -> int:
    from threatspec.cli._labelling import said_by, said_now
    from threatspec.cli._labels_csv import read_sample, row_ids
    from threatspec.records import strata

    found = strata(ledger.plan, ledger.marks(), book.seed)
    ids = row_ids(ledger.plan, (pair for pairs in found.values() for pair in pairs))
    labels = read_sample(str(path), _bytes(path), ledger.plan, ids)
    said = said_by(book, who)
    new = {pair: label for pair, label in labels.items() if said.get(pair) is not label}
    if new:
        book.add(*(said_now(pair, label, who) for pair, label in new.items()))
    _say(f"{len(labels)} labels by {who}, {len(new)} of them new; they are in {book.path}")
    return 0


def _bytes(path: Path) -> bytes:
    if path == _STDIO:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise _usage(f"{path} must be a file that can be read, but: {reason}") from None


def _labeller(name: str | None) -> str:
    """Who labels. Raises TS-USAGE if that cannot be told or printed."""
    import getpass

    if name is None:
        try:
            name = getpass.getuser()
        except (ImportError, KeyError, OSError):
            raise _usage(
                "who labels must be known, but there is no user name; say --labeller"
            ) from None
    if not (1 <= len(name.strip()) <= 100 and name.isprintable()):
        raise _usage(f"--labeller must be 1 to 100 printable characters, but got {name!r}")
    return name.strip()


def _say(text: str, *, err: bool = False) -> None:
    from threatspec.reports import one_line

    click.echo(one_line(text), err=err)


def _usage(message: str) -> ThreatspecError:
    return ThreatspecError("TS-USAGE", message, exit_code=ExitCode.USAGE)
