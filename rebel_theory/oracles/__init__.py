"""What is observed: exact feedback, or samples of it."""

from rebel_theory.oracles.base import BoundOracle, Oracle, seed_streams
from rebel_theory.oracles.counted import Counted
from rebel_theory.oracles.exact import Exact
from rebel_theory.oracles.offline import Offline, OfflineData
from rebel_theory.oracles.sampled import Sampled

__all__ = ["BoundOracle", "Counted", "Exact", "Offline", "OfflineData", "Oracle", "Sampled", "seed_streams"]
