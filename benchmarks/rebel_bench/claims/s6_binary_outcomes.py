"""S6: how many more comparisons binary outcomes need than known margins, for the same loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Estimates, Scale, TwoStage
from rebel_bench.instances import random_preferences, simplex
from rebel_bench.style import OKABE_ITO
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams
from rebel_theory.pairs import PairCounts
from rebel_theory.policies import as_base

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((1, 3), (2, 3), (1, 5), (3, 4))  # (contexts, answers); of two answers known margins are exact
N_PAIRS = 20_000  # with known margins
STRENGTHS = (1.0, 0.5, 0.25)  # largest margins
ONE_BY_ONE = 100_000  # at most so many pairs are drawn one by one: the ratio of variances has no bound
N_INTERVALS = len(SHAPES) * (2 * len(STRENGTHS) + 1) + 2  # at every scale
TEST = Estimates(false_alarm=1e-4, allowance=10)  # the squares of clones' outcomes are skewed
RESOLUTION = 0.6  # of the loss that known margins leave; the control's losses are several of it
RULE = TwoStage(n_first=400, half_width=0.35, false_alarm=TEST.level(N_INTERVALS), cap=1_600)


def _game(rng: Generator, x: int, y: int, strength: float) -> rt.PreferenceGame:
    """Return a game whose win probabilities are at most ``strength``/2 from 1/2: margins of at most ``strength``."""
    return rt.PreferenceGame(0.5 + strength * (random_preferences(rng, x, y) - 0.5), context_dist=simplex(rng, x))


def _predicted(game: rt.PreferenceGame, pi: FloatArray) -> tuple[float, float]:
    """Return N times the mean loss of large samples, of binary outcomes and of known margins.

    Both are tr(H^+ M): H the graph Laplacian of the pairs (weights on a - b), M the same with every pair's weight
    multiplied by the variance of what it shows, opponents y'' ~ pi shared by both answers.
    """
    loss = np.zeros(2)
    for rho, p, pay in zip(game.context_dist, pi, game.payoff, strict=True):
        q = pay @ p
        both = np.einsum("ac,bc,c->ab", pay, pay, p)  # E l(a, y'') l(b, y'')
        square = np.diag(both)
        known = square[:, None] + square[None, :] - 2 * both - np.subtract.outer(q, q) ** 2
        binary = 2 - 2 * both - np.subtract.outer(q, q) ** 2
        weight = rho * np.outer(p, p)
        for i, variance in enumerate((binary, known)):
            loss[i] += np.trace(np.linalg.pinv(_laplacian(weight)) @ _laplacian(weight * variance))
    return float(loss[0]), float(loss[1])


def _laplacian(weight: FloatArray) -> FloatArray:
    """Return E (e_a - e_b)(e_a - e_b)^T, shape (A, A), of pairs with ``weight`` (A, A)."""
    off = weight + weight.T
    np.fill_diagonal(off, 0.0)
    return np.asarray(np.diag(off.sum(axis=1)) - off)


def _known_margins(rng: Generator, game: rt.PreferenceGame, pi: FloatArray, n: int, n_seeds: int) -> PairCounts:
    """Return ``n`` pairs a seed that show l(y, y'') - l(y', y''), y'' ~ pi, instead of two outcomes."""
    law = np.einsum("x,xa,xb,xc->xabc", game.context_dist, pi, pi, pi)
    met = rng.multinomial(n, (law / law.sum()).ravel(), size=n_seeds).reshape(n_seeds, *law.shape)
    shown = game.payoff[:, :, None, :] - game.payoff[:, None, :, :]  # (X, A, A, A)
    return PairCounts(met.sum(axis=-1).astype(np.float64), (met * shown).sum(axis=-1))


def _losses(pairs: PairCounts, game: rt.PreferenceGame, pi: FloatArray) -> FloatArray:
    """Return the population loss (n_seeds,) of the regression: twice the variance of its error under pi."""
    error = pairs.potentials() - (game.payoff @ pi[..., None])[..., 0]
    variance = (error**2 * pi).sum(axis=-1) - (error * pi).sum(axis=-1) ** 2
    return np.asarray(2 * variance @ game.context_dist)


def _outcomes(oracle: rt.Oracle, game: rt.PreferenceGame, policy: rt.TabularPolicy, seed: int, n: int) -> PairCounts:
    pairs = oracle.bind(game, seed_streams(seed, n)).pairs(policy, as_base("on-policy"))
    assert isinstance(pairs, PairCounts)
    return pairs


def _rows(
    rng: Generator, game: rt.PreferenceGame, policy: rt.TabularPolicy, oracles: dict[rt.Oracle, float], known: float,
    rule: TwoStage, at_least: int,
) -> pd.DataFrame:  # fmt: skip
    """Return a row an oracle of binary outcomes: its loss less that of known margins, in units of what these leave.

    ``oracles`` has the share of the pairs that each draws: a loss is inverse to their number, and is scaled by it. The
    first row is that of known margins less their prediction, 1: a wrong regression would be on both sides below.
    """
    shares = np.array([1.0, *oracles.values()])
    pi = policy.probs[0]
    parts: list[FloatArray] = []

    def draw(n: int) -> FloatArray:
        pairs = [_known_margins(rng, game, pi, N_PAIRS, n)]
        pairs += [_outcomes(oracle, game, policy, int(rng.integers(2**31)), n) for oracle in oracles]
        parts.append(np.stack([_losses(found, game, pi) for found in pairs], axis=-1) * shares * N_PAIRS / known)
        known_loss = parts[-1][:, :1]
        apart = parts[-1][:, 1:] - known_loss  # independent, so the differences are a sample too
        return np.concatenate([known_loss - 1, apart], axis=1)

    table = pd.DataFrame(rule.sample(draw, at_least).columns())
    loss = np.concatenate(parts).mean(axis=0)
    names = ["known margins", *(type(oracle).__name__ for oracle in oracles)]
    return table.assign(oracle=names, measured=[np.nan, *loss[1:] / loss[0]])


def _instances(rng: Generator, scale: Scale, corrected: bool, rule: TwoStage) -> pd.DataFrame:
    tables = []
    at_least = scale.cases(quick=0, paper=2_000, full=10_000)
    for x, y in SHAPES:
        for strength in STRENGTHS:
            game = _game(rng, x, y, strength)
            policy = rt.TabularPolicy(0.5 * rng.standard_normal((1, x, y)))
            binary, known = _predicted(game, policy.probs[0])
            n_binary = round(N_PAIRS * binary / known) if corrected else N_PAIRS
            oracles: dict[rt.Oracle, float] = {rt.Counted(n_binary): 1.0}
            if strength == 1.0:  # the same law from the other oracle
                n = min(n_binary, ONE_BY_ONE)
                oracles[rt.Sampled(n)] = n / n_binary
            table = _rows(rng, game, policy, oracles, known, rule, at_least)
            table["measured"] *= n_binary / N_PAIRS
            tables.append(
                table.assign(
                    n_contexts=x, n_answers=y, largest_margin=strength, n_known=N_PAIRS, n_binary=n_binary,
                    predicted=binary / known, at_least=0.0, at_most=0.0, resolution=RESOLUTION,
                )
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def _clones(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the variance of a pair of clones over its prediction: 1.

    In rock-paper-scissors with two rocks and two papers clones fare alike against whoever both meet: their outcomes
    differ with variance 2 pi(own kind). With opponents of their own it would be 2, and other pairs would make up for
    it in the loss.
    """
    at_least = scale.cases(quick=0, paper=2_000, full=10_000)
    kind = np.array([0, 0, 1, 1, 2])
    payoff = np.array([0.0, 1.0, -1.0])[(kind[:, None] - kind) % 3]
    game = rt.PreferenceGame((1 + payoff) / 2)
    policy = rt.TabularPolicy(0.5 * rng.standard_normal((1, 1, 5)))
    own = policy.probs[0, 0] @ (kind[:, None] == kind)
    tables = []
    for oracle in (rt.Counted(N_PAIRS), rt.Sampled(N_PAIRS)):

        def draw(n: int, oracle: rt.Oracle = oracle) -> FloatArray:
            pairs = _outcomes(oracle, game, policy, int(rng.integers(2**31)), n)
            cells = [(pairs.sums[:, 0, a, b] ** 2 / pairs.counts[:, 0, a, b] / (2 * own[a]))
                     for a, b in ((0, 1), (1, 0), (2, 3), (3, 2))]  # fmt: skip
            return np.asarray(np.mean(cells, axis=0))

        row = RULE.sample(draw, at_least).columns() | {"oracle": type(oracle).__name__, "n_binary": N_PAIRS}
        tables.append(pd.DataFrame(row, index=[0]).assign(n_contexts=1, n_answers=5, at_least=1.0, at_most=1.0))
    return pd.concat(tables, ignore_index=True).assign(resolution=RESOLUTION)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return how far apart the two losses are at the predicted multiple of comparisons, and the variance of clones."""
    losses = _instances(rng, scale, corrected=True, rule=RULE)
    return pd.concat([losses, _clones(rng, scale)], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same at equal numbers of comparisons."""
    return _instances(rng, scale, corrected=False, rule=RULE.first_only())


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the multiple that equalises the losses, measured against predicted, and the losses' difference."""
    ax = fig.add_subplot()
    error = TEST.half_widths(cases) * cases["n_binary"] / cases["n_known"]
    ends = [0.8 * cases["predicted"].min(), 1.25 * cases["predicted"].max()]
    ax.plot(ends, ends, color="black", linewidth=0.8)
    for marker, colour, (margin, part) in zip(
        "osD", ("blue", "green", "purple"), cases.groupby("largest_margin", sort=False), strict=True
    ):
        ax.errorbar(
            part["predicted"], part["measured"], yerr=error[part.index], linestyle="none", marker=marker,
            markersize=3.5, color=OKABE_ITO[colour], linewidth=0.8, label=f"margins up to {margin:g}",
        )  # fmt: skip
    ax.plot(
        control_cases["predicted"], np.ones(len(control_cases)), linestyle="none", marker="x", markersize=3.5,
        color=OKABE_ITO["vermillion"], label="control: as many",
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="predicted ratio of variances", ylabel="times more comparisons")
    ax.set_ylim(top=30 * ends[1])
    ax.legend(loc="upper left")


CLAIM = Claim(
    id="S6",
    title="the price of binary outcomes",
    statement="In a preference game both answers of a pair meet one y'' ~ pi. Binary outcomes leave the same mean loss "
    "as known margins l(y, y'') when there are more of them by the ratio of tr(H^+ M), M weighing every pair by its "
    "variance: 2 - 2 E l l' - d^2 against E (l - l')^2 - d^2, d = l(y, pi) - l(y', pi). Same: within 0.6 of it.",
    latex=r"\frac{N_{\mathrm{binary}}}{N_{\mathrm{known}}} = "
    r"\frac{\mathrm{tr}\,H^+ M_{\mathrm{binary}}}{\mathrm{tr}\,H^+ M_{\mathrm{known}}}",
    source="ordinary least squares on pairs of arXiv:2404.16767, section 4.3; the theory notes",
    test=TEST,
    false_alarm=TEST.false_alarm,
    check=check,
    control=control,
    control_statement="as many binary outcomes as known margins",
    figure=draw,
)
