"""Best ratio against evaluations, a panel a claim: median over the random starts, and their range."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rebel_bench.adversary.records import Record, path_of
from rebel_bench.style import OKABE_ITO, Venue, figure, save
from rebel_theory.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5
_FIRST = 20  # evaluations: about a generation
_STYLES = (("blue", "-"), ("vermillion", (0, (4, 1.5))), ("black", (0, (1, 1))))
_LOOSE = 0.05  # a ratio that never gets above is drawn on an axis of its own


def draw(records: Sequence[Record], out: Path, path: Path, venue: Venue) -> tuple[Path, Path]:
    """Write PNG and PDF, and return their paths."""
    claims = list(dict.fromkeys(record.id for record in records))
    columns = min(_COLUMNS, len(claims))
    rows = -(-len(claims) // columns)
    with figure(venue, (rows, columns)) as fig:
        width, height = fig.get_size_inches()
        fig.set_size_inches(width, max(height, 1.35 * rows))
        axes = fig.subplots(rows, columns, squeeze=False)
        for ax in axes.flat[len(claims) :]:
            ax.remove()
        for i, id_ in enumerate(claims):
            ax = axes.flat[i]
            _panel(ax, [r for r in records if r.id == id_], out)
            ax.set_title(id_)
            if i % columns == 0:
                ax.set_ylabel("measured / bound")
            if i + columns >= len(claims):
                ax.set_xlabel("evaluations")
        return save(fig, path)


def _panel(ax: Axes, records: Sequence[Record], out: Path) -> None:
    from matplotlib.ticker import NullFormatter

    for record, (colour, dash) in zip(records, _STYLES, strict=False):
        spent, paths = _paths(record, out)
        median = np.median(paths, axis=0)
        ax.fill_between(spent, paths.min(axis=0), paths.max(axis=0), color=OKABE_ITO[colour], alpha=0.2, linewidth=0)
        ax.plot(spent, median, color=OKABE_ITO[colour], linestyle=dash, linewidth=1.3, label=record.label or None)
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(_FIRST, None)
    if max(record.ratio for record in records) > _LOOSE:
        ax.axhline(1.0, color="black", linewidth=0.7, linestyle=(0, (1, 1)))
        ax.set_ylim(-0.55, max(1.08, 1.05 * max(record.ratio for record in records)))
        ax.set_yticks([0, 0.5, 1])  # below 0 is room for the legend
    else:
        ax.set_yscale("log")
    if len(records) > 1:
        ax.legend(
            loc="lower left" if ax.get_yscale() == "linear" else "center left",
            fontsize="xx-small",
            handlelength=1.6,
            borderaxespad=0.1,
        )


def _paths(record: Record, out: Path) -> tuple[FloatArray, FloatArray]:
    """Return numbers of evaluations (n,) and each restart's best ratio after so many (restarts, n)."""
    frame = path_of(record, out)
    frame = frame[frame["restart"] < len(record.restarts)]  # without the start that known instances joined
    first = int(frame.groupby("restart")["evaluations"].min().max())
    spent = np.unique(np.geomspace(first, frame["evaluations"].max(), 80).astype(int))
    rows = []
    for _, part in frame.groupby("restart"):
        place = np.searchsorted(part["evaluations"].to_numpy(), spent, side="right") - 1
        rows.append(part["ratio"].to_numpy()[place])
    return spent.astype(float), np.array(rows)
