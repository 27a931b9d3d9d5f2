"""E8: one iteration from the reference with eta = 1/beta is the RLHF optimum, which is DPO's under Bradley-Terry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.figures import strip
from rebel_bench.instances import SHAPES, random_policy, simplex
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray
from rebel_theory.problems import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-10


def _one_step(problem: Problem, algorithm: Algorithm, reference: rt.TabularPolicy) -> FloatArray:
    """Return the policy after one exact update, shape (n, S, A)."""
    found: FloatArray = algorithm.step(algorithm.init(reference), rt.Exact().bind(problem, [])).policy.probs[0]
    return found


def _tilted(reference: FloatArray, reward: FloatArray, beta: FloatArray) -> FloatArray:
    """Return pi_ref exp(reward / beta) / Z, shape (n, S, A)."""
    scores = np.log(reference) + reward / beta[:, None, None]
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    found: FloatArray = weights / weights.sum(axis=-1, keepdims=True)
    return found


def _cycle(rng: Generator, n: int, s: int, a: int) -> FloatArray:
    """Return skew log-odds (n, S, A, A) whose rows sum to 0: pure cycles, which no reward explains; 0 for A = 2."""
    raw = rng.standard_normal((n, s, a, a))
    skew = raw - np.swapaxes(raw, -1, -2)
    mean = skew.mean(axis=-1)
    found: FloatArray = skew - (mean[..., :, None] - mean[..., None, :])
    return found


def _instances(rng: Generator, scale: Scale, cyclic: bool) -> pd.DataFrame:
    rows = []
    n = scale.cases(quick=25, paper=100, full=1_000)
    for s, a in SHAPES:
        if cyclic and a < 3:
            continue  # two answers have no cycle
        reward, rho, law = rng.standard_normal((n, s, a)), simplex(rng, n, s), simplex(rng, n, s, a)
        law = 0.9 * law + 0.1 / a  # every comparison occurs
        beta = 10 ** rng.uniform(-0.5, 1, size=n)
        odds = reward[..., :, None] - reward[..., None, :]
        odds = odds + _cycle(rng, n, s, a) if cyclic else odds
        preference = 1 / (1 + np.exp(-odds))
        bandit = rt.ContextualBandit(reward, context_dist=rho)
        game = rt.PreferenceGame(preference, context_dist=rho)
        reference = random_policy(rng, bandit)
        optimum = _tilted(reference.probs[0], reward, beta)
        wins = (preference @ law[..., None])[..., 0]  # P(y beats mu)
        sides = {"DPO": (_one_step(game, rt.Dpo(1 / beta, base=law, ridge=0), reference), optimum)}
        if not cyclic:  # the other two do not ask for transitive preferences
            sides["REBEL"] = (_one_step(bandit, rt.Rebel(1 / beta), reference), optimum)
            sides["IPO"] = (
                _one_step(game, rt.Ipo(1 / beta, base=law), reference),
                _tilted(reference.probs[0], wins, beta),
            )
        for name, (found, expected) in sides.items():
            error = rt.total_variation(found, expected, support=rho)
            rows.append(pd.DataFrame({"algorithm": name, "n_states": s, "n_actions": a, "beta": beta, "error": error}))
    return pd.concat(rows, ignore_index=True)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances from the optimum: of one REBEL step, of DPO under Bradley-Terry, of IPO from its own."""
    return _instances(rng, scale, cyclic=False)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances of DPO where a cycle is added to the log-odds of the same rewards."""
    return _instances(rng, scale, cyclic=True)


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw one strip an algorithm."""
    strip(fig, cases, control_cases, by="algorithm", value="error", limit=TOLERANCE, label="total variation")


CLAIM = Claim(
    id="E8",
    title="one step is the RLHF optimum",
    statement="One exact iteration from pi_ref with eta = 1/beta gives the KL-regularised RLHF optimum, and so does "
    "DPO under Bradley-Terry preferences. With +1/(2 beta) for a win and -1/(2 beta) for a loss in place of eta times "
    "the relative reward the regression is IPO, whose optimum is pi_ref exp(P(y beats mu)/beta)/Z.",
    latex=r"\pi_2(y|x) = \pi_{\mathrm{ref}}(y|x)\,e^{r(x,y)/\beta}/Z(x)",
    source="arXiv:2305.18290 (DPO), equation 4; arXiv:2310.12036 (IPO), section 5; arXiv:2404.16767",
    test=Equality(TOLERANCE),
    check=check,
    control=control,
    control_statement="intransitive preferences: a cycle is added to the log-odds, and DPO misses the optimum",
    figure=draw,
)
