"""The bar that long commands show on stderr: on a terminal, because it fills logs with control characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")


class StderrBar:
    """A bar with a few words, how many of how many, and the time; away from a terminal lines, if there are any."""

    def __init__(self, words: str) -> None:
        self._console = Console(stderr=True, markup=False, highlight=False)
        self.is_shown = self._console.is_terminal
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        hidden = not self.is_shown
        self._bar = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True, disable=hidden)
        self._task = self._bar.add_task(words, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def restart(self, total: int, words: str) -> None:
        """Begin anew, from nothing to ``total``."""
        self._bar.reset(self._task, total=total, description=words)

    def move(self, **changes: Any) -> None:
        """Change ``total``, ``completed`` or ``description``, or ``advance`` by so many."""
        self._bar.update(self._task, **changes)

    def line(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(text, soft_wrap=True)


def with_bar(items: Sequence[T], words: str) -> Iterable[T]:
    """Yield ``items`` under a bar."""
    with StderrBar(words) as bar:
        bar.move(total=len(items))
        for item in items:
            yield item
            bar.move(advance=1)
