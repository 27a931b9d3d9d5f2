"""Pictures of an environment: a board with the agent on it, or the arms of a bandit; text or pixels.

Colours are from the palette of Okabe and Ito, which the colour-blind tell apart; shapes say the same once more.
Matplotlib is loaded when the first pixel is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rebel_envs._layouts import END, GOAL, HOLE, NOTHING, START, WALL, WATER, Layout, layout_of
from rebel_theory.problems import BernoulliNoise, ContextualBandit, Problem

Pixels = NDArray[np.uint8]

INK, PAPER, MUTED = "#22303C", "#FFFFFF", "#7A8793"
GREEN, BLUE, SKY, ORANGE = "#009E73", "#0072B2", "#56B4E9", "#D55E00"
_FLOOR = "#EEF1F4"
_COLOURS = {WALL: "#4A5661", START: "#CFE4F5", GOAL: GREEN, HOLE: "#12181D", WATER: "#DCEFFA", NOTHING: PAPER}
_COLOURS |= {END: "#B8C2CB"}
_ARROWS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # (row, column)
_DPI = 100
_HEADER = 44  # pixels above the board
_MARGIN = 12
_BOARD = 640  # pixels that the longer side of a board may fill
_LARGEST_CELL, _SYMBOLS, _NUMBERS = 84, 24, 48  # pixels of a cell: at most; from where symbols and numbers fit
_LEAST_AGENT = 14  # pixels
_MANY_ARMS = 40


@dataclass(frozen=True, slots=True)
class Moment:
    """What a picture shows: where the agent is and how it came there."""

    row: int
    last: int | None = None  # row before the step; None after a reset
    action: int = -1
    reward: float = 0.0
    step: int = 0
    ended: bool = False


class Picture(Protocol):
    """Something that draws moments."""

    def render(self, mode: str, moment: Moment) -> Any:
        """Return text for ``ansi`` and an array (height, width, 3) of uint8 for ``rgb_array``."""


@dataclass(frozen=True, eq=False)
class BoardPicture:
    """An MDP on the board of its layout."""

    problem: Problem

    @cached_property
    def layout(self) -> Layout:
        """Where the rows of the problem lie."""
        return layout_of(self.problem)

    def render(self, mode: str, moment: Moment) -> Any:
        """Return the board with the agent: ``@`` in text, an orange disc in pixels."""
        return self._text(moment) if mode == "ansi" else self._pixels(moment)

    def _caption(self, moment: Moment) -> list[str]:
        if moment.last is None:
            return ["start"]
        words = [f"step {moment.step}", self.layout.action(moment.action), f"reward {moment.reward:.4g}"]
        return [*words, "end"] if moment.ended else words

    def _text(self, moment: Moment) -> str:
        board = self.layout.board.copy()
        board[tuple(self.layout.cells[moment.row])] = "@"
        return "\n".join([", ".join(self._caption(moment)), *(" ".join(line).rstrip() for line in board), ""])

    def _pixels(self, moment: Moment) -> Pixels:
        canvas, axes, caption, cell = self._scene
        drawn = [*_agent(axes, self.layout, moment, cell), *_trace(axes, self.layout, moment, cell)]
        caption.set_text("   ".join(self._caption(moment)))
        frame = _frame(canvas)
        for artist in drawn:
            artist.remove()
        return frame

    @cached_property
    def _scene(self) -> tuple[Any, Any, Any, float]:
        """Canvas, axes in cells, caption and pixels per cell; all but the agent is drawn once."""
        height, width = self.layout.board.shape
        cell = min(_LARGEST_CELL, _BOARD / max(height, width))
        size = (max(round(width * cell), 240) + 2 * _MARGIN, round(height * cell) + _HEADER + _MARGIN)
        canvas, figure = _figure(size)
        axes = figure.add_axes(
            (_MARGIN / size[0], _MARGIN / size[1], width * cell / size[0], height * cell / size[1])
        )  # fmt: skip
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        axes.axis("off")
        _cells(axes, self.layout, cell)
        caption = figure.text(
            _MARGIN / size[0], 1 - _HEADER / 2 / size[1], "", color=INK, fontsize=11, va="center"
        )  # fmt: skip
        return canvas, axes, caption, cell


@dataclass(frozen=True, eq=False)
class BanditPicture:
    """The mean rewards of a bandit's arms in the current context, and the arm that was pulled."""

    problem: ContextualBandit

    def render(self, mode: str, moment: Moment) -> Any:
        """Return bars of mean rewards; the chosen arm is marked."""
        return self._text(moment) if mode == "ansi" else self._pixels(moment)

    def _caption(self, moment: Moment) -> str:
        where = f"context {moment.row} of {self.problem.n_contexts}"
        if moment.last is None:
            return where
        return f"{where}   arm {moment.action}   reward {moment.reward:.4g}"

    def _text(self, moment: Moment) -> str:
        means = self.problem.reward[moment.row]
        low, high = _span(self.problem)
        lines = [
            f"{'>' if moment.action == y else ' '} arm {y:<3d} {mean:8.4g} "
            f"{'#' * round(30 * (mean - low) / (high - low))}"
            for y, mean in enumerate(means)
        ]
        return "\n".join([self._caption(moment), *(line.rstrip() for line in lines), ""])

    def _pixels(self, moment: Moment) -> Pixels:
        means = self.problem.reward[moment.row]
        n, many = len(means), len(means) > _MANY_ARMS
        size = (min(max(56 * n + 110, 380), 720), 340)
        canvas, figure = _figure(size)
        axes = figure.add_axes((70 / size[0], 48 / size[1], 1 - 90 / size[0], 1 - (_HEADER + 56) / size[1]))
        low, high = _span(self.problem)
        bars = axes.bar(np.arange(n), means, width=1.0 if many else 0.66, color=SKY, zorder=2)
        axes.axhline(0, color=INK, linewidth=0.8, zorder=3)
        if moment.last is not None:
            bars[moment.action].set(facecolor=BLUE, hatch=None if many else "///", edgecolor=PAPER)
            axes.plot(
                moment.action, moment.reward, "D", color=ORANGE, markeredgecolor=PAPER, markersize=11, zorder=4,
                clip_on=False,
            )  # fmt: skip
            low, high = min(low, moment.reward), max(high, moment.reward)
            figure.text(1 - 20 / size[0], 10 / size[1], "◆ observed reward", color=ORANGE, fontsize=9, ha="right")
        pad = 0.06 * (high - low)
        axes.set(xlim=(-0.6, n - 0.4), ylim=(low - pad * (low < 0), high + pad))
        axes.set_xlabel("arm", color=INK)
        axes.set_ylabel("mean reward", color=INK)
        if not many:
            axes.set_xticks(np.arange(n))
        axes.tick_params(colors=INK, length=0)
        axes.grid(axis="y", color="#DDE3E8", zorder=0)
        for side in axes.spines.values():
            side.set_visible(False)
        x, y = 70 / size[0], 1 - _HEADER / 2 / size[1]
        figure.text(x, y, self._caption(moment), color=INK, fontsize=11, va="center")
        return _frame(canvas)


def _span(problem: ContextualBandit) -> tuple[float, float]:
    """Return the range of all contexts' rewards with 0, so that pictures of one bandit share a scale."""
    low, high = min(0.0, float(problem.reward.min())), max(0.0, float(problem.reward.max()))
    if isinstance(problem.noise, BernoulliNoise):
        high = 1.0
    return (low, high) if high > low else (low, low + 1.0)


def _figure(size: tuple[int, int]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, facecolor=PAPER)
    return FigureCanvasAgg(figure), figure


def _frame(canvas: Any) -> Pixels:
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()


def _cells(axes: Any, layout: Layout, cell: float) -> None:
    """Draw the board without the agent."""
    from matplotlib.colors import to_rgb

    height, width = layout.board.shape
    letters, places = np.unique(layout.board, return_inverse=True)
    colours = np.array([to_rgb(_COLOURS.get(str(letter), _FLOOR)) for letter in letters])
    axes.imshow(colours[places.reshape(height, width)], interpolation="nearest", aspect="auto", zorder=0)
    if cell >= 8:
        for i in range(height + 1):
            axes.axhline(i - 0.5, color=PAPER, linewidth=cell / 30, zorder=1)
        for j in range(width + 1):
            axes.axvline(j - 0.5, color=PAPER, linewidth=cell / 30, zorder=1)
    points = cell * 72 / _DPI
    if cell >= _SYMBOLS:
        for (i, j), letter in np.ndenumerate(layout.board):
            if letter == GOAL:
                axes.plot(j, i, "*", color=PAPER, markersize=0.5 * points, zorder=2)
            elif letter == HOLE:
                axes.plot(j, i, "x", color=MUTED, markersize=0.3 * points, markeredgewidth=points / 14, zorder=2)
            elif letter in (START, END):
                word = "S" if letter == START else "end"
                axes.text(j, i, word, color=INK, fontsize=points * 0.3, ha="center", va="center", zorder=2)
    if cell >= _NUMBERS:
        for row, (i, j) in enumerate(layout.cells):
            if layout.board[i, j] == NOTHING:
                continue
            colour = PAPER if layout.board[i, j] in (GOAL, HOLE) else MUTED
            axes.text(j - 0.42, i - 0.4, str(row), color=colour, fontsize=points * 0.15, va="top", zorder=2)
        for row, note in layout.notes.items():
            i, j = layout.cells[row]
            colour = PAPER if layout.board[i, j] in (GOAL, HOLE) else INK
            axes.text(j, i + 0.44, note, color=colour, fontsize=points * 0.17, ha="center", va="bottom", zorder=2)


def _agent(axes: Any, layout: Layout, moment: Moment, cell: float) -> list[Any]:
    """Draw the agent where it is."""
    i, j = layout.cells[moment.row]
    size = max(0.5 * cell, _LEAST_AGENT) * 72 / _DPI
    return list(
        axes.plot(
            j, i, "o", color=ORANGE, markersize=size, markeredgecolor=PAPER, markeredgewidth=max(size / 12, 1),
            zorder=5, clip_on=False,
        )
    )  # fmt: skip


def _trace(axes: Any, layout: Layout, moment: Moment, cell: float) -> list[Any]:
    """Draw where the agent came from, and the direction it had chosen."""
    if moment.last is None or cell < _SYMBOLS:
        return []
    i, j = layout.cells[moment.last]
    drawn = []
    if moment.last != moment.row:
        points = 0.5 * cell * 72 / _DPI
        drawn += axes.plot(
            j, i, "o", color="none", markersize=points, markeredgecolor=ORANGE, markeredgewidth=points / 14, zorder=3
        )
    step = _ARROWS.get(layout.action(moment.action))
    if step is not None:
        style = {"arrowstyle": "-|>", "color": INK, "linewidth": cell / 24, "mutation_scale": cell / 4}
        style |= {"shrinkA": 0, "shrinkB": 0}
        tip, tail = (j + 0.6 * step[1], i + 0.6 * step[0]), (j + 0.24 * step[1], i + 0.24 * step[0])
        drawn.append(axes.annotate("", tip, tail, arrowprops=style, annotation_clip=False, zorder=4))
    return drawn
