"""Preference games solved exactly: von Neumann winner by linear programming, best responses, duality gap.

Every game here is symmetric and zero-sum (l(x, y, z) = -l(x, z, y)), so its value is 0 in every context and
the duality gap of one policy is a complete certificate: gap 0 if and only if the policy is a winner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_theory.arrays import BoolArray, FloatArray, IntArray, expectation, frozen
from rebel_theory.problems.game import Game, PreferenceGame
from rebel_theory.solvers.evaluation import HasProbs

# Payoffs are scaled to max |l| = 1 before they meet these. An exactly degenerate game typed in decimals is
# degenerate to about 1e-16 per entry; 1e-12 a row leaves room for the rounding of its singular values.
NULL_TOLERANCE = 1e-12  # times the support's size: a singular value below is zero
RANK_TOLERANCE = 1e-9  # a singular value above is not zero; between the two, uniqueness is left undecided
MARGIN_TOLERANCE = 1e-9  # smallest probability in the support, and smallest loss outside, that count as positive
_LP_TOLERANCE = 1e-10  # the tightest that HiGHS accepts


@dataclass(frozen=True, slots=True, eq=False)
class Winner:
    """A von Neumann winner (minimax winner, maximal lottery) with its certificate.

    Attributes
    ----------
    policy : shape (Y,), or (X, Y) for a contextual game
        Read-only. Where winners are many this is one from the relative interior of their set.
    gap : float
        Duality gap of ``policy``, by :func:`duality_gap`: no opponent wins more than ``gap / 2`` on average.
    unique : bool or None
        True if no other winner exists, False if one does (in some context), None where rounding cannot tell:
        a game within about 1e-9 of the border. The conjunction of ``unique_by_context``. Unique is not the
        same as well determined: see :func:`winner_ranges`.
    unique_by_context : one bool or None per context
    support : boolean, shape of ``policy``
        Actions played. Where ``unique`` is not None this is the *essential set*: the actions that some winner
        plays; every action outside loses strictly against ``policy``.
    margin : float
        Smallest probability in the support or loss outside it (of payoffs scaled to a largest of 1), over all
        contexts; it certifies ``support``. 0 where ``unique`` is None.
    """

    policy: FloatArray
    gap: float
    unique: bool | None
    unique_by_context: tuple[bool | None, ...]
    support: BoolArray
    margin: float


def von_neumann_winner(game: PreferenceGame) -> Winner:
    r"""Return a policy that no policy beats, with its gap and whether it is the only one.

    Per context, with l = 2 P - 1 the winners are :math:`\{\pi : l \pi \le 0\}`. One linear program finds the
    winner with the largest t such that :math:`\pi_y - (l \pi)_y \ge t` for every y. By Goldman and Tucker
    (1956) t > 0 is attained, which makes :math:`\pi` strictly complementary: with its support E, an action
    outside E is played by no winner and every winner solves :math:`l_{EE} \pi_E = 0`. Hence the set of
    winners has dimension :math:`\dim \ker l_{EE} - 1`, and the winner is unique if and only if that kernel is
    a line. (A skew matrix has even rank, so a unique winner has odd support.) The textbook program, half as large,
    is tried first: its solution is strictly complementary if the winner is unique. The solution is projected on
    the kernel, which takes the program's 1e-10 to rounding error, and the sign conditions are checked again
    afterwards: the answer rests on them, not on the solver's tolerances.

    Tolerances, on payoffs scaled to max |l| = 1: singular values up to 1e-12 \|E\| are zero, above 1e-9 are
    not; probabilities and losses above 1e-9 are positive. Anything between gives ``unique=None``.

    Raises
    ------
    ValueError
        For a batch of games.

    References
    ----------
    Fishburn 1984 (maximal lotteries); Dudik et al. 2015, arXiv:1502.06362 (von Neumann winner).

    Examples
    --------
    Rock-paper-scissors where rock beats scissors only 3 times in 4: each plays the payoff of the other two.

    >>> game = PreferenceGame([[0.5, 0.0, 0.75], [1.0, 0.5, 0.0], [0.25, 1.0, 0.5]])
    >>> winner = von_neumann_winner(game)
    >>> winner.policy.round(3).tolist(), winner.unique
    ([0.4, 0.2, 0.4], True)
    """
    if not isinstance(game, PreferenceGame):
        raise TypeError(f"von_neumann_winner takes a PreferenceGame, not {type(game).__name__}: pass its dense() form")
    if game.batch_shape:
        raise ValueError(
            f"von_neumann_winner takes one game, got a batch of shape {game.batch_shape}: "
            "solve them one by one, as PreferenceGame(game.preference[i])"
        )
    solved = [_solve_context(payoff) for payoff in game.payoff]
    policy = np.stack([pi for pi, _, _ in solved])  # (X, Y)
    decisions = tuple(unique for _, unique, _ in solved)
    shown = policy if game.contextual else policy[0]
    return Winner(
        policy=frozen(shown),
        gap=float(duality_gap(game, policy)),
        unique=False if False in decisions else None if None in decisions else True,
        unique_by_context=decisions,
        support=frozen(shown > 0, np.bool_),
        margin=min(margin for _, _, margin in solved),
    )


def winner_ranges(game: PreferenceGame, *, tolerance: float = 1e-6) -> tuple[FloatArray, FloatArray]:
    r"""Return the least and greatest probability of every action among the near-winners, each (Y,) or (X, Y).

    Near-winners are the policies with :math:`\max_y (l \pi)_y \le` ``tolerance``, a gap of at most twice
    that. A winner can be unique and still be badly determined: on a flat game, policies far from it lose next
    to nothing, and an error of that order in the preferences can move it through these ranges. Where they
    are wide, report the gap of a policy and not its distance to the winner. Two linear programs per action.

    Raises
    ------
    ValueError
        For a batch of games or a negative tolerance.

    Examples
    --------
    When everything is tied, every policy is a winner:

    >>> lower, upper = winner_ranges(PreferenceGame([[0.5, 0.5], [0.5, 0.5]]))
    >>> lower.tolist(), upper.tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    if game.batch_shape:
        raise ValueError(
            f"winner_ranges takes one game, got a batch of shape {game.batch_shape}: solve them one by one"
        )
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}, expected a payoff >= 0: 1e-6 is the default")
    from scipy.optimize import linprog

    n = game.n_actions
    ends = np.empty((2, game.n_contexts, n))
    for x, payoff in enumerate(game.payoff):
        for y in range(n):
            for end, sign in enumerate((1.0, -1.0)):
                result = linprog(
                    sign * np.eye(n)[y],
                    A_ub=payoff,
                    b_ub=np.full(n, tolerance),
                    A_eq=np.ones((1, n)),
                    b_eq=[1.0],
                    method="highs",
                    options={
                        "primal_feasibility_tolerance": _LP_TOLERANCE,
                        "dual_feasibility_tolerance": _LP_TOLERANCE,
                    },
                )
                if result.x is None:
                    raise RuntimeError(
                        f"the linear program of context {x}, action {y} failed ({result.message}): raise the tolerance"
                    )
                ends[end, x, y] = min(max(float(result.x[y]), 0.0), 1.0)
    shown = ends if game.contextual else ends[:, 0]
    return frozen(shown[0]), frozen(shown[1])


def best_response(game: Game, probs: ArrayLike | HasProbs) -> tuple[IntArray, FloatArray]:
    r"""Return the actions (..., X) that beat ``probs`` by most, and their average payoff (...).

    The payoff is :math:`E_x \max_y (l \pi)_y`, never negative. Of equally good actions the first is returned
    (to the last digit: actions tied up to rounding come in no stated order). ``probs`` is an array (..., X,
    Y), (..., Y) for a game without contexts (then X = 1 in the result), or an object with ``.probs``.

    Raises
    ------
    InvalidProblemError
        Where rows are not distributions; every offending row is named.

    Examples
    --------
    >>> rps = PreferenceGame([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])
    >>> actions, value = best_response(rps, [0.5, 0.5, 0.0])
    >>> actions.tolist(), float(value)
    ([1], 0.5)
    """
    payoffs = _payoffs_against(game, probs)  # (..., X, Y)
    actions: IntArray = payoffs.argmax(axis=-1)
    # max_y (l pi)_y >= pi^T l pi = 0 because l is skew; rounding may leave -1e-17
    best = np.maximum(payoffs.max(axis=-1), 0.0)  # (..., X)
    return actions, expectation(game.context_dist, best)


def duality_gap(game: Game, probs: ArrayLike | HasProbs) -> FloatArray:
    r"""Return :math:`E_x\, 2 \max_y (l \pi)_y`, the duality gap of the pair (pi, pi), shape (...).

    :math:`DG(\pi) = \max_{\pi'} l(\pi', \pi) - \min_{\pi'} l(\pi, \pi')`, which skew-symmetry doubles up. It
    is in [0, 2], and 0 exactly at the von Neumann winners. Input and errors as for :func:`best_response`.

    Examples
    --------
    >>> rps = PreferenceGame([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])
    >>> float(duality_gap(rps, [1.0, 0.0, 0.0])), float(duality_gap(rps, [1 / 3, 1 / 3, 1 / 3]))
    (2.0, 0.0)
    """
    _, value = best_response(game, probs)
    gap: FloatArray = 2.0 * value
    return gap


def _payoffs_against(game: Game, probs: ArrayLike | HasProbs) -> FloatArray:
    """Return (l pi)_y, the payoff of every action against ``probs``, shape (..., X, Y)."""
    return game.payoffs_against(game.policy_rows(probs.probs if isinstance(probs, HasProbs) else probs))


def _solve_context(payoff: FloatArray) -> tuple[FloatArray, bool | None, float]:
    """Return a winner (Y,) of one context, whether it is unique, and its margin."""
    scale = np.abs(payoff).max()
    l = payoff / scale if scale > 0 else payoff  # noqa: E741 - the paper's symbol; winners do not change
    candidates = []
    for program in (_any_winner, _interior_winner):  # a unique winner is found by the smaller program
        pi = program(l)
        if pi is not None:
            certified = _certify(l, pi)
            if certified is not None:
                return certified
            candidates.append(pi)
    if not candidates:
        raise RuntimeError(
            "the linear program of the von Neumann winner found no solution, which no valid game allows: "
            "please report the preference matrix"
        )
    best = min(candidates, key=lambda pi: float((l @ pi).max()))
    return best, None, 0.0


def _certify(l: FloatArray, approximate: FloatArray) -> tuple[FloatArray, bool | None, float] | None:  # noqa: E741
    """Return the polished winner, its uniqueness and margin; None if strict complementarity fails."""
    support = approximate > -(l @ approximate)  # (Y,): played more than it loses
    if not support.any():
        return None
    _, sigma, vt = np.linalg.svd(l[np.ix_(support, support)])
    null = sigma <= NULL_TOLERANCE * support.sum()
    kernel = vt[null]  # (k, |E|)
    on_support = kernel.T @ (kernel @ approximate[support])
    pi = np.zeros(approximate.shape)
    pi[support] = on_support
    if not pi.sum() > 0 or pi.min() < 0:
        return None
    pi /= pi.sum()
    losses = -(l @ pi)
    margin = float(np.where(support, pi, losses).min())
    if margin < MARGIN_TOLERANCE or np.abs(losses[support]).max() > NULL_TOLERANCE * support.sum():
        return None
    grey = bool((sigma[~null] <= RANK_TOLERANCE).any())
    return (pi, None, 0.0) if grey else (pi, bool(null.sum() == 1), margin)


def _interior_winner(l: FloatArray) -> FloatArray | None:  # noqa: E741
    """Return the winner with max t: pi_y - (l pi)_y >= t for all y, l pi <= 0."""
    n = l.shape[0]
    return _linear_program(
        np.block([[l, np.zeros((n, 1))], [l - np.eye(n), np.ones((n, 1))]]),  # variables (pi, t)
        lower=0.0,
    )


def _any_winner(l: FloatArray) -> FloatArray | None:  # noqa: E741
    """Return the policy with max v: (l^T pi)_z >= v for all z, the textbook program (always feasible)."""
    return _linear_program(np.column_stack([l, np.ones(l.shape[0])]), lower=None)


def _linear_program(constraints: FloatArray, lower: float | None) -> FloatArray | None:
    """Return the policy part of max t subject to constraints @ (pi, t) <= 0, pi a distribution."""
    from scipy.optimize import linprog

    n = constraints.shape[1] - 1
    result = linprog(
        np.append(np.zeros(n), -1.0),
        A_ub=constraints,
        b_ub=np.zeros(constraints.shape[0]),
        A_eq=np.append(np.ones(n), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0.0, None)] * n + [(lower, None)],
        method="highs",
        options={"primal_feasibility_tolerance": _LP_TOLERANCE, "dual_feasibility_tolerance": _LP_TOLERANCE},
    )
    if result.x is None:
        return None
    pi = np.maximum(np.asarray(result.x[:n], dtype=np.float64), 0.0)
    policy: FloatArray = pi / pi.sum()
    return policy
