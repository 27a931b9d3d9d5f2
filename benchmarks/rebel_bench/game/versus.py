"""Any algorithms in self-play on one win matrix: gaps of last and average iterates, and who is played."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import rebel_theory as rt
from rebel_bench.algorithm_specs import Spec
from rebel_bench.errors import UserError
from rebel_bench.game.analysis import AT_EQUILIBRIUM, Analysis, Progress
from rebel_theory.arrays import FloatArray, IntArray

DEFAULT_STEP = 0.1  # within OMWU's condition (1/8), and MMD's at the default temperature of 0.1
PLAYED = 0.01  # probability from which a name counts as played: every iterate here has full support
_POINTS = 1500  # of a gap curve, spread evenly over the logarithm of t
_LARGEST_KEPT = 50_000_000  # probabilities of all iterates of one algorithm, for its path


@dataclass(frozen=True, eq=False)
class Contender:
    """One algorithm's self-play.

    Attributes
    ----------
    name, temperature
        The temperature is that of its regularised game, None where it plays the game itself.
    last, average : shape (n_seeds, T + 1)
        Duality gap (payoffs) of the policy after t updates, and of the average of the first t + 1 policies.
    final : shape (n_seeds, n)
        The last policies.
    paths : shape (2, T + 1, n), or None
        Iterates and running averages of the first seed, where they are few enough to keep.
    regularised : shape (n_seeds,), or None
        Regularised duality gap (payoffs) of the last policies.
    bias : float or None
        Duality gap of the regularised equilibrium: how far from the winner the temperature keeps the limit.
    """

    name: str
    temperature: float | None
    last: FloatArray
    average: FloatArray
    final: FloatArray
    paths: FloatArray | None
    regularised: FloatArray | None
    bias: float | None


@dataclass(frozen=True, eq=False)
class Versus:
    """The comparison, with what all of them share."""

    contenders: tuple[Contender, ...]
    step_size: float
    n_iterations: int
    n_pairs: int | None
    seed: int
    first: FloatArray  # (n,)

    @property
    def n_seeds(self) -> int:
        """Number of seeds, 1 where feedback is exact."""
        return len(self.contenders[0].last)


def drawn_updates(n_iterations: int) -> IntArray:
    """Return the updates at which gaps are drawn, from the first."""
    return np.unique(np.geomspace(1, n_iterations, _POINTS).round().astype(int))


def first_policy(game: rt.PreferenceGame) -> FloatArray:
    """Return the uniform policy (n,), or where that is a winner two shares for the first name, one for every other."""
    n = game.n_actions
    uniform = np.full(n, 1 / n)
    if float(rt.duality_gap(game, uniform)) > AT_EQUILIBRIUM:
        return uniform
    return np.append(2.0, np.ones(n - 1)) / (n + 1)


def make(specs: Sequence[Spec], step_size: float, temperature: float | None) -> dict[str, rt.Algorithm]:
    """Return algorithms by label; ``temperature`` goes to each that has one and was not given its own.

    Raises
    ------
    UserError
        For options that an algorithm does not accept, or a temperature that nobody takes.
    """
    regularised = [s for s in specs if "temperature" in {f.name for f in dataclasses.fields(s.kind)}]  # type: ignore[arg-type]
    if temperature is not None and not regularised:
        raise UserError(
            f"--temperature {temperature:g}: none of {', '.join(s.label for s in specs)} takes one; "
            "leave it out, or add mmd, nash-md or egpo to --algorithms"
        )
    shared = {} if temperature is None else {"temperature": temperature}
    return {
        s.label: (dataclasses.replace(s, options=shared | s.options) if s in regularised else s).make(step_size)
        for s in specs
    }


def oracle_of(n_pairs: int | None) -> rt.Oracle:
    """Return exact feedback, or ``n_pairs`` pairs an update."""
    return rt.Exact() if n_pairs is None else rt.Sampled(n_pairs)


def check(game: rt.PreferenceGame, algorithms: dict[str, rt.Algorithm], n_pairs: int | None) -> None:
    """Raise one UserError with the reasons of all algorithms that cannot run on the game with this feedback."""
    reasons = {name: made.refuses(game, oracle_of(n_pairs)) for name, made in algorithms.items()}
    bad = [f"{name} cannot run here: {reason}" for name, reason in reasons.items() if reason is not None]
    if bad:
        raise UserError("\n".join(bad))


def compare(
    game: rt.PreferenceGame,
    algorithms: dict[str, rt.Algorithm],
    *,
    step_size: float,
    n_iterations: int,
    n_pairs: int | None = None,
    n_seeds: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Versus:
    """Return the self-play of all algorithms from one first policy that is no winner."""
    first = first_policy(game)
    keep = (n_iterations + 1) * n_seeds * game.n_actions <= _LARGEST_KEPT
    found = []
    for name, algorithm in algorithms.items():
        trace = rt.run(
            game, algorithm, n_iterations=n_iterations, policy=rt.TabularPolicy.from_probs(first[None]),
            oracle=oracle_of(n_pairs), n_seeds=n_seeds, seed=seed, keep_policies=keep, progress=progress,
        )  # fmt: skip
        found.append(_contender(game, name, algorithm, trace, first))
    return Versus(tuple(found), step_size, n_iterations, n_pairs, seed, first)


def _contender(
    game: rt.PreferenceGame, name: str, algorithm: rt.Algorithm, trace: rt.Trace, first: FloatArray
) -> Contender:
    final = trace.final_policy.probs[:, 0]  # (n_seeds, n)
    paths = None
    if trace.probs is not None:
        iterates = trace.probs[0, :, 0]  # (T + 1, n)
        paths = np.stack([iterates, np.cumsum(iterates, axis=0) / np.arange(1, len(iterates) + 1)[:, None]])
    temperature, reference = _regularisation(game, algorithm, first)
    regularised = bias = None
    if temperature is not None:
        regularised = rt.regularised_duality_gap(game, final[:, None], temperature, reference)
        bias = _bias(game, temperature, reference)
    return Contender(name, temperature, trace.gap, trace.average_gap, final, paths, regularised, bias)


def _regularisation(
    game: rt.PreferenceGame, algorithm: Any, first: FloatArray
) -> tuple[float | None, FloatArray | None]:
    """Return the temperature of an algorithm's regularised game and its reference (n,), or None twice."""
    temperature = getattr(algorithm, "temperature", None)
    if not isinstance(temperature, (int, float)) or not temperature > 0:
        return None, None
    reference = getattr(algorithm, "reference", "uniform")
    if isinstance(reference, str):
        return float(temperature), first if reference == "first" else np.full(first.shape, 1 / len(first))
    probs = np.asarray(getattr(reference, "probs", reference), dtype=float)
    return float(temperature), probs.reshape(first.shape)


def _bias(game: rt.PreferenceGame, temperature: float, reference: FloatArray | None) -> float | None:
    """Return the duality gap of the regularised equilibrium; None where rounding does not let it be certified."""
    try:
        return float(rt.duality_gap(game, rt.regularised_equilibrium(game, temperature, reference).policy))
    except FloatingPointError:
        return None


def played(probs: FloatArray) -> FloatArray:
    """Return how many names have a probability of at least ``PLAYED``, (...)."""
    count: FloatArray = (probs >= PLAYED).sum(axis=-1)
    return count


def outside(found: Analysis, probs: FloatArray) -> FloatArray:
    """Return how often a policy plays what the von Neumann winner does not, (...)."""
    mass: FloatArray = probs[..., ~found.winner.support].sum(axis=-1)
    return mass
