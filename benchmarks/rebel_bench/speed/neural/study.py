"""``rebel-theory bench --suite neural``: tune, race, look at memory, keep, draw, print."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from rebel_bench.devices import require_device
from rebel_bench.speed.case import SpeedScale
from rebel_bench.speed.machine import machine
from rebel_bench.speed.neural import sizes
from rebel_bench.speed.neural.race import MEMORY, Races, at_edge
from rebel_bench.speed.stored import store
from rebel_bench.tables import print_json


def study(scale: SpeedScale, device: str, folder: Path, *, figures: bool, as_json: bool) -> None:
    """Run the comparison and store it as neural.SCALE.* in a folder; one that was interrupted goes on.

    Raises
    ------
    UserError
        Without PyTorch, or without the device.
    """
    from rebel_bench.speed.command import progress

    name = device_name(device)
    size = sizes.size(scale)
    races = Races(size, device, name, folder / f"neural.{scale}.races")
    with progress(len(size.tasks) * (4 + size.n_seeds + 1)) as tell:
        curves, scores, summary = [], [], []
        for task in size.tasks:
            kind = type(task).__name__
            best, tried = races.tuned(task, tell)
            scores.append(tried)
            own = []
            for seed in range(size.n_seeds):
                tell(f"{kind}: seed {seed}")
                own.append(races.run(task, best, seed))
            curves += own
            tell(f"{kind}: memory")
            held = races.memory(task, best)
            for row in summarised(pd.concat(own)):
                m = row["method"]
                more = {"setting": str(best[m]), "edge": at_edge(size, m, best[m]), "peak_bytes": held[m]}
                summary.append({**row, **more})
    rows, frame = pd.DataFrame(summary), pd.concat(curves, ignore_index=True)
    first = size.policy(size.tasks[0], 0, size.settings("PPO")[0], "cpu")
    about = {
        **machine(), "device": name, "torch": version("torch"), "scale": scale, "parameters": len(first.theta),
        "memory": MEMORY["cuda" if device.startswith("cuda") else "cpu"],
        **{k: getattr(size, k) for k in ("n_pairs", "n_iterations", "n_seeds", "n_evaluation", "steps", "value_body")},
    }  # fmt: skip
    path = folder / f"neural.{scale}"
    found = {"rows": rows.to_dict("records"), "tuning": pd.concat(scores).to_dict("records"), "about": about}
    files = store(frame, found, path)
    shutil.rmtree(races.folder)  # the next study measures again
    from rebel_bench.speed.neural.show import draw, print_table

    if figures:
        files += draw(frame, path)
    if as_json:
        print_json({**found, "files": [str(file) for file in files]})
    else:
        print_table(rows, about, files)


def device_name(device: str) -> str:
    """Return what a device calls itself, or say which command or option is missing."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler talks on stderr
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    require_device(device, "this suite")
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    torch.set_num_threads(1)  # the suites are timed on one thread
    return str(machine()["cpu"] or device)


def summarised(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row a method of one task: seconds an iteration with quartiles, and rewards.

    ``reward`` is the mean of the last tenth of the iterations over the seeds, with the least and the most of a seed;
    all methods have then spent the same queries. ``reward_in_time`` is that at the time which the quickest method of
    the task needs for all its iterations.
    """
    rows = []
    last = curves["iteration"].max()
    time = curves[curves["iteration"] == last].groupby("method")["seconds"].mean().min()
    ours = curves[curves["method"] == "REBEL"].set_index(["seed", "iteration"])["step"]
    for method, part in curves.groupby("method", sort=False):
        step = part["step"].dropna()
        ratio = (part.set_index(["seed", "iteration"])["step"] / ours).dropna()
        late = part[part["iteration"] > 0.9 * last].groupby("seed")["reward"].mean()
        timely = part[part["seconds"] <= time].groupby("seed")["reward"].last()
        rows.append({
            "task": str(part["task"].iloc[0]), "method": str(method), "step": float(step.median()),
            "step_low": float(step.quantile(0.25)), "step_high": float(step.quantile(0.75)),
            "ratio": float(ratio.median()), "queries": float(part["queries"].max()), "reward": float(late.mean()),
            "reward_low": float(late.min()), "reward_high": float(late.max()), "seconds": float(time),
            "reward_in_time": float(timely.mean()), "refused": int(part.groupby("seed")["refused"].max().sum()),
        })  # fmt: skip
    return rows
