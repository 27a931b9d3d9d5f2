"""``rebel-theory algorithms``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro


@dataclass(frozen=True)
class Algorithms:
    """List the algorithms: the update, where it comes from, its conditions, and the rate that is proven.

    The first column is the name for `--algorithms`; options go in parentheses, as in ppo(clip=0.1).
    """

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory algorithms
  rebel-theory algorithms --json
  rebel-theory run garnet --algorithms "rebel,ppo(clip=0.1),rloo" --pairs 100 --seeds 16
  rebel-theory run frozenlake --algorithms rebel,my_file.py:MyAlgorithm
  rebel-theory check my_file.py:MyAlgorithm"""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print a JSON list on stdout instead of a table."""

    def __call__(self) -> int:
        """Print the list."""
        from rebel_bench import tables
        from rebel_theory.algorithms.registry import find_algorithms

        columns = ("key", "name", "update", "conditions", "rate", "source")
        rows = [{column: str(getattr(kind, column)) for column in columns} for kind in find_algorithms().values()]
        if self.json:
            tables.print_json(rows)
        else:
            tables.print_rows(columns, rows)
        return 0
