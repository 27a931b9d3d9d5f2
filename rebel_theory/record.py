"""Record a run: gaps, averages, regression errors, divergences, the bound's terms, iterate by iterate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray, expectation, safe_log
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy
from rebel_theory.problems import Game, Problem
from rebel_theory.solvers.feedback import reference
from rebel_theory.theory.bounds import curvature_bound
from rebel_theory.theory.identity import regression_error, update_function
from rebel_theory.trace import Trace

_PARALLEL_FROM = 200_000  # cells of an update: about a millisecond on one thread
_BLOCKS = 64  # of members that threads share out


class Recorder:
    """Fill the arrays of a trace; everything is exact, whatever the oracle shows the algorithm."""

    def __init__(
        self,
        problem: Problem,
        algorithm: Algorithm,
        oracle: BoundOracle,
        lead: tuple[int, ...],
        n_iterations: int,
        keep: bool,
    ) -> None:
        self._problem, self._algorithm, self._oracle, self._lead = problem, algorithm, oracle, lead
        self._reference = reference(problem)
        self._is_game = isinstance(problem, Game)
        self._k = int(np.prod(lead))
        t = n_iterations
        # a row an iteration, members side by side: what the kernels write lies together
        self._gap, self._kl, self._average, self._queries = (np.zeros((t + 1, self._k)) for _ in range(4))
        self._error, self._misfit, self._largest = (np.zeros((t, self._k)) for _ in range(3))
        self._probs = np.zeros((*lead, t + 1, problem.n_rows, problem.n_actions)) if keep else None
        self._mean_signal: FloatArray | None = None  # of a game: the signal of the average policy
        self._start = np.zeros(self._k)  # KL(pi* || pi_0); of a game, the largest over comparators
        self._evaluation_error = 0.0
        self._t = 0
        found = self._reference
        self._star = None if found.policy is None else self._members(found.policy, 2)
        self._log_star = None if self._star is None else safe_log(self._star)
        self._star_weights = self._members(found.weights, 1)
        self._shortfall = None if found.shortfall is None else self._members(found.shortfall, 2)
        self._eta = self._members(algorithm.eta, 0)
        self._has_schedule = type(algorithm).eta_at is not Algorithm.eta_at

    def _members(self, array: NDArray[Any], trailing: int) -> NDArray[Any]:
        """Return ``array`` (..., and ``trailing`` axes) with one axis of all members, of length 1 if they share it."""
        if array.ndim == trailing and array.flags.c_contiguous:
            return array[None]
        outer, own = array.shape[: array.ndim - trailing], array.shape[array.ndim - trailing :]
        n_outer = len(outer)
        if all(n == 1 or step == 0 for n, step in zip(outer, array.strides[:n_outer], strict=True)):
            array = array[(0,) * n_outer]
        elif outer != self._lead:
            array = np.broadcast_to(array, (*self._lead, *own))
        return np.ascontiguousarray(array.reshape(-1, *own))

    def iterate(self, policy: Policy) -> None:
        """Record the iterate t = 0, 1, ..."""
        from rebel_theory.kernels import record as kernels

        t, lead = self._t, self._lead
        evaluation = self._oracle.evaluate(policy)
        self._evaluation_error = max(self._evaluation_error, evaluation.error_bound)
        occupancy = self._members(evaluation.occupancy, 1)
        if self._shortfall is None:
            self._gap[t] = np.broadcast_to(evaluation.objective, lead).reshape(-1)
            signal = self._members(evaluation.q_values, 2)
            if self._mean_signal is None:
                self._mean_signal = np.zeros((self._k, *signal.shape[1:]))
            kernels.record_mean_signals(signal, occupancy, t, self._mean_signal, self._average[t])
        else:
            probs, mass = self._members(policy.probs, 2), self._members(evaluation.mass, 0)
            kernels.record_gaps(probs, self._shortfall, occupancy, mass, self._gap[t])
        if self._star is None:
            self._kl[t] = np.nan
        else:
            log_pi = self._members(policy.log_probs, 2)
            kernels.record_divergences(self._star, self._log_star, self._star_weights, log_pi, self._kl[t])
        self._queries[t] = self._members(self._oracle.queries.reshape(-1, *(1,) * (len(lead) - 1)), 0)
        if t == 0:
            farthest = expectation(evaluation.occupancy, -policy.log_probs.min(axis=-1))
            self._start[...] = self._members(farthest, 0) if self._is_game else self._kl[0]
        if self._probs is not None:
            self._probs[..., t, :, :] = policy.probs
        self._t += 1

    @property
    def latest_gap(self) -> float:
        """Mean gap, over seeds and batch, of the latest iterate."""
        return float(self._gap[self._t - 1].mean())

    def update(self, previous: Policy, policy: Policy) -> None:
        """Record the update from the latest iterate to ``policy``; called before its :meth:`iterate`."""
        from rebel_theory.kernels import record as kernels

        t = self._t - 1
        exact = self._oracle.exact_feedback(previous)
        log_mu = self._oracle.log_base(previous, self._algorithm.base_distribution)
        on_policy = log_mu is previous.log_probs
        pi = self._members(previous.probs, 2)
        arguments = (
            self._members(previous.log_probs, 2), self._members(policy.log_probs, 2), pi,
            pi if on_policy else self._members(np.exp(log_mu), 2), self._members(exact.signal, 2),
            self._members(exact.weights, 1), self._members(exact.visited, 1), self._eta, on_policy,
            pi if self._star is None else self._star, self._star_weights, self._is_game,
        )  # fmt: skip
        found = self._error[t], self._largest[t], self._misfit[t]
        if self._k * pi[0].size >= _PARALLEL_FROM:
            kernels.record_updates_in_blocks(*arguments, min(_BLOCKS, self._k), *found)
        else:
            kernels.record_updates(*arguments, 0, self._k, *found)
        if self._has_schedule:  # the bound keeps one eta, eps_t has its own
            own = update_function(previous.log_probs, policy.log_probs, self._algorithm.eta_at(t))
            error = regression_error(own, exact.signal, previous.log_probs, log_mu, exact.weights)
            self._error[t] = np.broadcast_to(error, self._lead).reshape(-1)

    def trace(self, final: Policy, seed: int, n_seeds: int) -> Trace:
        """Return the finished trace, with every leading axis written out."""

        def full(array: FloatArray) -> FloatArray:
            return np.broadcast_to(array, (n_seeds, *array.shape[1:])) if array.shape[0] == 1 else array

        def over_time(array: FloatArray) -> FloatArray:
            """Return (T, K) as (n_seeds, ..., T)."""
            return full(np.ascontiguousarray(array.T).reshape(*self._lead, len(array)))

        if not self._is_game:
            self._average = np.cumsum(self._gap, axis=0) / np.arange(1, len(self._gap) + 1)[:, None]
        probs = None if self._probs is None else full(self._problem.from_rows(self._probs))
        return Trace(
            algorithm=self._algorithm.name,
            gap=over_time(self._gap),
            average_gap=over_time(self._average),
            regression_error=over_time(self._error),
            kl=over_time(self._kl),
            queries=over_time(self._queries),
            bound={k: over_time(v) for k, v in self._bounds().items()},
            final_policy=final,
            probs=probs,
            seed=seed,
            step_size=self._algorithm.eta,
            evaluation_error=self._evaluation_error,
        )

    def _bounds(self) -> dict[str, FloatArray]:
        """Return the terms of the bound, each (T, K)."""
        t = np.arange(1, len(self._error) + 1)[:, None]
        scale = np.asarray(2.0) if self._is_game else self._members(np.asarray(self._reference.mass), 0)
        terms = {
            "progress": scale * self._start / (self._eta * t),
            "curvature": scale * curvature_bound(self._eta, np.maximum.accumulate(self._largest, axis=0)),
            "misfit": scale * np.cumsum(self._misfit, axis=0) / t,
        }
        return {**terms, "total": terms["progress"] + terms["curvature"] + terms["misfit"]}
