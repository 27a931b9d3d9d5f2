"""One problem as one :class:`gymnasium.Env`."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from functools import cached_property
from operator import index
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Discrete

from rebel_envs.gymnasium_envs.pictures import BanditPicture, BoardPicture, Moment, Picture
from rebel_envs.gymnasium_envs.tables import discount_of, resolve, table_of
from rebel_envs.kernels import draws
from rebel_theory.problems import ContextualBandit, FiniteHorizonMDP, LinearMDP, Problem, TabularMDP
from rebel_theory.problems.base import InvalidProblemError

RENDER_MODES = ("ansi", "rgb_array")


class ProblemEnv(gymnasium.Env[Any, Any]):
    """What both kinds have in common; see :class:`TabularEnv` and :class:`BanditEnv`.

    A reset draws one uniform number, a step ``draws(table)`` and then the noise: a vector environment of a single
    copy sees the same stream.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 - Gymnasium's
    problem: Problem

    def __init__(self, problem: Problem | str, *, render_mode: str | None = None, **parameters: Any) -> None:
        self.problem = resolve(problem, parameters)
        check_kind(self.problem, self._kinds, type(self).__name__)
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self._table = table_of(self.problem)
        self._draws = draws(self._table)
        self._discount = discount_of(self.problem)
        self.observation_space = Discrete(self.problem.n_rows)
        self.action_space = Discrete(self.problem.n_actions)
        self._row, self._running = 0, False
        self._moment = Moment(0)

    _kinds: ClassVar[tuple[type[Problem], ...]]

    @abstractmethod
    def _info(self, row: int, action: int | None) -> dict[str, Any]:
        """Return what is known besides the observation; ``action`` None after a reset."""

    @abstractmethod
    def _observed(self, mean: float) -> float:
        """Return a reward of this mean."""

    @property
    @abstractmethod
    def _picture(self) -> Picture:
        """What draws the moments."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Return a first observation and info; ``options={"state": s}`` starts at state (or context) s."""
        super().reset(seed=seed)
        state = (options or {}).get("state")
        if state is None:
            sums = self._table.start_sums
            place = bisect_right(sums, self.np_random.random() * sums[-1], 0, len(sums) - 1)
            self._row = int(self._table.starts[place])
        else:
            self._row = check_states(state, self._table.reward.shape[1]).item()
        self._running = True
        self._moment = Moment(self._row)
        return self._row, self._info(self._row, None)

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Return observation, reward, whether the episode ended, False, and info.

        Raises
        ------
        gymnasium.error.InvalidAction
            The action is not a whole number in range.
        gymnasium.error.ResetNeeded
            No episode is running.
        """
        if not self._running:
            raise ResetNeeded("no episode is running: call reset() first, and again after an episode ended")
        a = self._checked(action)
        t = self._table
        h, s = divmod(self._row, t.reward.shape[1])
        last, ended = self._row, h + 1 == t.horizon  # the last step leads nowhere: the observation is repeated
        uniforms = self.np_random.random(self._draws)
        if not ended:
            run = ((h if t.n_slices > 1 else 0) * t.reward.shape[1] + s) * t.reward.shape[2] + a
            target = self._target(run, uniforms[0])
            if t.first_node >= 0:
                target = self._target(t.first_node + target, uniforms[1])
            ended = bool(t.absorbing[target])
            self._row = target if t.horizon == 0 else (h + 1) * t.reward.shape[1] + target
        reward = self._observed(float(t.reward[h if len(t.reward) > 1 else 0, s, a]))
        self._running = not ended
        self._moment = Moment(self._row, last, a, reward, self._moment.step + 1, ended)
        return self._row, reward, ended, False, self._info(self._row, a)

    def render(self) -> Any:
        """Return a picture: text for ``ansi``, an array (height, width, 3) of uint8 for ``rgb_array``."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a render mode when the environment is made, such as "
                f"{type(self).__name__}(problem, render_mode='rgb_array')"
            )
            return None
        return self._picture.render(self.render_mode, self._moment)

    def _target(self, run: int, u: float) -> int:
        """Return the target of a run at the first running sum above ``u`` times the last."""
        low, high = self._table.pointers[run], self._table.pointers[run + 1]
        sums = self._table.sums
        return int(self._table.targets[bisect_right(sums, u * sums[high - 1], low, high - 1)])

    def _checked(self, action: int) -> int:
        try:
            a = index(action)
        except TypeError:
            a = -1
        if not 0 <= a < self.problem.n_actions:
            raise InvalidAction(f"action is {action!r}, expected a whole number from 0 to {self.problem.n_actions - 1}")
        return a


class TabularEnv(ProblemEnv):
    """An MDP as a Gymnasium environment.

    Observations are the rows of the problem's policies: the state s, or ``step * S + s`` with a horizon (so that
    an observation is Markov; ``info`` has ``state`` and ``step`` too). ``probs.reshape(-1, A)[observation]`` is
    the law of actions of a policy of :mod:`rebel_theory`.

    An episode terminates when it enters an absorbing state (every action keeps it, with reward 0) or after the
    last step of the horizon, where the observation is repeated. Otherwise it goes on for ever: wrap it in
    ``gymnasium.wrappers.TimeLimit``, or make it by its registered name, which has a limit. Rewards are the
    problem's expected rewards; ``info["discount"]`` is gamma (1 with a horizon), which is the agent's business.

    Parameters
    ----------
    problem : TabularMDP, LinearMDP, FiniteHorizonMDP or str
        A single instance, or a name of :func:`rebel_envs.names`.
    render_mode : {"ansi", "rgb_array"}, optional
        What :meth:`render` returns.
    **parameters
        Keywords of the constructor of that name.

    Raises
    ------
    InvalidProblemError
        Another kind of problem, or a batch of instances.

    Examples
    --------
    >>> env = TabularEnv("chain", n_states=3, slip=0.0)
    >>> env.reset(seed=0, options={"state": 1})
    (1, {'discount': 0.9})
    >>> env.step(1), env.step(0)[:2]
    ((2, 0.0, False, False, {'discount': 0.9}), (1, 1.0))
    """

    _kinds = (TabularMDP, LinearMDP, FiniteHorizonMDP)

    def _info(self, row: int, action: int | None) -> dict[str, Any]:
        if not self._table.horizon:
            return {"discount": self._discount}
        step, state = divmod(row, self._table.reward.shape[1])
        return {"discount": self._discount, "state": state, "step": step}

    def _observed(self, mean: float) -> float:
        return mean

    @cached_property
    def _picture(self) -> Picture:
        return BoardPicture(self.problem)


class BanditEnv(ProblemEnv):
    """A contextual bandit as a Gymnasium environment: episodes of one step.

    The observation is the context, repeated when the episode ends with its one action. Rewards carry the bandit's
    noise; after a step ``info["mean_reward"]`` is the mean of the chosen action.

    Parameters are those of :class:`TabularEnv`, for a :class:`rebel_theory.ContextualBandit`.

    Examples
    --------
    >>> env = BanditEnv(ContextualBandit([[0.2, 0.8]]))
    >>> env.reset(seed=0)
    (0, {'discount': 1.0})
    >>> env.step(1)
    (0, 0.8, True, False, {'discount': 1.0, 'mean_reward': 0.8})
    """

    problem: ContextualBandit
    _kinds = (ContextualBandit,)

    def _info(self, row: int, action: int | None) -> dict[str, Any]:
        if action is None:
            return {"discount": self._discount}
        return {"discount": self._discount, "mean_reward": float(self.problem.reward[row, action])}

    def _observed(self, mean: float) -> float:
        return float(self.problem.noise.sample(self.np_random, np.array([mean]))[0])

    @cached_property
    def _picture(self) -> Picture:
        return BanditPicture(self.problem)


def check_kind(problem: Problem, kinds: tuple[type[Problem], ...], environment: str) -> None:
    """Raise unless ``problem`` is of one of the ``kinds``."""
    if not isinstance(problem, kinds):
        raise InvalidProblemError(
            environment,
            [f"the problem is a {type(problem).__name__}, expected a {' or '.join(k.__name__ for k in kinds)}"],
        )


def check_render_mode(mode: str | None) -> None:
    """Raise unless ``mode`` is None or one that can be drawn."""
    if mode is not None and mode not in RENDER_MODES:
        raise gymnasium.error.UnsupportedMode(
            f"render_mode is {mode!r}, expected one of {', '.join(RENDER_MODES)} (or None)"
        )


def check_states(states: Any, n_states: int) -> Any:
    """Return ``options["state"]`` as an int64 array of any shape; every entry must be a state."""
    array = np.asarray(states)
    if array.dtype.kind not in "iu" or ((array < 0) | (array >= n_states)).any():
        raise ValueError(f"options['state'] is {states!r}, expected whole numbers from 0 to {n_states - 1}")
    return array.astype(np.int64)
