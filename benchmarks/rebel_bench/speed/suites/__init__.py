"""The suites of ``rebel-theory bench``: a file with ``SUITE`` is a suite, and adding one touches nothing else."""
