"""What is known of a claim once it is measured: from a run, or put together from what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from rebel_bench.claim import Claim, Judgement
from rebel_bench.ledger import Ledger, ledger
from rebel_bench.scale import Scale


@dataclass(frozen=True, slots=True)
class Outcome:
    """One claim, judged, with the cases of its check and of its control.

    Attributes
    ----------
    claim, scale, seed
        What was measured.
    judgement, control, finding
        The verdicts on the claim and on its control, and what the claim finds besides: drawn from the cases.
    cases, control_cases
        The tables, all blocks together.
    seconds
        The time of the measurements alone, over all processes; NaN if nobody wrote it down.
    n_units, n_kept
        How many units there are, and how many of them were read from the disk instead of measured.
    version, code, libraries
        Of the package that measured, the fingerprint of its code, and the numerical libraries.
    current
        Whether that is the code and the libraries of this process: if not, measuring again may give other numbers.
    """

    claim: Claim
    scale: Scale
    seed: int
    judgement: Judgement
    control: Judgement
    finding: str | None
    cases: pd.DataFrame
    control_cases: pd.DataFrame
    seconds: float
    n_units: int
    n_kept: int
    version: str
    code: str
    libraries: str
    current: bool

    @property
    def passed(self) -> bool:
        """Return whether the claim holds and its control is refuted: one without the other shows nothing."""
        return self.judgement.verdict == "holds" and self.control.verdict == "refuted"

    @property
    def reused(self) -> bool:
        """Return whether nothing was measured: all was there."""
        return self.n_kept == self.n_units

    def row(self) -> dict[str, object]:
        """Return the claim's object in ``verify --json``."""
        return {
            "id": self.claim.id,
            "statement": self.claim.statement,
            "verdict": self.judgement.verdict,
            "control": self.control.verdict,
            "measured": self.judgement.measured,
            "bound": self.judgement.bound,
            "n_cases": self.judgement.n_cases,
            "violations": self.judgement.violations,
            "seconds": self.seconds,
            "false_alarm": self.claim.false_alarm,
            "p_value": self.judgement.p_value,
            "finding": self.finding,
            "reused": self.reused,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcomes of one run, in natural order; ``result["C2"]`` is one of them.

    ``left_out`` are claims that need a package which is not installed here; they count neither way.
    """

    outcomes: tuple[Outcome, ...]
    scale: Scale
    seed: int
    version: str
    left_out: tuple[Claim, ...] = ()

    @property
    def passed(self) -> bool:
        """Return whether every claim holds and every control is refuted."""
        return all(outcome.passed for outcome in self.outcomes)

    @property
    def ledger(self) -> Ledger:
        """Return what chance could do to the claims together."""
        return ledger((o.claim.id, o.claim.false_alarm, o.judgement) for o in self.outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __getitem__(self, id_: str) -> Outcome:
        for outcome in self.outcomes:
            if outcome.claim.id.upper() == id_.upper():
                return outcome
        raise KeyError(f"claim {id_!r} was not run; this run has {', '.join(o.claim.id for o in self.outcomes)}")

    def rows(self) -> list[dict[str, object]]:
        """Return one dictionary a claim, with the keys of ``verify --json``."""
        return [outcome.row() for outcome in self.outcomes]

    def to_frame(self) -> pd.DataFrame:
        """Return the same rows as a table."""
        return pd.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        html: str = self.to_frame().to_html(index=False)
        return html
