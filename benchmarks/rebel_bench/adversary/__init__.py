"""The adversary: a search over instances for the largest measured/bound of a claim's inequality."""

from rebel_bench.adversary.records import Record, results

__all__ = ["Record", "results"]
