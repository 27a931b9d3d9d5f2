"""The specification of a comparison, read from TOML; all faults at once, each with its place."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rebel_bench.errors import UserError

SPECS = Path(__file__).parent / "specs"


class ProblemSpec(BaseModel):
    """A problem: a constructor's name, its options, and its own number of queries if not the common one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str
    options: dict[str, Any] = {}
    queries: int | None = Field(default=None, ge=2)


class ComparisonSpec(BaseModel):
    """What is compared on what, with how many queries.

    Attributes
    ----------
    queries
        Reward queries a run; gaps are read at the last iterate that stays within them.
    pairs
        Pairs an update: 2 pairs of answers are drawn by every algorithm, as pairs, single answers or groups.
    step_sizes
        The grid, in units of 1 / (the first signal's largest spread); each algorithm takes its best on every problem.
    tuning_seeds, seeds
        Seeds that choose the step size, and fresh ones that are reported.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    algorithms: dict[str, str] = Field(min_length=1)
    problems: dict[str, ProblemSpec] = Field(min_length=1)
    step_sizes: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(min_length=1)
    queries: int = Field(ge=2)
    pairs: int = Field(ge=1)
    seeds: int = Field(ge=2)
    tuning_seeds: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("problems", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A problem may be a constructor's name alone."""
        if not isinstance(value, dict):
            return value
        return {k: {"env": v} if isinstance(v, str) else v for k, v in value.items()}

    @model_validator(mode="after")
    def _enough(self) -> ComparisonSpec:
        for queries in (self.queries, *(item.queries for item in self.problems.values() if item.queries)):
            if queries < 2 * self.pairs:
                raise ValueError(f"queries is {queries}, expected at least one update: 2 pairs = {2 * self.pairs}")
        return self

    def budget(self, problem: str) -> int:
        """Return the queries of a run on a problem, by its label."""
        return self.problems[problem].queries or self.queries


def read(name: str) -> ComparisonSpec:
    """Return the specification of a TOML file, or of one that ships, by its name.

    Raises
    ------
    UserError
        With every fault: unknown keys, wrong types, numbers out of range.
    """
    path = Path(name)
    if not path.suffix:
        path = SPECS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SPECS.glob("*.toml")))
        raise UserError(f"there is no specification {name}: give a TOML file, or one that ships ({known})")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not TOML: {error}") from error
    try:
        return ComparisonSpec.model_validate(content)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise UserError("\n  ".join([f"{path.name}: {len(faults)} faults", *faults])) from error
