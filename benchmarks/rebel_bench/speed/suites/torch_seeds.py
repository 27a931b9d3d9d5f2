"""Thousands of independent neural runs in one call against one at a time; run when it is named: it needs PyTorch."""

from __future__ import annotations

from pathlib import Path

from rebel_bench.speed.case import SpeedScale, Suite


def _study(scale: SpeedScale, device: str, folder: Path, figures: bool, as_json: bool) -> None:
    from rebel_bench.speed.torch_seeds import study  # it imports torch

    study(scale, device, folder, as_json=as_json)


SUITE = Suite("torch-seeds", "Seeds of a neural policy in one call", lambda scale: (), study=_study)
