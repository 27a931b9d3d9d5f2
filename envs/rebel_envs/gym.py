"""Problems as Gymnasium environments: importing this module registers them.

Gymnasium reads no entry points of packages, so registration happens here, on import: the one import of the project
with an effect. Every name of :func:`rebel_envs.names` but the games becomes an id of the namespace ``rebel``:

>>> env = gymnasium.make("rebel/Chain-v0", n_states=20)
>>> env.observation_space
Discrete(20)
>>> envs = gymnasium.make_vec("rebel/FrozenLake-v0", num_envs=4096)
>>> type(envs).__name__
'TabularVectorEnv'

Keywords go to the constructor. ``gymnasium.make("rebel_envs.gym:rebel/Chain-v0")`` imports this module by itself. Any
problem object becomes an environment as ``TabularEnv(mdp)``, ``BanditEnv(bandit)`` or ``TabularVectorEnv(problem, n)``.

Discounted problems need not end, so their ids have a limit of steps: after :func:`default_limit` steps the weight
of the rest is below one percent. That is a truncation: an agent should bootstrap there. It belongs to the
constructor's default discount; ``max_episode_steps=`` sets another, and -1 none. Problems that end by themselves
(bandits, a horizon, a discount of 1) have none.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Callable
from typing import Any

import gymnasium

from rebel_envs.gymnasium_envs.single import BanditEnv, TabularEnv
from rebel_envs.gymnasium_envs.vector import TabularVectorEnv
from rebel_envs.registry import examples
from rebel_theory.problems import ContextualBandit, FiniteHorizonMDP, PreferenceGame

__all__ = ["BanditEnv", "TabularEnv", "TabularVectorEnv", "default_limit", "gymnasium_id", "register"]

_REST = 0.01  # weight of the rewards after the limit
_WORDS = {"mdp": "MDP", "icu": "ICU", "frozenlake": "FrozenLake", "cliffwalking": "CliffWalking"}


def gymnasium_id(name: str) -> str:
    """Return the Gymnasium id of a name of :func:`rebel_envs.names`.

    >>> gymnasium_id("river-swim"), gymnasium_id("frozenlake8x8")
    ('rebel/RiverSwim-v0', 'rebel/FrozenLake8x8-v0')
    """
    parts = (re.fullmatch(r"([a-z]*)(.*)", word) for word in name.split("-"))
    words = (_WORDS.get(part[1], part[1].capitalize()) + part[2] for part in parts if part)
    return f"rebel/{''.join(words)}-v0"


def default_limit(discount: float) -> int | None:
    """Return the least number of steps T with gamma^T <= 1/100, or None for a discount of 1.

    >>> default_limit(0.9), default_limit(0.99), default_limit(1.0)
    (44, 459, None)
    """
    if discount >= 1:
        return None
    return max(1, math.ceil(math.log(_REST) / math.log(discount))) if discount > 0 else 1


def register() -> tuple[str, ...]:
    """Register every problem but the games, and return the ids; ids that exist already stay as they are."""
    ids = []
    for name, build in examples().items():
        kind = _kind(build)
        if issubclass(kind, PreferenceGame):
            continue
        id = gymnasium_id(name)
        ids.append(id)
        if id in gymnasium.registry:
            continue
        single = BanditEnv if issubclass(kind, ContextualBandit) else TabularEnv
        gymnasium.register(
            id,
            entry_point=f"rebel_envs.gym:{single.__name__}",
            vector_entry_point="rebel_envs.gym:TabularVectorEnv",
            max_episode_steps=_limit(build, kind),
            kwargs={"problem": name},
        )
    return tuple(ids)


def _kind(build: Callable[..., Any]) -> type[Any]:
    """Return the class a constructor says that it returns; nothing is built."""
    kind: type[Any] = typing.get_type_hints(getattr(build, "func", build))["return"]
    return kind


def _limit(build: Callable[..., Any], kind: type[Any]) -> int | None:
    if issubclass(kind, ContextualBandit | FiniteHorizonMDP):
        return None
    return default_limit(inspect.signature(build).parameters["discount"].default)


register()
