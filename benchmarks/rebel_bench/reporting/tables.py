"""``claims.csv`` and ``claims.tex``: one row a claim."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rebel_bench.adversary.records import Record
from rebel_bench.atomic import whole_file
from rebel_bench.outcomes import Outcome
from rebel_bench.reporting.numbers import tex
from rebel_bench.reporting.words import counted

COLUMNS = ("claim", "verdict", "control", "measured", "bound", "violations")


def rows(outcomes: Sequence[Outcome], attacks: Sequence[Record]) -> list[dict[str, object]]:
    """Return what ``claims.csv`` and ``--json`` say of every claim."""
    return [_row(outcome, [record for record in attacks if record.id == outcome.claim.id]) for outcome in outcomes]


def _row(o: Outcome, attacks: Sequence[Record]) -> dict[str, object]:
    return {
        "id": o.claim.id,
        "title": o.claim.title,
        "statement": o.claim.statement,
        "latex": o.claim.latex,
        "source": o.claim.source,
        "test": o.claim.test.describe(),
        "verdict": o.judgement.verdict,
        "measured": o.judgement.measured,
        "bound": o.judgement.bound,
        "n_cases": o.judgement.n_cases,
        "violations": o.judgement.violations,
        "false_alarm": o.claim.false_alarm,
        "p_value": o.judgement.p_value,
        "note": o.judgement.note,
        "finding": o.finding,
        "control_statement": o.claim.control_statement,
        "control": o.control.verdict,
        "control_measured": o.control.measured,
        "control_n_cases": o.control.n_cases,
        "control_violations": o.control.violations,
        "tightness": max((record.ratio for record in attacks), default=math.nan),
        "instances": " ".join(Path(record.file).name for record in attacks),
        "scale": o.scale.value,
        "seed": o.seed,
        "seconds": o.seconds,
        "version": o.version,
        "libraries": o.libraries,
        "code": o.code,
        "current": o.current,
    }


def write_csv(outcomes: Sequence[Outcome], attacks: Sequence[Record], path: Path) -> Path:
    """Write one row a claim."""
    with whole_file(path) as temporary:
        pd.DataFrame(rows(outcomes, attacks)).to_csv(temporary, index=False, lineterminator="\n")
    return path


def write_cases(outcome: Outcome, path: Path) -> Path:
    """Write the cases of the claim and of its control, told apart by the first column."""
    parts = {"check": outcome.cases, "control": outcome.control_cases}
    both = pd.concat([table.assign(part=part) for part, table in parts.items()], ignore_index=True)
    both = both[["part", *(name for name in both.columns if name != "part")]]
    with whole_file(path) as temporary:
        both.to_csv(temporary, index=False, lineterminator="\n")
    return path


HEAD = r"""% Written by `rebel-theory report`. In the preamble: \usepackage{amsmath,array,booktabs,longtable}
% A longtable does not fit into two columns: there, put it between \onecolumn and \twocolumn.
\begingroup
\footnotesize
\setlength{\tabcolsep}{3pt}
\begin{longtable}{@{}l>{\raggedright\arraybackslash}p{0.3\linewidth}llrrr@{}}
\caption{CAPTION}\label{tab:claims}\\
\toprule
NAMES \\
\midrule
\endfirsthead
\toprule
NAMES \\
\midrule
\endhead
\midrule
\multicolumn{7}{r@{}}{continued on the next page}\\
\endfoot
\bottomrule
\endlastfoot
"""
FOOT = r"""\end{longtable}
\endgroup
"""


def latex(outcomes: Sequence[Outcome], caption: str) -> str:
    """Return a ``longtable`` with rules of booktabs: a row of figures, then the statement or its formula."""
    names = " & ".join(("", *COLUMNS))
    body = rf"\addlinespace{chr(10)}".join(_latex_rows(outcome) for outcome in outcomes)
    return HEAD.replace("CAPTION", escaped(caption)).replace("NAMES", names) + body + FOOT


def write_latex(outcomes: Sequence[Outcome], caption: str, path: Path) -> Path:
    """Write the table of :func:`latex`."""
    with whole_file(path) as temporary:
        temporary.write_text(latex(outcomes, caption), encoding="utf-8")
    return path


def _latex_rows(o: Outcome) -> str:
    j = o.judgement
    cells = (
        o.claim.id,
        escaped(o.claim.title),
        j.verdict,
        o.control.verdict,
        tex(j.measured),
        tex(j.bound),
        escaped(counted(o, j, unit=False)),
    )
    if o.claim.latex:
        said = rf"\multicolumn{{6}}{{@{{}}l@{{}}}}{{${o.claim.latex}$}}"
    else:
        said = rf"\multicolumn{{6}}{{@{{}}p{{0.9\linewidth}}@{{}}}}{{{escaped(o.claim.statement)}}}"
    return f"{' & '.join(cells)} \\\\*\n & {said} \\\\\n"


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "−": r"$-$",
    "–": "--",
    "\N{NO-BREAK SPACE}": "~",
}


def escaped(text: str) -> str:
    r"""Return ``text`` as LaTeX prints it.

    >>> escaped("50% of a_1 <= b^2")
    '50\\% of a\\_1 \\textless{}= b\\textasciicircum{}2'
    """
    return re.sub("|".join(map(re.escape, _SPECIAL)), lambda found: _SPECIAL[found[0]], text)
