"""From the words ``sampled(pairs=20, opponents=separate)`` to an oracle."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

import rebel_theory as rt
from rebel_bench.algorithm_specs import name_and_options
from rebel_bench.comparison.offline import Logged
from rebel_bench.errors import UserError

_KINDS: Mapping[str, tuple[Callable[..., rt.Oracle | Logged], tuple[str, ...]]] = MappingProxyType(
    {
        "exact": (rt.Exact, ()),
        "sampled": (rt.Sampled, ("opponents", "states", "horizon")),
        "counted": (rt.Counted, ("opponents",)),
        "offline": (Logged, ("base", "seed")),
    }
)


@dataclass(frozen=True, eq=False)
class OracleSpec:
    """An oracle, and what an update with it costs.

    Attributes
    ----------
    pairs
        Pairs an update; for exact feedback those that it is charged as, offline all that there are.
    """

    text: str
    oracle: rt.Oracle | Logged
    pairs: int

    @property
    def is_exact(self) -> bool:
        """True when nothing is random: one seed is as good as many."""
        return isinstance(self.oracle, rt.Exact)

    def trial(self, problem: rt.Problem, first: rt.Policy) -> rt.Oracle:
        """Return the oracle, or one of a data set like those that it will draw: to see whether it is refused."""
        if isinstance(self.oracle, Logged):
            return self.oracle.draw(problem, first, np.random.default_rng(0))
        return self.oracle


def parse_oracle(text: str, pairs: int) -> OracleSpec:
    """Return the oracle of ``exact``, ``sampled``, ``counted`` or ``offline`` with options in parentheses.

    Parameters
    ----------
    text
        Such as ``sampled(pairs=20, horizon=5)``.
    pairs
        Pairs an update if the words do not say.

    Raises
    ------
    UserError
        An unknown oracle or option, or a value that the oracle does not take.
    """
    name, options = name_and_options(text)
    kind = name.lower()
    if kind not in _KINDS:
        near = difflib.get_close_matches(kind, _KINDS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"{text}: not one of {', '.join(_KINDS)}.{hint} Options in parentheses: sampled(pairs=20)")
    make, known = _KINDS[kind]
    for key in options:
        if key not in ("pairs", *known):
            raise UserError(f"{text}: {key} is not an option of {kind}: use {', '.join(('pairs', *known))}")
    n = options.pop("pairs", pairs)
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise UserError(f"{text}: pairs is {n}, expected an integer of at least 1")
    size = {"exact": {}, "offline": {"n": n}}.get(kind, {"n_pairs": n})
    arguments: dict[str, Any] = size | options
    try:
        return OracleSpec(text, make(**arguments), n)
    except (TypeError, ValueError) as error:
        raise UserError(f"{text}: {error}") from error
