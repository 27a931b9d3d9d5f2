"""What chance could do to a whole ledger of claims, of which each states its own rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rebel_bench.judge import Judgement

ALPHA = 1e-3


@dataclass(frozen=True, slots=True)
class Ledger:
    """The claims together.

    Attributes
    ----------
    alpha, method
        The level at which refutations stand over the whole ledger, and the procedure.
    false_alarm
        If every statement is true, chance refutes one of them with at most this probability: the sum of the
        claims' stated rates (and 1 at most).
    n_tests
        How many of the claims chance could refute at all.
    stands, falls
        The refuted claims whose refutation stands at level ``alpha`` over the whole ledger, and the others.
    """

    alpha: float
    method: str
    false_alarm: float
    n_tests: int
    stands: tuple[str, ...]
    falls: tuple[str, ...]


def ledger(claims: Iterable[tuple[str, float, Judgement]], alpha: float = ALPHA) -> Ledger:
    """Return the ledger of claims given as (id, stated rate of false alarms, judgement).

    A refutation has the p-value of its judgement. Where there is none it is the stated rate: the event "refuted" has
    at most that probability if the statement is true, so the rate is a valid p-value, and 0 for exact tests.
    """
    rows = list(claims)
    by_chance = [(id_, rate, j) for id_, rate, j in rows if rate > 0 or not math.isnan(j.p_value)]
    rejected = holm([_p_value(rate, j) for _, rate, j in by_chance], alpha)
    sure = {id_ for (id_, _, _), reject in zip(by_chance, rejected, strict=True) if reject}
    sure |= {id_ for id_, _, _ in rows} - {id_ for id_, _, _ in by_chance}
    refuted = [id_ for id_, _, j in rows if j.verdict == "refuted"]
    return Ledger(
        alpha=alpha,
        method="Holm",
        false_alarm=min(1.0, math.fsum(rate for _, rate, _ in rows)),
        n_tests=len(by_chance),
        stands=tuple(id_ for id_ in refuted if id_ in sure),
        falls=tuple(id_ for id_ in refuted if id_ not in sure),
    )


def _p_value(rate: float, judgement: Judgement) -> float:
    if not math.isnan(judgement.p_value):
        return judgement.p_value
    return rate if judgement.verdict == "refuted" else 1.0


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses are rejected, with probability at most ``alpha`` of rejecting any true one.

    Holm (1979): the k-th smallest of n p-values is held against alpha / (n - k + 1), up to the first that fails;
    valid whatever the dependence. Written here: SciPy has only procedures for the rate of false discoveries.

    >>> holm([0.04, 0.01, 0.02], alpha=0.05)
    [True, True, True]
    >>> holm([0.04, 0.02, 0.02], alpha=0.05)
    [False, False, False]
    """
    rejected = [False] * len(p_values)
    for k, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[i] <= alpha / (len(p_values) - k):
            break
        rejected[i] = True
    return rejected
