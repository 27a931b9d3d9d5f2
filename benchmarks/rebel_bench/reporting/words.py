"""What the report says about an outcome, in words that every format shares."""

from __future__ import annotations

from collections.abc import Sequence

from rebel_bench.claim import Judgement
from rebel_bench.outcomes import Outcome

_SPACE = "\N{NO-BREAK SPACE}"
GROUPS = {"E": "Equivalences", "C": "Convergence", "S": "Sample complexity", "P": "Preference games"}

# what `measured` and `bound` are, by the kind of test
_QUANTITIES = {
    "Equality": ("largest error", "tolerance"),
    "Inequality": ("largest measured/bound", "allowed"),
    "AtLeast": ("smallest value", "floor"),
    "Rate": ("mean slope", "claimed"),
    "Estimates": ("largest distance from the region, in half widths of its interval", "allowed"),
}


def group(outcome: Outcome) -> str:
    """Return the heading that a claim stands under."""
    return GROUPS.get(outcome.claim.id.rstrip("0123456789abcdefghijklmnopqrstuvwxyz"), "Others")


def quantities(outcome: Outcome) -> tuple[str, str]:
    """Return the names of the measured figure and of what it is held against."""
    return _QUANTITIES.get(type(outcome.claim.test).__name__, ("measured", "bound"))


def counted(outcome: Outcome, judgement: Judgement, *, unit: bool = True) -> str:
    """Return how many cases broke the statement, and of how many; a rate counts its groups, of which it has fewer."""
    if type(outcome.claim.test).__name__ == "Rate":
        return f"{judgement.violations:,} group{'' if judgement.violations == 1 else 's'}".replace(",", _SPACE)
    text = f"{judgement.violations:,} of {judgement.n_cases:,}".replace(",", _SPACE)
    return f"{text} cases" if unit else text


def false_alarm(outcome: Outcome) -> str:
    """Return the stated rate of false alarms in words."""
    rate = outcome.claim.false_alarm
    return f"at most {rate:g}" if rate else "0: the test is exact"


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the result of all claims in a sentence."""
    failed = [o.claim.id for o in outcomes if not o.passed]
    n = len(outcomes)
    if not failed:
        return f"{n} of {n} claims hold, and every control is refuted."
    return f"{n - len(failed)} of {n} claims hold with their control refuted; the others: {', '.join(failed)}."


def runs(outcomes: Sequence[Outcome]) -> str:
    """Return what was run: scales, seeds, versions, each once."""
    scales = sorted({o.scale.value for o in outcomes})
    seeds = sorted({o.seed for o in outcomes})
    versions = sorted({o.version for o in outcomes})
    machines = sorted({o.libraries for o in outcomes})
    return (
        f"Scale {', '.join(scales)}; seed {', '.join(map(str, seeds))}; rebel-theory {', '.join(versions)}; "
        f"{' / '.join(machines)}."
    )


def stale(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the ids that were measured by other code or libraries than the present ones."""
    return [o.claim.id for o in outcomes if not o.current]
