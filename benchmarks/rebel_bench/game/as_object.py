"""The facts as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rebel_bench.game.analysis import NEAR, WELL_DETERMINED, Analysis
from rebel_bench.version import version


def as_json(found: Analysis, source: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Return everything as plain Python; names where people would want names, gaps in both units."""
    names, t, w, p = found.names, found.tournament, found.winner, found.self_play
    counts = None
    if found.game.counts is not None:
        per_pair = found.games_per_pair
        counts = {
            "games": float(per_pair.sum()),
            "fewest_per_pair": float(per_pair.min()),
            "most_per_pair": float(per_pair.max()),
            "prior": float(found.prior),
        }
    return {
        "source": str(source),
        "n": len(names),
        "names": list(names),
        "kind": "probabilities" if counts is None else "counts",
        "counts": counts,
        "condorcet_winner": None if t.condorcet is None else names[t.condorcet],
        "smith_set": [names[i] for i in t.smith],
        "three_cycles": t.n_cycles,
        "triples": t.n_triples,
        "tied_pairs": t.n_ties,
        "bradley_terry": _strengths_json(found),
        "von_neumann_winner": {
            "policy": _by_name(names, w.policy),
            "support": [names[i] for i in found.support],
            "gap": w.gap,
            "gap_win_probability": w.gap / 2,
            "unique": w.unique,
            "well_determined": None if found.width is None else found.width <= WELL_DETERMINED,
            "near_winners": _ranges_json(found),
        },
        "duality_gaps": {
            g.key: {
                "gap": g.gap,
                "gap_win_probability": g.win_gap,
                "strongest_opponent": None if g.opponent is None else names[g.opponent],
                "opponent_win_rate": g.win_rate,
                "plays": g.plays,
            }
            for g in found.gaps
        },
        "self_play": {
            "iterations": p.n_iterations,
            "step_size": p.step_size,
            "start": "uniform" if p.uniform_start else "first name doubled",
            "last_gap": float(p.last[-1]),
            "average_gap": float(p.average[-1]),
            "bound": float(p.bound[-1]),
            "within_bound": p.holds,
        },
        "units": "gap: payoff l = 2P - 1; gap_win_probability: half of it",
        "files": [str(file) for file in files],
        "seed": found.seed,
        "version": version(),
    }


def _strengths_json(found: Analysis) -> dict[str, Any]:
    s = found.strengths
    test = s.test
    return {
        "strengths": _by_name(found.names, s.fit.strengths),
        "ranking": [found.names[i] for i in s.ranking],
        "best": found.names[s.fit.best],
        "method": "maximum likelihood" if s.no_maximum is None else "ridge",
        "ridge": s.fit.ridge,
        "no_maximum_likelihood": s.no_maximum,
        "p_value": None if test is None else test.p_value,
        "statistic": None if test is None else test.statistic,
        "replicates": None if test is None else test.n_bootstrap,
        "level": None if test is None else test.alpha,
        "cycles_exceed_noise": None if test is None else test.cycles_exceed_noise,
        "conclusion": str(test) if test is not None else s.no_test,
    }


def _ranges_json(found: Analysis) -> dict[str, Any] | None:
    if found.ranges is None:
        return None
    low, high = found.ranges
    return {
        "tolerance": NEAR,
        "widest": found.width,
        "least": _by_name(found.names, low),
        "greatest": _by_name(found.names, high),
    }


def _by_name(names: Sequence[str], values: Any) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
