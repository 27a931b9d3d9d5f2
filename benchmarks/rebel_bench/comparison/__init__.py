"""Algorithms compared at equal reward queries, on several problems, each at its best step size."""
