"""A policy whose logits any module computes; it solves its own regression by automatic differentiation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self, final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from rebel_theory.arrays import FloatArray, frozen
from rebel_theory.feedback import Feedback
from rebel_theory.pairs import Pairs
from rebel_theory.policies import ConjugateGradient, FisherSolver
from rebel_theory.policies.parametric import ParametricPolicy
from rebel_theory.problems import InvalidProblemError, Problem
from rebel_theory.problems.base import checking
from rebel_theory.torch.forms import form_of
from rebel_theory.torch.solvers import Minimise, RegressionSolver, conjugate_gradient
from rebel_theory.torch.stacked import Stacked

_DENSE = 50_000_000  # entries of a Jacobian: 400 MB


@final
@dataclass(frozen=True, eq=False, init=False)
class TorchPolicy(ParametricPolicy):
    """A softmax over the logits of a module, for every algorithm, problem and oracle of the library.

    Probabilities leave as NumPy arrays; the module runs where its parameters are. Seeds and step sizes are stacked
    parameters, evaluated in one call.

    Parameters
    ----------
    module : nn.Module
        Maps contexts (S, k) to logits (S, A). It is copied in evaluation mode and never changed; double precision
        where digits are compared.
    contexts : shape (S, k), or (H, S, k) with a horizon, optional
        What the module sees of each state; by default the problem's own (``problem.contexts``), one-hot states where
        it has none.
    solver : Minimise(), GaussNewton(), LevenbergMarquardt() or FirstOrder(steps)
        How REBEL's regression is solved. The first forms the Jacobian (S, A, p), the others products with it.
    theta : shape (..., p), optional
        Flat parameters, those of the module by default.

    Examples
    --------
    >>> from rebel_theory.torch import TorchPolicy, mlp  # doctest: +SKIP
    >>> rt.run(problem, rt.Rebel(1.0), n_iterations=10, policy=TorchPolicy(mlp(8, 3)))  # doctest: +SKIP
    """

    contexts: FloatArray | None
    theta: FloatArray
    solver: RegressionSolver | Minimise
    _net: Stacked = field(repr=False)

    def __init__(
        self,
        module: nn.Module | Stacked,
        contexts: ArrayLike | None = None,
        *,
        solver: RegressionSolver | Minimise | None = None,
        theta: ArrayLike | None = None,
    ) -> None:
        net = module if isinstance(module, Stacked) else Stacked(copied(module))
        flat = net.first.cpu().numpy() if theta is None else np.asarray(theta)
        x = None if contexts is None else np.asarray(contexts, dtype=np.float64)
        with checking("TorchPolicy") as checks:
            checks.require(
                flat.shape[-1:] == (net.n_parameters,),
                f"theta has shape {flat.shape}, expected (..., p) with p = {net.n_parameters}",
            )
            checks.finite("theta", flat, ("i",))
            if x is not None:
                checks.finite("contexts", x, ("s", "i"))
        object.__setattr__(self, "_net", net)
        object.__setattr__(self, "theta", frozen(np.asarray(flat, dtype=np.float64)))
        object.__setattr__(self, "solver", Minimise() if solver is None else solver)
        object.__setattr__(self, "contexts", x)

    @property
    def net(self) -> Stacked:
        """The module as a function of flat parameters."""
        return self._net

    @property
    def module(self) -> nn.Module:
        """The module at the parameters of the policy, if they are not a batch."""
        if self.theta.ndim != 1:
            raise ValueError(f"theta has shape {self.theta.shape}: pick one member, with_theta(policy.theta[i])")
        module = copied(self._net.module)
        with torch.no_grad():
            values = self._net.unflatten(torch.as_tensor(self.theta.copy(), dtype=self._net.first.dtype))
            for name, p in module.named_parameters():
                if name in values:
                    p.copy_(values[name])
        return module

    @property
    def inputs(self) -> FloatArray:
        """The contexts."""
        assert self.contexts is not None, "in_rows gives a policy its contexts"
        return self.contexts

    def with_inputs(self, inputs: FloatArray) -> Self:
        """Return the policy on other contexts."""
        return type(self)(self._net, inputs, solver=self.solver, theta=self.theta)

    def with_theta(self, theta: FloatArray) -> Self:
        """Return the policy at other parameters; module and contexts are shared."""
        if not np.isfinite(theta).all():
            raise FloatingPointError("an update produced non-finite parameters: reduce the step size")
        return type(self)(self._net, self.contexts, solver=self.solver, theta=theta)

    def in_rows(self, problem: Problem) -> Self:
        """Return the policy on contexts (rows, k); contexts (S, k) of a finite horizon serve every step."""
        shape, x = problem.policy_shape, self.contexts
        if x is None:
            x = np.eye(problem.n_rows) if problem.contexts is None else problem.contexts
        elif len(shape) == 3 and x.ndim == 2 and len(x) == shape[1]:
            x = np.tile(x, (shape[0], 1))
        elif x.shape[:-1] == shape[:-1]:
            x = x.reshape(problem.n_rows, -1)
        if len(x) != problem.n_rows or x.ndim != 2:
            raise InvalidProblemError(
                "TorchPolicy", [f"contexts has shape {x.shape}, expected ({problem.n_rows}, k) for this problem"]
            )
        policy = self.with_inputs(frozen(x))
        with taking(x.shape):
            found = policy.log_probs.shape[-2:]
        if found != (problem.n_rows, problem.n_actions):
            raise InvalidProblemError(
                "TorchPolicy",
                [f"the module gives logits {found}, expected ({problem.n_rows}, {problem.n_actions}): change its head"],
            )
        return policy

    def in_shape(self, problem: Problem, lead: tuple[int, ...]) -> Self:
        """Return the policy with theta (*lead, p); its rows stay flat."""
        return self.with_theta(np.broadcast_to(self.theta, (*lead, self.theta.shape[-1])))

    def _tensor(self, array: ArrayLike) -> Tensor:
        first = self._net.first
        return torch.as_tensor(np.array(array, dtype=np.float64), dtype=first.dtype, device=first.device)

    def _stack(self, lead: tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
        """Return the contexts (S, k) and the parameters (B, p), leading axes flattened."""
        theta = self.theta if lead is None else np.broadcast_to(self.theta, (*lead, self.theta.shape[-1]))
        return self._tensor(self.inputs), self._tensor(theta.reshape(-1, theta.shape[-1]))

    def logits(self) -> FloatArray:
        """Return the module's logits, shape (..., S, A)."""
        contexts, theta = self._stack()
        with torch.no_grad():
            found = self._net.logits(theta, contexts)
        result: FloatArray = found.double().cpu().numpy().reshape(*self.theta.shape[:-1], *found.shape[1:])
        return result

    def jacobian(self) -> FloatArray:
        """Return d logits / d theta, shape (..., S, A, p); only where it fits in memory."""
        size = self.log_probs.size * self._net.n_parameters
        if size > _DENSE:
            raise MemoryError(
                f"the Jacobian would have {size:,} entries: use a solver without it (GaussNewton(), "
                "LevenbergMarquardt() or FirstOrder()), and ConjugateGradient() for NPG"
            )
        contexts, theta = self._stack()
        found = self._net.jacobian(theta, contexts).detach()
        result: FloatArray = found.double().cpu().numpy().reshape(*self.theta.shape[:-1], *found.shape[1:])
        return result

    def regress(self, pairs: Pairs, step_size: FloatArray) -> Self:
        """Return the solver's answer to the pair regression, from theta_t."""
        if isinstance(self.solver, Minimise):
            return self.minimise(pairs, step_size, self.theta)
        lead = np.broadcast_shapes(self.theta.shape[:-1], np.shape(step_size), _lead(pairs))
        contexts, theta = self._stack(lead)
        eta = self._tensor(np.broadcast_to(step_size, lead).reshape(-1))
        found = self.solver.solve(self._net, contexts, theta, form_of(pairs, lead, theta), eta)
        return self.with_theta(found.detach().double().cpu().numpy().reshape(*lead, -1))

    def natural_direction(self, feedback: Feedback, solver: FisherSolver) -> FloatArray:
        """Return F^+ E[g A] (..., p); with ``ConjugateGradient`` from Fisher-vector products, F never formed."""
        if not isinstance(solver, ConjugateGradient):
            return super().natural_direction(feedback, solver)
        frequencies = self.probs if feedback.frequencies is None else feedback.frequencies
        lead = np.broadcast_shapes(self.theta.shape[:-1], feedback.signal.shape[:-2], feedback.weights.shape[:-1])
        shape = (*lead, *self.log_probs.shape[-2:])
        contexts, theta = self._stack(lead)
        law = self._tensor(np.broadcast_to(frequencies, shape).reshape(-1, *shape[-2:]))
        d = self._tensor(np.broadcast_to(feedback.weights, shape[:-1]).reshape(-1, shape[-2]))[..., None]
        q = self._tensor(np.broadcast_to(feedback.signal, shape).reshape(-1, *shape[-2:]))
        q = q - (law * q).sum(-1, keepdim=True)  # keeps more digits
        push, pull = self._net.linear(theta, contexts)

        def covariance(z: Tensor) -> Tensor:
            """Return d (diag(law) - law law^T) z: the scores' weights, the mean score taken out."""
            return d * law * (z - (law * z).sum(-1, keepdim=True))

        x = conjugate_gradient(
            lambda v: pull(covariance(push(v))), pull(covariance(q)), solver.max_iterations, solver.tolerance
        )
        result: FloatArray = x.detach().double().cpu().numpy().reshape(*lead, -1)
        return result

    def gradient(self, cells: FloatArray) -> FloatArray:
        """Return sum c grad log pi, shape (..., p), by one backward pass."""
        lead = np.broadcast_shapes(self.theta.shape[:-1], cells.shape[:-2])
        centred = cells - self.probs * cells.sum(axis=-1, keepdims=True)
        contexts, theta = self._stack(lead)
        _, pull = self._net.linear(theta, contexts)
        flat = self._tensor(np.broadcast_to(centred, (*lead, *centred.shape[-2:])).reshape(-1, *centred.shape[-2:]))
        result: FloatArray = pull(flat).detach().double().cpu().numpy().reshape(*lead, -1)
        return result


@contextmanager
def taking(shape: Sequence[int], what: str = "TorchPolicy") -> Iterator[None]:
    """Say what is wrong with contexts (S, k) that a module cannot take."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        remedy = "change its input, or pass other contexts"
        if what == "TorchPolicy":
            remedy += f": a problem's own are the default, contexts=np.eye({shape[0]}) gives one-hot states"
        said = str(error).splitlines()[0]
        raise InvalidProblemError(
            what, [f"the module does not take contexts of shape {tuple(shape)} ({said}): {remedy}"]
        ) from error


def copied(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode."""
    from copy import deepcopy

    return deepcopy(module).eval()


def _lead(pairs: Pairs) -> tuple[int, ...]:
    """Return the batch axes of pairs."""
    for name, trailing in (("signal", 2), ("counts", 3), ("weights", 3)):
        array = getattr(pairs, name, None)
        if array is not None:
            return tuple(array.shape[: array.ndim - trailing])
    raise TypeError(f"{type(pairs).__name__} are not pairs that a neural policy can read")
