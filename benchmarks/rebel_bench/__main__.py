"""``python -m rebel_bench`` is ``rebel-theory``."""

import sys

from rebel_bench.cli import main

if __name__ == "__main__":  # spawned workers import this module again and must not start a second run
    sys.exit(main())
