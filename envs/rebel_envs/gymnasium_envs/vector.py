"""Thousands of copies of one problem, stepped together by a kernel."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rebel_envs.gymnasium_envs.pictures import BanditPicture, BoardPicture, Moment, Picture
from rebel_envs.gymnasium_envs.single import (
    RENDER_MODES,
    BanditEnv,
    TabularEnv,
    check_kind,
    check_render_mode,
    check_states,
)
from rebel_envs.gymnasium_envs.tables import discount_of, resolve, table_of
from rebel_envs.kernels import advance, draws, restart
from rebel_theory.arrays import BoolArray, FloatArray, IntArray
from rebel_theory.problems import ContextualBandit, Problem
from rebel_theory.problems.base import InvalidProblemError

Infos = dict[str, Any]


class TabularVectorEnv(VectorEnv[IntArray, IntArray, Any]):
    """Many independent copies of an MDP or bandit, one kernel call a step.

    Each copy follows the law of :class:`rebel_envs.gym.TabularEnv` or :class:`rebel_envs.gym.BanditEnv`, and what
    is returned has the form of :class:`gymnasium.vector.SyncVectorEnv`. All copies draw from one stream: the same
    seed, number of copies and actions give the same data, another number of copies gives other data. One copy
    draws exactly what a single environment with that seed draws.

    Parameters
    ----------
    problem : TabularMDP, LinearMDP, FiniteHorizonMDP, ContextualBandit or str
        A single instance, or a name of :func:`rebel_envs.names`.
    num_envs : int
        n >= 1 copies.
    autoreset_mode : gymnasium.vector.AutoresetMode or str
        ``NEXT_STEP`` (default): the step after an end resets a copy, ignores its action and earns 0.
        ``SAME_STEP``: the step that ends an episode returns the next first observation, and the last one in
        ``infos["final_obs"]`` and ``infos["final_info"]``. ``DISABLED``: the caller resets, with
        ``options={"reset_mask": mask}``.
    max_episode_steps : int, optional
        Truncate episodes after so many steps; -1 and None mean never.
    render_mode : {"ansi", "rgb_array"}, optional
        What :meth:`render` returns of each copy.
    **parameters
        Keywords of the constructor of that name.

    Raises
    ------
    InvalidProblemError
        Another kind of problem, a batch of instances, or no copies.

    Examples
    --------
    >>> envs = TabularVectorEnv("chain", 3, n_states=4, slip=0.0)
    >>> envs.reset(seed=0, options={"state": [0, 2, 3]})[0]
    array([0, 2, 3])
    >>> envs.step(np.array([1, 1, 0]))[:2]
    (array([1, 3, 2]), array([0., 0., 1.]))
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 - Gymnasium's

    def __init__(
        self,
        problem: Problem | str,
        num_envs: int,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **parameters: Any,
    ) -> None:
        self.problem = resolve(problem, parameters)
        check_kind(self.problem, (*TabularEnv._kinds, *BanditEnv._kinds), "TabularVectorEnv")
        check_render_mode(render_mode)
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            if value is not None and value < 1 and (name, value) != ("max_episode_steps", -1):
                raise InvalidProblemError("TabularVectorEnv", [f"{name} is {value}, expected at least 1"])
        self.num_envs, self.render_mode = num_envs, render_mode
        self._mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self._mode}
        self._limit = max(0, max_episode_steps or 0)
        self._table = table_of(self.problem)
        self._draws = draws(self._table)
        self._noise = self.problem.noise if isinstance(self.problem, ContextualBandit) else None
        self.single_observation_space = Discrete(self.problem.n_rows)
        self.single_action_space = Discrete(self.problem.n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rows = np.zeros(num_envs, dtype=np.int64)
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._ended = np.ones(num_envs, dtype=np.bool_)  # copies without a running episode
        self._ready = False
        self._last: tuple[IntArray, IntArray, FloatArray] | None = None  # rows before, actions and rewards

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[IntArray, Infos]:  # fmt: skip
        """Return first observations (n,) and infos.

        Parameters
        ----------
        seed : int, optional
            Of the one stream of all copies; without it the stream goes on.
        options : dict, optional
            ``state``: first states, one or one per copy. ``reset_mask``: shape (n,), the copies to reset.
        """
        if seed is not None and not isinstance(seed, int | np.integer):
            raise TypeError(f"seed is {seed!r}, expected one whole number: all copies draw from one stream")
        super().reset(seed=None if seed is None else int(seed))
        chosen = self._reset_mask(options or {})
        state = (options or {}).get("state")
        if state is None:
            self._restart(chosen)
        else:
            states = check_states(state, self._table.reward.shape[1])
            if states.shape not in ((), (self.num_envs,)):
                raise ValueError(f"options['state'] has shape {states.shape}, expected () or ({self.num_envs},)")
            self._rows[chosen] = np.broadcast_to(states, self.num_envs)[chosen]
            self._elapsed[chosen] = 0
        self._ended[chosen] = False
        self._ready = True
        return self._rows.copy(), self._infos(self._rows, chosen)

    def step(self, actions: IntArray) -> tuple[IntArray, FloatArray, BoolArray, BoolArray, Infos]:
        """Return observations, rewards, terminations, truncations, each (n,), and infos.

        Raises
        ------
        gymnasium.error.InvalidAction
            An entry of ``actions`` is not an action, or their shape is not (n,).
        gymnasium.error.ResetNeeded
            Before the first reset, or in mode ``DISABLED`` with a copy whose episode ended.
        """
        chosen = self._running()
        acts = self._checked(actions)
        before = self._rows.copy()
        if not chosen.all():
            self._restart(~chosen)
        rewards = np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, dtype=np.bool_), np.empty(self.num_envs, dtype=np.bool_)
        uniforms = self.np_random.random(self._draws * np.count_nonzero(chosen))
        advance(
            uniforms, self._table, chosen, acts, self._limit, self._rows, self._elapsed, rewards, terminated, truncated
        )
        means = rewards.copy()
        if self._noise is not None:
            rewards[chosen] = self._noise.sample(self.np_random, means[chosen])
        self._ended = terminated | truncated
        self._last = (before, acts, rewards)
        if self._mode is AutoresetMode.SAME_STEP and self._ended.any():
            infos = self._finals(means)
            self._restart(self._ended)
            infos |= self._infos(self._rows, np.ones(self.num_envs, dtype=np.bool_), means, ~self._ended)
        else:
            infos = self._infos(self._rows, np.ones(self.num_envs, dtype=np.bool_), means, chosen)
        return self._rows.copy(), rewards.copy(), terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """Return one picture per copy, or None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self._picture.render(self.render_mode, self._moment(i)) for i in range(self.num_envs))

    @cached_property
    def _picture(self) -> Picture:
        if isinstance(self.problem, ContextualBandit):
            return BanditPicture(self.problem)
        return BoardPicture(self.problem)

    def _moment(self, i: int) -> Moment:
        row, step = int(self._rows[i]), int(self._elapsed[i])
        if step == 0 or self._last is None:
            return Moment(row)
        before, actions, rewards = self._last
        return Moment(row, int(before[i]), int(actions[i]), float(rewards[i]), step, bool(self._ended[i]))

    def _running(self) -> BoolArray:
        """Return the copies that take their action in this step, shape (n,)."""
        if not self._ready:
            raise ResetNeeded("no episode is running: call reset() first")
        if self._mode is AutoresetMode.NEXT_STEP:
            return ~self._ended
        if self._mode is AutoresetMode.DISABLED and self._ended.any():
            raise ResetNeeded(
                f"the episode of copy {int(self._ended.argmax())} ended: reset it with "
                "options={'reset_mask': terminations | truncations}, or choose another autoreset_mode"
            )
        return np.ones(self.num_envs, dtype=np.bool_)

    def _restart(self, chosen: BoolArray) -> None:
        restart(self.np_random.random(np.count_nonzero(chosen)), self._table, chosen, self._rows, self._elapsed)

    def _checked(self, actions: Any) -> IntArray:
        """Return the actions as int64 (n,), or name the first one that is not an action."""
        acts = np.asarray(actions)
        if acts.shape != (self.num_envs,) or acts.dtype.kind not in "iu":
            raise InvalidAction(
                f"actions have shape {acts.shape} and type {acts.dtype}, expected ({self.num_envs},) whole numbers"
            )
        bad = (acts < 0) | (acts >= self.problem.n_actions)
        if bad.any():
            i = int(bad.argmax())
            raise InvalidAction(f"actions[{i}] is {acts[i]}, expected 0 to {self.problem.n_actions - 1}")
        return np.require(acts, np.int64, ["C", "W"])

    def _reset_mask(self, options: dict[str, Any]) -> BoolArray:
        mask = options.get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(
                f"options['reset_mask'] has shape {mask.shape} and type {mask.dtype}, expected ({self.num_envs},) bool"
            )
        if not self._ready and not mask.all():
            raise ResetNeeded("the first reset() must start all copies: leave out reset_mask")
        return mask.copy()

    def _finals(self, means: FloatArray) -> Infos:
        """Return last observations and infos of the copies that ended, in Gymnasium's form."""
        final = np.full(self.num_envs, None, dtype=object)
        final[self._ended] = self._rows[self._ended].tolist()
        info = self._infos(self._rows, self._ended, means, self._ended)
        return {
            "final_obs": final, "_final_obs": self._ended.copy(),
            "final_info": info, "_final_info": self._ended.copy(),
        }  # fmt: skip

    def _infos(
        self, rows: IntArray, chosen: BoolArray, means: FloatArray | None = None, moved: BoolArray | None = None
    ) -> Infos:
        """Return the infos of the ``chosen`` copies; of bandits the mean reward where a copy ``moved``."""
        values: dict[str, tuple[Any, BoolArray]] = {"discount": (discount_of(self.problem), chosen)}
        if self._table.horizon and self._noise is None:
            step, state = np.divmod(rows, self._table.reward.shape[1])
            values |= {"state": (state, chosen), "step": (step, chosen)}
        if self._noise is not None and means is not None and moved is not None and moved.any():
            values["mean_reward"] = (means, moved)
        infos: Infos = {}
        for name, (value, mask) in values.items():
            infos[name], infos[f"_{name}"] = np.where(mask, value, 0), mask.copy()
        return infos
