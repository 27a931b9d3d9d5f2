"""Each inner method of policy evaluation by itself: what ``rt.evaluate`` chooses from, without the choosing.

Every one checks the policy and gives V, Q, the occupancy and a certified error of V, as ``rt.evaluate`` does, by the
same kernels and to the same tolerance; only the trying of other methods is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rebel_theory.arrays import FloatArray
from rebel_theory.problems import TabularMDP
from rebel_theory.solvers import chains
from rebel_theory.solvers.chains import TOLERANCE
from rebel_theory.solvers.sparse_chains import SparseChain
from rebel_theory.solvers.transitions import transitions

_SWEEPS = 20_000  # and no more: a method that has not converged is reported as one that differs
_ROUNDS = 100
_UNIT = np.finfo(np.float64).eps / 2
_BAND_ENTRIES = 64_000_000
_BAND_WORK = 4e9  # multiplications; more would take seconds


def alone(mdp: TabularMDP, pi: FloatArray) -> dict[str, Callable[[], Any]]:
    """Return the methods that this MDP's chain has, by name."""
    p = transitions(mdp)
    if p.dense is not None:
        return {"sweeps": lambda: _whole(mdp, pi, _dense_sweeps)}
    from rebel_theory.kernels.chain_systems import bandwidth

    lower, upper = bandwidth(*_chain(mdp, pi).csr[1:])
    n = float(mdp.n_states)
    narrow = n * lower * (upper + 1) < _BAND_WORK and n * (lower + upper + 1) < _BAND_ENTRIES
    found = {"sweeps": _sweeps, "Gauss-Seidel": _gauss_seidel, "bicgstab": _bicgstab}
    if narrow:
        found["band"] = _band
    return {name: partial(_whole, mdp, pi, partial(_sparse, method)) for name, method in found.items()}


def _whole(mdp: TabularMDP, pi: FloatArray, method: Callable[[TabularMDP, FloatArray], chains.Found]) -> Any:
    """Return (V, Q, occupancy, objective, error): what stands around the method in ``rt.evaluate``."""
    found = method(mdp, mdp.policy_rows(pi))
    occupancy = found.visits / found.visits.sum()
    return found.values, found.q_values, occupancy, mdp.initial_dist @ found.values, found.error_bound


def _chain(mdp: TabularMDP, pi: FloatArray) -> SparseChain:
    return SparseChain(transitions(mdp), pi, np.einsum("sa,sa->s", pi, mdp.reward), mdp.discount, TOLERANCE)


def _sparse(method: Callable[..., None], mdp: TabularMDP, pi: FloatArray) -> chains.Found:
    w, d = np.zeros(mdp.n_states), np.zeros(mdp.n_states)
    method(_chain(mdp, pi), w, d, mdp.initial_dist)
    return chains._certify(transitions(mdp), pi, mdp.reward, mdp.discount, w, d, "")


def _sweeps(chain: SparseChain, w: FloatArray, d: FloatArray, start: FloatArray) -> None:
    from rebel_theory.kernels.visits import forward_csr

    _, limit = chain._sweep(w, 0.0, 1)
    for _ in range(_ROUNDS):
        span, limit = chain._sweep(w, limit, _SWEEPS // _ROUNDS)
        if span <= limit:
            break
    small = max(4 * _UNIT, 0.1 * chain.tolerance) / (1 - chain.gamma)
    forward_csr(*chain.csr, chain.gamma, start, d, np.empty_like(d), small, _SWEEPS)


def _gauss_seidel(chain: SparseChain, w: FloatArray, d: FloatArray, start: FloatArray) -> None:
    _repeat(chain, lambda limit: chain._gauss_seidel(w, limit, 20), w)
    chain._visits(d, start, krylov=False)


def _bicgstab(chain: SparseChain, w: FloatArray, d: FloatArray, start: FloatArray) -> None:
    _repeat(chain, lambda limit: chain._krylov(w, limit, 2_000), w)
    chain._visits(d, start, krylov=True)


def _repeat(chain: SparseChain, step: Callable[[float], float], w: FloatArray) -> None:
    """Step until the span is small enough, or a step does not lessen it."""
    span, limit = chain._sweep(w, 0.0, 1)
    for _ in range(_ROUNDS):
        saved, before = w.copy(), span
        step(limit)
        span, limit = chain._sweep(w, 0.0, 0)
        if not span < before:
            w[:] = saved
        if not limit < span < before:
            return


def _band(chain: SparseChain, w: FloatArray, d: FloatArray, start: FloatArray) -> None:
    from rebel_theory.kernels.chain_systems import bandwidth

    chain._band(w, d, start, *bandwidth(*chain.csr[1:]))


def _dense_sweeps(mdp: TabularMDP, pi: FloatArray) -> chains.Found:
    from rebel_theory.kernels.chains import mix_dense, sweep_dense

    p, gamma, s = transitions(mdp), mdp.discount, mdp.n_states
    mean = np.einsum("sa,sa->s", pi, mdp.reward)
    w, d, p_pi = np.zeros(s), np.zeros(s), chains._scratch(s)
    mix_dense(pi, p.dense, p_pi)
    sweep_dense(p_pi, mean, mdp.initial_dist, gamma, TOLERANCE, w, d, np.empty(s), np.empty(s), _SWEEPS)
    return chains._certify(p, pi, mdp.reward, gamma, w, d, "")
