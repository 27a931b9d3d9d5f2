"""``python -m rebel_bench.mutations``."""

import sys

from rebel_bench.mutations.command import main

if __name__ == "__main__":
    sys.exit(main())
