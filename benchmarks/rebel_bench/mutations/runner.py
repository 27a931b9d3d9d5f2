"""Run the claims against every bug, a process a bug, and keep one JSON file a bug: what is there is not run again."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebel_bench import registry
from rebel_bench.atomic import whole_file
from rebel_bench.mutations.bugs import Bug

WORKER = Path(__file__).parent / "worker.py"
BASELINE = "baseline"  # the name of the run without a bug
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: claims in this order, how long one may take, and whether the first that catches is enough."""

    claims: tuple[str, ...]
    scale: str = "quick"
    seed: int = 0
    limit: float = 600.0
    until_caught: bool = False


def caught(result: Result) -> bool:
    """Return whether a claim noticed: it does not hold, its control is not refuted, or it cannot be measured."""
    return "error" in result or result["verdict"] != "holds" or result["control"] != "refuted"


def how(result: Result) -> str:
    """Return how a claim noticed: ``refuted`` (or inconclusive), ``control`` (which passes) or ``error``; else ''."""
    if "error" in result:
        return "error"
    if result["verdict"] != "holds":
        return str(result["verdict"])
    return "" if result["control"] == "refuted" else "control"


def codes() -> dict[str, str]:
    """Return a hash of each claim's file: a claim that was edited is measured again."""
    return {id_: hashlib.sha256(found.file.read_bytes()).hexdigest()[:12] for id_, found in registry.find_all().items()}


def read(folder: Path, name: str) -> Result:
    """Return what is stored of a bug (or of the baseline), ``{}`` for nothing."""
    file = folder / f"{name}.json"
    stored: Result = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return stored


def run_all(
    work: Sequence[tuple[Bug, Plan]], folder: Path, workers: int, told: Callable[[str, Result], None] | None = None
) -> None:
    """Run each bug's plan, ``workers`` bugs at a time; ``told(bug, result)`` hears of each claim as it is done."""
    hashes = codes()
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(run_bug, bug, plan, folder, hashes, told) for bug, plan in work]:
            done.result()


def run_bug(
    bug: Bug | None, plan: Plan, folder: Path, hashes: dict[str, str],
    told: Callable[[str, Result], None] | None = None,
) -> Result:  # fmt: skip
    """Run what is missing of the plan for one bug, None for the code as it is; return all that is stored then."""
    folder.mkdir(parents=True, exist_ok=True)
    name, mark = (bug.id, bug.fingerprint) if bug else (BASELINE, "")
    stored = read(folder, name)
    key = {"bug": name, "fingerprint": mark, "scale": plan.scale, "seed": plan.seed}
    if any(stored.get(k) != v for k, v in key.items()):
        stored = {**key, "results": {}}
    results: dict[str, Result] = {c: r for c, r in stored["results"].items() if r["code"] == hashes.get(c)}
    first = bug.aimed if bug else ()
    order = [c for c in plan.claims if c in first] + [c for c in plan.claims if c not in first]
    left = [claim for claim in order if claim not in results]
    if plan.until_caught and any(caught(r) for r in results.values()):
        left = []
    with tempfile.TemporaryDirectory(prefix="rebel-bug-") as temporary:
        module, file = "-", "-"
        if bug:
            module, path = bug.module, Path(temporary) / bug.file
            path.parent.mkdir(parents=True)
            path.write_text(bug.planted(), encoding="utf-8")
            file = str(path)
        while left:
            for result in _process([module, file, plan.scale, str(plan.seed), *left], left, plan.limit):
                left.remove(result["claim"])
                results[result["claim"]] = {**result, "code": hashes[result["claim"]]}
                with whole_file(folder / f"{name}.json") as target:
                    target.write_text(json.dumps({**key, "results": results}, indent=1), encoding="utf-8")
                if told:
                    told(name, result)
                if plan.until_caught and caught(result):
                    left = []
                    break
    return {**key, "results": results}


def _process(arguments: list[str], claims: Sequence[str], limit: float) -> Iterator[Result]:
    """Yield the results of one process; where it dies or exceeds the limit, the claim that it was at is an error."""
    waiting = list(claims)
    # PYTHONPATH in full: the process has no folder of its own on the path
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": path}
    process = subprocess.Popen(
        [sys.executable, "-P", str(WORKER), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()
    listener = threading.Thread(target=_listen, args=(process, lines), daemon=True)
    listener.start()
    try:
        while waiting:
            try:
                line = lines.get(timeout=limit)
                error = "the process died"
            except queue.Empty:
                line, error = None, f"took longer than {limit:g} s"
            if line is None:
                yield {"claim": waiting[0], "seconds": limit, "error": error}
                return
            result = json.loads(line)
            waiting.remove(result["claim"])
            yield result
    finally:
        process.kill()
        process.wait()
        listener.join()


def _listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as stdout:
        for line in stdout:
            lines.put(line)
    lines.put(None)
