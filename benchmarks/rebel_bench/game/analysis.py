"""The facts of a win matrix, each from the library, in one frozen record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rebel_bench.streams import stream
from rebel_envs.win_matrices import NamedGame
from rebel_theory.algorithms import Rebel
from rebel_theory.arrays import FloatArray
from rebel_theory.policies import TabularPolicy
from rebel_theory.run import run
from rebel_theory.solvers.games import Winner, best_response, duality_gap, von_neumann_winner, winner_ranges
from rebel_theory.theory.bounds import self_play_regret_bound, self_play_step_size
from rebel_theory.theory.bradley_terry import BradleyTerryFit, bradley_terry
from rebel_theory.theory.cycle_test import CycleTest, likelihood_ratio_bootstrap
from rebel_theory.theory.tournament import TIE_TOLERANCE, condorcet_winner, smith_set, three_cycles

RIDGE = 0.1  # a Gaussian prior of variance 10 on strengths: 3 log-odds either way are still likely
NEAR = 1e-6  # payoff that a near-winner may lose: the precision of a matrix printed with six decimals
WELL_DETERMINED = 0.01  # widest range of a probability among near-winners that still counts as determined
MAX_RANGES = 120  # names; beyond, two linear programs per name take longer than all the rest
EXPLOITABLE = 1e-12  # payoff above rounding: 100 names add up errors of about 1e-14
AT_EQUILIBRIUM = 1e-9  # duality gap below which self-play from uniform would stand still

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Tournament:
    """Who beats whom more often than not."""

    condorcet: int | None
    smith: tuple[int, ...]
    n_cycles: int
    n_triples: int
    n_ties: int  # pairs at exactly 1/2


@dataclass(frozen=True, eq=False)
class Strengths:
    """The Bradley-Terry fit, why it is not maximum likelihood if it is not, and the test of the cycles."""

    fit: BradleyTerryFit
    no_maximum: str | None  # why the maximum-likelihood strengths do not exist
    test: CycleTest | None
    no_test: str | None  # why there is no p-value

    @property
    def ranking(self) -> tuple[int, ...]:
        """Names' indices, strongest first; equal strengths in the order of the file."""
        return tuple(int(i) for i in np.argsort(-self.fit.strengths, kind="stable"))


@dataclass(frozen=True)
class Gap:
    """The duality gap of one policy, and who exploits it."""

    key: str
    policy: str
    plays: str
    gap: float  # in payoffs l = 2 P - 1
    opponent: int | None  # None where nobody wins more than half of the time

    @property
    def win_gap(self) -> float:
        """The gap when wins pay 1 and losses 0: max_y P(y, pi) - min_y P(pi, y)."""
        return self.gap / 2

    @property
    def win_rate(self) -> float:
        """How often the strongest opponent wins."""
        return 0.5 + self.gap / 4


@dataclass(frozen=True, eq=False)
class SelfPlay:
    """Exact preference REBEL in self-play: what it reached and what was guaranteed.

    Attributes
    ----------
    step_size, n_iterations : eta and T
    default_step : whether eta is sqrt(2 ln n / T)
    uniform_start : False where the uniform policy is a winner, and the start had to be moved off it
    last : shape (T + 1,), duality gap (payoffs) of the policy after t updates
    average : shape (T,), duality gap of the average of the first t = 1..T policies
    bound : shape (T,), 2 (max_y ln 1/pi_1(y) / (eta t) + eta / 2) on ``average``; for the default step and a
        uniform start its last entry is 2 sqrt(2 ln n / T)
    probs : shape (T + 1, 3), the policies of a game of three, else None
    """

    step_size: float
    n_iterations: int
    default_step: bool
    uniform_start: bool
    last: FloatArray
    average: FloatArray
    bound: FloatArray
    probs: FloatArray | None

    @property
    def holds(self) -> bool:
        """Whether the average stayed within its bound at every t, up to rounding."""
        return bool((self.average <= self.bound * (1 + 1e-9)).all())


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything that is reported about one game."""

    game: NamedGame
    prior: float
    seed: int
    tournament: Tournament
    strengths: Strengths
    winner: Winner
    ranges: tuple[FloatArray, FloatArray] | None  # None beyond MAX_RANGES names
    gaps: tuple[Gap, ...]
    self_play: SelfPlay

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the file."""
        return self.game.names

    @property
    def support(self) -> tuple[int, ...]:
        """Who the winner plays, most often first."""
        order = np.argsort(-self.winner.policy, kind="stable")
        return tuple(int(i) for i in order if self.winner.support[i])

    @property
    def games_per_pair(self) -> FloatArray:
        """Games of every pair, shape (n (n - 1) / 2,); empty for probabilities."""
        counts = self.game.counts
        if counts is None:
            return np.empty(0)
        games: FloatArray = (counts + counts.T)[np.triu_indices(len(counts), 1)]
        return games

    @property
    def width(self) -> float | None:
        """Widest range of one probability among the near-winners."""
        return None if self.ranges is None else float((self.ranges[1] - self.ranges[0]).max())


def analyse(
    game: NamedGame,
    *,
    prior: float = 0.0,
    n_iterations: int = 2000,
    step_size: float | None = None,
    n_bootstrap: int = 999,
    seed: int = 0,
    progress: Progress | None = None,
) -> Analysis:
    """Return all facts of ``game``; ``prior`` is the one it was read with. Only the bootstrap is random."""
    winner = von_neumann_winner(game)
    strengths = _strengths(game, n_bootstrap, seed)
    return Analysis(
        game=game,
        prior=prior,
        seed=seed,
        tournament=_tournament(game),
        strengths=strengths,
        winner=winner,
        ranges=winner_ranges(game, tolerance=NEAR) if game.n_actions <= MAX_RANGES else None,
        gaps=_gaps(game, strengths.fit, winner),
        self_play=_self_play(game, n_iterations, step_size, progress),
    )


def _tournament(game: NamedGame) -> Tournament:
    tied = np.triu(np.abs(game.preference[0] - 0.5) <= TIE_TOLERANCE, 1)
    return Tournament(
        condorcet=condorcet_winner(game),
        smith=smith_set(game),
        n_cycles=three_cycles(game),
        n_triples=math.comb(game.n_actions, 3),
        n_ties=int(tied.sum()),
    )


def _strengths(game: NamedGame, n_bootstrap: int, seed: int) -> Strengths:
    wins = game.preference[0] if game.counts is None else game.counts
    no_maximum = None
    try:
        fit = bradley_terry(wins, names=game.names)
    except ValueError as error:  # InvalidProblemError cannot happen: the importer checked more
        no_maximum = _reason(error)
        fit = bradley_terry(wins, ridge=RIDGE, names=game.names)
    no_test = _no_test(game, n_bootstrap)
    if no_test is not None:
        return Strengths(fit, no_maximum, None, no_test)
    rng = stream("game", "likelihood-ratio-bootstrap", seed=seed)
    try:
        test = likelihood_ratio_bootstrap(wins, n_bootstrap=n_bootstrap, rng=rng, names=game.names)
    except ValueError as error:  # groups that were never compared, seen only with a prior
        return Strengths(fit, no_maximum, None, f"No p-value: {_reason(error)}.")
    return Strengths(fit, no_maximum, test, None)


def _no_test(game: NamedGame, n_bootstrap: int) -> str | None:
    """Return why the noise test cannot be made, as a sentence."""
    if game.counts is None:
        return (
            "No p-value: the file holds probabilities, and without the numbers of games nobody can tell whether "
            "the cycles exceed sampling noise. Give win counts to have it tested."
        )
    if (game.counts != np.round(game.counts)).any():
        return "No p-value: some counts are halves (ties), and the test draws whole wins. Leave the ties out to test."
    if n_bootstrap == 0:
        return "No p-value: the test was switched off by --bootstrap 0."
    return None


def _reason(error: ValueError) -> str:
    """Return what the library found, without its advice for Python callers."""
    return str(error).split(": set ridge", 1)[0].split(": add comparisons", 1)[0]


def _gaps(game: NamedGame, fit: BradleyTerryFit, winner: Winner) -> tuple[Gap, ...]:
    n, names = game.n_actions, game.names
    vertices = np.eye(n)
    best_pure = int(duality_gap(game, vertices[:, None, :]).argmin())
    odds = np.exp(fit.strengths - fit.strengths.max())
    policies = (
        ("uniform", "uniform", f"1/{n} each", np.full(n, 1 / n)),
        ("best_pure", "best pure arm", f"always {names[best_pure]}", vertices[best_pure]),
        ("bradley_terry_arm", "best Bradley-Terry arm", f"always {names[fit.best]}", vertices[fit.best]),
        ("bradley_terry_softmax", "Bradley-Terry softmax", "exp(strength)", odds / odds.sum()),
        ("von_neumann", "von Neumann winner", f"{int(winner.support.sum())} of {n} names", winner.policy),
    )
    found = []
    for key, policy, plays, probs in policies:
        opponent, payoff = best_response(game, probs)
        beaten = float(payoff) > EXPLOITABLE
        found.append(Gap(key, policy, plays, float(duality_gap(game, probs)), int(opponent[0]) if beaten else None))
    return tuple(found)


def _self_play(game: NamedGame, t: int, step_size: float | None, progress: Progress | None) -> SelfPlay:
    n = game.n_actions
    eta = self_play_step_size(n, t) if step_size is None else step_size
    first = np.full(n, 1 / n)
    uniform_start = float(duality_gap(game, first)) > AT_EQUILIBRIUM
    if not uniform_start:  # two shares for the first name, one for every other
        first = np.append(2.0, np.ones(n - 1)) / (n + 1)
    trace = run(
        game, Rebel(eta), n_iterations=t, policy=TabularPolicy.from_probs(first[None]),
        keep_policies=n == 3, progress=progress,
    )  # fmt: skip
    farthest = -math.log(first.min())  # max over comparators of KL(. || pi_1); ln n from uniform
    return SelfPlay(
        step_size=eta,
        n_iterations=t,
        default_step=step_size is None,
        uniform_start=uniform_start,
        last=trace.gap[0],
        average=trace.average_gap[0, :t],
        bound=self_play_regret_bound(farthest, eta, np.arange(1, t + 1), 1.0, 0.0),
        probs=None if trace.probs is None else trace.probs[0].reshape(t + 1, n),
    )
