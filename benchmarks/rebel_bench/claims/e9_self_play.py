"""E9: exact preference REBEL is Hedge in self-play, which is SPO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import SHAPES, random_policy, random_problem, simplex
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-10
N_UPDATES = 20


def _hedge(game: rt.PreferenceGame, first: FloatArray, eta: FloatArray, self_play: bool) -> FloatArray:
    """Return the iterates (T + 1, n, S, A) of Hedge on summed payoffs, against itself or always the first policy."""
    payoff = 2 * game.preference - 1  # (n, S, A, A)
    total, iterates = np.zeros(first.shape), [first]
    for _ in range(N_UPDATES):
        opponent = iterates[-1] if self_play else first
        total += (payoff @ opponent[..., None])[..., 0]
        scores = np.log(first) + eta[:, None, None] * total
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        iterates.append(weights / weights.sum(axis=-1, keepdims=True))
    return np.array(iterates)


def _iterates(game: rt.PreferenceGame, algorithm: Algorithm, policy: rt.TabularPolicy) -> FloatArray:
    """Return the iterates (T + 1, n, S, A) of an algorithm on exact feedback."""
    oracle = rt.Exact().bind(game, [])
    states = [algorithm.init(policy)]
    for _ in range(N_UPDATES):
        states.append(algorithm.step(states[-1], oracle))
    return np.array([state.policy.probs[0] for state in states])


def _instances(rng: Generator, scale: Scale, self_play: bool) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=25, paper=250, full=6_000)
    for s, a in SHAPES:
        if a == 2 and not self_play:
            continue  # of two answers one beats the other by the same payoff whoever the opponent is
        game = random_problem(rng, "game", s, a, n)
        assert isinstance(game, rt.PreferenceGame)
        policy, eta = random_policy(rng, game), 10 ** rng.uniform(-2, 0.5, size=n)
        hedge = _hedge(game, policy.probs[0], eta, self_play)
        for name, algorithm in (
            ("REBEL,\non-policy", rt.Rebel(eta)),
            ("REBEL,\nuniform", rt.Rebel(eta, base="uniform")),
            ("REBEL,\nfixed", rt.Rebel(eta, base=simplex(rng, n, s, a))),
            ("SPO", rt.Spo(eta)),
        ):
            apart = rt.total_variation(_iterates(game, algorithm, policy), hedge, support=game.context_dist)
            rows.append(pd.DataFrame({"algorithm": name, "n_states": s, "n_actions": a, "step_size": eta,
                                      "error": apart.max(axis=0)}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the largest total variation from Hedge in self-play over all iterates, per instance and algorithm."""
    return _instances(rng, scale, self_play=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same from Hedge against the first policy."""
    return _instances(rng, scale, self_play=False)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip an algorithm."""
    strip(fig, cases, control_cases, by="algorithm", value="error", limit=TOLERANCE, label="total variation")


CLAIM = Claim(
    id="E9",
    title="Hedge in self-play",
    statement="Exact preference REBEL takes the steps of Hedge in self-play, for any base with full support, and so "
    "does SPO.",
    latex=r"\pi_{t+1}(y|x) \propto \pi_1(y|x)\,\exp\Big(\eta\sum_{i\le t} l(x, y, \pi_i)\Big)",
    source="arXiv:2404.16767, section 3 (general preferences); arXiv:2401.04056 (SPO)",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="Hedge always meets the first policy",
    figure=draw,
)
