"""REBEL on a module of your own: a noisy contextual bandit, eight seeds in one call."""

import torch
from torch import nn

import rebel_envs as envs
import rebel_theory as rt
from rebel_theory.torch import FirstOrder, TorchPolicy


class Net(nn.Module):
    """Any module will do that maps contexts (S, k) to logits (S, A)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.layers(x)


torch.manual_seed(0)
torch.set_num_threads(1)  # the fastest for a network this small
# 20 contexts, vectors of 4 numbers, and what 5 answers earn there: a random network of the vector
bandit = envs.neural_bandit(20, 5, n_inputs=4, noise=rt.GaussianNoise(0.5))
policy = TorchPolicy(Net().double(), solver=FirstOrder(steps=50, lr=0.02))
trace = rt.run(bandit, rt.Rebel(step_size=2.0), n_iterations=20, policy=policy, oracle=rt.Sampled(500), n_seeds=8)
for t in range(0, 21, 5):
    print(f"after {t:2d} updates, {trace.queries[0, t]:6.0f} rewards: gap {trace.gap[:, t].mean():.4f}")
trained = trace.final_policy.with_theta(trace.final_policy.theta[0]).module  # of the first seed
