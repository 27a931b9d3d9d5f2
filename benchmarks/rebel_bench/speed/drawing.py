"""The figure of ``rebel-theory bench``: cost against size, ours and NumPy, log-log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rebel_bench.atomic import whole_file
from rebel_bench.speed.case import OURS
from rebel_bench.style import OKABE_ITO, Venue, figure, save

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = {
    "S": "states $S$ (exact NPG)",
    "A": "actions $A$ (exact NPG)",
    "N": "pairs $N$ (sampled REBEL)",
    "d": "features $d$ (linear MDP)",
    "seeds": "seeds (10 iterations)",
}
_STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": OKABE_ITO["blue"], "marker": "o", "linestyle": "-"},
    "NumPy": {"color": OKABE_ITO["vermillion"], "marker": "s", "linestyle": (0, (5, 2))},
    "limit": {"color": OKABE_ITO["black"], "marker": "", "linestyle": (0, (1, 1.5))},
}
_LABELS = {OURS: "rebel-theory", "NumPy": "NumPy", "limit": "physical limit"}


def draw(frame: pd.DataFrame, path: Path, venue: Venue = "neurips") -> tuple[Path, Path]:
    """Write PNG and PDF and return their paths; a panel an axis that was measured, the legend beside them."""
    with _drawn(frame, venue) as fig:
        return save(fig, path)


def draw_png(frame: pd.DataFrame, path: Path, *, dpi: int = 200) -> Path:
    """Write the PNG alone, of the size that a page needs."""
    with _drawn(frame, "neurips") as fig, whole_file(path) as temporary:
        fig.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
    return path


@contextmanager
def _drawn(frame: pd.DataFrame, venue: Venue) -> Iterator[Figure]:
    axes = [axis for axis in _PANELS if (frame["axis"] == axis).any()]
    cells = len(axes) + 1
    columns = min(3, cells)
    shape = (-(-cells // columns), columns)
    with figure(venue, shape) as fig:
        fig.set_layout_engine("constrained")
        for i, axis in enumerate(axes):
            ax = fig.add_subplot(*shape, i + 1)
            _panel(ax, frame[(frame["axis"] == axis) & (frame["status"] == "timed")])
            ax.set_xlabel(_PANELS[axis])
            if i % columns == 0:
                ax.set_ylabel("seconds")
        handles, labels = fig.axes[0].get_legend_handles_labels()
        empty = fig.add_subplot(*shape, cells)
        empty.set_axis_off()
        empty.legend(handles, labels, loc="center", title="median, quartiles")
        yield fig


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    ours = rows[rows["side"] == OURS].sort_values("size")
    for name, style in _STYLES.items():
        if name == "limit":
            if ours["limit_seconds"].notna().any():
                ax.plot(ours["size"], ours["limit_seconds"], label=_LABELS[name], linewidth=1.0, **style)
            continue
        part = ours if name == OURS else rows[rows["side"].str.startswith(name)].sort_values("size")
        ax.plot(part["size"], part["seconds"], label=_LABELS[name], linewidth=1.2, markersize=3.5, **style)
        ax.fill_between(part["size"], part["seconds_low"], part["seconds_high"], color=style["color"], alpha=0.2, lw=0)
    ax.set(xscale="log", yscale="log")
    sizes = ours["size"].tolist()
    if sizes[-1] < 100 * sizes[0]:  # too few powers of ten: Matplotlib would write out every multiple
        ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
        ax.set_xticks([], minor=True)
    ax.margins(y=0.12)
    low, high = ax.get_ylim()
    if np.log10(high / low) < 1.2:  # or no tick has a label
        middle = np.sqrt(low * high)
        ax.set_ylim(middle / 4, middle * 4)
