"""Numbers as people read them, in the three languages of the report: text, HTML and LaTeX."""

from __future__ import annotations

import math
from html import escape


def plain(value: float) -> str:
    """Return four digits, or a dash where there is no number.

    >>> plain(0.123456), plain(float("nan"))
    ('0.1235', '–')
    """
    return "–" if math.isnan(value) else f"{value:.4g}"


def html(value: float) -> str:
    """Return four digits for a page, powers of ten raised.

    >>> html(1.5e-12)
    '1.5&nbsp;×&nbsp;10<sup>−12</sup>'
    """
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    digits, power = _parts(value)
    digits = escape(digits.replace("-", "−"))
    return digits if power is None else f"{digits}&nbsp;×&nbsp;10<sup>{str(power).replace('-', '−')}</sup>"


def tex(value: float) -> str:
    r"""Return four digits in math mode.

    >>> tex(-1.5e-12), tex(float("inf"))
    ('$-1.5 \\times 10^{-12}$', '$\\infty$')
    """
    if math.isnan(value):
        return "--"
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    digits, power = _parts(value)
    return f"${digits}$" if power is None else rf"${digits} \times 10^{{{power}}}$"


def _parts(value: float) -> tuple[str, int | None]:
    digits, _, power = plain(value).partition("e")
    return digits, int(power) if power else None
