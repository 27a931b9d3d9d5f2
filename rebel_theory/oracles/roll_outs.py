"""How MDPs are sampled: by roll-outs from resets, in kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator

from rebel_theory.arrays import BoolArray, FloatArray, IntArray
from rebel_theory.oracles.samplers import Sampler, roll_in_sampler, sampler
from rebel_theory.problems import FiniteHorizonMDP, LinearMDP, TabularMDP
from rebel_theory.problems.base import InvalidProblemError

_TABLE_LIMIT = 200_000_000  # entries of a linear MDP's transition that a sampler may hold
_BLOCK_STEPS = 2**20  # expected in a block of one seed: some milliseconds, within _BLOCK_PAIRS
_BLOCK_PAIRS = (256, 4096)  # fewer would leave lanes idle at the block's end
_NO_END = 2.0**62  # steps

MDP: TypeAlias = TabularMDP | LinearMDP | FiniteHorizonMDP
Law: TypeAlias = tuple[int, float, float]  # of a walk's length, and the weight of a reward over the one before


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """An MDP as roll-outs see it: a CSR transition (rows * A, rows or one more) with an end that is never acted in.

    Attributes
    ----------
    transition : CSR array
    reward : shape (rows, A)
    discount : float
        A roll-out goes on with this probability; 1 for a finite horizon.
    terminal : shape (rows,), or (rows + 1,) with an end
    """

    transition: Any
    reward: FloatArray
    discount: float
    terminal: BoolArray


@singledispatch
def table(problem: Any) -> Table:
    """Return the table of an MDP."""
    raise TypeError(f"a {type(problem).__name__} has no roll-outs: use Exact()")


class _RollOuts:
    """Roll-outs on the table of an MDP, whose alias tables are built once.

    ``roll_in``, the first state's distribution and the law of the steps from it, takes the place of state weights.
    """

    def __init__(self, table: Table, horizon: int | None, roll_in: tuple[FloatArray, Law] | None) -> None:
        from rebel_theory.kernels import roll_outs as kernels

        transition, (rows, m) = table.transition, table.reward.shape
        indptr = transition.indptr.astype(np.int64)
        entries = _alias_tables(indptr, transition.data.astype(np.float64), transition.indices.astype(np.int64))
        spans = (indptr[:-1].astype(np.uint64) << np.uint64(32)) | np.diff(indptr).astype(np.uint64)
        reward = np.zeros((table.terminal.size, m))
        reward[:rows] = table.reward
        self._mdp = (spans, entries, reward.ravel(), (~table.terminal).astype(np.int64))
        self._law, self._roll_in = _geometric(table.discount), roll_in
        length = 1 / (1 - table.discount) if table.discount < 1 else float(rows)
        if horizon is not None:
            self._law, length = (kernels.FIXED, horizon - 1.0, table.discount), float(horizon)
        self._size = int(np.clip(_BLOCK_STEPS / length, *_BLOCK_PAIRS))
        self.work = max(1.0, length / 40)

    def draw(
        self, states: Any, rngs: list[Generator], rho: FloatArray, pi: FloatArray, mu: FloatArray, n: int,
        counts: FloatArray, sums: FloatArray,
    ) -> FloatArray:  # fmt: skip
        from rebel_theory.kernels import roll_outs as kernels

        start, roll_in = (rho, (kernels.FIXED, 0.0, 1.0)) if self._roll_in is None else self._roll_in
        starts = _seed_tables(np.broadcast_to(start, rho.shape)[:, None, :])
        choices = self._choices(pi)
        others = choices if counts.shape[-1] == 1 else _seed_tables(mu)
        seen = np.zeros(len(rngs))
        kernels.all_roll_outs(
            states, starts, choices, others, n, min(n, self._size), self._mdp, roll_in, self._law, counts, sums, seen
        )
        return seen

    def _choices(self, pi: FloatArray) -> Any:
        """Return the policy's tables, with rows for the end."""
        ends = self._mdp[3].size - pi.shape[1]
        return _seed_tables(np.pad(pi, ((0, 0), (0, ends), (0, 0)), constant_values=1.0) if ends else pi)

    def observe(
        self, rngs: list[Generator], pi: FloatArray, rows: IntArray, actions: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return one roll-out's sum from every given cell, as :class:`rebel_theory.oracles.groups.Observer` does."""
        from rebel_theory.kernels import roll_outs as kernels

        choices = self._choices(pi)
        rewards, seen = np.empty(actions.shape), np.empty(len(rngs))
        for i, rng in enumerate(rngs):
            streams = np.empty((4, kernels.LANES), dtype=np.uint64)
            kernels.seed_streams(rng.integers(2**64, dtype=np.uint64), 0, streams)
            cells = (rows[i][:, None] * pi.shape[2] + actions[i]).astype(np.uint64).ravel()
            seen[i] = kernels.walk(streams, cells, rewards[i].reshape(-1), cells, self._mdp, choices[i], self._law)
        return rewards, seen


def _alias_tables(indptr: Any, probs: FloatArray, targets: Any) -> Any:
    """Return packed alias tables of the rows of a CSR matrix; without ``targets`` (size 0) they give offsets."""
    from rebel_theory.kernels.roll_outs import pack
    from rebel_theory.kernels.sampling import build_csr

    threshold, alias = np.empty(probs.size), np.empty(probs.size, dtype=np.int32)
    build_csr(indptr, probs, threshold, alias)
    entries = np.empty(2 * probs.size, dtype=np.uint64)
    pack(indptr, threshold, alias, targets, entries)
    return entries


def _seed_tables(probs: FloatArray) -> Any:
    """Return packed tables (n_seeds, 2 rows m) of distributions (n_seeds, rows, m), normalised here."""
    n_seeds, rows, m = probs.shape
    flat = (probs / probs.sum(axis=-1, keepdims=True)).ravel()
    indptr = np.arange(0, flat.size + 1, m)
    return _alias_tables(indptr, flat, np.empty(0, dtype=np.int64)).reshape(n_seeds, 2 * rows * m)


def _geometric(discount: float) -> Law:
    """Return P(k or more further steps) = discount^k, every reward with weight 1."""
    from rebel_theory.kernels import roll_outs as kernels

    if discount in (0.0, 1.0):
        return kernels.FIXED, _NO_END * discount, 1.0
    return kernels.GEOMETRIC, 1 / math.log(discount), 1.0


def roll_out_sampler(problem: Any, horizon: int | None, roll_in: bool) -> Sampler:
    """Return how an MDP is sampled: roll-outs cut at ``horizon`` if given, from states reached by roll-in or drawn."""
    if not isinstance(problem, MDP):
        raise InvalidProblemError(
            "Sampled",
            [f"horizon={horizon} cuts the roll-outs of an MDP: leave it out for a {type(problem).__name__}"],
        )
    return _RollOuts(table(problem), horizon, _arrival(problem) if roll_in else None)


@sampler.register(TabularMDP)
@sampler.register(LinearMDP)
@sampler.register(FiniteHorizonMDP)
def _(problem: MDP) -> Sampler:
    return roll_out_sampler(problem, None, roll_in=False)


@roll_in_sampler.register(TabularMDP)
@roll_in_sampler.register(LinearMDP)
@roll_in_sampler.register(FiniteHorizonMDP)
def _(problem: MDP) -> Sampler:
    return roll_out_sampler(problem, None, roll_in=True)


def _arrival(problem: MDP) -> tuple[FloatArray, Law]:
    """Return the law of the first state, and of the number of steps after which a walk has the law of d_pi."""
    from rebel_theory.kernels import roll_outs as kernels

    if isinstance(problem, FiniteHorizonMDP):
        # the weight of (h, s) is its probability over H: a step drawn uniformly, then the state there
        start = np.zeros(problem.n_rows)
        start[: problem.n_states] = problem.initial_dist
        return start, (kernels.UNIFORM, float(problem.horizon), 1.0)
    if problem.discount == 1.0:
        raise InvalidProblemError(
            "Sampled",
            [
                'states="roll-in" stops geometrically with the discount, which is 1: use states="occupancy", '
                "or a discount below 1"
            ],
        )
    return problem.initial_dist, _geometric(problem.discount)


def horizon_bias(problem: Any, horizon: int | None) -> float:
    """Return the largest possible bias of a Q-value where roll-outs are cut at ``horizon``."""
    if horizon is None or not isinstance(problem, MDP):
        return 0.0
    reward = problem.features @ problem.reward_weights if isinstance(problem, LinearMDP) else problem.reward
    most = float(np.abs(reward).max())
    if isinstance(problem, FiniteHorizonMDP):
        return max(problem.horizon - horizon, 0) * most
    if problem.discount == 1.0:
        return math.inf if most > 0 else 0.0
    return problem.discount**horizon / (1 - problem.discount) * most


@table.register
def _(problem: TabularMDP) -> Table:
    from scipy.sparse import csr_array

    s, a = problem.n_states, problem.n_actions
    transition = problem.transition if problem.is_sparse else csr_array(problem.transition.reshape(s * a, s))
    return Table(transition, problem.reward, problem.discount, problem.absorbing)


@table.register
def _(problem: LinearMDP) -> Table:
    from scipy.sparse import csr_array

    s, a, d = problem.features.shape
    if s * a * s > _TABLE_LIMIT:
        raise ValueError(
            f"roll-outs would tabulate {s * a * s:,} transition probabilities of this linear MDP (limit "
            f"{_TABLE_LIMIT:,}): use Exact(), or a smaller problem"
        )
    moves = np.maximum(problem.features.reshape(s * a, d) @ problem.measures, 0.0)
    moves /= moves.sum(axis=1, keepdims=True)
    reward = problem.features @ problem.reward_weights
    return Table(csr_array(moves), reward, problem.discount, np.zeros(s, dtype=np.bool_))


@table.register
def _(problem: FiniteHorizonMDP) -> Table:
    """Return the rows (h, s), with one more row, the end, after the last step."""
    from scipy.sparse import block_diag, csr_array, hstack

    h, s, a = problem.policy_shape
    rows = h * s
    moves = [csr_array(problem.transition[t].reshape(s * a, s)) for t in range(h - 1)]
    last = csr_array(np.ones((s * a, 1)))
    # step t's rows lead to step t + 1's columns, the last step's to the end: a block diagonal, moved by s columns
    transition = csr_array(hstack([csr_array((rows * a, s)), block_diag([*moves, last])]))
    terminal = np.arange(rows + 1) == rows
    return Table(transition, problem.reward.reshape(rows, a), 1.0, terminal)
