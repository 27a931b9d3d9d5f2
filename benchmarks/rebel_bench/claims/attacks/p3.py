"""How P3 is attacked."""

from __future__ import annotations

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.adversary.attack import Attack, Box, Parameters, Sides, tightest
from rebel_bench.adversary.parameters import preferences
from rebel_bench.adversary.population import Population
from rebel_bench.claims.p3_optimism import APART, STEP_SIZE, gap_left, potentials
from rebel_theory.arrays import FloatArray

N_ATTACKED, N_GAP = 30, 2_000
LEAST = 1e-9  # of a move that is judged: below, differences of potentials are rounding


def _decode(p: Parameters) -> Population:
    """Return games of three answers with their first policies."""
    return _population(preferences(p["preference"], 3), p["logits"], N_ATTACKED)


def _near(p: Parameters) -> Population:
    """Return rock-paper-scissors from first policies whose logits are at most APART apart."""
    angle = p["angle"][:, None] + 2 * np.pi / 3 * np.arange(3)
    logits = np.cos(angle)
    logits *= p["apart"][:, None] / np.ptp(logits, axis=-1, keepdims=True)
    return _population(np.tile(envs.rock_paper_scissors().preference, (len(logits), 1, 1, 1)), logits, N_GAP)


def _population(preference: FloatArray, logits: FloatArray, n_iterations: int) -> Population:
    eta = np.full(len(logits), STEP_SIZE)
    return Population(
        problem=rt.PreferenceGame(preference), step_size=eta, n_iterations=n_iterations, logits=logits[:, None],
        algorithm="omwu",
    )  # fmt: skip


def _sides(population: Population) -> Sides:
    """Return both sides of the tightest of the claim's inequalities.

    The potential falls or rests: Phi_{t+1} - Phi_t + M_t <= M_t with M_t, how far the update moves. So the ratio is 1
    where it rests though the policy moves, not where nothing moves. On rock-paper-scissors also the gap that is left.
    """
    game = population.problem
    assert isinstance(game, rt.PreferenceGame)
    trace = population.run(keep_policies=True)
    assert trace.probs is not None
    potential, moved = potentials(game, trace.probs[0, :, :, 0])
    allowed = (population.step_size <= STEP_SIZE)[:, None] & (moved > LEAST)
    value, bound = np.where(allowed, np.diff(potential, axis=1) + moved, 0.0), moved
    logits = np.log(population.policy.probs[0, :, 0])
    known = np.all(np.abs(game.preference - envs.rock_paper_scissors().preference) < 1e-12, axis=(-3, -2, -1))
    known &= (np.ptp(logits, axis=-1) <= APART * (1 + 1e-12)) & (population.n_iterations >= N_GAP)
    left, most = gap_left(trace.gap[0])
    left = np.where(known, left, 0.0)
    return tightest(np.column_stack([value, left]), np.column_stack([bound, most]))


ATTACKS = (
    Attack(
        label="potential",
        space="three answers; free preferences and first policies down to e^-60; rise of the potential plus move / "
        f"move, t <= {N_ATTACKED}",
        parameters={"preference": Box(-0.5, 1.5, (3,)), "logits": Box(-30, 30, (3,))},
        decode=_decode,
        measure=_sides,
        budget=6_000,
    ),
    Attack(
        label="gap",
        space=f"rock-paper-scissors; free first policy, logits at most {APART:g} apart; gap after {N_GAP:,} updates / "
        "2% of the first",
        parameters={"angle": Box(0, 2 * np.pi), "apart": Box(1e-3, APART)},
        decode=_near,
        measure=_sides,
        budget=600,
    ),
)
