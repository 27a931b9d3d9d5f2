"""The form of an instance file, checked by pydantic: every fault is found in one pass, each with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

import rebel_theory as rt
from rebel_bench.algorithm_specs import parse
from rebel_bench.errors import UserError
from rebel_theory.arrays import FloatArray, frozen

FORMAT = "rebel-theory instance"
VERSION = 1


def numbers(value: Any, place: tuple[int, ...] = ()) -> FloatArray:
    """Return nested lists of numbers (or "-inf", of logits) as an array, or say where they are not one."""
    where = "entry [" + ", ".join(map(str, place)) + "]" if place else "the value"
    if not isinstance(value, list):
        if value == "-inf":
            return np.asarray(-np.inf)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise ValueError(f"{where} is {value!r:.40}, expected a finite number")
        return np.asarray(float(value))
    rows = [numbers(row, (*place, i)) for i, row in enumerate(value)]
    shapes = sorted({row.shape for row in rows})
    if len(shapes) != 1:
        raise ValueError(f"{where} is {'ragged: its rows have shapes ' + str(shapes) if rows else 'an empty list'}")
    return np.stack(rows)


Array = Annotated[Any, BeforeValidator(numbers)]
Contexts = Annotated[Any, BeforeValidator(lambda value: None if value is None else numbers(value))]


def _base(value: Any) -> str | FloatArray:
    if isinstance(value, str) and value in ("on-policy", "uniform"):
        return str(value)
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is not on-policy, uniform, or an array of probabilities")
    return numbers(value)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Bandit(_Strict):
    kind: Literal["bandit"]
    reward: Array
    context_dist: Array
    contexts: Contexts = None


class _MDP(_Strict):
    kind: Literal["mdp"]
    transition: Array
    reward: Array
    discount: float
    initial_dist: Array


class _Horizon(_Strict):
    kind: Literal["finite-horizon"]
    transition: Array
    reward: Array
    horizon: int
    initial_dist: Array


class _Linear(_Strict):
    kind: Literal["linear-mdp"]
    features: Array
    measures: Array
    reward_weights: Array
    discount: float
    initial_dist: Array


class _Game(_Strict):
    kind: Literal["preference-game"]
    preference: Array
    context_dist: Array
    contexts: Contexts = None


class _Tabular(_Strict):
    kind: Literal["tabular"]
    logits: Array


class _LogLinear(_Strict):
    kind: Literal["log-linear"]
    features: Array
    theta: Array


def make_algorithm(
    name: str, options: Mapping[str, Any], step_size: Any, base: Any, share: float = 1.0
) -> rt.Algorithm:
    """Return the algorithm of a name as for ``--algorithms`` with options given apart; mu is the base's ``share``."""
    (spec,) = parse([name])
    if share < 1:
        base = rt.Mixture([(base, share), ("on-policy", 1 - share)])
    made: rt.Algorithm = replace(spec, options={**spec.options, **options}).make(step_size, base)
    return made


class _Algorithm(_Strict):
    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    step_size: Annotated[float, Field(gt=0)]
    base: Annotated[Any, BeforeValidator(_base)] = "on-policy"
    share: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _can_be_made(self) -> _Algorithm:
        if ".py" in self.name:  # opening a file that someone sent must not run code
            raise ValueError(f"{self.name} is a Python file: an instance names an algorithm by its key, such as rebel")
        twice = {"step_size", "base", "share"} & set(self.options)
        if twice:
            raise ValueError(f"options has {', '.join(sorted(twice))}: it stands next to them, not in them")
        try:
            make_algorithm(self.name, {k: numbers(v) if isinstance(v, list) else v for k, v in self.options.items()},
                  self.step_size, self.base, self.share)  # fmt: skip
        except UserError as error:
            raise ValueError(str(error)) from None
        return self


CLASSES: dict[str, Any] = {
    "bandit": rt.ContextualBandit,
    "mdp": rt.TabularMDP,
    "finite-horizon": rt.FiniteHorizonMDP,
    "linear-mdp": rt.LinearMDP,
    "preference-game": rt.PreferenceGame,
    "tabular": rt.TabularPolicy,
    "log-linear": rt.LogLinearPolicy,
}
KINDS = {made: kind for kind, made in CLASSES.items()}
MODELS: dict[str, type[_Strict]] = {
    "bandit": _Bandit, "mdp": _MDP, "finite-horizon": _Horizon, "linear-mdp": _Linear, "preference-game": _Game,
    "tabular": _Tabular, "log-linear": _LogLinear,
}  # fmt: skip


def _build(described: Any) -> Any:
    """Return the problem or policy, with exactly the arrays of the file."""
    given = {name: getattr(described, name) for name in type(described).model_fields if name != "kind"}
    try:
        made = CLASSES[described.kind](**given)
    except rt.InvalidProblemError as error:
        raise ValueError("\n".join(error.problems)) from None
    for name, value in given.items():
        own = getattr(made, name)
        # a constructor normalises; what was normalised before must not move by a last digit again
        if isinstance(own, np.ndarray) and np.allclose(own, value, rtol=1e-14, atol=1e-15):
            object.__setattr__(made, name, frozen(np.asarray(value).reshape(own.shape)))
    return made


class File(_Strict):
    """A whole file; ``problem`` and ``policy`` are built, and fit each other, once it validates."""

    format: Literal["rebel-theory instance"]
    version: Literal[1]
    claim: str | None = None
    ratio: float | Literal["inf"] | None = None
    seed: int | None = None
    note: str = ""
    n_iterations: Annotated[int, Field(ge=1)]
    algorithm: _Algorithm
    policy: Annotated[_Tabular | _LogLinear, Field(discriminator="kind"), AfterValidator(_build)]
    problem: Annotated[_Bandit | _MDP | _Horizon | _Linear | _Game, Field(discriminator="kind"), AfterValidator(_build)]

    @model_validator(mode="after")
    def _fits(self) -> File:
        problem: Any = self.problem
        own, shape, faults = self.policy.probs.shape, problem.policy_shape, []  # type: ignore[union-attr]
        if own != shape:
            faults.append(f"policy has probabilities of shape {own}, expected {shape}, the problem's rows and actions")
        if isinstance(self.algorithm.base, np.ndarray):
            try:
                problem.policy_rows(self.algorithm.base)
            except rt.InvalidProblemError as error:
                faults += [f"algorithm.base: {fault}" for fault in error.problems]
        if faults:
            raise ValueError("\n".join(faults))
        return self
