"""From the words of the command line to what is audited; every error before any work."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rebel_theory as rt
from rebel_bench.cmd_run import Run
from rebel_bench.errors import UserError
from rebel_bench.side_by_side import setup
from rebel_bench.user_files import in_words, load_module
from rebel_theory.audit import CLAIMS

if TYPE_CHECKING:
    from rebel_bench.cmd_audit import Audit

# a problem for each claim at which all of its lines have something to say, and for C2 its worst case (C3)
DEFAULTS: dict[str, dict[str, Any]] = {
    "C1": {"env": "random-bandit", "policy": "log-linear", "set": ("n_contexts=5", "n_actions=6")},
    "C2": {"env": "worst-case-bandit", "step_size": 1.0, "iterations": 100},
    "C7": {"env": "garnet", "iterations": 60},
    "C11": {"env": "garnet", "policy": "log-linear"},
    "P7": {"env": "random-game", "policy": "log-linear"},
}
ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Question:
    """What is audited."""

    claim: str
    name: str
    problem: rt.Problem
    policy: rt.Policy
    algorithm: rt.Algorithm
    label: str
    n_iterations: int
    oracle: rt.Oracle
    seed: int


def question(options: Audit) -> Question:
    """Return what the options ask; raise UserError, or InvalidProblemError, with the remedy."""
    claim = options.id.upper()
    if claim not in CLAIMS:
        raise UserError(f"{options.id} has no audit: expected one of {', '.join(CLAIMS)} (`rebel-theory claims`)")
    own: dict[str, Any] = DEFAULTS[claim] if options.problem is None else {"env": options.problem}
    iterations, eta = options.iterations, options.step_size
    asked = Run(
        env=own["env"], algorithms=options.algorithm, features=options.features, base=options.base,
        start=options.start, pairs=options.pairs, seed=options.seed, set=options.set or own.get("set", ()),
        iterations=own.get("iterations") if iterations is None else iterations,
        policy=options.policy or own.get("policy", "tabular"),
        step_size=own.get("step_size") if eta is None else eta,
    )  # fmt: skip
    name, is_file = asked.env, asked.env.lower().endswith(".json")
    if not is_file:
        asked = replace(
            asked,
            algorithms=asked.algorithms or ("entropy-npg" if claim == "C7" else "rebel"),
            iterations=ITERATIONS if asked.iterations is None else asked.iterations,
            base=asked.base or "uniform",
        )
    made, instance, first = None, None, None
    if ".py" in name:
        made, first = _from_function(name, asked)
    else:
        asked, instance = setup.resolve(asked)
        made = setup.problem(asked, instance)
    _check(options, asked, claim, name, made)
    setup.check_numbers(asked)
    first = setup.first_policy(asked, made, instance) if first is None else first
    label, algorithm = _algorithm(claim, options, asked, made, first, instance)
    assert asked.iterations is not None
    return Question(
        claim, Path(name).stem if is_file else name, made, first, algorithm, label, asked.iterations,
        rt.Exact() if asked.pairs is None else rt.Sampled(asked.pairs), asked.seed,
    )  # fmt: skip


def _algorithm(
    claim: str, options: Audit, asked: Run, made: rt.Problem, first: rt.Policy, instance: Any
) -> tuple[str, rt.Algorithm]:
    try:
        specs = setup.chosen(asked)
    except UserError as error:
        raise UserError(str(error).replace("--algorithms", "--algorithm")) from error
    if len(specs) > 1:
        raise UserError(f"--algorithm {options.algorithm}: one algorithm at a time is audited")
    if claim == "C7" and asked.step_size is None:
        asked = replace(asked, step_size=_half_the_largest(specs[0].make(1.0)))
    eta = setup.step_size(asked, made, first)
    try:
        found = setup.algorithms(asked, specs, eta, made, instance)
    except UserError as error:
        raise UserError(str(error).replace("--algorithms", "--algorithm")) from error
    return next(iter(found.items()))


def _half_the_largest(algorithm: rt.Algorithm) -> float:
    """Return 1/(2 tau), half of the largest step that C7 allows."""
    temperature = getattr(algorithm, "temperature", None)
    if temperature is None or not float(temperature) > 0:
        raise UserError(
            f"C7 is about algorithms with a temperature > 0, and {algorithm.name} has {temperature}: try --algorithm "
            '"entropy-npg(temperature=0.1)", or give your class a field temperature'
        )
    return 0.5 / float(temperature)


def _check(options: Audit, asked: Run, claim: str, name: str, made: Any) -> None:
    kinds, what = CLAIMS[claim]
    if not isinstance(made, rt.Problem):
        raise UserError(f"--problem {name}: it returned {made!r}, expected a problem such as rt.TabularMDP(...)")
    if not isinstance(made, kinds) or (claim == "C7" and getattr(made, "discount", 0) >= 1):
        others = [other for other, (own, _) in CLAIMS.items() if isinstance(made, own) and other != claim]
        hint = f": audit {' or '.join(others)} instead, or leave --problem out" if others else ""
        discount = getattr(made, "discount", None)
        raise UserError(
            f"{claim} is about {what}, and {name} is a {type(made).__name__}"
            + (f" with discount {discount:g}" if discount is not None else "") + hint
        )  # fmt: skip
    if made.batch_shape:
        raise UserError(f"--problem {name}: a batch of shape {made.batch_shape}; return one, problem.instance(...)")
    if claim == "C7" and (options.pairs is not None or asked.policy != "tabular"):
        raise UserError("C7 is about exact soft values and tabular policies: leave out --pairs and --policy")


def _from_function(text: str, asked: Run) -> tuple[Any, Any]:
    """Return the problem, and the first policy if there is one, of FILE.py:function."""
    file, _, name = text.partition(".py")
    path, name = Path(file + ".py"), name.removeprefix(":")
    if not path.is_file():
        raise UserError(f"--problem {text}: there is no file {path}; expected FILE.py:function")
    try:
        module = load_module(path, "problem")
        own = [
            key for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
        ]  # fmt: skip
        name = name or (own[0] if len(own) == 1 else "")
        if name not in own:
            raise UserError(
                f"--problem {text}: expected {path}:function with one of {', '.join(own) or 'its functions'}"
            )
        found = getattr(module, name)(**setup.keywords(asked.set))
    except (UserError, rt.InvalidProblemError):
        raise
    except Exception as error:
        raise UserError(f"--problem {text}: {in_words(error)}") from error
    return found if isinstance(found, tuple) and len(found) == 2 else (found, None)
