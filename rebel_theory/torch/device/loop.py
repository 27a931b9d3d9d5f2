"""The loop of a run on a device: an oracle on tensors, and a record that is fetched once, at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from rebel_theory.advantages import Baseline
from rebel_theory.algorithms import Algorithm, MirrorDescent, NaturalPolicyGradient, Rebel, State
from rebel_theory.algorithms.rloo import Rloo
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import Exact, Oracle, Sampled
from rebel_theory.policies import Base, Fixed, OnPolicy, Uniform
from rebel_theory.problems import InvalidProblemError
from rebel_theory.torch.device.policy import DeviceFeedback, DevicePolicy
from rebel_theory.torch.device.problems import DeviceProblem, Evaluated
from rebel_theory.torch.device.sampling import actions, states
from rebel_theory.torch.forms import FactorisedForm, GraphForm, PairForm, pair_loss
from rebel_theory.torch.policy import TorchPolicy, taking
from rebel_theory.torch.solvers import GaussNewton, Minimise
from rebel_theory.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

_RUNS = (Rebel, NaturalPolicyGradient, MirrorDescent, Rloo)


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    cells: Tensor  # (B, S, A)


class DeviceOracle:
    """Exact or sampled feedback on tensors. One stream serves the whole batch: a member's draws depend on its size."""

    def __init__(self, problem: DeviceProblem, oracle: Oracle, seed: int) -> None:
        self.problem = problem
        self.n_pairs = oracle.n_pairs if isinstance(oracle, Sampled) else None
        self.stream = torch.Generator(problem.table.device).manual_seed(seed)
        self.spent = 0
        self._known: tuple[DevicePolicy, Evaluated] | None = None

    def evaluate(self, policy: DevicePolicy) -> Evaluated:
        """Return the exact evaluation, computed once a policy."""
        if self._known is None or self._known[0] is not policy:
            self._known = (policy, self.problem.evaluate(policy.probs))
        return self._known[1]

    def base(self, policy: DevicePolicy, base: Base) -> Tensor:
        """Return mu (B, S, A)."""
        if isinstance(base, OnPolicy):
            return policy.probs
        if isinstance(base, Uniform):
            return torch.full_like(policy.probs, 1 / self.problem.n_actions)
        if isinstance(base, Fixed):
            table = torch.as_tensor(np.asarray(getattr(base.probs, "probs", base.probs)), dtype=policy.probs.dtype)
            return table.to(policy.probs.device).expand_as(policy.probs)
        raise InvalidProblemError("base", [f"{base} is not there on a device: on-policy, uniform or an array (S, A)"])

    def exact_form(self, policy: DevicePolicy, base: Base) -> FactorisedForm:
        """Return the population of pairs."""
        found = self.evaluate(policy)
        return FactorisedForm.of(found.weights, policy.probs, self.base(policy, base), found.signal)

    def pairs(self, policy: DevicePolicy, base: Base) -> PairForm:
        """Return the regression data that the algorithm sees."""
        if self.n_pairs is None:
            return self.exact_form(policy, base)
        rows = states(self.evaluate(policy).weights, self.n_pairs, self.stream)
        first = actions(policy.probs, rows, self.stream)
        second = actions(self.base(policy, base), rows, self.stream)
        relative = self.problem.observe(rows, first, second, policy.probs, self.stream)
        self.spent += 2 * self.n_pairs
        return self._graph(rows, first, second, relative)

    def _graph(self, rows: Tensor, first: Tensor, second: Tensor, relative: Tensor) -> GraphForm:
        b, (s, a) = len(rows), (self.problem.n_rows, self.problem.n_actions)
        member = torch.arange(b, device=rows.device)[:, None]
        cell = ((((member * s + rows) * a) + first) * a + second).reshape(-1)
        blank = torch.zeros(b * s * a * a, dtype=relative.dtype, device=rows.device)
        ones = torch.ones_like(relative).reshape(-1)
        counts = blank.clone().scatter_add_(0, cell, ones).view(b, s, a, a)
        sums = blank.scatter_add_(0, cell, relative.reshape(-1)).view(b, s, a, a)
        both, net = counts + counts.mT, sums - sums.mT
        return GraphForm.of(both / rows.shape[-1], net / both.clamp_min(1))

    def feedback(self, policy: DevicePolicy) -> DeviceFeedback:
        """Return the exact feedback."""
        found = self.evaluate(policy)
        return DeviceFeedback(found.weights, found.signal)

    def advantages(self, policy: DevicePolicy, baseline: Baseline) -> _Cells:
        """Return the exact advantages by cell, whatever the baseline."""
        found = self.evaluate(policy)
        advantage = found.signal - (policy.probs * found.signal).sum(-1, keepdim=True)
        return _Cells(found.weights[..., None] * policy.probs * advantage)


def run(
    problem: DeviceProblem,
    algorithm: Algorithm,
    *,
    n_iterations: int,
    policy: TorchPolicy,
    oracle: Oracle | None = None,
    n_seeds: int = 1,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Trace:
    """Return the trace of ``n_iterations`` updates of all seeds and step sizes in one batch on the device.

    Parameters
    ----------
    problem, algorithm, n_iterations, n_seeds, seed
        As in :func:`rebel_theory.run`; REBEL, NPG, mirror descent (KL) and RLOO, exact; sampled, REBEL and NPG with
        ``fisher="pairs"``. One stream serves the whole batch: a seed's draws depend on how many run beside it.
    policy : TorchPolicy
        The first policy; leading axes of theta are (n_seeds, batch...). Nothing here forms a Jacobian:
        ``Minimise()`` becomes ``GaussNewton()``, and the pseudo-inverse that NPG solves with by default becomes
        conjugate gradients, those of the policy's ``GaussNewton`` if it has one.
    oracle : Exact() or Sampled(n_pairs)
    progress : callable, optional
        Called after every update with a gap of NaN: a number would have to wait for the device.

    Returns
    -------
    Trace
        ``kl`` is NaN and ``bound`` empty; ``probs`` is None.
    """
    oracle = Exact() if oracle is None else oracle
    lead = _checked(algorithm, oracle, policy, {"n_iterations": n_iterations, "n_seeds": n_seeds, "seed": seed})
    etas = np.ascontiguousarray(np.broadcast_to(algorithm.eta, lead)).reshape(-1)
    flat = cast("Any", replace(cast("Any", algorithm), step_size=etas))
    start = _start(problem, policy, lead)
    bound = DeviceOracle(problem, oracle, seed)
    state = flat.init(start)
    eta = start._eta(etas)
    gaps, errors = [bound.evaluate(start).gap], []
    total, averages = start.probs, [gaps[0]]
    queries = [0]
    for t in range(n_iterations):
        before: Any = state.policy
        with torch.no_grad():
            form = bound.exact_form(before, flat.base_distribution)
        state = cast("State", flat.step(state, bound))
        now: Any = state.policy
        with torch.no_grad():
            errors.append(pair_loss(form, now.log_probs - before.log_probs, eta) / eta**2)
            gaps.append(bound.evaluate(now).gap)
            if not problem.linear_gap:
                total = total + now.probs
                averages.append(problem.evaluate(total / (t + 2)).gap)
        queries.append(bound.spent)
        if progress is not None:
            progress(t + 1, float("nan"))

    def fetched(rows: list[Tensor]) -> FloatArray:
        if not rows:
            return np.empty((*lead, 0))
        array = torch.stack(rows, -1).double().cpu().numpy()
        return np.ascontiguousarray(array.reshape(*lead, len(rows)))

    gap = fetched(gaps)
    if not np.isfinite(gap).all():
        t = int(np.argwhere(~np.isfinite(gap))[:, -1].min())
        raise FloatingPointError(f"update {t} produced a policy without finite probabilities: reduce the step size")
    theta = cast("Any", state.policy).theta.double().cpu().numpy().reshape(*lead, -1)
    return Trace(
        algorithm=algorithm.name,
        gap=gap,
        average_gap=np.cumsum(gap, -1) / np.arange(1, gap.shape[-1] + 1) if problem.linear_gap else fetched(averages),
        regression_error=fetched(errors),
        kl=np.full(gap.shape, np.nan),
        queries=np.broadcast_to(np.array(queries, dtype=np.float64), gap.shape).copy(),
        bound={},
        final_policy=policy.with_theta(theta),
        probs=None,
        seed=seed,
        step_size=algorithm.eta,
        evaluation_error=float("nan"),
    )


def _checked(algorithm: Algorithm, oracle: Oracle, policy: TorchPolicy, counts: dict[str, int]) -> tuple[int, ...]:
    """Return the leading axes (seeds, step sizes...) of a run that can be."""
    problems = [
        f"{name} is {value}, expected an integer >= {least}"
        for (name, value), least in zip(counts.items(), (0, 1, 0), strict=True)
        if int(value) != value or value < least
    ]
    what, sampled = type(algorithm).__name__, isinstance(oracle, Sampled)
    if type(algorithm) not in _RUNS:
        problems.append(f"{what} is not there on a device: {', '.join(kind.__name__ for kind in _RUNS)}")
    if type(oracle) not in (Exact, Sampled):
        problems.append(f"{type(oracle).__name__} is not there on a device: Exact() or Sampled(n_pairs)")
    if isinstance(algorithm, MirrorDescent) and algorithm.mirror_map != "kl":
        problems.append(f"mirror_map is {algorithm.mirror_map!r}: on a device it is 'kl'")
    pairs = isinstance(algorithm, Rebel) or getattr(algorithm, "fisher", None) == "pairs"
    if sampled and not pairs and type(algorithm) in _RUNS:
        problems.append(f"{what} is exact on a device: Exact(), or sample by pairs (Rebel, NPG with fisher='pairs')")
    if not isinstance(policy, TorchPolicy):
        problems.append("a device problem needs a TorchPolicy: policy=TorchPolicy(mlp(k, A), contexts)")
    if problems:
        raise InvalidProblemError("run", problems)
    own = policy.theta.shape[:-1]
    try:
        return np.broadcast_shapes((counts["n_seeds"], *algorithm.eta.shape), own)
    except ValueError:
        expected = (counts["n_seeds"], *algorithm.eta.shape)
        raise InvalidProblemError(
            "TorchPolicy", [f"theta has leading axes {own}, expected none or (seeds, step sizes...) = {expected}"]
        ) from None


def _start(problem: DeviceProblem, policy: TorchPolicy, lead: tuple[int, ...]) -> DevicePolicy:
    table = problem.table
    inputs = problem.contexts
    if policy.contexts is not None:
        inputs = torch.as_tensor(np.array(policy.contexts), dtype=table.dtype).to(table.device)
    elif inputs is None:
        inputs = torch.eye(problem.n_rows, dtype=table.dtype, device=table.device)
    if inputs.ndim != 2 or len(inputs) != problem.n_rows:
        found = tuple(inputs.shape)
        raise InvalidProblemError(
            "TorchPolicy", [f"contexts has shape {found}, expected ({problem.n_rows}, k) for this problem"]
        )
    net = policy.net.to(table.device, table.dtype)
    flat = np.array(np.broadcast_to(policy.theta, (*lead, policy.theta.shape[-1])))
    theta = torch.as_tensor(flat.reshape(-1, flat.shape[-1]), dtype=table.dtype).to(table.device)
    solver = GaussNewton() if isinstance(policy.solver, Minimise) else policy.solver
    fisher = replace(solver, damping=0.0) if isinstance(solver, GaussNewton) else GaussNewton()
    start = DevicePolicy(net, inputs, theta, solver, fisher)
    with taking(inputs.shape):
        found = tuple(start.log_probs.shape[1:])
    if found != (problem.n_rows, problem.n_actions):
        raise InvalidProblemError(
            "TorchPolicy", [f"the module gives logits {found}, expected ({problem.n_rows}, {problem.n_actions})"]
        )
    return start


__all__ = ["DeviceOracle", "run"]
