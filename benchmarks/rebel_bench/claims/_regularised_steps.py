"""What P4 and P5 say before their rates: the updates, and the policy that they go to, written out a second time.

Their bounds leave room (Nash-MD uses a thousandth of its own), and a wrong update may fit in. So its first iterates are
held against the formula of the paper, and the limit against its own equation, in plain NumPy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.instances import random_preferences, simplex
from rebel_theory.algorithms import Algorithm
from rebel_theory.arrays import FloatArray

ROLE = "update"  # in the column "what"
TOLERANCE = 1e-9  # total variation
ACTIONS, TEMPERATURES, N_INSTANCES, N_UPDATES = (2, 5), (0.2, 1.0, 4.0), 4, 5

Step = Callable[[FloatArray, FloatArray, FloatArray, float, int], FloatArray]  # log pi, log m, payoffs, tau, t: log pi'
Make = Callable[[float, FloatArray], Algorithm]


def cases(rng: Generator, make: Make, step: Step) -> pd.DataFrame:
    """Return the distances of iterates from ``step``'s, and of the regularised equilibrium from its own best answer."""
    rows = []
    for a in ACTIONS:
        for tau in TEMPERATURES:
            game = rt.PreferenceGame(random_preferences(rng, N_INSTANCES, 1, a))
            m, first = simplex(rng, N_INSTANCES, 1, a), simplex(rng, N_INSTANCES, 1, a)
            start = rt.TabularPolicy(np.log(first[None]))
            trace = rt.run(game, make(tau, m), n_iterations=N_UPDATES, policy=start, keep_policies=True)
            assert trace.probs is not None
            for i in range(N_INSTANCES):
                payoff, log_m, log_pi = 2 * game.preference[i, 0] - 1, np.log(m[i, 0]), np.log(first[i, 0])
                apart = 0.0
                for t in range(N_UPDATES):
                    log_pi = step(log_pi, log_m, payoff, tau, t)
                    log_pi = log_pi - np.log(np.exp(log_pi).sum())
                    apart = max(apart, 0.5 * float(np.abs(np.exp(log_pi) - trace.probs[0, i, t + 1, 0]).sum()))
                star = rt.regularised_equilibrium(rt.PreferenceGame(game.preference[i]), tau, m[i]).policy.reshape(-1)
                best = m[i, 0] * np.exp(payoff @ star / tau)
                off = 0.5 * float(np.abs(star - best / best.sum()).sum())
                shared = {"what": ROLE, "instance": i, "n_actions": a, "temperature": tau, "bound": TOLERANCE}
                rows.append(shared | {"n_updates": N_UPDATES, "value": max(apart, off)})
    return pd.DataFrame(rows)


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Return the cases of the rate, for figures."""
    return table[table["what"] != ROLE] if "what" in table else table
