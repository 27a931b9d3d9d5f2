"""What an iteration of each method on completions costs, by size; run when it is named, for it needs PyTorch."""

from __future__ import annotations

from pathlib import Path

from rebel_bench.speed.case import SpeedScale, Suite


def _study(scale: SpeedScale, device: str, folder: Path, figures: bool, as_json: bool) -> None:
    from rebel_bench.speed.neural.cost import study  # it imports torch

    study(scale, device, folder, figures=figures, as_json=as_json)


SUITE = Suite("neural-cost", "Cost of an iteration on completions, by size", lambda scale: (), study=_study)
