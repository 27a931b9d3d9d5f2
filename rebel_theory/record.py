"""Record a run: gaps, averages, regression errors, divergences, the bound's terms, iterate by iterate."""

from __future__ import annotations

import numpy as np

from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray, expectation, kl_rows, safe_log
from rebel_theory.oracles import BoundOracle
from rebel_theory.policies import Policy
from rebel_theory.problems import Game, Problem
from rebel_theory.solvers.feedback import reference
from rebel_theory.theory.bounds import curvature_bound, misfit_bound
from rebel_theory.theory.divergences import concentrability
from rebel_theory.theory.identity import regression_error, update_function
from rebel_theory.trace import Trace


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
        t = n_iterations
        self._gap, self._average, self._kl, self._queries = (np.zeros((*lead, t + 1)) for _ in range(4))
        self._error, self._misfit, self._largest = (np.zeros((*lead, t)) for _ in range(3))
        self._probs = np.zeros((*lead, t + 1, problem.n_rows, problem.n_actions)) if keep else None
        self._mean_signal: FloatArray | None = None  # of a game: the signal of the average policy
        self._start = np.zeros(lead)  # KL(pi* || pi_0); of a game, the largest over comparators
        self._evaluation_error = 0.0
        self._t = 0

    def iterate(self, policy: Policy) -> None:
        """Record the iterate t = 0, 1, ..."""
        t, lead = self._t, self._lead
        evaluation = self._oracle.evaluate(policy)
        self._evaluation_error = max(self._evaluation_error, evaluation.error_bound)
        probs = policy.probs
        self._gap[..., t] = self._reference.gap(evaluation, probs)
        if self._is_game:
            old = self._mean_signal
            q = evaluation.q_values
            self._mean_signal = q if old is None else old + (q - old) / (t + 1)
            best = 2 * np.maximum(self._mean_signal.max(axis=-1), 0.0)
            self._average[..., t] = expectation(evaluation.occupancy, best)
        else:
            self._average[..., t] = self._gap[..., : t + 1].mean(axis=-1)
        self._kl[..., t] = self._divergence(policy)
        queries = self._oracle.queries
        self._queries[..., t] = queries.reshape(-1, *(1,) * (len(lead) - 1))
        if t == 0:
            farthest = expectation(evaluation.occupancy, -policy.log_probs.min(axis=-1))
            self._start[...] = farthest if self._is_game else self._kl[..., 0]
        if self._probs is not None:
            self._probs[..., t, :, :] = probs
        self._t += 1

    @property
    def latest_gap(self) -> float:
        """Mean gap, over seeds and batch, of the latest iterate."""
        return float(self._gap[..., self._t - 1].mean())

    def _divergence(self, policy: Policy) -> FloatArray:
        star = self._reference.policy
        if star is None:
            return np.full(self._lead, np.nan)
        rows = kl_rows(safe_log(star), policy.log_probs)
        return expectation(self._reference.weights, rows)

    def update(self, previous: Policy, policy: Policy) -> None:
        """Record the update from the latest iterate to ``policy``; called before its :meth:`iterate`."""
        t = self._t - 1
        exact = self._oracle.exact_feedback(previous)
        base = self._algorithm.base_distribution
        log_pi, log_mu = previous.log_probs, self._oracle.log_base(previous, base)
        f = update_function(log_pi, policy.log_probs, self._algorithm.eta)
        pi = np.exp(log_pi)
        self._error[..., t] = regression_error(f, exact.signal, log_pi, log_mu, exact.weights)
        with np.errstate(invalid="ignore"):
            g = np.where(pi > 0, np.abs(f - expectation(pi, f)[..., None]), 0.0)
        g = np.where(np.isnan(g), np.inf, g)  # an action left the support: f and its mean are both -inf
        met = np.broadcast_to(exact.visited[..., None], g.shape)
        self._largest[..., t] = np.where(met, g, 0.0).max(axis=(-2, -1))
        bound = misfit_bound(self._shift(exact.weights, np.exp(log_mu)), self._error[..., t])
        unseen = ((self._reference.weights > 0) & ~exact.visited).any(axis=-1)  # no error there says anything
        self._misfit[..., t] = np.where(unseen, np.inf, bound)

    def _shift(self, weights: FloatArray, mu: FloatArray) -> FloatArray:
        """Return C_t: from the sampling distribution to d* x pi*, or to every policy in a game."""
        if self._is_game:  # the weights are the context distribution, unless rows are drawn from elsewhere
            with np.errstate(divide="ignore", invalid="ignore"):
                shift = self._reference.weights / weights
                ratio = np.where(shift[..., None] > 0, shift[..., None] / mu, 0.0)
            return np.asarray(ratio.max(axis=(-2, -1)))
        star = self._reference.policy
        assert star is not None
        joint = self._reference.weights[..., None] * star
        return concentrability(joint, weights[..., None] * mu)

    def trace(self, final: Policy, seed: int, n_seeds: int) -> Trace:
        """Return the finished trace, with every leading axis written out."""

        def full(array: FloatArray) -> FloatArray:
            return np.broadcast_to(array, (n_seeds, *array.shape[1:])) if array.shape[0] == 1 else array

        probs = None if self._probs is None else full(self._problem.from_rows(self._probs))
        return Trace(
            algorithm=self._algorithm.name,
            gap=full(self._gap),
            average_gap=full(self._average),
            regression_error=full(self._error),
            kl=full(self._kl),
            queries=full(self._queries),
            bound={k: full(v) for k, v in self._bounds().items()},
            final_policy=final,
            probs=probs,
            seed=seed,
            step_size=self._algorithm.eta,
            evaluation_error=self._evaluation_error,
        )

    def _bounds(self) -> dict[str, FloatArray]:
        t = np.arange(1, self._error.shape[-1] + 1)
        eta = self._algorithm.eta[..., None]
        scale = 2.0 if self._is_game else np.asarray(self._reference.mass)[..., None]
        terms = {
            "progress": scale * self._start[..., None] / (eta * t),
            "curvature": scale * curvature_bound(eta, np.maximum.accumulate(self._largest, axis=-1)),
            "misfit": scale * np.cumsum(self._misfit, axis=-1) / t,
        }
        terms = {k: np.broadcast_to(v, self._error.shape) for k, v in terms.items()}
        return {**terms, "total": terms["progress"] + terms["curvature"] + terms["misfit"]}
