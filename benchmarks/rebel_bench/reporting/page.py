"""The page: one HTML file without scripts, fonts or anything else to fetch."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import groupby

from rebel_bench.adversary.records import Record
from rebel_bench.claim import Judgement
from rebel_bench.ledger import ledger
from rebel_bench.outcomes import Outcome
from rebel_bench.reporting import words
from rebel_bench.reporting.mathematics import mathml
from rebel_bench.reporting.numbers import html

_GOOD = {"claim": "holds", "control": "refuted"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure to be put into the page, as PNG."""

    png: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Attachments:
    """What lies beside the page for one claim: links, relative to it, by what they are called; attacks by theirs."""

    picture: Picture | None
    links: Mapping[str, str]
    attacks: Mapping[str, Record]


def page(outcomes: Sequence[Outcome], attached: Mapping[str, Attachments]) -> str:
    """Return the page; ``attached`` has an entry for every claim."""
    grouped = [(name, list(part)) for name, part in groupby(outcomes, key=words.group)]
    sections = (
        f'<section id="{escape(name.lower().replace(" ", "-"))}"><h2>{escape(name)}</h2>\n'
        + "\n".join(_card(outcome, attached[outcome.claim.id]) for outcome in part)
        + "</section>"
        for name, part in grouped
    )
    style = files("rebel_bench.reporting").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>rebel-theory: the ledger</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>The ledger of claims</h1>
<p><strong>{escape(words.summary(outcomes))}</strong></p>
<p class="soft">{escape(words.runs(outcomes))} Every claim is measured next to a control, a deliberately broken
variant that must be refuted: only together do they show anything. {_chance(outcomes)}</p>
{_warning(words.stale(outcomes))}
<nav aria-label="Groups"><ul>{_items(name for name, _ in grouped)}</ul></nav>
</header>
<main>
{_table(outcomes)}
{"".join(sections)}
</main>
<footer><p>Written by <code>rebel-theory report</code>. This file needs no network; the data of every figure, its PDF,
<a href="claims.csv">claims.csv</a> and <a href="claims.tex">claims.tex</a> lie beside it.</p></footer>
</body>
</html>
"""


def _items(names: Iterable[str]) -> str:
    return "".join(f'<li><a href="#{escape(n.lower().replace(" ", "-"))}">{escape(n)}</a></li>' for n in names)


def _chance(outcomes: Sequence[Outcome]) -> str:
    """Return what chance could do to all claims together."""
    found = ledger((o.claim.id, o.claim.false_alarm, o.judgement) for o in outcomes)
    if not found.n_tests:
        return "All tests are exact: chance refutes none of them."
    text = (
        f"Were every statement true, chance would refute one of them with probability at most {html(found.false_alarm)}"
    )
    if found.stands or found.falls:
        names = escape(", ".join(found.stands)) or "none"
        text += f"; refutations that stand over the whole ledger ({found.method}, level {html(found.alpha)}): {names}"
    return text + "."


def _warning(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    return (
        f'<p class="warning">Measured by other code or libraries than the present: {escape(", ".join(ids))}. '
        "Measure again with <code>rebel-theory verify</code>.</p>"
    )


def _table(outcomes: Sequence[Outcome]) -> str:
    head = "".join(
        f'<th scope="col"{" class=number" if right else ""}>{name}</th>'
        for name, right in (
            ("id", 0), ("claim", 0), ("verdict", 0), ("control", 0), ("measured", 1), ("bound", 1), ("violations", 1),
        )
    )  # fmt: skip
    rows = "\n".join(map(_table_row, outcomes))
    return f'<table class="ledger">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>'


def _table_row(o: Outcome) -> str:
    j = o.judgement
    id_ = escape(o.claim.id)
    numbers = (
        ("measured", html(j.measured)),
        ("bound", html(j.bound)),
        ("violations", words.counted(o, j, unit=False)),
    )
    cells = "".join(f'<td class="number" data-label="{name}">{text}</td>' for name, text in numbers)
    return (
        f'<tr><td><a href="#{id_}">{id_}</a></td><td>{escape(o.claim.title)}</td>'
        f"<td>{_badge('claim', j)}</td>"
        f'<td data-label="control">{_badge("control", o.control)}</td>{cells}</tr>'
    )


def _badge(part: str, judgement: Judgement) -> str:
    """Return a verdict, coloured by whether it is what it should be: a control is there to be refuted."""
    kind = "good" if judgement.verdict == _GOOD[part] else "open" if judgement.verdict == "inconclusive" else "bad"
    return f'<span class="badge {kind}">{judgement.verdict}</span>'


def _card(o: Outcome, attached: Attachments) -> str:
    claim = o.claim
    formula = f'<div class="formula" tabindex="0">{mathml(claim.latex)}</div>' if claim.latex else ""
    return f"""<article id="{escape(claim.id)}">
<h3>{escape(claim.id)}: {escape(claim.title)} {_badge("claim", o.judgement)}</h3>
<p>{escape(claim.statement)}</p>
{formula}
<dl>
{_terms(o, attached.attacks)}
</dl>
{_figure(o, attached)}
</article>"""


def _terms(o: Outcome, attacks: Mapping[str, Record]) -> str:
    claim, j = o.claim, o.judgement
    terms = [
        ("source", escape(claim.source)),
        ("test", f"{escape(type(claim.test).__name__)}: {escape(claim.test.describe())}"),
        ("measured", _measured(o, j)),
    ]
    if o.finding:
        terms.append(("finding", escape(o.finding)))
    if not math.isnan(j.p_value):
        terms.append(("p-value", html(j.p_value)))
    terms += [("adversary", _attack(where, record)) for where, record in attacks.items()]
    seconds = "" if math.isnan(o.seconds) else f"; {o.seconds:.3g} s"
    terms += [
        ("false alarm", escape(words.false_alarm(o))),
        ("control", f"{escape(claim.control_statement)}: {_badge('control', o.control)}<br>{_measured(o, o.control)}"),
        ("run", f"scale {o.scale.value}, seed {o.seed}, rebel-theory {escape(o.version)}{seconds}"),
    ]
    return "\n".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in terms)


def _attack(where: str, record: Record) -> str:
    """Return how tight a search found the bound, and where its instance is."""
    broken = " A counterexample." if record.ratio > 1 else ""
    return (
        f"largest measured/bound {html(record.ratio)} in {record.evaluations} evaluations over {escape(record.space)}, "
        f'seed {record.seed}.{broken} <a href="{escape(where)}">Instance</a>'
    )


def _measured(o: Outcome, judgement: Judgement) -> str:
    measured, bound = words.quantities(o)
    note = f"; {escape(judgement.note)}" if judgement.note else ""
    return (
        f"{measured} {html(judgement.measured)} ({bound} {html(judgement.bound)}); "
        f"{words.counted(o, judgement)} violate{note}"
    )


def _figure(o: Outcome, attached: Attachments) -> str:
    links = " · ".join(f'<a href="{escape(where)}">{escape(name)}</a>' for name, where in attached.links.items())
    if attached.picture is None:
        return f'<p class="soft">{links}</p>' if links else ""
    picture = attached.picture
    data = base64.b64encode(picture.png).decode()
    alt = f"Figure of claim {o.claim.id}, {o.claim.title}: the cases of the claim and of its control"
    size = f'width="{picture.width}" height="{picture.height}"'
    return (
        f'<figure><div class="picture" tabindex="0"><img alt="{escape(alt)}" {size} '
        f'src="data:image/png;base64,{data}"></div><figcaption>{links}</figcaption></figure>'
    )
