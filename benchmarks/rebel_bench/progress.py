"""What a long run tells on stderr: a bar on a terminal, a line a unit in a log."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Protocol, final

from rebel_bench.bars import StderrBar
from rebel_bench.judge import Judgement
from rebel_bench.store import Spec


class Progress(AbstractContextManager["Progress"], Protocol):
    """What the runner tells while it works."""

    def start(self, total: int) -> None:
        """Hear how many units there are."""
        ...

    def finished(self, spec: Spec, seconds: float, judgement: Judgement | None) -> None:
        """Hear that one is done, and the verdict on the part if it was the last of it."""
        ...

    def warn(self, text: str) -> None:
        """Hear of something that the user should know."""
        ...


@final
class Silent(Progress):
    """Tell nothing."""

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, total: int) -> None:
        """Ignore it."""

    def finished(self, spec: Spec, seconds: float, judgement: Judgement | None) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Warn as Python does: this is said even to those who asked for nothing."""
        warnings.warn(text, stacklevel=4)


@final
class OnStderr(StderrBar, Progress):
    """A bar on a terminal; elsewhere one line a unit."""

    def __init__(self) -> None:
        super().__init__("claims")
        self._total = 0
        self._done = 0

    def start(self, total: int) -> None:
        """Set the length of the bar."""
        self._total = total
        self.move(total=total)

    def finished(self, spec: Spec, seconds: float, judgement: Judgement | None) -> None:
        """Move the bar, or print a line."""
        self._done += 1
        block = "" if spec.n_blocks == 1 else f" {spec.block + 1}/{spec.n_blocks}"
        text = f"{spec.claim} {spec.part}{block}" + ("" if judgement is None else f" {judgement.verdict}")
        if self.is_shown:
            self.move(completed=self._done, description=text)
        else:
            self.line(f"[{self._done}/{self._total}] {text}, {seconds:.2f} s")

    def warn(self, text: str) -> None:
        """Print it above the bar."""
        self.line(f"warning: {text}")
