"""S6: how many more comparisons binary outcomes need than known margins, for the same loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Inequality, Scale, half_width
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
FALSE_ALARM = 1e-6  # of one interval


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


def _instances(rng: Generator, scale: Scale, corrected: bool) -> pd.DataFrame:
    rows = []
    n_seeds = scale.cases(quick=400, paper=2_000, full=10_000)
    for x, y in SHAPES:
        for strength in (1.0, 0.5, 0.25):
            game = _game(rng, x, y, strength)
            policy = rt.TabularPolicy(0.5 * rng.standard_normal((1, x, y)))
            pi = policy.probs[0]
            binary, known = _predicted(game, pi)
            factor = binary / known
            n_binary = round(N_PAIRS * factor) if corrected else N_PAIRS
            oracles: list[rt.Oracle] = [rt.Counted(n_binary)]
            if strength == 1.0:
                oracles.append(rt.Sampled(n_binary))  # one by one: the same law from the other oracle
            # in units of what N_PAIRS known margins leave
            reference = _losses(_known_margins(rng, game, pi, N_PAIRS, n_seeds), game, pi) * N_PAIRS / known
            for oracle in oracles:
                bound = oracle.bind(game, seed_streams(int(rng.integers(2**31)), n_seeds))
                outcomes = bound.pairs(policy, as_base("on-policy"))
                assert isinstance(outcomes, PairCounts)
                loss = _losses(outcomes, game, pi) * N_PAIRS / known
                part = loss - reference  # independent, so the differences are a sample too
                rows.append(
                    {"oracle": type(oracle).__name__, "n_contexts": x, "n_answers": y, "largest_margin": strength,
                     "n_known": N_PAIRS, "n_binary": n_binary, "predicted": factor,
                     "measured": loss.mean() / reference.mean() * n_binary / N_PAIRS,
                     "error": half_width(part, FALSE_ALARM) * n_binary / N_PAIRS,
                     "value": abs(part.mean()), "bound": half_width(part, FALSE_ALARM)}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _clones(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the variance of a pair of clones over its prediction, less 1, against its interval.

    In rock-paper-scissors with two rocks and two papers clones fare alike against whoever both meet: their outcomes
    differ with variance 2 pi(own kind). With opponents of their own it would be 2, and other pairs would make up for
    it in the loss.
    """
    n_seeds = scale.cases(quick=400, paper=2_000, full=10_000)
    kind = np.array([0, 0, 1, 1, 2])
    payoff = np.array([0.0, 1.0, -1.0])[(kind[:, None] - kind) % 3]
    game = rt.PreferenceGame((1 + payoff) / 2)
    policy = rt.TabularPolicy(0.5 * rng.standard_normal((1, 1, 5)))
    own = policy.probs[0, 0] @ (kind[:, None] == kind)
    rows = []
    for oracle in (rt.Counted(N_PAIRS), rt.Sampled(N_PAIRS)):
        bound = oracle.bind(game, seed_streams(int(rng.integers(2**31)), n_seeds))
        pairs = bound.pairs(policy, as_base("on-policy"))
        assert isinstance(pairs, PairCounts)
        cells = [(pairs.sums[:, 0, a, b] ** 2 / pairs.counts[:, 0, a, b] / (2 * own[a]))
                 for a, b in ((0, 1), (1, 0), (2, 3), (3, 2))]  # fmt: skip
        ratio = np.mean(cells, axis=0)  # (n_seeds,)
        rows.append({"oracle": type(oracle).__name__, "n_contexts": 1, "n_answers": 5, "n_binary": N_PAIRS,
                     "value": abs(ratio.mean() - 1), "bound": half_width(ratio, FALSE_ALARM / 10)})  # fmt: skip
    return pd.DataFrame(rows)  # a tenth: the mean of squares is somewhat skewed


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return how far apart the two losses are at the predicted multiple of comparisons, and the variance of clones."""
    return pd.concat([_instances(rng, scale, corrected=True), _clones(rng, scale)], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same at equal numbers of comparisons."""
    return _instances(rng, scale, corrected=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the multiple that equalises the losses, measured against predicted, and the losses' difference."""
    ax = fig.add_subplot()
    ends = [0.8 * cases["predicted"].min(), 1.25 * cases["predicted"].max()]
    ax.plot(ends, ends, color="black", linewidth=0.8)
    for marker, colour, (margin, part) in zip(
        "osD", ("blue", "green", "purple"), cases.groupby("largest_margin", sort=False), strict=True
    ):
        ax.errorbar(
            part["predicted"], part["measured"], yerr=part["error"], linestyle="none", marker=marker, markersize=3.5,
            color=OKABE_ITO[colour], linewidth=0.8, label=f"margins up to {margin:g}",
        )  # fmt: skip
    ax.plot(
        control_cases["predicted"], np.ones(len(control_cases)), linestyle="none", marker="x", markersize=3.5,
        color=OKABE_ITO["vermillion"], label="control: as many",
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="predicted ratio of variances", ylabel="times more comparisons")
    ax.legend(loc="upper left")


CLAIM = Claim(
    id="S6",
    title="the price of binary outcomes",
    statement="In a preference game both answers of a pair meet one y'' ~ pi. Binary outcomes leave the same mean loss "
    "as known margins l(y, y'') when there are more of them by the ratio of tr(H^+ M), M weighing every pair by its "
    "variance: 2 - 2 E l l' - d^2 against E (l - l')^2 - d^2, d = l(y, pi) - l(y', pi). Intervals miss: 1e-6.",
    latex=r"\frac{N_{\rm binary}}{N_{\rm known}} = \frac{{\rm tr}\,H^+ M_{\rm binary}}{{\rm tr}\,H^+ M_{\rm known}}",
    source="ordinary least squares on pairs of arXiv:2404.16767, section 4.3; the theory notes",
    test=Inequality(),
    check=check,
    control=control,
    control_statement="as many binary outcomes as known margins",
    figure=draw,
)
