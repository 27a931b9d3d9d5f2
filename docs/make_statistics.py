"""Write the measured parts of docs/statistics.md: what the intervals cover, and the false alarms of the claims.

python docs/make_statistics.py           # all of it: minutes
python docs/make_statistics.py claims    # only the table of claims
python docs/make_statistics.py mixtures  # that, and P6's skewed gaps
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench import registry
from rebel_bench.claims import p6_reward_models as p6
from rebel_bench.claims import s1_log_linear_noise as s1
from rebel_bench.ledger import ALPHA
from rebel_bench.speed.page import fill
from rebel_bench.statistics import TwoStage, coverage
from rebel_theory.theory.bounds import self_play_step_size

PAGE = Path(__file__).parent / "statistics.md"
N_RUNS = 4_000
SEED = 0


def covered() -> str:
    """Return the table of coverages, each with its standard error."""
    rng = np.random.default_rng(SEED)
    rows = []

    def row(what: str, how: str, share: float, n: int) -> None:
        error = np.sqrt(share * (1 - share) / n)
        rows.append((what, how, f"{100 * share:.1f}% ± {100 * error:.1f}"))

    for n_seeds in (3, 10, 30):
        per_seed, pooled = coverage.of_slopes(rng, N_RUNS, n_seeds, n_points=100)
        row("log-log slope", f"Student, one slope a seed, {n_seeds} seeds of 100 points", per_seed, N_RUNS)
        row("log-log slope", f"*one pooled regression*, {n_seeds} seeds of 100 points", pooled, N_RUNS)
    for law, width in ((coverage.normal, 0.3), (coverage.log_normal, 0.7)):
        name = law.__name__.replace("_", "-")
        for n_first in (5, 10, 30, 100):
            rule = TwoStage(n_first, half_width=width, false_alarm=0.05, cap=10**6)
            share, number = coverage.of_two_stages(rng, N_RUNS, rule, law)
            row(
                f"mean, {name} values",
                f"Stein's rule, first stage of {n_first}: {number:.0f} on average",
                share,
                N_RUNS,
            )
    row("mean, normal values", "*look every 10 values, stop once 0 is excluded*, 100 at most",
        coverage.of_peeking(rng, N_RUNS), N_RUNS)  # fmt: skip
    n = N_RUNS // 4
    for law in (coverage.normal, coverage.log_normal):
        for n_seeds in (5, 10, 32):
            for widen, how in ((True, "widened"), (False, "*plain percentile*")):
                share = coverage.of_bootstrap(rng, n, n_seeds, 4, law, widen=widen)
                name = law.__name__.replace("_", "-")
                row(
                    f"interquartile mean, {name}",
                    f"stratified bootstrap, {how}, {n_seeds} seeds of 4 problems",
                    share,
                    n,
                )
    return _table(("of", "interval", "covers"), rows)


def skewed() -> str:
    """Return how much more often than stated Stein's intervals miss S1's mean loss, by d_eff and level."""
    rng = np.random.default_rng(SEED)
    levels = (1e-2, 1e-3, 1e-4, s1.RULE.false_alarm)
    rows = []
    for dof in sorted({d for _, _, d in s1.SHAPES}):
        rules = [replace(s1.RULE, false_alarm=level, half_width=s1.HALF_WIDTHS[0]) for level in levels]
        rows.append((str(dof), *(f"{coverage.misses_of_squares(rng, 20_000, dof, rule):.1f}" for rule in rules)))
    return _table(("d_eff", *(f"stated {level:.0e}" for level in levels)), rows)


def mixtures() -> str:
    """Return how much more often than stated Student's intervals lie wholly below P6's mean, at the quick scale.

    The law is that of 600 random mixtures, moved to mean 0 (where a true statement is hardest to keep), at each beta;
    as many are drawn as P6 takes, from the law tilted towards small values, and weighted back.
    """
    rng = np.random.default_rng(SEED)
    games = p6._games(rng, 600, envs.random_rater_mixture, cyclic=True)
    eta = self_play_step_size(games.n_actions, 4_096)
    rebel = rt.run(games, rt.Rebel(eta), n_iterations=4_096).average_gap[..., -1].ravel()
    levels = (1e-2, 1e-4, p6.TEST.false_alarm / len(p6.BETAS), p6.TEST.level(len(p6.BETAS)))
    rows = []
    for beta in p6.BETAS:
        kept = rt.run(games, rt.Dpo(1 / beta), n_iterations=1).gap[..., -1].ravel() - p6.TIMES * rebel
        values = kept - kept.mean()
        skewness = float((values**3).mean() / values.std() ** 3)
        rates = (coverage.misses_below(rng, 40_000, values, p6.N_QUICK, level) for level in levels)
        rows.append((f"{beta:g}", f"{skewness:.2f}", *(f"{rate:.1f}" for rate in rates)))
    return _table(("beta", "skewness", *(f"stated {level:.0e}" for level in levels)), rows)


def budget() -> str:
    """Return the claims that chance could refute, with their stated rates, and the sum."""
    found = [claim for claim in registry.find_claims() if claim.false_alarm > 0]
    rows = [(claim.id, claim.title, claim.test.describe(), f"{claim.false_alarm:g}") for claim in found]
    total = sum(claim.false_alarm for claim in found)
    exact = len(registry.find_claims()) - len(found)
    words = f"Together at most {total:.2g}; {exact} claims are exact. Holm's level over all p-values: {ALPHA:g}."
    return f"{_table(('claim', '', 'test', 'false alarm'), rows)}\n\n{words}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


def main(page: Path = PAGE, what: str = "") -> None:
    """Fill the page, or the part of it that is asked for."""
    parts = {"false alarms": budget()}
    if what != "claims":
        parts["mixtures"] = mixtures()
    if not what:
        parts |= {"coverage": covered(), "skewness": skewed()}
    page.write_text(fill(page.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    main(what=" ".join(sys.argv[1:]))
