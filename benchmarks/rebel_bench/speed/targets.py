"""What speed is aimed at: every target in one list, and what a run's rows say about each.

The targets were set before anything was measured on the machine at hand. None is changed because it is missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from rebel_bench.speed.case import OURS
from rebel_bench.speed.measure import Row, in_units

Kind: TypeAlias = Literal["seconds", "faster", "cost", "share", "certified"]
_BEYOND = 4 / 3  # a store reads its line first: where the triad counts 24 bytes 32 may move; more is noise
_AT_MOST: tuple[Kind, ...] = ("seconds", "cost", "certified")


@dataclass(frozen=True, slots=True)
class Target:
    """One check; where it covers several rows, the worst of them counts.

    Attributes
    ----------
    what : str
        The work, as in the table of targets.
    aim : str
        The target in words; ``{}`` stands for the bound.
    kind : "seconds", "faster", "cost", "share" or "certified"
        Of ours: time a unit; time of the sides over ours, at least; ours over theirs, at most; share of the limit;
        the error it certifies.
    bound : float
        Infinite if a certified error has to be there, whatever its size.
    suite, case, side : str
        The rows, with ``*`` and ``?`` as in file names; ``side`` is what ours is compared with.
    """

    what: str
    aim: str
    kind: Kind
    bound: float
    suite: str
    case: str
    side: str = OURS


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about a target: ``met`` is None if it was not measured, and then ``note`` says why.

    ``value`` is in the unit of the target's kind. ``by`` is how far the value is from the bound, as a factor of at
    least 1. ``wide`` if the row's quartiles are.
    """

    target: Target
    case: str
    side: str
    value: float = math.nan
    met: bool | None = None
    by: float = math.nan
    wide: bool = False
    note: str = ""

    @property
    def aim(self) -> str:
        """The target in words."""
        return self.target.aim.format(_words(self.target.kind, self.target.bound, bare=True))

    @property
    def measured(self) -> str:
        """The value in words."""
        return _words(self.target.kind, self.value)

    @property
    def outcome(self) -> str:
        """``met``, ``missed by a factor 1.4``, or why it was not measured."""
        if self.met is None:
            return self.note
        return "met" if self.met else f"missed by a factor {self.by:.3g}"

    def as_dict(self) -> dict[str, Any]:
        """Return target and outcome as one flat record."""
        target = self.target
        return {
            "what": target.what, "target": self.aim, "kind": target.kind, "bound": target.bound,
            "suite": target.suite, "case": self.case, "side": self.side, "value": self.value,
            "measured": self.measured, "met": self.met, "by": self.by, "wide": self.wide, "outcome": self.outcome,
        }  # fmt: skip


_SMALL = "transitions under a policy, 16 x 4, one thread"
_LARGE = "transitions under a policy, Garnet 1000 x 10 x 20"
_PAIRS = "REBEL pairs, 50 x 10, noisy rewards, with statistics"
_COUNTED = "counted pairs, 5,000 cells"
_NPG = "exact NPG iteration, S = 300, A = 5"
_OPTIMAL = "optimal values to a certified 1e-8, gamma 0.99"
_EVALUATION = "policy evaluation"
_LINEAR = "linear MDP, A = 8, d = 16, one exact iteration"
_GAME = "preference game, 1,000 actions"
_SEEDS = "sampled REBEL, 1,000 seeds x 100 pairs, X = 10, Y = 5"

TARGETS = (
    Target(_SMALL, "at most {}", "seconds", 7e-9, "sampling", "transitions, Garnet 16 x 4"),
    Target(_SMALL, "{} times Gymnasium", "faster", 1000, "sampling", "transitions, FrozenLake 16 x 4", "Gymnasium*"),
    Target(_SMALL, "{} times QuantEcon", "faster", 3, "sampling", "transitions, Garnet 16 x 4", "QuantEcon*"),
    Target(_SMALL, "{} times JAX", "faster", 3, "sampling", "transitions, Garnet 16 x 4", "JAX*"),
    Target(_LARGE, "at most {}", "seconds", 30e-9, "sampling", "transitions, Garnet 1000 x 10 x 20"),
    Target(_PAIRS, "{} times NumPy, one thread", "faster", 25, "regression", "pairs, 50 x 10, one thread", "NumPy"),
    Target(
        _PAIRS, "{} times that on two threads", "faster", 1.7,
        "regression", "pairs, 50 x 10, two threads", "ours on one thread",
    ),
    Target(
        _COUNTED, "n = 10^15 at most {} times the cost of 10^4", "cost", 3,
        "counted", "5,000 cells, *", "ours at n = 10^4",
    ),
    Target(_COUNTED, "at most {}", "seconds", 5e-3, "counted", "5,000 cells, *"),
    Target(_NPG, "{} times NumPy + LAPACK", "faster", 4, "exact", "NPG, S = 300, A = 5", "NumPy + LAPACK"),
    Target(_NPG, "error certified below {}", "certified", 1e-10, "exact", "NPG, S = 300, A = 5"),
    Target(_OPTIMAL, "Garnet: {} times QuantEcon's best", "faster", 2, "optimal", "Garnet *", "QuantEcon*"),
    Target(_OPTIMAL, "RiverSwim: {} times QuantEcon's best", "faster", 3, "optimal", "RiverSwim *", "QuantEcon*"),
    Target(_OPTIMAL, "both: {} times mdpsolver", "faster", 8, "optimal", "*", "mdpsolver*"),
    Target(_EVALUATION, "within {} times the best method, on each", "cost", 1.3, "evaluation", "*", "*"),
    Target(_EVALUATION, "error certified, on each", "certified", math.inf, "evaluation", "*"),
    *(
        Target(
            _LINEAR, f"{{}} of the memory bandwidth, {precision}, {threads}", "share", 0.6,
            "linear", f"stream, S = *, {precision}, {threads}",
        )
        for precision in ("float64", "float32") for threads in ("one thread", "two threads")
    ),
    Target(_GAME, "a batch {} times one at a time", "faster", 7, "games", "*batch of 128", "ours, one at*"),
    Target(_GAME, "single: {} times NumPy", "faster", 1.4, "games", "payoffs against a policy, 1,000*", "NumPy (gemv)"),
    Target(_SEEDS, "{} times a loop over seeds", "faster", 100, "batches", "sampled REBEL, 1,000 seeds x *, run()",
           "loop over seeds*"),
    Target(_SEEDS, "at most {} times its sampling", "cost", 2, "batches", "sampled REBEL, 1,000 seeds x *, run()",
           "its sampling alone"),
    Target("exact updates, 1,000 actions", "each at most {} times its matrix-vector products", "cost", 1.2,
           "updates", "*", "its products*"),
)  # fmt: skip


def verdicts(rows: Sequence[Row], targets: Iterable[Target] = TARGETS) -> tuple[Verdict, ...]:
    """Return one verdict a target whose suite was run, in the order of the targets."""
    suites = {row.suite for row in rows}
    return tuple(_verdict(target, rows) for target in targets if target.suite in suites)


def _verdict(target: Target, rows: Sequence[Row]) -> Verdict:
    compared = target.kind in ("faster", "cost")
    cases = [row for row in rows if row.suite == target.suite and fnmatchcase(row.case, target.case) and not row.axis]
    found = [row for row in cases if fnmatchcase(row.side, target.side) and (row.side != OURS or not compared)]
    timed = [row for row in found if row.status == "timed" and not math.isnan(_value(target.kind, row))]
    gone = [row for row in cases if row.status != "timed" and (row in found or row.side == OURS)]
    if not timed:
        why = f"not measured: {gone[0].note or gone[0].status}" if gone else "not measured"
        return Verdict(target, target.case, target.side, note=why)
    if target.kind == "share" and max(row.fraction for row in timed) > _BEYOND:
        return Verdict(target, target.case, target.side, note="not measured: above the limit, the machine was busy")
    lower = target.kind in _AT_MOST
    worst = (max if lower else min)(timed, key=lambda row: _value(target.kind, row))
    value = _value(target.kind, worst)
    met = value <= target.bound if lower else value >= target.bound
    by = max(value / target.bound, target.bound / value) if value > 0 and math.isfinite(target.bound) else math.nan
    return Verdict(target, worst.case, worst.side, value, bool(met), by, worst.wide)


def _value(kind: Kind, row: Row) -> float:
    match kind:
        case "seconds":
            return row.seconds
        case "faster":
            return row.ratio
        case "cost":
            return 1 / row.ratio
        case "share":
            return row.fraction
        case "certified":
            return row.certified


def _words(kind: Kind, value: float, *, bare: bool = False) -> str:
    if math.isnan(value):
        return "–"
    match kind:
        case "seconds":
            return in_units(value)
        case "faster" | "cost":
            number = f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"
            return number if bare else f"{number} times"
        case "share":
            return f"{value:.0%}" if value >= 0.0995 else f"{value:.2g}" if bare else f"{value:.1%}"
        case "certified":
            return f"{value:.1e}".replace("e-0", "e-") if not bare else f"{value:g}"
