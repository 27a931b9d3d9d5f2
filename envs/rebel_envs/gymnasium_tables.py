"""MDPs from Gymnasium environments that carry their transition table (the toy-text family)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_envs._checks import assemble
from rebel_envs._layouts import FREE, GOAL, HOLE, START, in_rows, lay_out
from rebel_theory.arrays import BoolArray, FloatArray, IntArray
from rebel_theory.problems import Problem, TabularMDP
from rebel_theory.problems.base import InvalidProblemError

_TOY_TEXT = ("FrozenLake", "FrozenLake8x8", "Taxi", "CliffWalking", "CliffWalkingSlippery")


def from_gymnasium(
    id: str,
    *,
    discount: float = 0.99,
    sparse: bool = False,
    initial_dist: ArrayLike | None = None,
    **make_kwargs: Any,
) -> TabularMDP:
    """Return the MDP in the transition table ``env.unwrapped.P`` of a Gymnasium environment.

    ``P[s][a]`` lists (probability, next state, reward, terminated). Rewards become their expectation. A next
    state that is only ever entered by terminating becomes absorbing with reward 0, whatever its own row says:
    nobody sees it (FrozenLake keeps its 16 states). Where such a state is also entered without terminating,
    or is a first state, the terminating transitions lead to one absorbing state appended at the end instead
    (Taxi: 500 + 1). Time limits are not part of the MDP and are ignored.

    Parameters
    ----------
    id : str
        Such as ``"FrozenLake-v1"``; ids change with Gymnasium's version.
    discount : float in [0, 1]
        gamma. 1 is accepted only where every policy terminates.
    sparse : bool
        CSR transition of shape (S * A, S).
    initial_dist : shape (number of table states,), optional
        By default the environment's own ``initial_state_distrib``.
    **make_kwargs
        Passed to ``gymnasium.make``, such as ``is_slippery=False``.

    Raises
    ------
    InvalidProblemError
        An unknown id (with the nearest names), or an environment without a transition table.

    Examples
    --------
    >>> from_gymnasium("FrozenLake-v1").n_states
    16
    """
    env = _make(id, make_kwargs)
    try:
        table = _table(env, id)
        n_states, n_actions = int(env.observation_space.n), int(env.action_space.n)
        start = initial_dist if initial_dist is not None else getattr(env.unwrapped, "initial_state_distrib", None)
    finally:
        env.close()
    if start is None:
        _fail(
            id,
            "has a transition table but no initial_state_distrib: pass initial_dist, one probability per state",
        )
    rho = np.asarray(start, dtype=np.float64)
    if rho.shape != (n_states,):
        _fail(
            id,
            f"initial_dist has shape {rho.shape}, expected ({n_states},): one probability per state of the table",
        )
    entries = [
        (s * n_actions + a, target, p, r, done)
        for s in range(n_states)
        for a in range(n_actions)
        for p, target, r, done in table[s][a]
        if p > 0
    ]
    origins, targets, probs, rewards, ends = (np.array(column) for column in zip(*entries, strict=True))
    mdp = _mdp(
        origins.astype(np.int64), targets.astype(np.int64), probs.astype(np.float64),
        rewards.astype(np.float64), ends.astype(np.bool_), rho, n_actions=n_actions, discount=discount,
        sparse=sparse,
    )  # fmt: skip
    board, actions = _board(env.unwrapped)
    return (
        mdp
        if board is None or board.size != mdp.n_states
        else lay_out(mdp, in_rows(board.ravel(), board.shape[1], actions=actions))
    )


def _board(env: Any) -> tuple[NDArray[np.str_] | None, tuple[str, ...]]:
    """Return the letters and the actions' names of the two grids of the family, None for others."""
    desc, cliff = getattr(env, "desc", None), getattr(env, "_cliff", None)
    if isinstance(cliff, np.ndarray) and cliff.ndim == 2:
        board = np.where(cliff, HOLE, FREE)
        board[-1, 0], board[-1, -1] = START, GOAL
        return board, ("up", "right", "down", "left")
    if isinstance(desc, np.ndarray) and desc.dtype == np.dtype("S1") and np.isin(desc, (b"S", b"F", b"H", b"G")).all():
        letters = desc.astype(np.str_)
        return np.where(letters == "F", FREE, letters), ("left", "down", "right", "up")
    return None, ()


def _mdp(
    origins: IntArray, targets: IntArray, probs: FloatArray, rewards: FloatArray, ends: BoolArray, rho:
    FloatArray, *, n_actions: int, discount: float, sparse: bool,
) -> TabularMDP:  # fmt: skip
    """Return the MDP of a list of entries, with terminations as absorbing states."""
    table_states = rho.size
    absorbing = absorbing_states(origins // n_actions, targets, rewards, ends, rho)
    kept = ~absorbing[origins // n_actions]  # the rows of absorbing states are replaced
    lost = ends & ~absorbing[targets]
    n_states = table_states + bool((lost & kept).any())
    states = np.flatnonzero(np.append(absorbing, True)[:n_states])  # with the appended state, if there is one
    loops = (states[:, None] * n_actions + np.arange(n_actions)).ravel()
    transition = assemble(
        np.concatenate([origins[kept], loops]),
        np.concatenate([np.where(lost, table_states, targets)[kept], loops // n_actions]),
        np.concatenate([probs[kept], np.ones(loops.size)]),
        n_states=n_states,
        n_actions=n_actions,
        sparse=sparse,
    )
    reward = np.zeros(n_states * n_actions)
    np.add.at(reward, origins[kept], (probs * rewards)[kept])
    return TabularMDP(
        transition,
        reward.reshape(n_states, n_actions),
        discount=discount,
        initial_dist=np.append(rho, 0.0)[:n_states],
    )


def absorbing_states(
    states: IntArray, targets: IntArray, rewards: FloatArray, ends: BoolArray, rho: FloatArray
) -> BoolArray:
    """Return the mask (S,) of table states that can stand for the end of an episode themselves.

    The largest set of terminal next states such that each either stays in place with reward 0 by its own rows
    already, or is neither a first state nor entered without terminating from outside the set.
    """
    chosen = np.zeros(rho.size, dtype=np.bool_)
    chosen[targets[ends]] = True
    moves = np.zeros(rho.size, dtype=np.bool_)
    moves[states[(targets != states) | (rewards != 0)]] = True
    still = ~moves
    while True:
        alive = np.zeros(rho.size, dtype=np.bool_)
        alive[targets[~ends & ~chosen[states]]] = True
        smaller = chosen & (still | ~(alive | (rho > 0)))
        if (smaller == chosen).all():
            return chosen
        chosen = smaller


def _make(id: str, make_kwargs: Mapping[str, Any]) -> Any:
    import gymnasium

    try:
        return gymnasium.make(id, disable_env_checker=True, **make_kwargs)
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        near = difflib.get_close_matches(id, list(gymnasium.registry), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InvalidProblemError(
            f"from_gymnasium({id!r})",
            [
                f"unknown to Gymnasium {gymnasium.__version__}: {hint}"
                f"Environments with a transition table: {', '.join(tabular_ids())}"
            ],
        ) from error
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise InvalidProblemError(f"from_gymnasium({id!r})", [f"cannot be made: {error}"]) from error


def _table(env: Any, id: str) -> Any:
    """Return ``env.unwrapped.P``, or say why there is none."""
    import gymnasium

    spaces = (env.observation_space, env.action_space)
    if not all(isinstance(space, gymnasium.spaces.Discrete) for space in spaces):
        _fail(
            id,
            f"has observations {spaces[0]} and actions {spaces[1]}, expected two Discrete spaces: only "
            "environments "
            f"with a transition table can be imported ({', '.join(tabular_ids())})",
        )
    table = getattr(env.unwrapped, "P", None)
    if table is None:
        _fail(
            id,
            "has no transition table (env.unwrapped.P), so its MDP is not known exactly: use one of "
            f"{', '.join(tabular_ids())}",
        )
    return table


def _fail(id: str, message: str) -> NoReturn:
    raise InvalidProblemError(f"from_gymnasium({id!r})", [message])


def tabular_ids() -> tuple[str, ...]:
    """Return the ids of Gymnasium's own environments with a transition table, newest versions."""
    import gymnasium

    newest: dict[str, Any] = {}
    for spec in gymnasium.registry.values():
        known = newest.get(spec.name)
        if spec.name in _TOY_TEXT and spec.namespace is None and (known is None or spec.version > known.version):
            newest[spec.name] = spec
    return tuple(newest[name].id for name in _TOY_TEXT if name in newest)


def toy_text(name: str, *, discount: float = 0.99, sparse: bool = False, **make_kwargs: Any) -> TabularMDP:
    """Return a toy-text MDP of Gymnasium, by its name without version, in the newest version.

    Examples
    --------
    >>> toy_text("CliffWalking").n_states
    48
    """
    newest = [id for id in tabular_ids() if id.rsplit("-v", 1)[0] == name]
    if not newest:
        _fail(name, f"is not in this version of Gymnasium: use one of {', '.join(tabular_ids())}")
    return from_gymnasium(newest[0], discount=discount, sparse=sparse, **make_kwargs)


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "frozenlake": partial(toy_text, "FrozenLake"),
    "frozenlake8x8": partial(toy_text, "FrozenLake8x8"),
    "taxi": partial(toy_text, "Taxi"),
    "cliffwalking": partial(toy_text, "CliffWalking"),
    "cliffwalking-slippery": partial(toy_text, "CliffWalkingSlippery"),
}
