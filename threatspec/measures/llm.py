"""Judge `llm`: a language model decides, asked in words of ours.

Its answer is read strictly: prose, a score of 7 of 5, both answers or none make the row
`unscorable` (a published parser counts such rows as 0, another asks again without end), and its own
words are kept. What it errs in is not known until replies are labelled: `threatspec judges`.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from threatspec.errors import ThreatspecError
from threatspec.measures._llm_asked import Asking, Said, ask
from threatspec.measures._llm_forms import SCORED, Example, Form, question, read_answer
from threatspec.measures.base import JUDGES, Judge, JudgeConfig, Judgement, Response
from threatspec.records import Outcome
from threatspec.subjects import describe

__all__ = ["Llm", "LlmConfig"]

_KEPT = 50_000
"""Answers of judging models that a process remembers."""
_REASONS, _WORD = 512, 8
"""Tokens of an answer with reasons, and of one without."""


class LlmConfig(JudgeConfig):
    """Which model, what it is asked, and from which score on a reply counts."""

    model: str
    """Reference of the judging model, as a subject's: `endpoint:`, `path:`, `gguf:`, `hf:` or
    `specimen:`."""
    form: Form = "binary"
    """`binary` asks for yes or no, `few-shot` too after labelled examples, `rubric` for a score
    from 1 to 5, `cot` for reasons and then a score."""
    policy: str = ""
    """What must not be given, in words, for the scoring forms; absent = what the request asks."""
    policy_file: str = ""
    """Text file with the policy instead, relative to the claims file."""
    examples: str = ""
    """For `few-shot`: JSON Lines with `prompt`, `response` and `label` (yes or no)."""
    threshold: int = Field(default=5, ge=1, le=5)
    """Least score that makes the answer `yes`."""
    template: Literal["native", "none"] = "native"
    """How a model that is loaded here is asked: through its chat template, or bare."""
    max_reply: int = Field(default=4000, ge=1, le=1_000_000)
    """Characters of the reply that are shown; a longer one is cut, which the row tells."""
    max_tokens: int | None = Field(default=None, ge=1, le=4096)
    """Most tokens of the judge's answer; absent = 512 with reasons, else 8."""
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Seconds that one question to an endpoint may take."""
    retries: int = Field(default=4, ge=0, le=10)
    """How often a question that fails for a moment is put to an endpoint again."""
    parallel: int = Field(default=8, ge=1, le=256)
    """Questions under way at once."""

    @model_validator(mode="after")
    def _fits(self) -> LlmConfig:
        if (self.form == "few-shot") is not bool(self.examples):
            raise ValueError("`examples` must be given for `form: few-shot`, and for no other")
        if self.policy and self.policy_file:
            raise ValueError("a policy must be given as `policy` or as `policy_file`, not both")
        if (self.policy or self.policy_file) and self.form not in SCORED:
            raise ValueError("a policy is for forms with a score: `rubric` and `cot`")
        if self.threshold != 5 and self.form not in SCORED:
            raise ValueError("`threshold` is for forms with a score: `rubric` and `cot`")
        if self.template == "none" and self.model.startswith("endpoint:"):
            raise ValueError("an endpoint puts its own template around every question")
        return self


class Llm(Judge):
    """`yes` if the judging model says yes, or gives a score that is high enough."""

    kind = "llm"
    says = "yes if a language model says so, or scores the reply at least `threshold` of 5"
    exact: ClassVar[bool] = False
    prose: ClassVar[bool] = True
    Config = LlmConfig

    def located(self, config: LlmConfig, folder: Path) -> LlmConfig:
        """The settings with model, policy and examples looked for in `folder`."""
        places: dict[str, str] = {
            name: str((folder / Path(getattr(config, name)).expanduser()).absolute())
            for name in ("policy_file", "examples")
            if getattr(config, name)
        }
        if config.model.startswith("path:"):
            place = folder / Path(config.model.removeprefix("path:")).expanduser()
            places["model"] = f"path:{place.absolute()}"
        return config.model_copy(update=places)

    def identity(self, config: LlmConfig) -> dict[str, str]:
        """Digests of the question and of the weights; an endpoint has none and is `unpinned`.

        Raises ThreatspecError TS-MODEL-MISSING, TS-FILE-MISSING or TS-JUDGE.
        """
        asked = _question(config, "", "")
        card = describe(config.model)
        place = config.model.removeprefix("endpoint:").partition("?")[0]
        hosted = config.model.startswith("endpoint:")
        return {
            "prompt": hashlib.sha256(asked.encode()).hexdigest(),
            "model": f"unpinned {place}" if hosted else card.digest,
        }

    def faults(self, config: LlmConfig) -> tuple[str, ...]:
        """What nobody can pin."""
        if config.model.startswith("endpoint:"):
            return ("what answers at an endpoint may change from one day to the next",)
        return ()

    def score(self, responses: Sequence[Response], config: LlmConfig) -> list[Judgement]:
        """One judgement per response, in order; equal questions are put once.

        Raises ThreatspecError TS-ENDPOINT if a server answers no question.
        """
        asking = Asking(
            model=config.model,
            max_tokens=config.max_tokens or (_REASONS if config.form == "cot" else _WORD),
            template=config.template,
            timeout=config.timeout,
            retries=config.retries,
            parallel=config.parallel,
        )
        texts = [_question(config, r.item.prompt, r.text[: config.max_reply]) for r in responses]
        said = _remembered(texts, asking)
        cut = [len(response.text) > config.max_reply for response in responses]
        return [_judgement(said[text], config, c) for text, c in zip(texts, cut, strict=True)]


# what is asked


def _question(config: LlmConfig, prompt: str, reply: str) -> str:
    policy = _read(config.policy_file).strip() if config.policy_file else config.policy
    examples = _examples(config) if config.examples else ()
    return question(config.form, prompt, reply, policy=policy, examples=examples)


def _examples(config: LlmConfig) -> tuple[Example, ...]:
    lines = [line for line in _read(config.examples).split("\n") if line.strip()]
    if not lines:
        raise ThreatspecError("TS-JUDGE", f"{config.examples} must hold examples, but has none")
    return tuple(_example(config, number, line) for number, line in enumerate(lines, start=1))


def _example(config: LlmConfig, number: int, line: str) -> Example:
    try:
        found: Any = json.loads(line)
        prompt, response, label = (found[name] for name in ("prompt", "response", "label"))
    except (ValueError, TypeError, KeyError):
        prompt = response = label = None
    if not isinstance(prompt, str) or not isinstance(response, str) or label not in ("yes", "no"):
        text = f"{config.examples}: example {number} must be an object with `prompt`, `response`"
        raise ThreatspecError("TS-JUDGE", f"{text} and `label` (yes or no)")
    return Example(prompt, response[: config.max_reply], label)


def _read(place: str) -> str:
    try:
        return Path(place).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = f"{place} must be a file of the judge, but is not there"
        raise ThreatspecError("TS-FILE-MISSING", text) from None
    except (OSError, UnicodeDecodeError) as error:
        text = f"{place} must be a text in UTF-8, but: {error}"
        raise ThreatspecError("TS-JUDGE", text) from None


# what is answered

_ANSWERS: OrderedDict[tuple[str, int, str, str], Said] = OrderedDict()
"""By model, its digest included: a question is put once in a process, whoever asks."""


def _remembered(texts: Sequence[str], asking: Asking) -> dict[str, Said]:
    """Answers by question; what was answered before is not asked again, faults are."""
    place = f"{asking.model} {describe(asking.model).digest}"
    own = {text: (place, asking.max_tokens, asking.template, text) for text in texts}
    found = {text: _ANSWERS[key] for text, key in own.items() if key in _ANSWERS}
    new = [text for text in own if text not in found]
    for text, said in zip(new, ask(new, asking), strict=True):
        found[text] = said
        if not said.fault:
            _ANSWERS[own[text]] = said
    while len(_ANSWERS) > _KEPT:
        _ANSWERS.popitem(last=False)
    return found


def _judgement(said: Said, config: LlmConfig, cut: bool) -> Judgement:
    note = f"; the reply was cut to {config.max_reply} characters" if cut else ""
    if said.fault:
        return Judgement(Outcome.UNSCORABLE, f"{said.fault}{note}")
    read = read_answer(config.form, said.text)
    if isinstance(read, str):
        return Judgement(Outcome.UNSCORABLE, f"{read}{note}", said.text)
    if config.form in SCORED:
        yes, detail = read >= config.threshold, f"score {read} of 5"
    else:
        yes, detail = bool(read), f"says {'yes' if read else 'no'}"
    return Judgement(Outcome.YES if yes else Outcome.NO, f"{detail}{note}", said.text)


JUDGES.register(Llm.kind, Llm())
