"""Templates of the page, and how single ones are replaced.

A file of the same name in the folder named by `THREATSPEC_TEMPLATES`, or in `reports/templates` of
the workspace, is used instead of the shipped one. Templates come along with somebody's evidence,
so they run in a sandbox: they see the report and nothing of the machine.
"""

from __future__ import annotations

import base64
import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.reports import _words as words
from threatspec.reports._visible import visible
from threatspec.resources import shipped

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["Inline", "inline", "render"]

_VARIABLE = "THREATSPEC_TEMPLATES"


class Inline:
    """A style sheet or script that stands in the page, with what its policy must name."""

    def __init__(self, text: str) -> None:
        from markupsafe import Markup

        self.text: Markup = Markup(text)
        digest = hashlib.sha256(text.encode()).digest()
        self.hash = f"sha256-{base64.b64encode(digest).decode()}"


def render(name: str, **values: Any) -> str:
    """A template with its values. Raises TS-USAGE if one that replaces it cannot be used."""
    from jinja2 import TemplateError

    environment = _environment(_folders())
    try:
        style, script = (inline(environment, name) for name in ("report.css", "report.js"))
        return environment.get_template(name).render(style=style, script=script, **values)
    except TemplateError as error:
        raise _usage(
            f"a report template must be one that Jinja can fill, but {_where(error)}: {error}; "
            f"mend it or take it out of the folder ({_VARIABLE}, or reports/templates)"
        ) from error


def inline(environment: Environment, name: str) -> Inline:
    """The text of a file as it will stand between its tags, where browsers know only `\\n`."""
    assert environment.loader is not None
    text, _, _ = environment.loader.get_source(environment, name)
    return Inline(f"\n{text.replace(chr(13) + chr(10), chr(10)).replace(chr(13), chr(10))}")


def _folders() -> tuple[Path, ...]:
    """Where templates are looked for, first the folder that wins."""
    named = os.environ.get(_VARIABLE, "")
    if named and not Path(named).is_dir():
        raise _usage(
            f"{_VARIABLE} must name a folder of templates, but it is {named!r}; "
            "name an existing folder or unset it"
        )
    own = [Path(named)] if named else []
    return (*own, Path("reports/templates").absolute(), shipped("reports") / "templates")


@lru_cache(maxsize=4)
def _environment(folders: tuple[Path, ...]) -> Environment:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    found = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["words"] = words
    found.filters["prose"] = _prose
    return found


def _shown(value: Any) -> Any:
    """Make text visible; what a macro made is markup already and went through here before."""
    from markupsafe import Markup

    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _prose(text: str) -> Markup:
    """A sentence in which what stands between backticks is code."""
    from markupsafe import Markup, escape

    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(p) if n % 2 else escape(p) for n, p in enumerate(parts))


def _where(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    name = getattr(error, "name", None) or "one of them"
    return f"line {line} of {name}" if line else str(name)


def _usage(message: str) -> ThreatspecError:
    return ThreatspecError("TS-USAGE", message, exit_code=ExitCode.USAGE)
