"""What ``rebel-theory game`` does: the facts of a win matrix, their report, and their figures."""
