"""ICU-Sepsis: a treatment MDP estimated from intensive-care records."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rebel_theory.problems import Problem, TabularMDP


def icu_sepsis(*, discount: float = 1.0, sparse: bool = False) -> TabularMDP:
    """Return ICU-Sepsis: 716 states, 25 actions, reward 1 for survival.

    Choudhary, Gupta and Thomas (2024, arXiv:2406.05646), from the data files of the package ``icu-sepsis``.
    States 0 to 712 are patients under treatment, 713 death, 714 survival, 715 the absorbing end that both
    lead to; the reward is 1 on entering 714. Actions are 5 x 5 levels of fluids and vasopressors.
    Inadmissible actions behave as in the package's default ("mean"): their rows already hold the mean over
    the state's admissible actions.

    With ``discount=1``, the package's default, the value of a policy is its probability of survival.

    Parameters
    ----------
    discount : float in [0, 1]
        gamma.
    sparse : bool
        CSR transition of shape (S * A, S); 12 percent of the entries are not zero.

    Raises
    ------
    ImportError
        The package is not installed; the message names the extra.

    Examples
    --------
    >>> icu_sepsis().policy_shape  # doctest: +SKIP
    (716, 25)
    """
    with np.load(dynamics_file()) as data:
        transition, first = data["tx_mat"], data["d_0"]  # (S, A, S), (S,)
        reward = np.einsum("sat,sat->sa", transition, data["r_mat"])  # expected over the next state
    if sparse:
        from scipy.sparse import csr_array

        transition = csr_array(transition.reshape(-1, transition.shape[-1]))
    return TabularMDP(transition, reward, discount=discount, initial_dist=first)


def dynamics_file() -> Path:
    """Return the package's data file without importing the package (its import warns about gym)."""
    spec = importlib.util.find_spec("icu_sepsis")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "icu_sepsis() reads the data of the package icu-sepsis, which is not installed: "
            'pip install "rebel-theory[icu]"'
        )
    path = Path(spec.submodule_search_locations[0]) / "envs" / "assets" / "dynamics.npz"
    if not path.exists():
        raise ImportError(
            "icu_sepsis() needs icu-sepsis 2.0 or newer (no envs/assets/dynamics.npz in this one): "
            'pip install --upgrade "rebel-theory[icu]"'
        )
    return path


EXAMPLES: Mapping[str, Callable[..., Problem]] = {"icu-sepsis": icu_sepsis}
