"""Attack claims: search, and where a ratio above 1 is found, minimise; save, replay, record."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Protocol

from rebel_bench import registry
from rebel_bench.adversary.attack import Attack
from rebel_bench.adversary.find import attacks_of
from rebel_bench.adversary.records import FOLDER, Record, write
from rebel_bench.adversary.search import Path as SearchPath
from rebel_bench.adversary.search import restart
from rebel_bench.adversary.shrink import measured, shrink
from rebel_bench.atomic import require_writable
from rebel_bench.claim import Claim, Inequality, Scale
from rebel_bench.errors import UserError
from rebel_bench.instance_files import Instance, load, save
from rebel_bench.registry import Found
from rebel_bench.version import version

LEAST_BUDGET = 50  # evaluations a restart: two generations


class Progress(AbstractContextManager["Progress"], Protocol):
    """What a hunt tells while it works."""

    def begin(self, name: str, budget: int) -> None:
        """Hear which attack begins."""
        ...

    def advance(self, n_evaluations: int, best: float) -> None:
        """Hear of evaluations, and the best ratio of this restart so far."""
        ...

    def finished(self, record: Record) -> None:
        """Hear what was found."""
        ...


def hunt(
    ids: Iterable[str], *, out: Path, progress: Progress, budget: int | None = None, restarts: int = 3, seed: int = 0,
    claims: Path | None = None,
) -> list[Record]:  # fmt: skip
    """Return what the attacks on the claims ``ids`` find (on all that can be attacked, by default).

    Parameters
    ----------
    out
        The folder of results; files go to its subfolder ``attacks``.
    budget, restarts
        Evaluations an attack (its own number by default), shared out over so many random starts. Where an attack knows
        bad instances, one start more, with these in it, gets a share too.
    seed
        Each restart of each attack has its own stream, named by claim, label and number.
    claims
        A folder of claim files with a subfolder ``attacks``; None for the ones that ship.
    """
    if restarts < 1:
        raise UserError(f"--restarts {restarts}: expected at least 1")
    if seed < 0:
        raise UserError(f"--seed {seed}: expected 0 or more")
    if budget is not None and budget < LEAST_BUDGET * restarts:
        raise UserError(f"--budget {budget}: expected at least {LEAST_BUDGET * restarts} ({LEAST_BUDGET} a restart)")
    chosen = _chosen(registry.find_all(claims), tuple(ids))
    require_writable(out / FOLDER)
    records = []
    with progress as report:
        for found, attacks in chosen:
            random = _random(found.claim, seed)
            for attack in attacks:
                spend = attack.budget if budget is None else budget
                report.begin(f"{found.claim.id} {attack.label}".strip(), spend)
                record = _one(found.claim, attack, spend, restarts, seed, random, out, report)
                records.append(record)
                report.finished(record)
    return records


def _chosen(known: dict[str, Found], ids: tuple[str, ...]) -> list[tuple[Found, tuple[Attack, ...]]]:
    chosen = [(found, attacks_of(found)) for found in registry.select(known, ids)]
    without = [found.claim.id for found, attacks in chosen if not attacks]
    if ids and without:
        able = ", ".join(id_ for id_, found in known.items() if attacks_of(found))
        raise UserError(
            f"{', '.join(without)} cannot be attacked: no inequality over instances, or none that is measured exactly. "
            f"These can: {able or 'none'}"
        )
    return [(found, attacks) for found, attacks in chosen if attacks]


def _one(
    claim: Claim, attack: Attack, budget: int, restarts: int, seed: int, random: tuple[float, int] | None, out: Path,
    report: Progress,
) -> Record:  # fmt: skip
    begin = perf_counter()
    paths: list[SearchPath] = []
    starts = [False] * restarts + [True] * (attack.known is not None)
    for number, known in enumerate(starts):
        paths.append(restart(attack, claim.id, number, budget // len(starts), seed, report.advance, known=known))
        if paths[-1].ratio > 1:
            break  # a counterexample is enough
    best = max(paths, key=lambda path: path.ratio)
    name = f"{claim.id}-{attack.label}" if attack.label else claim.id
    file = out / FOLDER / f"{name}.json"
    instance = attack.population(best.point[None]).at(0, claim=claim.id, seed=seed, note=attack.space)
    refuted = best.ratio > 1
    if refuted:
        save(replace(instance, ratio=best.ratio), file.with_suffix(".found.json"))
        instance = shrink(attack, instance)
    ratio = measured(attack, load(save(instance, file)))  # of the file itself: what a replay will see
    save(replace(instance, ratio=ratio), file)
    record = Record(
        id=claim.id, label=attack.label, space=attack.space, verdict="refuted" if refuted else "holds", ratio=ratio,
        target=attack.target, found_again=None if attack.target is None else bool(ratio >= attack.target),
        restarts=tuple(path.ratio for path in paths[:restarts]),
        known=paths[restarts].ratio if len(paths) > restarts else None, random=None if random is None else random[0],
        random_cases=None if random is None else random[1], dimension=attack.dimension, budget=budget,
        evaluations=sum(path.evaluations[-1] for path in paths), seed=seed, seconds=perf_counter() - begin,
        version=version(), file=str(file.relative_to(out)),
    )  # fmt: skip
    write(record, paths, out)
    return record


def _random(claim: Claim, seed: int) -> tuple[float, int] | None:
    """Return the best ratio of the claim's own random instances at scale quick, and their number."""
    if not isinstance(claim.test, Inequality):
        return None
    judgement = claim.judge("check", claim.measure("check", Scale.QUICK, seed))
    return judgement.measured, judgement.n_cases


def replay(path: Path, claims: Path | None = None) -> tuple[Instance, float]:
    """Return the instance in a file, and its ratio measured again by the attack on its claim."""
    instance = load(path)
    if instance.claim is None:
        raise UserError(f"{path} names no claim: add one that can be attacked, such as {_example(claims)}")
    ((_, attacks),) = _chosen(registry.find_all(claims), (instance.claim,))
    try:
        return instance, measured(attacks[0], instance)
    except (AssertionError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not an instance that {instance.claim} speaks of: {error or 'another problem'}"
        ) from error


def _example(claims: Path | None) -> str:
    able = [id_ for id_, found in registry.find_all(claims).items() if attacks_of(found)]
    return f'"claim": "{able[0]}"' if able else "none here"
