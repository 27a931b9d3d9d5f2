"""Formulas as MathML, which browsers draw without scripts, fonts or a network."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import escape
from itertools import pairwise

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_TAG = f"{{{_NAMESPACE}}}"
_WORD = re.compile(r"[A-Za-z]{2,}")
_LOOSE = {"mi", "mn", "mfrac", "msub", "msup", "msubsup", "mover", "msqrt", "mrow"}


def mathml(latex: str) -> str:
    r"""Return the formula as a ``<math>`` element in display style; what cannot be read is shown as it was written.

    >>> mathml(r"a \\le b")[:5], mathml(r"\\frac{1}")
    ('<math', '<code>\\\\frac{1}</code>')
    """
    from latex2mathml.converter import convert

    try:
        root = ET.fromstring(convert(latex, display="block"))
    except Exception:  # the library has many errors of its own, and a claim's formula is the user's
        return f"<code>{escape(latex)}</code>"
    if any((node.text or "").startswith("\\") for node in root.iter()):  # a command that the library does not know
        return f"<code>{escape(latex)}</code>"
    for node in list(root.iter()):
        _space_after_words(node)
    ET.register_namespace("", _NAMESPACE)
    return ET.tostring(root, encoding="unicode")


def _space_after_words(parent: ET.Element) -> None:
    """Put a thin space between a function and an argument without brackets: "ln n", not "lnn"."""
    if parent.tag not in (f"{_TAG}mrow", f"{_TAG}math", f"{_TAG}mtd", f"{_TAG}msqrt"):
        return  # the others count their children
    children = list(parent)
    for child, following in reversed(list(pairwise(children))):
        word = child.tag == f"{_TAG}mi" and _WORD.fullmatch(child.text or "")
        if word and following.tag.removeprefix(_TAG) in _LOOSE:
            parent.insert(list(parent).index(following), ET.Element(f"{_TAG}mspace", width="0.17em"))
