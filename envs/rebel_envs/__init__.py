"""Constructors and importers of problems for rebel_theory: ``import rebel_envs as envs``.

Bandits, MDPs, linear MDPs, preference games; Gymnasium's transition tables, ICU-Sepsis, win matrices; and
:func:`make`, which finds them by name. Importing the package needs NumPy only; the importers load the rest.
"""

if __name__ != "rebel_envs":
    raise ImportError(
        f"this package is called rebel_envs, not {__name__}: write `import rebel_envs as envs` (install "
        "the project, or "
        "put its folder envs/ on the path); under two names its classes would exist twice and not be equal"
    )

from rebel_envs.bandits import (
    ShiftInstance,
    equal_gaps_bandit,
    hard_arm_bandit,
    random_bandit,
    shift_bandit,
    worst_case_bandit,
)
from rebel_envs.chains import chain, combination_lock, river_swim
from rebel_envs.contextual_bandits import neural_bandit, random_feature_bandit
from rebel_envs.deep_seas import deep_sea, deep_sea_finite_horizon
from rebel_envs.games import contextual_cycle, contextual_game, disc_game, random_game, rock_paper_scissors
from rebel_envs.gridworlds import gridworld
from rebel_envs.gymnasium_tables import from_gymnasium
from rebel_envs.icu import icu_sepsis
from rebel_envs.linear_mdps import hard_linear_mdp, low_rank_garnet, simplex_linear_mdp
from rebel_envs.random_mdps import garnet, random_finite_horizon, random_mdp
from rebel_envs.raters import condorcet_cycle, random_bradley_terry_game, random_rater_mixture, rater_mixture
from rebel_envs.registry import describe, make, names
from rebel_envs.type_chart import type_chart
from rebel_envs.win_matrices import NamedGame, from_win_matrix

__all__ = [
    "NamedGame",
    "ShiftInstance",
    "chain",
    "combination_lock",
    "condorcet_cycle",
    "contextual_cycle",
    "contextual_game",
    "deep_sea",
    "deep_sea_finite_horizon",
    "describe",
    "disc_game",
    "equal_gaps_bandit",
    "from_gymnasium",
    "from_win_matrix",
    "garnet",
    "gridworld",
    "hard_arm_bandit",
    "hard_linear_mdp",
    "icu_sepsis",
    "low_rank_garnet",
    "make",
    "names",
    "neural_bandit",
    "random_bandit",
    "random_bradley_terry_game",
    "random_feature_bandit",
    "random_finite_horizon",
    "random_game",
    "random_mdp",
    "random_rater_mixture",
    "rater_mixture",
    "river_swim",
    "rock_paper_scissors",
    "shift_bandit",
    "simplex_linear_mdp",
    "type_chart",
    "worst_case_bandit",
]
