"""`docs/cli.md` holds the help of every verb; `python tests/repo/test_cli_doc.py` renews it."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from threatspec.cli import cli

DOC = Path(__file__).parents[2] / "docs" / "cli.md"
BLOCK = re.compile(r"<!-- help: (.*?) -->\n```text\n(.*?)```\n<!-- end -->", flags=re.DOTALL)


def verbs() -> list[str]:
    """The program itself, every verb, and the verbs of verbs."""
    context = click.Context(cli)
    names = ["threatspec"]
    for verb in cli.list_commands(context):
        names.append(f"threatspec {verb}")
        command = cli.get_command(context, verb)
        if isinstance(command, click.Group):
            names += [f"threatspec {verb} {name}" for name in command.list_commands(context)]
    return names


def help_of(name: str) -> str:
    arguments = [*name.split()[1:], "--help"]
    done = CliRunner().invoke(cli, arguments, prog_name="threatspec", terminal_width=80)
    assert done.exit_code == 0, done.output
    return done.output


def regenerated(text: str) -> str:
    return BLOCK.sub(
        lambda m: f"<!-- help: {m[1]} -->\n```text\n{help_of(m[1])}```\n<!-- end -->", text
    )


def test_every_verb_has_a_block() -> None:
    assert [name for name, _ in BLOCK.findall(DOC.read_text(encoding="utf-8"))] == verbs()


@pytest.mark.parametrize("name", verbs())
def test_the_help_is_as_printed(name: str) -> None:
    blocks = dict(BLOCK.findall(DOC.read_text(encoding="utf-8")))
    assert blocks[name] == help_of(name), "run: python tests/repo/test_cli_doc.py"


if __name__ == "__main__":
    DOC.write_text(regenerated(DOC.read_text(encoding="utf-8")), encoding="utf-8")
