"""The steps of ``rebel-theory game``: check everything, analyse, draw, print."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rebel_bench.atomic import require_writable
from rebel_bench.errors import UserError
from rebel_bench.game.analysis import Analysis, analyse
from rebel_bench.game.as_object import as_json
from rebel_bench.game.report import print_report
from rebel_envs.win_matrices import NamedGame, from_win_matrix

if TYPE_CHECKING:
    from rebel_bench.cmd_game import Game

# outside, eta times a payoff of 1 is lost in the rounding of log-probabilities, or they overflow
_SMALLEST_STEP, _LARGEST_STEP = 1e-9, 1e9


def execute(options: Game) -> int:
    """Return exit code 0 after printing the analysis; every option and the input are checked before any work.

    Raises
    ------
    UserError, InvalidProblemError
        For what the user can mend. Nothing has been written by then.
    """
    _check(options)
    game = read(options.wins, options.prior)
    if options.figures:
        require_writable(options.out)
    with _bar(options.iterations) as progress:
        found = analyse(
            game,
            prior=options.prior,
            n_iterations=options.iterations,
            step_size=options.step_size,
            n_bootstrap=options.bootstrap,
            seed=options.seed,
            progress=progress,
        )
    files = _draw(found, options) if options.figures else []
    if options.json:
        from rebel_bench.tables import print_json

        print_json(as_json(found, options.wins, files))
    else:
        print_report(found, options.wins, files)
    return 0


def read(path: Path, prior: float) -> NamedGame:
    """Return the game of a file; what the system or the csv module says about it becomes a plain error."""
    try:
        return from_win_matrix(path, prior=prior)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}. Check the path and its permissions") from error
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file ({error}): save it as CSV in UTF-8, or as .parquet") from error


def _check(options: Game) -> None:
    """Raise one error that names every option out of range."""
    bad = []
    if options.iterations < 1:
        bad.append(f"--iterations {options.iterations}: expected at least 1; 2000 is the default")
    eta = options.step_size
    if eta is not None and not (_SMALLEST_STEP <= eta <= _LARGEST_STEP):
        bad.append(
            f"--step-size {eta:g}: expected a positive number, {_SMALLEST_STEP:g} to {_LARGEST_STEP:g}; "
            "leave it out for sqrt(2 ln n / iterations)"
        )
    if options.bootstrap < 0:
        bad.append(f"--bootstrap {options.bootstrap}: expected 0 (no test) or more; 999 gives p-values down to 0.001")
    if options.seed < 0:
        bad.append(f"--seed {options.seed}: expected 0 or more")
    if not (0 <= options.prior < math.inf):
        bad.append(f"--prior {options.prior:g}: expected a finite number of pseudo-wins, 0 or more")
    if bad:
        raise UserError("\n".join(bad))


def _draw(found: Analysis, options: Game) -> list[Path]:
    from rebel_bench.game.figures import draw

    return draw(found, options.out, options.wins.stem, options.venue)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, float], None]]:
    """Yield what to call with the number of updates done: a bar on a terminal, silence in a log."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("self-play", total=total)
        yield lambda done, _gap: bar.update(task, completed=done)
