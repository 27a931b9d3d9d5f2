"""The steps of ``rebel-theory game``: check everything, analyse, draw, print."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rebel_bench.algorithm_specs import parse
from rebel_bench.atomic import require_writable
from rebel_bench.errors import UserError
from rebel_bench.game import versus, versus_report
from rebel_bench.game.analysis import Analysis, analyse
from rebel_bench.game.as_object import as_json
from rebel_bench.game.report import print_report
from rebel_envs.win_matrices import NamedGame, from_win_matrix
from rebel_theory.algorithms import Algorithm

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
    contest = read_contest(options)
    game = read(options.wins, options.prior)
    if contest is not None:
        versus.check(game, contest.algorithms, contest.n_pairs)
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
    against = None if contest is None else contest.play(game)
    files = _draw(found, against, options) if options.figures else []
    if options.json:
        from rebel_bench.tables import print_json

        compared = {} if against is None else {"comparison": versus_report.as_object(found, against)}
        print_json(as_json(found, options.wins, files) | compared)
    else:
        print_report(found, options.wins, files, against)
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
    bad += _check_contest(options)
    if bad:
        raise UserError("\n".join(bad))


def _check_contest(options: Game) -> list[str]:
    """Return what is wrong with the options of a comparison."""
    bad = []
    if options.temperature is not None and not (0 < options.temperature < math.inf):
        bad.append(
            f"--temperature {options.temperature:g}: expected a positive number; leave it out for each algorithm's own"
        )
    if options.pairs is not None and options.pairs < 1:
        bad.append(f"--pairs {options.pairs}: expected at least 1; leave it out for exact expectations")
    if options.seeds < 1:
        bad.append(f"--seeds {options.seeds}: expected at least 1")
    if options.seeds > 1 and options.pairs is None:
        bad.append("--seeds: exact runs do not differ between seeds; add --pairs N to sample")
    if not options.algorithms and not options.algorithm:
        given = {"--temperature": options.temperature, "--pairs": options.pairs}
        bad += [
            f"{name}: only for a comparison; add --algorithms, such as rebel,omwu,mmd"
            for name, value in given.items()
            if value is not None
        ]
    return bad


@dataclass(frozen=True)
class Contest:
    """Which algorithms are compared, and how; made before any work."""

    algorithms: dict[str, Algorithm]
    step_size: float
    n_iterations: int
    n_pairs: int | None
    n_seeds: int
    seed: int

    def play(self, game: NamedGame) -> versus.Versus:
        """Return the comparison."""
        with _bar(self.n_iterations * len(self.algorithms)) as progress:
            return versus.compare(
                game, self.algorithms, step_size=self.step_size, n_iterations=self.n_iterations,
                n_pairs=self.n_pairs, n_seeds=self.n_seeds, seed=self.seed, progress=progress,
            )  # fmt: skip


def read_contest(options: Game) -> Contest | None:
    """Return what --algorithms and --algorithm ask for, None where they ask for nothing."""
    if not options.algorithms and not options.algorithm:
        return None
    step_size = versus.DEFAULT_STEP if options.step_size is None else options.step_size
    algorithms = versus.make(parse([options.algorithms, *options.algorithm]), step_size, options.temperature)
    return Contest(algorithms, step_size, options.iterations, options.pairs, options.seeds, options.seed)


def _draw(found: Analysis, against: versus.Versus | None, options: Game) -> list[Path]:
    from rebel_bench.game import figures, versus_figure

    files = figures.draw(found, options.out, options.wins.stem, options.venue)
    if against is not None:
        files += versus_figure.draw(found, against, options.out, options.wins.stem, options.venue)
    return files


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, float], None]]:
    """Yield what to call with the number of updates done: a bar on a terminal, silence in a log."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("self-play", total=total)
        yield lambda done, _gap: bar.update(task, completed=done)
