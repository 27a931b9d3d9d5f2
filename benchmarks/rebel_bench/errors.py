"""Errors that end a command: what the user can mend (exit 2), and what is a bug in a claim (exit 1)."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the message names the offender and the remedy. Exit code 2."""


class ClaimError(Exception):
    """A claim raised where it should have measured: a bug in the claim or in the library. Exit code 1.

    Parameters
    ----------
    where
        The claim and its part, such as ``"C3 (control)"``.
    details
        The traceback as text: the exception itself may come from another process and need not pickle.
    """

    def __init__(self, where: str, details: str) -> None:
        self.where = where
        self.details = details
        super().__init__(where, details)

    def __str__(self) -> str:
        return f"claim {self.where} raised an exception; this is a bug, not a verdict\n{self.details}"
