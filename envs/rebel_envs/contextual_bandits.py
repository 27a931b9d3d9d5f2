"""Contextual bandits whose rewards are functions of a context vector: a random network, random Fourier features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rebel_theory.problems import ContextualBandit, Noise, NoNoise, Problem
from rebel_theory.problems.contextual import neural_rewards, random_feature_rewards

_EXACT = NoNoise()


def neural_bandit(
    n_contexts: int = 20,
    n_actions: int = 5,
    *,
    n_inputs: int = 4,
    hidden: Sequence[int] = (16,),
    scale: float = 3.0,
    seed: int = 0,
    noise: Noise = _EXACT,
    n_instances: int | None = None,
) -> ContextualBandit:
    r"""Return a bandit whose mean rewards are a random tanh network of the context, squashed into (0, 1).

    :math:`r(x, \cdot) = \sigma(\mathrm{scale} \cdot f(x))`, sigma the logistic function, f a network with layers
    :math:`h \mapsto \tanh(h W + b)` and a linear head without a bias: W normal with variance 2/fan-in, b with 1/4,
    the head with 1/fan-in. Contexts are standard normal vectors and come with the bandit (``contexts``), so that
    ``TorchPolicy(module)`` sees them; each has the same weight. The same bandit computed on a device is
    :func:`rebel_theory.torch.device.neural_bandit`.

    Parameters
    ----------
    n_contexts, n_inputs : int
        X >= 1 contexts, vectors of k >= 1 numbers.
    n_actions : int
        Y >= 2.
    hidden : tuple of int
        Widths of the layers; () is a linear function.
    scale : float > 0
        Of the log-odds; large values push rewards towards 0 and 1.
    seed : int
        Of the contexts and the weights. The first X contexts are the same for every X.
    noise : Noise
        Law of the observed reward around its mean; Bernoulli is possible.
    n_instances : int, optional
        Rewards of shape (n_instances, X, Y): independent weights on the same contexts.

    Examples
    --------
    >>> bandit = neural_bandit(6, 3)
    >>> bandit.reward.shape, bandit.contexts.shape
    ((6, 3), (6, 4))
    """
    law = neural_rewards(n_contexts, n_actions, n_inputs, hidden, scale=scale, seed=seed, n_instances=n_instances)
    contexts, reward = law.tables()
    return ContextualBandit(reward, noise=noise, contexts=contexts)


def random_feature_bandit(
    n_contexts: int = 20,
    n_actions: int = 5,
    *,
    n_inputs: int = 4,
    n_features: int = 64,
    length_scale: float = 1.0,
    scale: float = 2.0,
    seed: int = 0,
    noise: Noise = _EXACT,
    n_instances: int | None = None,
) -> ContextualBandit:
    r"""Return a bandit whose mean rewards are linear in random Fourier features of the context, squashed into (0, 1).

    Rahimi and Recht (2007, NeurIPS): :math:`\phi(x) = \sqrt{2/D}\, \cos(x W + b)`, W normal with standard deviation
    1/length_scale, b uniform on [0, 2 pi); :math:`r(x, y) = \sigma(\mathrm{scale} \cdot \phi(x) \cdot w_y)` with
    sigma the logistic function and weights :math:`w_y` of every action standard normal. For large D the log-odds are
    a draw from a Gaussian process with kernel :math:`\exp(-|x - x'|^2 / (2\,\mathrm{length\_scale}^2))`. Contexts are
    standard normal vectors and come with the bandit (``contexts``); each has the same weight. The same bandit computed
    on a device is :func:`rebel_theory.torch.device.random_feature_bandit`.

    Parameters
    ----------
    n_contexts, n_inputs : int
        X >= 1 contexts, vectors of k >= 1 numbers.
    n_actions : int
        Y >= 2.
    n_features : int
        D >= 1.
    length_scale : float > 0
        Distance of contexts over which rewards change.
    scale : float > 0
        Standard deviation of the log-odds; large values push rewards towards 0 and 1.
    seed : int
        Of the contexts and the weights. The first X contexts are the same for every X.
    noise : Noise
        Law of the observed reward around its mean; Bernoulli is possible.
    n_instances : int, optional
        Rewards of shape (n_instances, X, Y): independent features and weights on the same contexts.

    Examples
    --------
    >>> random_feature_bandit(6, 3).reward.shape
    (6, 3)
    """
    law = random_feature_rewards(
        n_contexts, n_actions, n_inputs, n_features,
        length_scale=length_scale, scale=scale, seed=seed, n_instances=n_instances,
    )  # fmt: skip
    contexts, reward = law.tables()
    return ContextualBandit(reward, noise=noise, contexts=contexts)


EXAMPLES: Mapping[str, Callable[..., Problem]] = {
    "neural-bandit": partial(neural_bandit, n_contexts=20, n_actions=5),
    "random-feature-bandit": partial(random_feature_bandit, n_contexts=20, n_actions=5),
}
