"""A theory testbed for policy optimisation: REBEL, natural policy gradient and mirror descent on one core.

>>> import rebel_theory as rt
>>> bandit = rt.ContextualBandit([[1.0, 0.0, 0.5]])
>>> trace = rt.run(bandit, rt.Rebel(step_size=1.0), n_iterations=100)
>>> bool(trace.gap[0, -1] < 1e-20)
True
"""

from typing import Any

from rebel_theory.algorithms import (
    Algorithm,
    EuclideanMap,
    KLMap,
    MirrorDescent,
    NaturalPolicyGradient,
    Rebel,
    State,
    TsallisMap,
)
from rebel_theory.audit import audit
from rebel_theory.oracles import Counted, Exact, Offline, OfflineData, Oracle, Sampled
from rebel_theory.policies import (
    ConjugateGradient,
    Damped,
    Fixed,
    LogLinearPolicy,
    Mixture,
    OnPolicy,
    Policy,
    PseudoInverse,
    TabularPolicy,
    TanhPolicy,
    Uniform,
)
from rebel_theory.problems import (
    BernoulliNoise,
    ContextualBandit,
    FiniteHorizonMDP,
    GaussianNoise,
    InvalidProblemError,
    LinearMDP,
    LowRankGame,
    NoNoise,
    PreferenceGame,
    Problem,
    TabularMDP,
)
from rebel_theory.run import Comparison, compare, run
from rebel_theory.solvers.evaluation import Evaluation, evaluate
from rebel_theory.solvers.games import Winner, best_response, duality_gap, von_neumann_winner
from rebel_theory.solvers.optimal import Solution, solve
from rebel_theory.solvers.regularised import (
    RegularisedEquilibrium,
    regularised_duality_gap,
    regularised_equilibrium,
)
from rebel_theory.streaming import LinearPath, stream
from rebel_theory.theory.audit import Audit
from rebel_theory.theory.bounds import functional_step_size, npg_step_size, payoff_step_size, payoff_temperature
from rebel_theory.theory.divergences import concentrability, kl_divergence, total_variation
from rebel_theory.theory.identity import RegretTerms, regret_identity
from rebel_theory.theory.rates import RateFit, fit_rate
from rebel_theory.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "Algorithm",
    "Audit",
    "BernoulliNoise",
    "Comparison",
    "ConjugateGradient",
    "ContextualBandit",
    "Counted",
    "Damped",
    "EuclideanMap",
    "Evaluation",
    "Exact",
    "FiniteHorizonMDP",
    "Fixed",
    "GaussianNoise",
    "InvalidProblemError",
    "KLMap",
    "LinearMDP",
    "LinearPath",
    "LogLinearPolicy",
    "LowRankGame",
    "MirrorDescent",
    "Mixture",
    "NaturalPolicyGradient",
    "NoNoise",
    "Offline",
    "OfflineData",
    "OnPolicy",
    "Oracle",
    "Policy",
    "PreferenceGame",
    "Problem",
    "PseudoInverse",
    "RateFit",
    "Rebel",
    "RegretTerms",
    "RegularisedEquilibrium",
    "Sampled",
    "Solution",
    "State",
    "TabularMDP",
    "TabularPolicy",
    "TanhPolicy",
    "Trace",
    "TsallisMap",
    "Uniform",
    "Winner",
    "audit",
    "best_response",
    "compare",
    "concentrability",
    "duality_gap",
    "evaluate",
    "fit_rate",
    "functional_step_size",
    "kl_divergence",
    "npg_step_size",
    "payoff_step_size",
    "payoff_temperature",
    "regret_identity",
    "regularised_duality_gap",
    "regularised_equilibrium",
    "run",
    "solve",
    "stream",
    "total_variation",
    "von_neumann_winner",
]


def __getattr__(name: str) -> Any:
    """Return the algorithm class of that name: those beyond the first three load when they are first used."""
    from rebel_theory.algorithms.registry import by_class_name

    found = by_class_name().get(name) if not name.startswith("_") else None
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    from rebel_theory.algorithms.registry import by_class_name

    return sorted({*globals(), *by_class_name()})
