"""Problems as tensors: thousands of neural policies side by side on one device, nothing fetched until the end."""

from rebel_theory.torch.device.policy import DevicePolicy
from rebel_theory.torch.device.problems import DeviceBandit, DeviceGame, DeviceMDP, DeviceProblem, on_device

__all__ = ["DeviceBandit", "DeviceGame", "DeviceMDP", "DevicePolicy", "DeviceProblem", "on_device"]
