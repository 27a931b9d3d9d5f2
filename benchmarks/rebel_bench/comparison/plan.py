"""From a specification to what will run: everything made and tried before any work, every fault told at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.algorithm_specs import Spec, parse
from rebel_bench.comparison.oracle_specs import OracleSpec, parse_oracle
from rebel_bench.comparison.spec import (
    N_FEATURES,
    AlgorithmSpec,
    ComparisonSpec,
    ProblemSpec,
    content_of,
    joint_faults,
    validated,
)
from rebel_bench.errors import UserError

T = TypeVar("T")

INEXACT = "inexact-rebel(n_steps={})"
ENDS = {"RLOO": "rloo(group_size=2)", "REBEL": "rebel"}  # what K = 1 and K to infinity must come to
_DEFAULT_PAIRS = 20
_MADE = 32  # problems kept, so that the cells of one do not make it again


@dataclass(frozen=True, eq=False)
class Setting:
    """A problem, where runs start, and the unit of step sizes: 1 / (the first signal's largest spread)."""

    problem: rt.Problem
    start: rt.TabularPolicy | rt.LogLinearPolicy
    unit: float


@dataclass(frozen=True, eq=False)
class Entry:
    """What is compared: an algorithm with an oracle."""

    name: str
    algorithm: Spec
    oracle: OracleSpec
    oracle_name: str


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything made and checked before any work."""

    spec: ComparisonSpec
    problems: dict[str, Setting]
    entries: list[Entry]


def load(name: str, changes: dict[str, Any] | None = None) -> Plan:
    """Return the plan of a TOML file, or of a specification that ships, with ``changes`` to its keys.

    Raises
    ------
    UserError
        With every fault and its place: unknown keys, wrong types, numbers out of range, unknown names, bad options,
        and what an algorithm refuses.
    """
    content = _changed(content_of(name), changes or {})
    spec, faults = validated(ComparisonSpec, content)
    faults += joint_faults(content)
    problems, entries, more = _made(content)
    faults += more
    if spec is None or faults:
        n = len(faults)
        raise UserError("\n  ".join([f"{name}: {n} {'fault' if n == 1 else 'faults'}", *faults]))
    return Plan(spec, problems, entries)


def _changed(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the content with changes; problems with queries of their own keep their ratio to the common number."""
    for key in ("queries", "updates"):
        if key in changes and key not in content:
            other = "updates" if key == "queries" else "queries"
            raise UserError(f"--{key}: this study counts {other}: use --{other}")
    common, new = content.get("queries"), changes.get("queries")
    problems = content.get("problems")
    if isinstance(common, int) and isinstance(problems, dict) and new is not None:
        scaled = {
            k: v | {"queries": round(v["queries"] * new / common)}
            for k, v in problems.items()
            if isinstance(v, dict) and isinstance(v.get("queries"), int)
        }
        content = content | {"problems": problems | scaled}
    return content | changes


def _made(content: dict[str, Any]) -> tuple[dict[str, Setting], list[Entry], list[str]]:
    """Return what could be made of the content, and what is wrong with the rest that types do not tell."""
    faults: list[str] = []
    pairs = content.get("pairs", _DEFAULT_PAIRS)
    pairs = pairs if isinstance(pairs, int) and pairs >= 1 else _DEFAULT_PAIRS
    items = {
        label: spec
        for label, item in _tables(content, "problems")
        if (spec := validated(ProblemSpec, {"env": item} if isinstance(item, str) else item)[0]) is not None
    }
    problems = {
        label: made
        for label, item in items.items()
        if (made := _tried(faults, f"problems.{label}", _setting_of, item, *_class(content))) is not None
    }
    words = _tables({"oracles": {"sampled": "sampled"}} | content, "oracles")
    oracles = {
        label: oracle
        for label, text in words
        if isinstance(text, str)
        and (oracle := _tried(faults, f"oracles.{label}", parse_oracle, text, pairs)) is not None
    }
    entries = [
        entry
        for label, item in _algorithms(content)
        for entry in _entries(label, item, oracles, len(words) > 1, faults)
    ]
    faults += [*_refusals(problems, entries), *_short(content, items, oracles)]
    return problems, entries, faults


def _tables(content: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    found = content.get(key)
    return list(found.items()) if isinstance(found, dict) else []


def _algorithms(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if content.get("kind") != "inexact":
        yield from _tables(content, "algorithms")
        return
    yield from ENDS.items()
    steps = content.get("n_steps")
    for k in sorted({k for k in steps if isinstance(k, int)}) if isinstance(steps, list) else []:
        if k >= 1:
            yield f"K = {k}", INEXACT.format(k)


def _tried(faults: list[str], place: str, make: Callable[..., T], *arguments: Any) -> T | None:
    try:
        return make(*arguments)
    except (UserError, ValueError, TypeError, ImportError, KeyError) as error:
        faults.append(f"{place}: {str(error).removeprefix('--algorithms ')}")
        return None


def _entries(
    label: str, item: Any, oracles: dict[str, OracleSpec], several: bool, faults: list[str]
) -> Iterator[Entry]:
    spec = validated(AlgorithmSpec, {"algorithm": item} if isinstance(item, str) else item)[0]
    made = None if spec is None else _tried(faults, f"algorithms.{label}", _algorithm, spec.algorithm)
    if spec is None or made is None:
        return
    for name, oracle in oracles.items():
        if spec.oracles is None or name in spec.oracles:
            yield Entry(f"{label}, {name}" if several else label, made, oracle, name)


def _algorithm(text: str) -> Spec:
    found = parse([text])
    if len(found) != 1:
        raise UserError(f"{text}: expected one algorithm, found {len(found)}: give each a label of its own")
    found[0].make(1.0)
    return found[0]


def _refusals(problems: dict[str, Setting], entries: list[Entry]) -> Iterator[str]:
    """Yield what algorithms and oracles refuse, with the place; one message a place."""
    for label, setting in problems.items():
        for entry in entries:
            try:
                refusal = entry.algorithm.make(1.0).refuses(
                    setting.problem, entry.oracle.trial(setting.problem, setting.start)
                )
            except (ValueError, TypeError):  # told below, with the oracle's place
                continue
            if refusal is not None:
                yield f"{entry.name} cannot run on {label}: {refusal}"
        for name, oracle in {entry.oracle_name: entry.oracle for entry in entries}.items():
            try:
                oracle.trial(setting.problem, setting.start).bind(setting.problem, [np.random.default_rng(0)])
            except (ValueError, TypeError) as error:
                yield f"oracles.{name} cannot observe {label}: {error}"


def _short(content: dict[str, Any], items: dict[str, ProblemSpec], oracles: dict[str, OracleSpec]) -> Iterator[str]:
    """Yield budgets that do not pay for one update."""
    common = content.get("queries")
    budgets = {f"problems.{label}.queries": item.queries for label, item in items.items() if item.queries}
    if isinstance(common, int):
        budgets = {"queries": common} | budgets
    for place, queries in budgets.items():
        for name, oracle in oracles.items():
            if 2 <= queries < 2 * oracle.pairs:
                least = 2 * oracle.pairs
                yield f"{place}: {queries}, expected at least one update of oracles.{name}, 2 pairs = {least}"


def _setting_of(item: ProblemSpec, policy: str, n_features: int) -> Setting:
    return make_setting(item.env, json.dumps(item.options, sort_keys=True), policy, n_features)


def _class(content: dict[str, Any]) -> tuple[str, int]:
    """Return the policy class, by default where the content has a fault there."""
    n = content.get("n_features", N_FEATURES)
    ok = content.get("policy") == "log-linear" and isinstance(n, int) and n >= 1
    return ("log-linear", n) if ok else ("tabular", N_FEATURES)


@lru_cache(maxsize=_MADE)
def make_setting(env: str, options: str, policy: str = "tabular", n_features: int = N_FEATURES) -> Setting:
    """Return a problem by its constructor's name and options as JSON; runs start uniformly.

    In a game uniform may be the equilibrium: there the first action starts e times as likely as the others, and a
    log-linear policy at random parameters. Features are random, the same for every cell; a linear MDP's are its own.
    """
    given = json.loads(options)
    noise = given.pop("noise_sigma", None)
    problem = envs.make(env, **given)
    if noise is not None:
        if not isinstance(problem, rt.ContextualBandit):
            raise UserError("noise_sigma is an option of bandits")
        problem = replace(problem, noise=rt.GaussianNoise(noise))
    logits = np.zeros(problem.policy_shape)
    if isinstance(problem, rt.PreferenceGame):
        logits[..., 0] = 1.0
    start: rt.TabularPolicy | rt.LogLinearPolicy = rt.TabularPolicy(logits)
    if policy == "log-linear":
        rng = np.random.default_rng(0)
        features = rng.standard_normal((*problem.policy_shape, n_features))
        if isinstance(problem, rt.LinearMDP):
            features = problem.features
        d = features.shape[-1]
        start = rt.LogLinearPolicy(
            features, rng.standard_normal(d) if isinstance(problem, rt.PreferenceGame) else np.zeros(d)
        )
    first = rt.evaluate(problem, start)
    spread = float(np.where(first.occupancy > 0, np.ptp(first.q_values, axis=-1), 0.0).max())
    if spread == 0:
        raise UserError(f"{env}: the first policy sees no difference between actions: there is nothing to compare")
    return Setting(problem, start, 1 / spread)
