"""Exact solvers: evaluation, optimality, games; each with a certificate."""
