"""S4: the mean of roll-outs that stop geometrically is Q^pi, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.random import Generator

import rebel_theory as rt
from rebel_bench.claim import Claim, Estimates, Scale
from rebel_bench.instances import simplex
from rebel_bench.style import OKABE_ITO
from rebel_theory.arrays import FloatArray
from rebel_theory.oracles import seed_streams
from rebel_theory.pairs import PairCounts
from rebel_theory.policies import as_base

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEST = Estimates(false_alarm=1e-4)
# The number of seeds is fixed beforehand: products of standardised halves have a known variance, so that no first stage
# need measure it.
RESOLUTION = {"cell": np.inf, "kind": np.inf, "all": 0.5}  # intervals of a cell and of a kind can only refute
RAREST = 50  # pairs that all seeds saw: of fewer a mean is not nearly normal
N_STATES, N_ACTIONS, HORIZON = 3, 3, 4
ROUNDING = 1e-12  # of an error where roll-outs do not vary
CUT = 2  # rewards of a roll-out, in the control
LEAST_EXPECTED = 20  # pairs of a cell whose share is tested
DISCOUNTS = (0.5, 0.9, 0.98)


def _problems(rng: Generator, n: int) -> list[tuple[str, rt.Problem]]:
    """Return ``n`` problems of every kind, rewards in [0, 1]."""
    s, a, h = N_STATES, N_ACTIONS, HORIZON
    found: list[tuple[str, rt.Problem]] = []
    for _ in range(n):
        for gamma in DISCOUNTS:
            transition, start = simplex(rng, s, a, s), simplex(rng, s)
            mdp = rt.TabularMDP(transition, rng.random((s, a)), discount=gamma, initial_dist=start)
            found.append((f"discount {gamma:g}", mdp))
        phi, mu, theta = simplex(rng, s, a, 2), simplex(rng, 2, s), rng.random(2)
        found.append(("linear, 0.9", rt.LinearMDP(phi, mu, theta, discount=0.9, initial_dist=simplex(rng, s))))
        transition, reward = simplex(rng, h, s, a, s), rng.random((h, s, a))
        finite = rt.FiniteHorizonMDP(transition, reward, horizon=h, initial_dist=simplex(rng, s))
        found.append((f"horizon {h}", finite))
    return found


def _policy(rng: Generator, problem: rt.Problem) -> rt.TabularPolicy:
    """Return random logits in rows form, one row a step and state over a finite horizon."""
    return rt.TabularPolicy(rng.standard_normal((1, int(np.prod(problem.policy_shape[:-1])), N_ACTIONS)))


def _seen(
    problem: rt.Problem, oracle: rt.Oracle, policy: rt.TabularPolicy, seed: int, n: int, q: FloatArray | None = None
) -> FloatArray:
    """Return the errors (n, cells) that n seeds see in the cells (x, y, y') that vary and are not too rare.

    An error is the mean over all pairs of observed less true Q(y) - Q(y'), which is 0 in the cells of other pairs.
    """
    if q is None:
        q = rt.Exact().bind(problem, seed_streams(0, 1)).feedback(policy).signal  # (1, S, A)
    pairs = oracle.bind(problem, seed_streams(seed, n)).pairs(policy, as_base("on-policy"))
    assert isinstance(pairs, PairCounts)
    n_pairs = pairs.counts.sum(axis=(1, 2, 3), keepdims=True)
    errors = (pairs.sums - pairs.counts * (q[..., :, None] - q[..., None, :])) / n_pairs
    # not an answer against itself, nor the last step's rewards
    kept = (np.abs(errors).max(axis=0) > ROUNDING) & (pairs.counts.sum(axis=0) >= RAREST)
    return np.asarray(errors[:, kept])


def _q_of_two(mdp: rt.TabularMDP, policy: rt.TabularPolicy) -> FloatArray:
    """Return the mean of the first ``CUT`` = 2 discounted rewards, (1, S, A)."""
    values = (policy.probs[0] * mdp.reward).sum(axis=-1)
    return np.asarray(mdp.reward + mdp.discount * np.asarray(mdp.transition) @ values)[None]


def _shares(problem: rt.Problem, oracle: rt.Oracle, policy: rt.TabularPolicy, seed: int, n: int) -> FloatArray:
    """Return, a seed and a cell that is not rare, the share of the pairs less its law d pi mu, mu uniform."""
    pairs = oracle.bind(problem, seed_streams(seed, n)).pairs(policy, as_base("uniform"))
    assert isinstance(pairs, PairCounts)
    n_pairs = pairs.counts.sum(axis=(1, 2, 3), keepdims=True)
    occupancy = rt.evaluate(problem, problem.from_rows(policy.probs[0])).occupancy.reshape(-1, 1, 1)
    law = np.broadcast_to(occupancy * policy.probs[0][..., None] / N_ACTIONS, pairs.counts.shape[1:])
    return np.asarray((pairs.counts / n_pairs - law)[:, law * n_pairs.min() >= LEAST_EXPECTED])


def _products(errors: FloatArray) -> FloatArray:
    """Return the products (cells,) of the standardised means of every other seed's errors (n, cells) and of the rest.

    The halves are independent: unbiased roll-outs have products of mean 0, and a bias adds its square, in whatever
    direction it goes from cell to cell. So many small biases show that no single cell does.
    """
    halves = (errors[::2], errors[1::2])
    first, second = (np.sqrt(len(h)) * h.mean(axis=0) / h.std(axis=0, ddof=1) for h in halves)
    return np.asarray(first * second)


def _instances(rng: Generator, scale: Scale, horizon: int | None) -> pd.DataFrame:
    """Return the mean error of every cell of all problems, and mean products by kind and over all cells."""
    rows = []
    n_seeds, n_pairs = scale.cases(quick=(100, 2_000), paper=(200, 5_000), full=(400, 20_000))
    for i, (kind, problem) in enumerate(_problems(rng, scale.cases(quick=2, paper=6, full=12))):
        policy, oracle = _policy(rng, problem), rt.Sampled(n_pairs, horizon=horizon)
        found = {"Q": _seen(problem, oracle, policy, int(rng.integers(2**31)), n_seeds)}
        if horizon is None:
            found["pairs"] = _shares(problem, oracle, policy, int(rng.integers(2**31)), n_seeds)
            if isinstance(problem, rt.TabularMDP):
                short, q = rt.Sampled(n_pairs, horizon=CUT), _q_of_two(problem, policy)
                found["two rewards"] = _seen(problem, short, policy, int(rng.integers(2**31)), n_seeds, q)
        for what, errors in found.items():
            table = pd.DataFrame({"estimate": errors.mean(axis=0), "product": _products(errors)})
            table["standard_error"] = errors.std(axis=0, ddof=1) / np.sqrt(n_seeds)
            rows.append(table.assign(role="cell", what=what, kind=kind, instance=i, dof=n_seeds - 1, at_least=0.0))
    cells = pd.concat(rows, ignore_index=True)
    table = pd.concat([cells, _halves(cells, n_seeds // 2)], ignore_index=True).assign(at_most=0.0)
    return table.assign(resolution=table["role"].map(RESOLUTION))


def _halves(cells: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the mean products of halves of ``n`` seeds, by kind and over all cells of Q: those are independent."""
    products = cells.loc[cells["what"] == "Q", ["kind", "product"]]
    products = pd.concat([products.assign(role="kind"), products.assign(role="all", kind="")])
    by_kind = products.groupby(["role", "kind"], sort=False)["product"].agg(["mean", "size"]).reset_index()
    return by_kind[["role", "kind"]].assign(
        what="Q",
        estimate=by_kind["mean"],
        # (n - 1)/(n - 3) is the variance of Student's variable, and so the deviation of a product of two
        standard_error=(n - 1) / (n - 3) / np.sqrt(by_kind["size"]),
        dof=by_kind["size"] - 1,
        at_least=-np.inf,
    )


def check(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the mean error of every cell and the products of halves: Q, two rewards for a cut, shares of the pairs."""
    return _instances(rng, scale, horizon=None)


def control(rng: Generator, scale: Scale) -> pd.DataFrame:
    """Return the same for roll-outs cut after two rewards."""
    return _instances(rng, scale, horizon=CUT)


def _floor(horizon: int | None, sizes: list[int]) -> list[float]:
    """Return the root mean square error of Q differences (sizes,) on one MDP; for the figure."""
    rng = np.random.default_rng(0)
    problem = _problems(rng, 1)[1][1]
    policy = _policy(rng, problem)
    found = []
    for n in sizes:
        errors = _seen(problem, rt.Sampled(n, horizon=horizon), policy, n, 10)
        found.append(float(np.sqrt((errors**2).sum(axis=-1).mean())))
    return found


def draw(fig: Figure, cases: pd.DataFrame, control_cases: pd.DataFrame) -> None:
    """Draw the standardised errors of all cells, and the error against the number of pairs."""
    left, right = fig.subplots(1, 2)
    sizes = [int(n) for n in np.geomspace(100, 1_000_000, 9)]
    for table, name, colour, dash, horizon in (
        (cases, "geometric stopping", "blue", "-", None),
        (control_cases, "cut after two rewards", "vermillion", (0, (4, 2)), CUT),
    ):
        cells = table[(table["role"] == "cell") & (table["what"] == "Q")]
        z = np.sort(np.abs(cells["estimate"] / cells["standard_error"]))
        share = 1 - np.arange(z.size) / z.size
        left.plot(z, share, color=OKABE_ITO[colour], linestyle=dash, label=name)
        right.plot(sizes, _floor(horizon, sizes), color=OKABE_ITO[colour], linestyle=dash, label=name)
    x = np.linspace(0.01, 5, 200)
    from scipy.special import erfc

    left.plot(x, erfc(x / np.sqrt(2)), color="black", linewidth=0.8, linestyle=(0, (1, 1)), label="normal law")
    left.set(
        xscale="log", yscale="log", ylim=(1e-3, 1.5), xlim=(0.002, None), xlabel="|mean error| / its standard error",
        ylabel="share of cells beyond",
    )  # fmt: skip
    left.legend(loc="lower left", handlelength=2)
    right.set(
        xscale="log", yscale="log", xlabel="pairs of roll-outs", ylabel="root mean square error", ylim=(1e-3, None)
    )


CLAIM = Claim(
    id="S4",
    title="roll-outs are unbiased",
    statement="A roll-out that goes on with probability gamma and sums its rewards (over a finite horizon: to the end) "
    "has mean Q^pi: no cell (x, y, y') of sampled pairs has a mean error outside its interval, and independent halves "
    "of the seeds err independently, the mean product of their standardised errors being 0 within 1/2.",
    latex=r"E\Big[\sum_{t=0}^{G} r_t\Big] = Q^\pi(x, y), \qquad \Pr(G \ge t) = \gamma^t",
    source="the identity: Agarwal et al. 2021 (JMLR 22), Algorithm 1; the theory notes",
    test=TEST,
    false_alarm=TEST.false_alarm,
    check=check,
    control=control,
    control_statement="roll-outs are cut after two rewards, Sampled(horizon=2)",
    figure=draw,
    panels=(1, 2),
)
