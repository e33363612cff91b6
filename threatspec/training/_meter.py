"""Metering: what an attack spends is counted as it is spent, and never exceeds the budget."""

from __future__ import annotations

from threatspec.errors import ThreatspecError
from threatspec.records import Budget, Spend

__all__ = ["BudgetExceeded", "Meter"]


class BudgetExceeded(ThreatspecError):
    """The next step is not covered by the budget; the cell is invalid."""

    def __init__(self, message: str, spend: Spend) -> None:
        super().__init__("TS-BUDGET-OVERRUN", message)
        self.spend = spend


class Meter:
    """Counts one pass of an adversary against its budget."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.spend = Spend()
        self._run_steps = 0

    def begin_run(self) -> None:
        """Start a training run: `steps` bound each run, the rest is a total."""
        self._run_steps = 0

    def charge(self, spend: Spend) -> None:
        """Count `spend` before it is spent. Raises BudgetExceeded if it is not covered."""
        after = self.spend + spend
        self._within("steps", self._run_steps + spend.steps, self.budget.steps)
        self._within("FLOPs", after.flops, self.budget.flops)
        self._within("queries", after.queries, self.budget.queries)
        self.spend = after
        self._run_steps += spend.steps

    def charge_unasked(self, spend: Spend) -> None:
        """`charge` for what goes through a model of the adversary's own: no prompt is a query."""
        self.charge(spend.model_copy(update={"queries": 0}))

    def _within(self, what: str, value: float, limit: float | None) -> None:
        if limit is not None and value > limit:
            raise BudgetExceeded(
                f"{what} must stay within {limit:g}, but the next step needs {value:g}", self.spend
            )
