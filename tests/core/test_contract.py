"""Every algorithm that ships keeps the contract, and broken ones are caught at the promise that they break."""

import dataclasses

import numpy as np
import pytest

import rebel_theory as rt
from rebel_bench.algorithm_specs import Spec, parse
from rebel_bench.contract.suite import check
from rebel_theory.algorithms.registry import find_algorithms


@pytest.mark.parametrize("key", find_algorithms())
def test_every_algorithm_keeps_its_promises(key):
    results = list(check(parse([key])[0]))
    failed = [(r.case, r.check, r.reason) for r in results if r.outcome == "failed"]
    assert failed == []
    assert any(r.outcome == "passed" for r in results)
    assert all(r.reason for r in results if r.outcome == "skipped")


@pytest.mark.parametrize("key", find_algorithms())
def test_every_algorithm_says_what_it_is(key):
    kind = find_algorithms()[key]
    assert all(getattr(kind, field) for field in ("name", "source", "update", "conditions", "rate"))
    assert dataclasses.is_dataclass(kind)
    assert "Parameters" in kind.__doc__
    assert getattr(rt, kind.__name__) is kind


def broken(step, init=None):
    """A Spec of an algorithm with this step (self, state, oracle) and init (self, policy)."""
    namespace = {"__annotations__": {"step_size": object}, "step": step, "name": "broken", "source": "a test"}
    if init is not None:
        namespace["init"] = init
    kind = dataclasses.dataclass(frozen=True, eq=False)(type("Broken", (rt.Algorithm,), namespace))
    return Spec("broken", kind, {})


def fair(self, state, oracle):
    return rt.State(state.policy.moved(oracle.feedback(state.policy).signal, self.eta))


def wanders(self, state, oracle):
    noise = np.random.default_rng().standard_normal(oracle.feedback(state.policy).signal.shape)
    return rt.State(state.policy.moved(noise, self.eta))


def peeks(self, state, oracle):
    return rt.State(state.policy.moved(oracle.exact_feedback(state.policy).signal, self.eta))


def averages_seeds(self, state, oracle):
    signal = oracle.feedback(state.policy).signal
    if signal.ndim > 2:
        signal = signal.mean(axis=0, keepdims=True) + 0 * signal
    return rt.State(state.policy.moved(signal, self.eta))


def descends(self, state, oracle):
    return rt.State(state.policy.moved(-oracle.feedback(state.policy).signal, self.eta))


def feels_levels(self, state, oracle):
    signal = oracle.feedback(state.policy).signal
    return rt.State(state.policy.moved(signal**3, self.eta))


def restarts(self, policy):
    return rt.State(policy.moved(np.zeros_like(policy.log_probs) + np.arange(policy.log_probs.shape[-1]), 1.0))


@pytest.mark.parametrize(
    ("spec", "promise"),
    [
        (broken(wanders), "repeatable"),
        (broken(peeks), "counts queries"),
        (broken(averages_seeds), "seeds apart"),
        (broken(descends), "improves"),
        (broken(feels_levels), "blind to shifts"),
        (broken(fair, restarts), "starts where told"),
    ],
)
def test_a_broken_promise_is_caught(spec, promise):
    tabular = [r for r in check(spec) if "tabular" in r.case]
    assert promise in {r.check for r in tabular if r.outcome == "failed"}


def test_a_fair_algorithm_passes():
    tabular = [r for r in check(broken(fair)) if "tabular" in r.case]
    assert [(r.case, r.check, r.reason) for r in tabular if r.outcome == "failed"] == []
