"""What is solved: bandits, MDPs, linear MDPs, preference games; validated and frozen."""

from rebel_theory.problems.bandit import BernoulliNoise, ContextualBandit, GaussianNoise, Noise, NoNoise
from rebel_theory.problems.base import InvalidProblemError, Problem
from rebel_theory.problems.game import Game, LowRankGame, PreferenceGame
from rebel_theory.problems.horizon import FiniteHorizonMDP
from rebel_theory.problems.linear import LinearMDP
from rebel_theory.problems.mdp import TabularMDP

__all__ = [
    "BernoulliNoise",
    "ContextualBandit",
    "FiniteHorizonMDP",
    "Game",
    "GaussianNoise",
    "InvalidProblemError",
    "LinearMDP",
    "LowRankGame",
    "NoNoise",
    "Noise",
    "PreferenceGame",
    "Problem",
    "TabularMDP",
]
