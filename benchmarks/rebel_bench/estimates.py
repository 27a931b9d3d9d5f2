"""The test of estimates with standard errors: each against the region that the statement allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from rebel_bench.judge import FloatArray, Judgement, Verdict, _nothing, _numbers


@dataclass(frozen=True, slots=True)
class Estimates:
    """Hold when every estimate's interval lies within what the statement allows, give or take a resolution.

    A row has an ``estimate`` with its ``standard_error`` and ``dof`` (degrees of freedom), and the region from
    ``at_least`` to ``at_most`` in which the statement puts the truth, a point or longer. Student's intervals of all
    rows together miss with ``false_alarm`` (Bonferroni). The claim is

    - refuted when an interval lies wholly outside its region, or a row is NaN;
    - held up when every interval lies within its region widened by the row's ``resolution`` (0 if it has none): not
      to be refuted is not enough, an interval that would swallow the control's effect shows nothing;
    - inconclusive otherwise, and when a row's ``n_wanted`` is more than its ``n_seeds``: the rule that chooses the
      number of seeds ran into its cap.

    A row with standard error 0 is a fact, judged as it is. Where chance could falsify such a row all the same, its
    ``chance`` says with which probability at most; it must be counted in the claim's rate of false alarms.

    Parameters
    ----------
    false_alarm
        The probability of a refutation though the statement is true, all rows together.
    allowance
        Student's intervals are exact for normal values; those of skewed ones may miss more often, by up to this
        factor (from a simulation of the claim's law). The intervals are lengthened, the p-values multiplied.

    >>> row = {"estimate": 1.1, "standard_error": 0.1, "dof": 50, "at_least": 1.0, "at_most": 1.0}
    >>> [Estimates(0.05).judge(pd.DataFrame([row | {"resolution": r}])).verdict for r in (0.0, 0.5)]
    ['inconclusive', 'holds']
    """

    false_alarm: float
    allowance: float = 1.0

    def level(self, n_intervals: int) -> float:
        """Return the false alarm at which each of so many intervals is calculated."""
        return self.false_alarm / (self.allowance * n_intervals)

    def half_widths(self, cases: pd.DataFrame) -> FloatArray:
        """Return half of every row's interval, (n_cases,)."""
        error, dof = _numbers(cases, "standard_error"), _numbers(cases, "dof")
        quantile = -stdtrit(dof, self.level(_count(error)) / 2)
        return np.where(error == 0, 0.0, quantile * error)

    def judge(self, cases: pd.DataFrame) -> Judgement:
        """Return the verdict; ``measured`` is the largest distance from a region in half widths of its interval."""
        if len(cases) == 0:
            return _nothing(1.0)
        estimate, error, dof = (_numbers(cases, name) for name in ("estimate", "standard_error", "dof"))
        low, high = _numbers(cases, "at_least"), _numbers(cases, "at_most")
        resolution = np.nan_to_num(_numbers(cases, "resolution")) if "resolution" in cases else np.zeros(len(cases))
        half = self.half_widths(cases)
        beyond = np.maximum(low - estimate, estimate - high)  # negative inside
        undefined = np.isnan(beyond) | np.isnan(half)
        bad = ~(beyond <= half)  # written so that NaN is bad
        clear = (estimate - half >= low - resolution) & (estimate + half <= high + resolution)
        capped = _numbers(cases, "n_wanted") > _numbers(cases, "n_seeds") if "n_wanted" in cases else np.zeros(1, bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.where(error > 0, beyond / error, np.where(beyond > 0, np.inf, -np.inf))
            ratio = np.where(half > 0, beyond / half, np.where(beyond > 0, np.inf, 0.0))
        p_values = np.where(undefined, 0.0, 2 * self.allowance * _count(error) * stdtr(dof, -statistic))
        chance = float(np.nansum(_numbers(cases, "chance"))) if "chance" in cases else 0.0
        verdict: Verdict = "holds" if clear.all() and not capped.any() else "inconclusive"
        note = f"{_count(error)} intervals, all together miss with {self.false_alarm:g}"
        if bad.any():
            verdict = "refuted"
        elif capped.any():
            wanted, cap = int(cases["n_wanted"].max()), int(cases["n_seeds"].max())
            note += (
                f"; {int(capped.sum())} rows are short of seeds: the two-stage rule wants {wanted}, the cap is {cap}"
            )
        elif not clear.all():
            note += f"; {int((~clear).sum())} are too long to decide: more seeds"
        return Judgement(
            verdict, max(0.0, float(np.where(undefined, np.nan, ratio).max())), 1.0, len(cases), int(bad.sum()),
            int(undefined.sum()), note, min(1.0, float(p_values.min()) + chance),
        )  # fmt: skip

    def describe(self) -> str:
        """Return the test in a few words."""
        return f"intervals of all estimates (together missing with {self.false_alarm:g}) within the statement's"


def _count(error: FloatArray) -> int:
    """Return over how many intervals the false alarms are shared."""
    return max(1, int((error != 0).sum()))
