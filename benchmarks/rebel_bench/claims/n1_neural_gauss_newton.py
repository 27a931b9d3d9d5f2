"""N1: on neural policies, too, a Gauss-Newton step of REBEL is a natural policy gradient step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Equality, Scale
from rebel_bench.claims import _neural as neural
from rebel_bench.figures import strip
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rebel_theory.torch.sequences import Batch, Completions, SequencePolicy
    from rebel_theory.torch.sequences.oracle import SequencePairs

KINDS = ("bandit", "mdp", "game")
S, A, HIDDEN = 12, 4, 2  # a perceptron that holds not every table: one that did would not care for the base
N_UPDATES = 3
N_PAIRS = 16  # of completions, an update
LARGEST_CONDITION = 300.0  # of the scores, as in E2; the steps are 0.01 to 0.3 long in theta


def _instances(rng: Generator, scale: Scale, base: str) -> pd.DataFrame:
    """Return the largest total variation between REBEL's Gauss-Newton steps with a base and NPG, per run."""
    from rebel_theory.torch import GaussNewton

    neural.prepare()
    exact = GaussNewton(max_iterations=2_000, tolerance=1e-14)
    rows = []
    for module in neural.MODULES:
        for kind in KINDS:
            for _ in range(scale.cases(quick=1, paper=20, full=200)):
                problem = neural.problem(rng, kind, S, A)
                policy = neural.well_posed(
                    lambda: neural.policy(rng, module, neural.contexts(rng, S), A, HIDDEN, solver=exact),  # noqa: B023
                    LARGEST_CONDITION,
                )
                first = rt.run(problem, rt.NaturalPolicyGradient(1.0), n_iterations=1, policy=policy).final_policy
                length = float(np.linalg.norm(first.parameters[0] - policy.theta))
                eta = float(10 ** rng.uniform(-2, -0.5)) / length
                how: dict[str, Any] = {"n_iterations": N_UPDATES, "policy": policy, "keep_policies": True}
                # REBEL through the quadratic form of its pairs and products with the Jacobian; NPG through scores that
                # are written out, and a singular value decomposition
                one = rt.run(problem, rt.Rebel(eta, base=base), **how)
                other = rt.run(problem, rt.NaturalPolicyGradient(eta), **how)
                rows.append(
                    {"case": f"{module}, {kind}" if base == "on-policy" else "another base", "module": module,
                     "kind": kind, "step_size": eta, "error": neural.largest_tv(one, other)}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _completions(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same where an answer is a whole completion, too many to weigh all: on pairs that are drawn.

    The natural step is that of the pairs' Fisher matrix (E7), from scores that are written out one completion at a
    time, without padding or a cache. Also compared are the probabilities with which the completions were drawn, and
    the log-ratios at theta_t, where Gauss-Newton is linear, with 0.
    """
    import torch

    from rebel_theory.policies import OnPolicy
    from rebel_theory.torch import GaussNewton
    from rebel_theory.torch.sequences import Copy
    from rebel_theory.torch.sequences.oracle import SequenceOracle
    from rebel_theory.torch.sequences.solvers import differences

    device = neural.prepare()
    task, exact = Copy(length=2, n_symbols=2), GaussNewton(max_iterations=2_000, tolerance=1e-14)
    rows = []
    for _ in range(scale.cases(quick=1, paper=20, full=200)):
        seed = int(rng.integers(2**31))
        policy = task.policy(width=4, depth=1, heads=2, seed=seed, dtype=torch.float64, device=device, solver=exact)
        oracle = SequenceOracle(task, N_PAIRS, seed, policy.device)
        for _ in range(N_UPDATES):
            pairs = oracle.pairs(policy, OnPolicy())
            (first, up), (second, down) = (_written_out(policy, pairs.prompts, y) for y in (pairs.first, pairs.second))
            direction = np.linalg.lstsq(up - down, pairs.relative.cpu().numpy(), rcond=1e-12)[0]
            eta = float(10 ** rng.uniform(-2, -0.5)) / float(np.linalg.norm(direction))
            one = policy.regress(pairs, eta)
            other = policy.with_theta(policy.theta + eta * torch.as_tensor(direction, device=device))
            told = [np.exp(start.cpu().numpy()) for start in (pairs.start_first, pairs.start_second)]
            drawn = max(float(np.abs(np.exp(x) - y).max()) for x, y in zip((first, second), told, strict=True))
            here = float(differences(policy, pairs, policy.theta, slice(None)).abs().max())
            shared = {"case": "transformer, completions", "module": "transformer", "kind": "completions"}
            rows += [shared | {"step_size": eta, "error": found} for found in (_apart(one, other, pairs), drawn, here)]
            policy = one
    return pd.DataFrame(rows)


def _apart(one: SequencePolicy, other: SequencePolicy, pairs: SequencePairs) -> float:
    """Return the largest total variation of the next token, over all prefixes of the first answers."""
    import torch

    tokens = torch.cat([pairs.prompts.tokens, pairs.first.tokens], 1)
    mask = torch.cat([pairs.prompts.mask, pairs.first.mask], 1)
    laws = [policy.logits(tokens, mask).softmax(-1)[mask] for policy in (one, other)]
    return float(0.5 * (laws[0] - laws[1]).abs().sum(-1).max())


def _written_out(policy: SequencePolicy, prompts: Batch, answers: Completions) -> tuple[FloatArray, FloatArray]:
    """Return ln pi of each answer (n,) and its gradient (n, p), token by token from its own prefix."""
    import torch

    values, scores = [], []
    for i in range(len(prompts)):
        prefix, theta = prompts.tokens[i][prompts.mask[i]].tolist(), policy.theta.detach().requires_grad_(True)
        total = theta.sum() * 0
        for token in answers.tokens[i].tolist():
            x = torch.tensor([prefix], device=policy.device)
            arguments = x, torch.ones_like(x, dtype=torch.bool), None
            logits, _ = torch.func.functional_call(policy.net.module, policy.net.weights(theta), arguments)
            total = total + logits[0, -1].log_softmax(-1)[token]
            prefix.append(token)
            if token == policy.eos:
                break
        values.append(float(total.detach()))
        scores.append(torch.autograd.grad(total, theta)[0].cpu().numpy())
    return np.array(values), np.array(scores)


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the distances with y' from the policy itself."""
    return pd.concat([_instances(rng, scale, "on-policy"), _completions(rng, scale)], ignore_index=True)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return them with y' uniform, where the Fisher matrix under pi_t is the wrong one."""
    return _instances(rng, scale, "uniform")


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw every distance, by module and problem."""
    short = {"perceptron": "MLP", "transformer": "transf."}
    what = {"completions": "tokens"}
    cases = cases.assign(case=cases["module"].map(short) + "\n" + cases["kind"].replace(what))
    strip(fig, cases, control_cases.assign(case="other\nbase"), by="case", value="error", limit=1e-9,
          label="largest total variation")  # fmt: skip


CLAIM = Claim(
    id="N1",
    title="neural Gauss-Newton = NPG",
    statement="On a perceptron and a small transformer, in double precision, one Gauss-Newton step of REBEL with "
    "y' ~ pi_t, by conjugate gradients on Jacobian products, is the natural policy gradient step.",
    latex=r"\theta_t + \eta\,(J^\top W J)^{+} J^\top m = \theta_t + \eta\,F^{+}\nabla",
    source="arXiv:2404.16767, section 4.1; E2 of the theory notes",
    test=Equality(1e-9),
    check=check,
    control=control,
    control_statement="y' uniform, while the Fisher matrix stays under pi_t",
    figure=draw,
    requires=("torch",),
)
