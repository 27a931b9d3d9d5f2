"""``rebel-theory audit``: from the options to a run, its tables and its figure."""
