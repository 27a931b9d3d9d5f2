"""What an audit of a proof is made of: its inequalities, iteration by iteration, and where its slack sits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from rebel_theory.arrays import BoolArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd

Role: TypeAlias = Literal["condition", "promise", "proof", "theorem"]
RELATIVE, ABSOLUTE = 1e-9, 1e-10  # tolerances: of the larger side, and of the scale of the signal
_EPSILON = float(np.finfo(np.float64).eps)


class Link(NamedTuple):
    """One step of a chain: its name, the part of the bound it belongs to, what it says and why it is true."""

    name: str
    part: str
    says: str
    why: str


class Update(NamedTuple):
    """One update: policies as logarithms (..., S, A), exact feedback before it, and the base mu."""

    log_pi: FloatArray
    log_next: FloatArray
    weights: FloatArray  # (..., S)
    visited: BoolArray  # (..., S)
    signal: FloatArray  # (..., S, A)
    log_mu: FloatArray


@dataclass(frozen=True, eq=False)
class Inequality:
    """left <= right at every iteration of every instance; arrays (T, K).

    Attributes
    ----------
    link : Link
    role : "condition" (the theorem asks for it), "promise" (an exact step keeps it), "proof", or "theorem"
        A violated condition or promise speaks about the algorithm; a violated line of a proof about the proof.
    left, right, tolerance : shape (T, K)
        NaN where a side does not exist.
    contribution : shape (T, K), or None
        What the slack of this line adds to bound - measured at iteration t; over all lines of the proof that is all.
    """

    link: Link
    role: Role
    left: FloatArray
    right: FloatArray
    tolerance: FloatArray
    contribution: FloatArray | None = None

    @property
    def name(self) -> str:
        """The name of the step."""
        return self.link.name

    @property
    def slack(self) -> FloatArray:
        """Right - left, infinite where the right side is."""
        return difference(self.right, self.left)

    @property
    def violated(self) -> BoolArray:
        """Where left > right beyond rounding."""
        with np.errstate(invalid="ignore"):
            larger = np.maximum(np.abs(self.left), np.where(np.isfinite(self.right), np.abs(self.right), 0.0))
            broken: BoolArray = self.left > self.right + RELATIVE * larger + self.tolerance
        return broken


@dataclass(frozen=True, eq=False)
class Findings:
    """What a ledger hands over: arrays are (T, K)."""

    measured: FloatArray
    bound: FloatArray
    terms: dict[str, FloatArray]
    identities: dict[str, FloatArray]
    inequalities: tuple[Inequality, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Audit:
    """Every term and every inequality of one proof on one run; see :func:`rebel_theory.audit`.

    Attributes
    ----------
    claim, algorithm : str
    step_size : shape (K,)
    measured, bound : shape (T, K)
        Both sides of the theorem after t + 1 updates.
    identities : dict of arrays (T, K)
        Absolute errors of the equalities that the proof rests on: rounding, for any sequence of policies.
    parts : tuple of Inequality
    notes : tuple of str
        What the numbers say about a step that is not the exact one, in words.
    """

    claim: str
    algorithm: str
    step_size: FloatArray
    measured: FloatArray
    bound: FloatArray
    values: dict[str, FloatArray]
    identities: dict[str, FloatArray]
    parts: tuple[Inequality, ...]
    notes: tuple[str, ...]

    @property
    def n_iterations(self) -> int:
        """Number of updates T."""
        return int(self.bound.shape[0])

    @property
    def identity_error(self) -> float:
        """Largest error of any equality, in units of the gap."""
        return max((float(np.nanmax(e)) for e in self.identities.values() if np.isfinite(e).any()), default=0.0)

    def __getitem__(self, name: str) -> Inequality:
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"no inequality {name!r}: {self.claim} has {', '.join(p.name for p in self.parts)}")

    @property
    def proof(self) -> tuple[Inequality, ...]:
        """The lines whose slack adds up to bound - measured."""
        return tuple(part for part in self.parts if part.contribution is not None)

    @property
    def terms(self) -> pd.DataFrame:
        """Every term as a tidy table: iteration, instance (of a batch), term, value."""
        named = {"measured": self.measured, "bound": self.bound, **self.values}
        named |= {f"error of the {name}": error for name, error in self.identities.items()}
        return self._tidy([{"term": name, "value": value} for name, value in named.items()])

    @property
    def inequalities(self) -> pd.DataFrame:
        """Both sides of every inequality: iteration, name, role, left, right, slack, contribution, violated."""
        return self._tidy(
            [
                {"name": p.name, "role": p.role, "part": p.link.part, "left": p.left, "right": p.right,
                 "slack": p.slack, "contribution": np.nan if p.contribution is None else p.contribution,
                 "violated": p.violated}
                for p in self.parts
            ]
        )  # fmt: skip

    @property
    def violations(self) -> pd.DataFrame:
        """The rows of ``inequalities`` that are violated: conditions first, then promises, then the proof."""
        import pandas as pd

        found = self.inequalities
        found = found[found["violated"]].drop(columns=["violated", "contribution"])
        order = pd.Categorical(found["role"], ["condition", "promise", "proof", "theorem"], ordered=True)
        return found.assign(role=order).sort_values("role", kind="stable").astype({"role": str}).reset_index(drop=True)

    def shares(self, name: str) -> FloatArray:
        """Return the share of the bound (T, K) that the slack of one line of the proof takes."""
        contribution = self[name].contribution
        if contribution is None:
            raise KeyError(f"{name!r} is not a line of the proof whose slack is counted")
        return ratio(contribution, self.bound)

    def summary(self) -> pd.DataFrame:
        """Return one row an inequality.

        Columns: name, role, part, says, why; tightest (largest left/right, NaN unless the right side is positive) and
        ``at``, its iteration; share_of_slack (mean over iterations of its part of bound - measured); share_of_bound
        (of the bound at the last iteration, mean over instances); violations (how many), first_violation (iteration).
        """
        import pandas as pd

        gap = difference(self.bound, self.measured)
        rows: list[dict[str, Any]] = []
        for part in self.parts:
            tightness = ratio(part.left, np.where(part.right > part.tolerance, part.right, np.nan))
            known, broken = np.isfinite(tightness).any(), part.violated
            at = int(np.unravel_index(np.nanargmax(np.where(np.isfinite(tightness), tightness, -np.inf)), gap.shape)[0])
            own = part.contribution
            rows.append(
                {"name": part.name, "role": part.role, "part": part.link.part, "says": part.link.says,
                 "why": part.link.why,
                 "tightest": float(tightness[np.isfinite(tightness)].max()) if known else np.nan,
                 "at": at if known else -1,
                 "share_of_slack": np.nan if own is None else mean(ratio(own, gap)),
                 "share_of_bound": np.nan if own is None else mean(ratio(own[-1], self.bound[-1])),
                 "violations": int(broken.sum()),
                 "first_violation": int(np.argwhere(broken)[0, 0]) if broken.any() else -1}
            )  # fmt: skip
        return pd.DataFrame(rows)

    def _tidy(self, columns: list[dict[str, Any]]) -> pd.DataFrame:
        import pandas as pd

        t, k = (index.ravel() for index in np.indices(self.bound.shape))
        tables = []
        for own in columns:
            full = {c: np.broadcast_to(v, self.bound.shape).ravel() if np.ndim(v) else v for c, v in own.items()}
            tables.append(
                pd.DataFrame({"iteration": t, **({"instance": k} if self.bound.shape[1] > 1 else {}), **full})
            )
        return pd.concat(tables, ignore_index=True)


def chain(
    links: Sequence[Link], values: Sequence[FloatArray], tolerance: FloatArray, *, scale: FloatArray | float = 1.0,
    averaged: bool = False,
) -> list[Inequality]:  # fmt: skip
    """Return values[0] <= values[1] <= ..., one line a link; arrays (T, K).

    The contribution of a line is ``scale`` times its slack, averaged over the iterations so far unless the values are
    averages already (``averaged``).
    """
    found = []
    for link, left, right in zip(links, values[:-1], values[1:], strict=True):
        slack = difference(right, left)
        own = scale * (slack if averaged else running_mean(slack))
        found.append(Inequality(link, "proof", left, right, tolerance, own))
    return found


def difference(right: FloatArray, left: FloatArray) -> FloatArray:
    """Return right - left; infinite where the right side is, whatever the left."""
    with np.errstate(invalid="ignore"):
        result: FloatArray = np.where(np.isposinf(right), np.inf, right - left)
    return result


def ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """Return top/bottom, NaN where that is not a number."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.where(np.isfinite(bottom) & (bottom != 0), top / bottom, np.nan)
    return result


def mean(values: FloatArray) -> float:
    """Return the mean of what is finite; NaN of nothing."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def running_mean(values: FloatArray) -> FloatArray:
    """Return the mean of the first t + 1 entries along the first axis."""
    counts = np.arange(1, len(values) + 1).reshape(-1, *(1,) * (values.ndim - 1))
    with np.errstate(invalid="ignore"):
        result: FloatArray = np.cumsum(values, axis=0) / counts
    return result


def rounding(log_pi: FloatArray, step_size: FloatArray, span: FloatArray) -> FloatArray:
    """Return how far rounding may move an update function f = (1/eta) ln(pi_{t+1}/pi_t), shape (...)."""
    largest = np.abs(np.where(np.isfinite(log_pi), log_pi, 0.0)).max(axis=(-2, -1))
    result: FloatArray = 64 * _EPSILON * (1 + largest) / step_size + ABSOLUTE * span
    return result
