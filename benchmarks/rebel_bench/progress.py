"""What a long run tells on stderr: a bar on a terminal, a line a unit in a log."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from rebel_bench.units import Measured


class Progress(AbstractContextManager["Progress"], Protocol):
    """What the runner tells while it works."""

    def start(self, total: int) -> None:
        """Hear how many units there are."""
        ...

    def finished(self, measured: Measured) -> None:
        """Hear that one is done."""
        ...


@final
class Silent(Progress):
    """Tell nothing."""

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, total: int) -> None:
        """Ignore it."""

    def finished(self, measured: Measured) -> None:
        """Ignore it."""


@final
class OnStderr(Progress):
    """A bar on a terminal; elsewhere one line a unit, because a bar fills logs with control characters."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, markup=False, highlight=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._bar = Bar(
            *columns,
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("claims", total=None)
        self._total = 0
        self._done = 0

    def __enter__(self) -> OnStderr:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, total: int) -> None:
        """Set the length of the bar."""
        self._total = total
        self._bar.update(self._task, total=total)

    def finished(self, measured: Measured) -> None:
        """Move the bar, or print a line."""
        self._done += 1
        text = f"{measured.key.claim} {measured.key.part} {measured.judgement.verdict}"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, description=text)
        else:
            self._console.print(f"[{self._done}/{self._total}] {text}, {measured.seconds:.2f} s", soft_wrap=True)
