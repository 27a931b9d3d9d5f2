"""One algorithm, one file."""

from rebel_theory.algorithms.base import Algorithm, State
from rebel_theory.algorithms.mirror_descent import MirrorDescent
from rebel_theory.algorithms.mirror_maps import EuclideanMap, KLMap, MirrorMap, TsallisMap
from rebel_theory.algorithms.npg import NaturalPolicyGradient
from rebel_theory.algorithms.rebel import Rebel

__all__ = [
    "Algorithm",
    "EuclideanMap",
    "KLMap",
    "MirrorDescent",
    "MirrorMap",
    "NaturalPolicyGradient",
    "Rebel",
    "State",
    "TsallisMap",
]
