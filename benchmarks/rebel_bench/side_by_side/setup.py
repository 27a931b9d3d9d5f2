"""From the words of the command line to a problem, algorithms, and a first policy; every error before any work."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rebel_envs as envs
import rebel_theory as rt
from rebel_bench.algorithm_specs import Spec, parse
from rebel_bench.errors import UserError
from rebel_bench.instance_files import Instance, load

if TYPE_CHECKING:
    from rebel_bench.cmd_run import Run


ALGORITHMS, ITERATIONS, BASE = "rebel,npg,md", 200, "on-policy"


def resolve(options: Run) -> tuple[Run, Instance | None]:
    """Return the options with what was left out filled in, from the instance file if the problem is one."""
    if not options.env.lower().endswith(".json"):
        filled = {"algorithms": ALGORITHMS, "iterations": ITERATIONS, "base": BASE}
        return replace(options, **{k: v for k, v in filled.items() if getattr(options, k) is None}), None  # type: ignore[arg-type]
    if options.set:
        raise UserError(f"--set {' '.join(options.set)}: {options.env} is a problem already; change the file instead")
    instance = load(Path(options.env))
    if options.iterations is None:
        options = replace(options, iterations=instance.n_iterations)
    if options.step_size is None:
        options = replace(options, step_size=instance.step_size)
    if options.start == "auto":
        options = replace(options, policy="tabular" if isinstance(instance.policy, rt.TabularPolicy) else "log-linear")
    return options, instance


def check_numbers(options: Run) -> None:
    """Raise one error that names every number out of range."""
    bad = []
    for name, value, least in (
        ("--iterations", options.iterations or 0, 1),
        ("--seeds", options.seeds, 1),
        ("--seed", options.seed, 0),
        ("--features", options.features, 1),
    ):
        if value < least:
            bad.append(f"{name} {value}: expected an integer of at least {least}")
    if options.pairs is not None and options.pairs < 1:
        bad.append(f"--pairs {options.pairs}: expected at least 1; leave it out for exact expectations")
    eta = options.step_size
    if eta is not None and not (np.isfinite(eta) and eta > 0):
        bad.append(f"--step-size {eta:g}: expected a finite number > 0; leave it out for one that fits the problem")
    if options.seeds > 1 and options.pairs is None:
        bad.append("--seeds: exact runs do not differ between seeds; add --pairs N to sample")
    if bad:
        raise UserError("\n".join(bad))


def chosen(options: Run) -> list[Spec]:
    """Return the algorithms in the order asked for; none where an instance file is to bring its own."""
    named = [] if options.algorithms is None else [options.algorithms]
    return parse([*named, *options.algorithm]) if named or options.algorithm else []


def step_size(options: Run, made: rt.Problem, policy: rt.Policy) -> float:
    """Return eta: as asked for, or so that the first update moves no log-ratio by more than 1.

    Rewards come in any unit; 1 over the signal's largest spread at the first policy is free of it.
    """
    if options.step_size is not None:
        return options.step_size
    first = rt.evaluate(made, policy)
    spread = np.ptp(first.q_values, axis=-1)
    largest = float(np.where(first.occupancy > 0, spread, 0.0).max())
    return 1.0 / largest if largest > 0 else 1.0


def algorithms(
    options: Run, specs: list[Spec], eta: float, made: rt.Problem, instance: Instance | None
) -> dict[str, rt.Algorithm]:
    """Return the algorithms by label; one that cannot run on the problem is an error with its reason."""
    oracle: rt.Oracle = rt.Exact() if options.pairs is None else rt.Sampled(options.pairs)
    base = options.base or (BASE if instance is None else instance.base)
    found = {spec.label: spec.make(eta, base) for spec in specs}
    if instance is not None and not specs:
        own = replace(instance, step_size=eta, base=base).make_algorithm()
        found = {own.name: own}
    reasons = {label: algorithm.refuses(made, oracle) for label, algorithm in found.items()}
    refused = [f"{label} cannot run on {options.env}: {reason}" for label, reason in reasons.items() if reason]
    if refused:
        raise UserError("\n".join(refused))
    return found


def problem(options: Run, instance: Instance | None) -> rt.Problem:
    """Return the problem, its constructor's options read as Python literals (words are strings)."""
    if instance is not None:
        return instance.problem
    try:
        made = envs.make(options.env, **keywords(options.set))
    except ImportError as error:
        raise UserError(str(error)) from error
    except TypeError as error:
        raise UserError(f"--set {' '.join(options.set)}: {error}") from error
    return made


def keywords(items: tuple[str, ...]) -> dict[str, Any]:
    """Return the options KEY=VALUE, values read as Python literals (words are strings)."""
    found: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"--set {item}: expected KEY=VALUE, such as n_states=50")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found


def first_policy(options: Run, made: rt.Problem, instance: Instance | None) -> rt.Policy:
    """Return the first policy: the instance file's, or uniform or random, tabular or log-linear."""
    if instance is not None and options.start == "auto":
        return instance.policy
    rng = np.random.default_rng(np.random.SeedSequence([options.seed, 1]))
    random = options.start == "random" or (options.start == "auto" and isinstance(made, rt.PreferenceGame))
    if options.policy == "tabular":
        logits = rng.standard_normal(made.policy_shape) if random else np.zeros(made.policy_shape)
        return rt.TabularPolicy(logits)
    if isinstance(made, rt.LinearMDP):
        features = made.features
    else:
        features = rng.standard_normal((*made.policy_shape, options.features))
    theta = rng.standard_normal(features.shape[-1]) if random else np.zeros(features.shape[-1])
    return rt.LogLinearPolicy(features, theta)
