"""Many instances of one shape as one batch: what the search varies, measures in one run, and saves one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import numpy as np

import rebel_theory as rt
from rebel_bench.instance_files import Instance
from rebel_bench.instance_schema import make_algorithm
from rebel_theory.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Population:
    """``m`` instances; every array has a leading axis of members.

    Attributes
    ----------
    problem
        A batch of shape (m,).
    step_size
        The functional eta, shape (m,).
    n_iterations
        The number of updates T.
    logits
        The first policies of a tabular class, shape (m, S, A); None for uniform ones.
    features, theta
        The log-linear class, shapes (m, S, A, d) and (m, d), in place of ``logits``.
    base
        ``"on-policy"``, ``"uniform"``, or probabilities (m, S, A).
    share
        Of the base in mu, shape (m,); the rest is on-policy. None for all of it.
    algorithm, options
        As in an :class:`Instance`; arrays have a leading axis of members, numbers and words are shared.
    """

    problem: rt.Problem
    step_size: FloatArray
    n_iterations: int
    logits: FloatArray | None = None
    features: FloatArray | None = None
    theta: FloatArray | None = None
    base: str | FloatArray = "on-policy"
    share: FloatArray | None = None
    algorithm: str = "rebel"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.step_size)

    @property
    def policy(self) -> rt.Policy:
        """The first policies with a leading axis of seeds; log-linear ones must have the same features."""
        if self.features is not None:
            assert self.theta is not None
            return rt.LogLinearPolicy(self.features[0], self.theta[None])
        if self.logits is None:
            return rt.TabularPolicy.uniform(self.problem)
        return rt.TabularPolicy(self.logits[None])

    def run(self, **options: Any) -> rt.Trace:
        """Return the trace of all members in one run; ``options`` go to :func:`rebel_theory.run`."""
        share = 1.0 if self.share is None else float(self.share[0])
        made = make_algorithm(self.algorithm, self.options, self.step_size, self.base, share)
        arguments: dict[str, Any] = {"n_iterations": self.n_iterations, "policy": self.policy, **options}
        return rt.run(self.problem, made, **arguments)

    def take(self, members: IntArray) -> Population:
        """Return some members."""
        return replace(
            self,
            problem=_indexed(self.problem, members),
            step_size=self.step_size[members],
            options={k: _member(v, members) for k, v in self.options.items()},
            **{k: _member(getattr(self, k), members) for k in ("logits", "features", "theta", "base", "share")},
        )

    def groups(self) -> Iterator[IntArray]:
        """Yield the members with the same features and share: a run takes one class of policies and one mixture."""
        everyone = np.arange(len(self))
        kinds = [part.reshape(len(self), -1) for part in (self.features, self.share) if part is not None]
        if not kinds:
            yield everyone
            return
        _, label = np.unique(np.concatenate(kinds, axis=-1), axis=0, return_inverse=True)
        for group in np.unique(label):
            yield everyone[label.reshape(-1) == group]

    def at(self, member: int, **notes: Any) -> Instance:
        """Return one member as an instance; ``notes`` are its other fields."""
        problem = self.problem.instance(member)
        policy: rt.TabularPolicy | rt.LogLinearPolicy
        if self.features is not None:
            assert self.theta is not None
            policy = rt.LogLinearPolicy(self.features[member], self.theta[member])
        else:
            policy = rt.TabularPolicy(np.zeros(problem.policy_shape) if self.logits is None else self.logits[member])
        return Instance(
            problem=problem, policy=policy, step_size=float(self.step_size[member]), n_iterations=self.n_iterations,
            base=cast("str | FloatArray", _member(self.base, member)), algorithm=self.algorithm,
            share=1.0 if self.share is None else float(self.share[member]),
            options={k: _member(v, member) for k, v in self.options.items()}, **notes,
        )  # fmt: skip

    @classmethod
    def of(cls, instance: Instance) -> Population:
        """Return the population of one instance."""
        policy = instance.policy
        logits = features = theta = None
        if isinstance(policy, rt.LogLinearPolicy):
            features, theta = policy.features[None], policy.theta[None]
        else:
            logits = policy.logits[None]
        return cls(
            problem=_indexed(instance.problem, None),
            step_size=np.array([instance.step_size]),
            n_iterations=instance.n_iterations,
            logits=logits,
            features=features,
            theta=theta,
            base=cast("str | FloatArray", _member(instance.base, None)),
            share=None if instance.share == 1 else np.array([instance.share]),
            algorithm=instance.algorithm,
            options={k: _member(v, None) for k, v in instance.options.items()},
        )


def _member(value: Any, members: Any) -> Any:
    """Return ``value[members]`` of an array with an axis of members; what is shared stays."""
    if not isinstance(value, np.ndarray):
        return value
    taken = value[members]
    return taken.item() if taken.ndim == 0 else taken


def _indexed(problem: rt.Problem, members: Any) -> rt.Problem:
    """Return the problem with its batch axis indexed: arrays that were validated are not checked again."""
    found = object.__new__(type(problem))
    for name in (f.name for f in fields(cast("Any", problem))):
        value = getattr(problem, name)
        own = problem._own_axes.get(name)
        if own is not None:
            value = np.broadcast_to(value, (*problem.batch_shape, *value.shape[value.ndim - own :]))[members]
        object.__setattr__(found, name, value)
    return found
