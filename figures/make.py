"""Fill this folder, the gallery of the paper scale, from stored results; or draw again what is stale.

rebel-theory verify --scale paper --workers 2 --out DIR
python figures/make.py --from DIR

Without --from nothing is read but the gallery's own data. Claims that DIR does not have keep the figure they have.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rebel_bench import registry
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.reporting import gallery
from rebel_bench.reporting.command import require_stored
from rebel_bench.scale import Scale

FOLDER = Path(__file__).parent


def main() -> int:
    """Return the exit code: 0, or 2 with what the user can mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="the --out of rebel-theory verify")
    parser.add_argument("--scale", choices=[scale.value for scale in Scale], default="paper")
    parser.add_argument("--seed", type=int, help="which of the stored seeds (default: the smallest)")
    parser.add_argument("--older", action="store_true", help="take results of older code or libraries too")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="the gallery (default: this folder)")
    parser.add_argument("--claims", type=Path, metavar="DIR", help="a folder of claim files (default: built in)")
    chosen = parser.parse_args()
    try:
        print(f"drawn: {', '.join(fill(chosen)) or 'nothing, all is as it should be'}")
        for fault in gallery.faults(chosen.out, registry.find_all(chosen.claims)):
            print(f"left: {fault}")
    except (UserError, ClaimError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def fill(chosen: argparse.Namespace) -> list[str]:
    """Return the ids that were drawn."""
    found = registry.find_all(chosen.claims)
    if chosen.source is None:
        return gallery.draw(chosen.out, found)
    scale = Scale(chosen.scale)
    outcomes = require_stored(source=chosen.source, scale=scale, seed=chosen.seed, claims=chosen.claims)
    old = [outcome.claim.id for outcome in outcomes if not outcome.current]
    if old and not chosen.older:
        raise UserError(
            f"{', '.join(old)}: measured by other code or libraries than the present. Run `rebel-theory verify "
            f"{' '.join(old)} --scale {scale.value} --out {chosen.source}` again, or accept them with --older"
        )
    command = gallery.MEASURE.format(ids="", scale=scale.value)
    return gallery.add(outcomes, chosen.out, found, command=" ".join(command.split()))


if __name__ == "__main__":
    sys.exit(main())
