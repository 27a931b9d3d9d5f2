"""What is learned: each policy class knows its own regression, natural step and projection."""

from rebel_theory.policies.base import Policy
from rebel_theory.policies.bases import Base, BaseLike, Fixed, Mixture, OnPolicy, Uniform, as_base
from rebel_theory.policies.log_linear import LogLinearPolicy
from rebel_theory.policies.natural import ConjugateGradient, Damped, FisherSolver, PseudoInverse
from rebel_theory.policies.parametric import ParametricPolicy
from rebel_theory.policies.tabular import TabularPolicy
from rebel_theory.policies.tanh import TanhPolicy

__all__ = [
    "Base",
    "BaseLike",
    "ConjugateGradient",
    "Damped",
    "FisherSolver",
    "Fixed",
    "LogLinearPolicy",
    "Mixture",
    "OnPolicy",
    "ParametricPolicy",
    "Policy",
    "PseudoInverse",
    "TabularPolicy",
    "TanhPolicy",
    "Uniform",
    "as_base",
]
