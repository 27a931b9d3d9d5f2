"""``rebel-theory bench --suite torch-seeds``: seed-iterations a second in one call and one at a time, and the limit."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import rebel_theory as rt
from rebel_bench.speed.case import SpeedScale
from rebel_bench.speed.machine import machine
from rebel_bench.speed.measure import quartiles
from rebel_bench.speed.neural.study import device_name
from rebel_bench.speed.stored import store_object
from rebel_bench.tables import print_json, print_rows

X, Y, INPUTS, HIDDEN = 16, 8, 4, (16,)
PAIRS, ITERATIONS, ROUNDS = 64, 5, 5
MANY = 4096  # seeds on a GPU, or at paper scale
AIM = 50.0  # times more seed-iterations a second, on a GPU
_CG = 12  # conjugate gradients an update, without a look at the device
_PROFILED = 64  # seeds on the CPU, where batched products are loops and every turn is an event
_BANDWIDTH_FROM = 1e6  # bytes: a smaller copy measures its call


def study(scale: SpeedScale, device: str, folder: Path, *, as_json: bool) -> None:
    """Measure REBEL with a perceptron on a noisy bandit, sampled, all on the device, and store torch-seeds.SCALE.json.

    Raises
    ------
    UserError
        Without PyTorch, or without the device.
    """
    from rebel_bench.speed.command import progress

    name = device_name(device)
    n_seeds = MANY if scale == "paper" or device.startswith("cuda") else 256
    run = _runner(device)
    with progress(ROUNDS + 1) as tell:
        run(n_seeds, 0), run(1, 0)  # warmed up
        rates = np.empty((2, ROUNDS))
        for i in range(ROUNDS):  # in turns
            tell(f"round {i + 1} of {ROUNDS}")
            for row, n in enumerate((n_seeds, 1)):
                began = time.perf_counter()
                run(n, i)  # ends with a copy to the host, so the device is done
                rates[row, i] = n * ITERATIONS / (time.perf_counter() - began)
        tell("the dominant kernel")
        kernel = dominant(lambda: run(n_seeds if device.startswith("cuda") else _PROFILED, 0, 1), device)
    ratio = quartiles(rates[0] / rates[1])
    found = {
        "device": name, "torch": version("torch"), "scale": scale, "n_seeds": n_seeds, "iterations": ITERATIONS,
        "pairs": PAIRS, "parameters": _n_parameters(), "precision": "float64",
        "together": quartiles(rates[0]), "alone": quartiles(rates[1]), "ratio": ratio, "aim": AIM,
        "aim_is_for_this_device": device.startswith("cuda"), "kernel": kernel, "about": machine(),
    }  # fmt: skip
    path = store_object(found, folder / f"torch-seeds.{scale}.json")
    if as_json:
        print_json({**found, "files": [str(path)]})
    else:
        _print(found, path)


def _runner(device: str) -> Callable[..., rt.Trace]:
    from rebel_theory.torch import GaussNewton, TorchPolicy, mlp
    from rebel_theory.torch.device import neural_bandit

    bandit: Any = neural_bandit(X, Y, n_inputs=INPUTS, noise=rt.GaussianNoise(0.3), device=device)
    solver = GaussNewton(max_iterations=_CG, stop_early=False)
    policy = TorchPolicy(mlp(INPUTS, Y, hidden=HIDDEN), solver=solver)

    def run(n_seeds: int, seed: int, n_iterations: int = ITERATIONS) -> rt.Trace:
        return rt.run(
            bandit, rt.Rebel(0.5), policy=policy, oracle=rt.Sampled(PAIRS), n_iterations=n_iterations,
            n_seeds=n_seeds, seed=seed,
        )  # fmt: skip

    return run


def _n_parameters() -> int:
    sizes = (INPUTS, *HIDDEN, Y)
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def dominant(work: Callable[[], Any], device: str) -> dict[str, Any]:
    """Return the operation with the largest total time on the device, and the share of the device's limit it reaches.

    By the profiler, every operation with the shapes of its inputs. The least time that a call could take is the
    larger of its floating-point operations at the rate of a large matrix product, and its bytes (inputs read once, the
    result written once) at the bandwidth of a copy of that size; both are measured here, on the same device.
    """
    from torch.profiler import ProfilerActivity, profile

    cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, record_shapes=True) as seen:
        work()
    field = "self_device_time_total" if cuda else "self_cpu_time_total"
    calls = [e for e in seen.key_averages(group_by_input_shape=True) if e.key.startswith("aten::")]
    totals: dict[str, float] = defaultdict(float)
    for e in calls:
        totals[e.key] += getattr(e, field)
    if not any(totals.values()):  # counters that only an administrator may read, mostly
        return {"operation": None, "why": "the profiler saw no kernels on this device"}
    name = max(totals, key=lambda key: totals[key])
    # of its shapes the one that takes longest
    top = max((e for e in calls if e.key == name), key=lambda e: float(getattr(e, field)))
    flops, moved = cost(name, [list(shape) for shape in top.input_shapes])
    # on the CPU a batched product calls others
    seconds = float(getattr(top, field if cuda else "cpu_time_total")) * 1e-6 / top.count
    rate, bandwidth = _matmul_rate(device), _bandwidth(device, max(moved, _BANDWIDTH_FROM))
    least = max(flops / rate, moved / bandwidth)
    return {
        "operation": name, "share_of_time": totals[name] / sum(totals.values()), "shapes": str(top.input_shapes),
        "calls": int(top.count), "seconds": seconds, "flops": flops, "bytes": moved, "flops_a_second": rate,
        "bytes_a_second": bandwidth, "limit": "arithmetic" if flops / rate > moved / bandwidth else "memory",
        "fraction": least / seconds,
    }  # fmt: skip


def cost(name: str, shapes: list[list[int]]) -> tuple[float, float]:
    """Return the floating-point operations and the bytes (8 a number) that one call of an operation needs at least.

    >>> cost("aten::bmm", [[2, 3, 4], [2, 4, 5]])
    (240.0, 752.0)
    >>> cost("aten::mul", [[10, 3], [10, 1]])
    (30.0, 560.0)
    """
    sizes = [prod(shape) for shape in shapes if shape]
    if name in ("aten::bmm", "aten::mm", "aten::addmm", "aten::baddbmm"):
        left, right = [shape for shape in shapes if len(shape) >= 2][-2:]
        out = prod(left[:-1]) * right[-1]
        return 2.0 * out * left[-1], 8.0 * (sum(sizes) + out)
    out = max(sizes, default=0)
    return float(out), 8.0 * (sum(sizes) + out)


def _seconds(work: Callable[[], Any], device: str) -> float:
    """Return the least time of a call over some rounds."""
    import torch

    times = []
    for _ in range(7):
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        for _ in range(5):
            work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - began) / 5)
    return min(times)


def _matmul_rate(device: str) -> float:
    import torch

    n = 4096 if device.startswith("cuda") else 512
    a = torch.ones(n, n, dtype=torch.float64, device=device)
    return 2.0 * n**3 / _seconds(lambda: a @ a, device)


def _bandwidth(device: str, moved: float) -> float:
    import torch

    n = int(moved / 16)
    a = torch.ones(n, dtype=torch.float64, device=device)
    b = torch.empty_like(a)
    return 16.0 * n / _seconds(lambda: b.copy_(a), device)


def _of_kernel(kernel: dict[str, Any]) -> list[dict[str, str]]:
    if kernel["operation"] is None:
        return [{"quantity": "dominant operation", "value": f"not known: {kernel['why']}"}]
    dominant = f"{kernel['operation']}, {kernel['share_of_time']:.0%} of the time"
    return [
        {"quantity": "dominant operation", "value": dominant},
        {"quantity": f"its share of the measured limit ({kernel['limit']})", "value": f"{kernel['fraction']:.2g}"},
    ]


def _print(found: dict[str, Any], path: Path) -> None:
    kernel, (low, mid, high) = found["kernel"], found["ratio"]
    print_rows(
        ("quantity", "value"),
        [
            {"quantity": "seed-iterations a second, together", "value": f"{found['together'][1]:,.0f}"},
            {"quantity": "seed-iterations a second, one seed at a time", "value": f"{found['alone'][1]:,.0f}"},
            {"quantity": "ratio, median [quartiles]", "value": f"{mid:.3g} [{low:.3g}, {high:.3g}]"},
            *_of_kernel(kernel),
        ],
    )
    aim = f"aim: {found['aim']:g} times on a GPU" + ("" if found["aim_is_for_this_device"] else ", which this is not")
    what = (
        f"REBEL, perceptron of {found['parameters']} parameters, float64, bandit of {X} contexts and {Y} answers, "
        f"{PAIRS} pairs an update, {found['n_seeds']:,} seeds; {found['device']}, PyTorch {found['torch']}, "
        f"scale {found['scale']}"
    )
    for line in (aim, what, str(path)):
        Console(markup=False, highlight=False).print(line, soft_wrap=True)
