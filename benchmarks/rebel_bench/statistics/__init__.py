"""Intervals over seeds, how many seeds, and false alarms; docs/statistics.md has the rules and their coverage."""

from __future__ import annotations

from rebel_bench.statistics.bootstrap import iqm, performance_profile, stratified_bootstrap
from rebel_bench.statistics.two_stage import Sample, TwoStage
from rebel_theory.theory.intervals import Interval, half_width, t_interval

__all__ = [
    "Interval",
    "Sample",
    "TwoStage",
    "half_width",
    "iqm",
    "performance_profile",
    "stratified_bootstrap",
    "t_interval",
]
