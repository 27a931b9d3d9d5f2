"""Figures at a venue's size, readable in greyscale and by the colour-blind, the same bytes every time.

Matplotlib is imported inside the functions and used through ``Figure`` objects: no pyplot, no global state
but for the settings inside a ``with``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from rebel_bench.atomic import whole_file
from rebel_bench.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Venue: TypeAlias = Literal[
    "neurips", "icml", "iclr", "jmlr", "colt", "rlc", "tmlr", "aistats", "uai", "aaai", "colm"
]  # fmt: skip

# The latest bundle that tueplots has of each venue; their style files have not changed sizes since. It has none of
# two: colt2025.cls loads jmlr.cls (1.30), whose text is 6.0 in wide; rlj.sty (2025.0) descends from ICLR's file and
# sets 5.5 in as that does.
_BUNDLES: dict[str, str] = {
    "neurips": "neurips2024",
    "icml": "icml2024",
    "iclr": "iclr2024",
    "jmlr": "jmlr2001",
    "colt": "jmlr2001",
    "rlc": "iclr2024",
    "tmlr": "tmlr2023",
    "aistats": "aistats2025",
    "uai": "uai2023",
    "aaai": "aaai2024",
    "colm": "colm2026",
}
_LEAST_HEIGHT = 0.42  # of the width: golden-ratio panels side by side are too low for a legend
_TWO_COLUMNS = {"icml", "aistats", "uai", "aaai"}

# Okabe and Ito (2008), told apart under every common colour blindness; their order here alternates light and
# dark, so that neighbours differ in greyscale too.
OKABE_ITO = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermillion": "#D55E00",
    "sky": "#56B4E9",
    "purple": "#CC79A7",
    "black": "#000000",
    "yellow": "#F0E442",
}

# The three algorithms coincide in half of the claims, and all three must then be seen: a broad pale line at
# the bottom, dashes on it, dots on top, and markers that take turns along the curve.
_ALGORITHMS: dict[str, dict[str, Any]] = {
    "REBEL": {
        "color": OKABE_ITO["sky"],
        "linewidth": 4.0,
        "linestyle": "-",
        "marker": "o",
        "markersize": 5.5,
        "markevery": (0.0, 0.24),
        "zorder": 2.0,
    },
    "NPG": {
        "color": OKABE_ITO["vermillion"],
        "linewidth": 1.8,
        "linestyle": (0, (3, 2)),
        "marker": "s",
        "markersize": 4.0,
        "markevery": (0.08, 0.24),
        "zorder": 2.1,
    },
    "MD": {
        "color": OKABE_ITO["black"],
        "linewidth": 1.2,
        "linestyle": (0, (1, 2)),
        "marker": "^",
        "markersize": 3.5,
        "markevery": (0.16, 0.24),
        "zorder": 2.2,
    },
}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("D", "v", "P", "X", "<", ">", "*")


def line(name: str, index: int = 0) -> dict[str, Any]:
    """Return the keyword arguments of ``ax.plot`` for an algorithm or, by ``index``, for any other series.

    ``REBEL``, ``NPG`` and ``MD`` always look the same. Others take colour, dash and marker from cycles of
    lengths 8, 5 and 7, so that no two of the first 280 agree.
    """
    if name in _ALGORITHMS:
        return {**_ALGORITHMS[name], "label": name}
    colours = list(OKABE_ITO.values())
    return {
        "color": colours[index % len(colours)],
        "linewidth": 1.4,
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 3.5,
        "markevery": (0.04 * (index % 6), 0.24),
        "label": name,
    }


def settings(venue: Venue = "neurips", panels: tuple[int, int] = (1, 1)) -> dict[str, Any]:
    """Return Matplotlib settings for a figure of ``panels`` (rows, columns) at the venue's width.

    In a two-column venue a figure with several panels side by side takes both columns.
    """
    from matplotlib import font_manager
    from tueplots import bundles

    if venue not in _BUNDLES:
        raise UserError(f"venue {venue!r}: expected one of {', '.join(get_args(Venue))}")
    shape: dict[str, Any] = {"nrows": panels[0], "ncols": panels[1]}
    if venue in _TWO_COLUMNS:
        shape["column"] = "full" if panels[1] > 1 else "half"
    rc: dict[str, Any] = dict(getattr(bundles, _BUNDLES[venue])(**shape))
    # the fonts of the venue where this machine has them; Matplotlib brings STIX, drawn to match Times
    present = set(font_manager.get_font_names())
    serif = ["Times New Roman", "Times", "TeX Gyre Termes", "Nimbus Roman"]
    rc.pop("text.latex.preamble", None)
    width, height = rc["figure.figsize"]
    rc["figure.figsize"] = (width, max(height, _LEAST_HEIGHT * width))
    rc |= {
        "text.usetex": False,
        "font.family": "serif",
        "font.serif": [*(name for name in serif if name in present), "STIXGeneral"],
        "mathtext.fontset": "stix",
        "pdf.fonttype": 42,  # TrueType, embedded: what the venues' checkers ask for
        "pdf.compression": 6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.handlelength": 4.5,  # room for a dash pattern on both sides of the marker
        "savefig.bbox": None,  # the size asked for, not the size drawn
    }
    return rc


@contextmanager
def figure(venue: Venue = "neurips", panels: tuple[int, int] = (1, 1)) -> Iterator[Figure]:
    """Yield an empty figure under the venue's settings; draw and :func:`save` inside the block."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(cast(Any, settings(venue, panels))):
        yield Figure()


def save(fig: Figure, path: Path, *, dpi: int = 300) -> tuple[Path, Path]:
    """Write ``path`` + ``.png`` and ``.pdf``, each whole or not at all, and return the two paths.

    Neither holds a date or the version of a program: equal figures are equal files.
    """
    path = Path(path)
    png, pdf = path.with_name(path.name + ".png"), path.with_name(path.name + ".pdf")
    with whole_file(png) as temporary:
        fig.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
    with whole_file(pdf) as temporary:
        fig.savefig(temporary, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return png, pdf
