"""The command line. Only light modules are imported before a command has been chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

import tyro

from rebel_bench.cmd_algorithms import Algorithms
from rebel_bench.cmd_attack import Attack
from rebel_bench.cmd_audit import Audit
from rebel_bench.cmd_bench import Bench
from rebel_bench.cmd_check import Check
from rebel_bench.cmd_claims import Claims
from rebel_bench.cmd_compare import Compare
from rebel_bench.cmd_figures import Figures
from rebel_bench.cmd_game import Game
from rebel_bench.cmd_report import Report
from rebel_bench.cmd_run import Run
from rebel_bench.cmd_verify import Verify
from rebel_bench.errors import ClaimError, UserError

PROGRAM = "rebel-theory"
COMMANDS: dict[str, type] = {
    "claims": Claims,
    "verify": Verify,
    "attack": Attack,
    "run": Run,
    "game": Game,
    "figures": Figures,
    "report": Report,
    "bench": Bench,
    "algorithms": Algorithms,
    "check": Check,
    "compare": Compare,
    "audit": Audit,
}
DESCRIPTION = """A theory testbed for policy optimisation: REBEL, natural policy gradient and mirror descent.

Every claim is measured next to a control, a deliberately broken variant that must be refuted.

Start with:
  rebel-theory claims               what can be checked
  rebel-theory verify               check all of it, quickly
  rebel-theory COMMAND --help       options and examples of one command
  rebel-theory --version            the version
"""
OK, FAILED, USER_ERROR, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code of the command in ``argv`` (of this process by default).

    0: done, and everything came out as it should. 1: a claim failed, or is broken. 2: something the user can
    mend, said on stderr without a traceback. 130: interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        from rebel_bench.version import version

        print(f"{PROGRAM} {version()}")
        return OK
    try:
        return _guarded(_parse(arguments))
    except SystemExit as stop:  # how tyro ends after --help (0) and after a bad option (2)
        return stop.code if isinstance(stop.code, int) else USER_ERROR


def _parse(arguments: list[str]) -> Callable[[], int]:
    """Return the command that ``arguments`` describe."""
    if arguments and arguments[0] in COMMANDS:
        name = arguments[0]
        command = COMMANDS[name]
        return _tyro(command, arguments[1:], f"{PROGRAM} {name}", f"{_doc(command)}\n\n{command.EXAMPLES}")  # type: ignore[attr-defined]
    # the list of commands, or an unknown one: their first lines only
    described = [
        Annotated[command, tyro.conf.subcommand(name, description=_doc(command).splitlines()[0])]
        for name, command in COMMANDS.items()
    ]
    return _tyro(Union[tuple(described)], arguments, PROGRAM, DESCRIPTION)  # noqa: UP007 - built at run time


def _tyro(kind: Any, arguments: list[str], program: str, description: str) -> Callable[[], int]:
    command: Callable[[], int] = tyro.cli(kind, args=arguments, prog=program, description=description)
    return command


def _doc(command: type) -> str:
    import inspect

    return inspect.getdoc(command) or ""


def _guarded(command: Callable[[], int]) -> int:
    """Run ``command``; say in plain words what the user can mend, and let only bugs show a traceback."""
    try:
        return command()
    except KeyboardInterrupt:
        _say("interrupted; results that were finished are kept")
        return INTERRUPTED
    except BrokenPipeError:  # `rebel-theory claims | head`: nobody is left to tell
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - or the interpreter complains when it flushes
        return PIPE_CLOSED
    except ClaimError as error:
        _say(f"error: {error}")
        return FAILED
    except Exception as error:
        if isinstance(error, (UserError, *_input_errors())):
            _say(f"error: {error}")
        elif own := _raised_by_own_file(error):
            _say(f"error: {own}")
        else:
            raise
        return USER_ERROR


def _input_errors() -> tuple[type[Exception], ...]:
    """Return the library's error for invalid input if the library is loaded; else it was not raised."""
    module = sys.modules.get("rebel_theory.problems.base")
    return (module.InvalidProblemError,) if module is not None else ()


def _raised_by_own_file(error: Exception) -> str | None:
    """Return what an algorithm or a problem of the user's raised, and where; None for errors that are ours."""
    module = sys.modules.get("rebel_bench.user_files")  # not loaded: no such file was
    return module.in_words(error) if module is not None and module.is_own(error) else None


def _say(message: str) -> None:
    """Print ``message`` on stderr as it is: brackets as in [s=1, a=0] are not markup."""
    print(message, file=sys.stderr)
