"""``rebel-theory run``: algorithms side by side on one problem."""
