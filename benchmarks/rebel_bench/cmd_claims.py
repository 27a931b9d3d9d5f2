"""``rebel-theory claims``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro


@dataclass(frozen=True)
class Claims:
    """List the claims: what is stated, where it comes from, how it is tested, and what its control breaks."""

    EXAMPLES: ClassVar[str] = """Examples:
  rebel-theory claims
  rebel-theory claims --json | python -m json.tool
  rebel-theory claims --claims my_conjectures"""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print a JSON list on stdout instead of a table."""
    claims: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: built in)")] = None
    """A folder of claim files, instead of the ones that ship."""

    def __call__(self) -> int:
        """Print the list."""
        from rebel_bench import registry, tables

        found = registry.find_claims(self.claims)
        if self.json:
            tables.print_json([tables.claim_row(claim) for claim in found])
        else:
            tables.print_claims(found)
        return 0
