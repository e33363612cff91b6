"""One claims file as a frozen model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from threatspec.schema._adversary import Adversary
from threatspec.schema._base import Described
from threatspec.schema._claim import Claim
from threatspec.schema._fields import Name, Text, as_tuple, complaint
from threatspec.schema._governance import Governance, Protects
from threatspec.schema._subject import InstrumentUse, Measure, Serving, Subject, _judge

__all__ = ["Spec"]


def _several(value: Any) -> Any:
    """One serving is a list of one."""
    return (value,) if isinstance(value, (dict, Serving)) else as_tuple(value)


class Spec(Described):
    """One claims file."""

    threatspec: Literal[1]
    """Version of the format."""
    extends: Text | None = None
    """A file that this one overrides. What is read is the merged spec, which has none."""
    include: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ()
    """Files whose subjects, measures, adversaries and claims are added. The merged spec has
    none."""
    subject: Subject | None = None
    """The subject; short for one entry of `subjects`."""
    subjects: dict[Name, Subject] = Field(default_factory=dict)
    """Several subjects by name."""
    measures: Annotated[dict[Name, Measure], Field(min_length=1)]
    """What is measured, by name."""
    serving: Annotated[tuple[Serving, ...], BeforeValidator(_several), Field(min_length=1)] = (
        Serving(),
    )
    """How subjects are asked; of a list every prompt is asked under each, and a measure's
    `aggregation` says what counts."""
    instruments: dict[Name, Annotated[InstrumentUse, BeforeValidator(_judge)]] = Field(
        default_factory=dict
    )
    """What is read of subjects beside measures, by name; it is drawn and decides nothing."""
    adversaries: Annotated[dict[Name, Adversary], Field(min_length=1)]
    """Threat models by name."""
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]
    """What is claimed."""
    protects: Protects | None = None
    """What the claims protect; a claim may say otherwise."""
    governance: Governance | None = None
    """Who answers for the evidence, and until when."""

    @model_validator(mode="after")
    def _told_apart(self) -> Spec:
        labels = [one.label for one in self.serving]
        if len(set(labels)) < len(labels):
            text = "servings of a list must differ in how prompts are asked, but two are alike"
            raise complaint("serving", "TS-SERVING", text, field="serving")
        return self

    @property
    def all_subjects(self) -> dict[str, Subject]:
        """Subjects by name; `subject:` is called "subject"."""
        return {"subject": self.subject} if self.subject else dict(self.subjects)
