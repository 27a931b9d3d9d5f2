"""Bounds, the regret identity, concentrability, rate fits, and the analysis of preference matrices."""
