"""``rebel-theory check``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro


@dataclass(frozen=True)
class Check:
    """Hold algorithms to what every algorithm promises, on small problems of every kind under every oracle.

    Policies stay policies, runs repeat to the last bit, seeds and step sizes do not see each other, queries are
    counted, steps of 1e6 do not overflow. What an algorithm refuses is skipped, with its reason. Exits 1 if a
    promise is broken.
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory check my_file.py                  the one algorithm of a file of yours
  rebel-theory check my_file.py:MyAlgorithm
  rebel-theory check "rebel,ppo(clip=0.1)"
  rebel-theory check                             all that ship (a minute or two)"""

    algorithms: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME|FILE[:CLASS]")] = ""
    """Names from `rebel-theory algorithms`, or a Python file, joined by commas; all that ship if left out."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print a JSON list of every check on stdout instead of a table."""

    def __call__(self) -> int:
        """Return 0 if every promise was kept, 1 otherwise."""
        from rebel_bench.contract.command import execute

        return execute(self)
