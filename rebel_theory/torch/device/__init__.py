"""Problems as tensors: thousands of neural policies side by side on one device, nothing fetched until the end."""

from rebel_theory.torch.device.contextual import (
    contextual_cycle,
    module_bandit,
    neural_bandit,
    random_feature_bandit,
)
from rebel_theory.torch.device.policy import DevicePolicy
from rebel_theory.torch.device.problems import DeviceBandit, DeviceGame, DeviceMDP, DeviceProblem, on_device

__all__ = [
    "DeviceBandit",
    "DeviceGame",
    "DeviceMDP",
    "DevicePolicy",
    "DeviceProblem",
    "contextual_cycle",
    "module_bandit",
    "neural_bandit",
    "on_device",
    "random_feature_bandit",
]
