"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["exit_zero_option", "html_option", "json_option", "runner_option"]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for machines instead of text for people."
)
html_option: Decorator = click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the report as one self-contained HTML file.",
)
runner_option: Decorator = click.option(
    "--runner",
    default="local",
    show_default=True,
    envvar="THREATSPEC_RUNNER",
    help="Name of a runner profile (runners/NAME.yaml) or path of one.",
)
exit_zero_option: Decorator = click.option(
    "--exit-zero", is_flag=True, help="End with 0 whatever the verdicts are (errors excepted)."
)
