"""The specification of a comparison, read from TOML; its faults are found one by one and told all at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rebel_bench.errors import UserError

SPECS = Path(__file__).parent / "specs"

M = TypeVar("M", bound=BaseModel)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

N_FEATURES = 8


class ProblemSpec(BaseModel):
    """A problem: a constructor's name, its options, and its own number of queries if not the common one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str
    options: dict[str, Any] = {}
    queries: int | None = Field(default=None, ge=2)


class AlgorithmSpec(BaseModel):
    """An algorithm in words, and the oracles that it is run with if not all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: str
    oracles: list[str] | None = Field(default=None, min_length=1)


def _table(key: str) -> BeforeValidator:
    """Let a word stand for the table that holds nothing but that word."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class ComparisonSpec(BaseModel):
    """What is compared on what, with how many queries.

    Attributes
    ----------
    kind
        ``tuned``: every algorithm at the best step size of the grid, on every problem; profiles and a ranking.
        ``sensitivity``: the gap against the step size, nothing tuned. ``inexact``: K gradient steps on REBEL's loss,
        against K, a line a step size.
    queries, updates
        One of them: the reward queries of a run, where gaps are read at the last iterate that stays within them; or
        its number of updates.
    pairs
        Pairs an update, of oracles that do not say: 2 pairs of answers are drawn, as pairs, single answers or groups.
        Exact feedback costs nothing and is charged as if it were as many roll-outs.
    oracles
        What algorithms see, such as ``sampled(pairs=20)``; ``sampled`` by default.
    policy, n_features
        The class of all policies: ``tabular``, or ``log-linear`` in so many random features (a linear MDP's own).
    step_sizes
        The grid, in units of 1 / (the first signal's largest spread).
    n_steps
        The numbers of gradient steps of an ``inexact`` study.
    tuning_seeds, seeds
        Seeds that choose the step size, and fresh ones that are reported.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    kind: Literal["tuned", "sensitivity", "inexact"] = "tuned"
    algorithms: dict[str, Annotated[AlgorithmSpec, _table("algorithm")]] = {}
    problems: dict[str, Annotated[ProblemSpec, _table("env")]] = Field(min_length=1)
    oracles: dict[str, str] = Field(default={"sampled": "sampled"}, min_length=1)
    step_sizes: list[Positive] = Field(min_length=1)
    n_steps: list[Count] = []
    queries: int | None = Field(default=None, ge=2)
    updates: Count | None = None
    pairs: Count = 20
    policy: Literal["tabular", "log-linear"] = "tabular"
    n_features: Count = N_FEATURES
    seeds: int = Field(ge=2)
    tuning_seeds: Count = 8
    seed: int = Field(default=0, ge=0)

    def budget(self, problem: str) -> int:
        """Return the queries, or updates, of a run on a problem, by its label."""
        return self.updates or self.problems[problem].queries or self.queries or 0

    @property
    def counts(self) -> Literal["queries", "updates"]:
        """What a budget counts."""
        return "queries" if self.updates is None else "updates"


def content_of(name: str) -> dict[str, Any]:
    """Return what is written in a TOML file, or in one that ships, by its name.

    Raises
    ------
    UserError
        If there is no such file, or it is not TOML.
    """
    path = Path(name)
    if not path.suffix:
        path = SPECS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SPECS.glob("*.toml")))
        raise UserError(f"there is no specification {name}: give a TOML file, or one that ships ({known})")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not TOML: {error}") from error


def validated(model: type[M], content: Any) -> tuple[M | None, list[str]]:
    """Return the model, or None and every fault with its place."""
    try:
        return model.model_validate(content), []
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]


def joint_faults(content: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong between the keys, whatever is wrong within them."""
    kind = content.get("kind", "tuned")
    if ("queries" in content) == ("updates" in content):
        yield "queries, updates: expected exactly one of the two, as the budget of a run"
    if kind == "inexact":
        if not content.get("n_steps"):
            yield "n_steps: an inexact study needs the numbers of gradient steps, such as [1, 10, 100, 1000]"
        if "algorithms" in content:
            yield "algorithms: an inexact study has its own (inexact-rebel, between rloo and rebel): leave them out"
    elif kind in ("tuned", "sensitivity"):
        if not content.get("algorithms"):
            yield f"algorithms: a {kind} study needs at least one"
        if "n_steps" in content:
            yield 'n_steps: only a study with kind = "inexact" has them'
    problems, oracles = content.get("problems"), content.get("oracles", {"sampled": "sampled"})
    if "updates" in content and isinstance(problems, dict):
        for label, item in problems.items():
            if isinstance(item, dict) and "queries" in item:
                yield f"problems.{label}.queries: the study counts updates: leave it out"
    if "n_features" in content and content.get("policy", "tabular") == "tabular":
        yield 'n_features: only a study with policy = "log-linear" has them'
    for label, text in oracles.items() if isinstance(oracles, dict) and "updates" not in content else ():
        if isinstance(text, str) and text.partition("(")[0].strip().lower() == "offline":
            yield f"oracles.{label}: offline data cost no further queries: give updates, not queries, as the budget"
    algorithms = content.get("algorithms")
    if isinstance(algorithms, dict) and isinstance(oracles, dict):
        for label, item in algorithms.items():
            for name in item.get("oracles") or [] if isinstance(item, dict) else []:
                if name not in oracles:
                    yield f"algorithms.{label}.oracles: {name} is not one of {', '.join(oracles)}"
