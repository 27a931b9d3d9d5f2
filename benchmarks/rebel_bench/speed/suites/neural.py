"""REBEL, PPO, RLOO, GRPO, REINFORCE and DPO on completions; run when it is named, for it needs PyTorch and minutes."""

from __future__ import annotations

from pathlib import Path

from rebel_bench.speed.case import SpeedScale, Suite


def _study(scale: SpeedScale, device: str, folder: Path, figures: bool, as_json: bool) -> None:
    from rebel_bench.speed.neural.study import study  # it imports torch

    study(scale, device, folder, figures=figures, as_json=as_json)


SUITE = Suite("neural", "Policies over completions, by method", lambda scale: (), study=_study)
