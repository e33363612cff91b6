"""Statistics with `math` alone: bounds, e-values, intervals, families of tests, planning."""

from threatspec.statistics._agreement import Agreement
from threatspec.statistics._betting import betting_lower, betting_upper
from threatspec.statistics._binomial import (
    beta_cdf,
    beta_quantile,
    lower_bound,
    p_exceeds,
    p_falls_short,
    upper_bound,
    wilson,
)
from threatspec.statistics._eprocess import (
    log_e_refute,
    log_e_support,
    sequence_lower,
    sequence_upper,
)
from threatspec.statistics._family import average_e, holm, spent_alpha
from threatspec.statistics._finite import finite_lower, finite_upper
from threatspec.statistics._interval import Interval
from threatspec.statistics._looks import (
    Boundary,
    SequentialPower,
    boundaries,
    looks,
    sequential_power,
)
from threatspec.statistics._paired import (
    Pairs,
    mcnemar_greater_p,
    mcnemar_p,
    newcombe,
    non_inferior_lower,
)
from threatspec.statistics._planning import (
    UnitsPlan,
    acceptance_number,
    acceptance_plan,
    can_refute,
    can_support,
    power_to_refute,
    power_to_support,
    refutation_number,
    refutation_plan,
    smallest_resolvable,
    smallest_units,
    units_to_refute,
    units_to_support,
)
from threatspec.statistics._seeds import (
    PromptDraw,
    bad_seed_share_lower,
    quantile_refutes,
    replicate_alpha,
    replicates_for_share,
    replicates_to_refute,
    seed_share,
)

__all__ = [
    "Agreement",
    "Boundary",
    "Interval",
    "Pairs",
    "PromptDraw",
    "SequentialPower",
    "UnitsPlan",
    "acceptance_number",
    "acceptance_plan",
    "average_e",
    "bad_seed_share_lower",
    "beta_cdf",
    "beta_quantile",
    "betting_lower",
    "betting_upper",
    "boundaries",
    "can_refute",
    "can_support",
    "finite_lower",
    "finite_upper",
    "holm",
    "log_e_refute",
    "log_e_support",
    "looks",
    "lower_bound",
    "mcnemar_greater_p",
    "mcnemar_p",
    "newcombe",
    "non_inferior_lower",
    "p_exceeds",
    "p_falls_short",
    "power_to_refute",
    "power_to_support",
    "quantile_refutes",
    "refutation_number",
    "refutation_plan",
    "replicate_alpha",
    "replicates_for_share",
    "replicates_to_refute",
    "seed_share",
    "sequence_lower",
    "sequence_upper",
    "sequential_power",
    "smallest_resolvable",
    "smallest_units",
    "spent_alpha",
    "units_to_refute",
    "units_to_support",
    "upper_bound",
    "wilson",
]
