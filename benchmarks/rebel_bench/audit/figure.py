"""The figure of ``rebel-theory audit``: what the bound is made of, and where its slack sits, over the iterations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rebel_bench.style import OKABE_ITO, Venue, figure, save
from rebel_theory.arrays import FloatArray
from rebel_theory.theory.audit import Audit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TERMS = ("progress", "curvature", "misfit")
# one colour a part of the proof
_COLOURS = {
    "progress": "sky", "curvature": "orange", "misfit": "green", "start": "sky", "target": "orange",
    "improvement": "vermillion", "Bellman": "green",
}  # fmt: skip
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx")
_UNITS = {"C1": "reward", "C2": "reward", "C7": "return", "C11": "return", "P7": "payoff $2P-1$"}
_LEAST = 0.02  # of the bound at some iteration: lines below are drawn together
_LOG_FROM = 50  # iterations
_CROSSES = 40  # at most about as many are drawn


@dataclass(frozen=True, eq=False)
class _Layer:
    name: str
    height: FloatArray  # (T,), share of the bound
    colour: str
    hatch: str


def draw(found: Audit, path: Path, venue: Venue) -> tuple[Path, Path]:
    """Write PNG and PDF and return their paths."""
    with figure(venue, (1, 2)) as fig:
        compose(fig, found)
        return save(fig, path)


def compose(fig: Figure, found: Audit) -> None:
    """Draw the terms of the bound, and the shares of its slack (of a batch: its first instance)."""
    left, right = fig.subplots(1, 2)
    if all(f"bound on {term}" in found.values for term in _TERMS):
        _terms(left, found)
    else:
        _sides(left, found)
    _slack(right, found)
    for ax in (left, right):
        ax.set_xlabel("updates $T$")
        if found.n_iterations >= _LOG_FROM and found.claim != "C7":  # whose decay is exponential
            ax.set_xscale("log")
        ax.set_xlim(1, max(2, found.n_iterations))


def _updates(found: Audit) -> FloatArray:
    return np.arange(1.0, found.n_iterations + 1)


def _terms(ax: Axes, found: Audit) -> None:
    """Stack the three terms of the bound; draw what is measured over them."""
    t, bottom = _updates(found), np.zeros(found.n_iterations)
    for term, hatch in zip(_TERMS, ("", "////", "...."), strict=True):
        top = bottom + found.values[f"bound on {term}"][:, 0]
        _fill(ax, t, bottom, top, OKABE_ITO[_COLOURS[term]], hatch, f"bound on {term}")
        bottom = top
    measured = found.measured[:, 0]
    ax.plot(t, measured, color=OKABE_ITO["black"], linewidth=1.6, label=_measured(found))
    finite = bottom[np.isfinite(bottom)]
    start = max(1, finite.size // 20)  # the first bounds are KL/eta, KL/(2 eta), ...: off the scale
    top_shown = 1.05 * max(float(finite[start:].max(initial=0.0)), float(np.nanmax(measured)))
    ax.set_ylim(0, 1.75 * top_shown if top_shown > 0 else 1)  # room for the legend
    ax.set_ylabel(f"gap and bound ({_UNITS[found.claim]})")
    ax.legend(loc="upper right", handlelength=1.6, labelspacing=0.3, frameon=True, framealpha=0.9, edgecolor="none")


def _sides(ax: Axes, found: Audit) -> None:
    """Draw both sides of the theorem where they fall by powers of ten."""
    t = _updates(found)
    ax.plot(t, found.bound[:, 0], color=OKABE_ITO["blue"], linestyle=(0, (5, 2)), linewidth=1.4, label="bound")
    ax.plot(t, np.maximum(found.measured[:, 0], 1e-16), color=OKABE_ITO["black"], linewidth=1.6, label=_measured(found))
    ax.set_yscale("log")
    ax.set_ylabel(f"{'error' if found.claim == 'C7' else 'gap'} and bound ({_UNITS[found.claim]})")
    ax.legend(
        loc="lower left" if found.claim == "C7" else "upper right",
        handlelength=2.2,
        frameon=True,
        framealpha=0.9,
        edgecolor="none",
    )


def _slack(ax: Axes, found: Audit) -> None:
    """Stack what is measured and the slack of every line, as shares of the bound."""
    t, bottom = _updates(found), np.zeros(found.n_iterations)
    for layer in _layers(found):
        _fill(ax, t, bottom, bottom + layer.height, layer.colour, layer.hatch, layer.name)
        bottom = bottom + layer.height
    broken = np.any([p.violated.any(axis=1) for p in found.parts if p.role in ("proof", "theorem")], axis=0)
    if broken.any():
        ax.plot(t[broken], np.full(int(broken.sum()), 1.03), linestyle="none", marker="x", markersize=3,
                markevery=max(1, int(broken.sum()) // _CROSSES),
                color=OKABE_ITO["black"], label="violated", clip_on=False)  # fmt: skip
    ax.set_ylim(0, 1)
    ax.set_ylabel("share of the bound")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.4, labelspacing=0.3
    )


def _layers(found: Audit) -> list[_Layer]:
    with np.errstate(invalid="ignore", divide="ignore"):
        measured = found.measured[:, 0] / np.where(np.isfinite(found.bound[:, 0]), found.bound[:, 0], np.nan)
    layers = [_Layer("measured", _drawn(measured), "0.2", "")]
    rest = np.zeros(found.n_iterations)
    for part in found.proof:
        height = _drawn(found.shares(part.name)[:, 0])
        if height.max() < _LEAST:
            rest = rest + height
            continue
        hatch = _HATCHES[(len(layers) - 1) % len(_HATCHES)]  # by place: neighbours differ in greyscale
        layers.append(_Layer(part.name, height, OKABE_ITO[_COLOURS[part.link.part]], hatch))
    if rest.max() > _LEAST / 4:
        layers.append(_Layer("other lines", rest, "0.85", ""))
    return layers


def _drawn(share: FloatArray) -> FloatArray:
    """Return a share between 0 and 1: a violated line has less than no slack, a bound that is infinite no shares."""
    return np.clip(np.nan_to_num(share), 0.0, 1.0)


def _fill(ax: Axes, t: FloatArray, low: FloatArray, high: FloatArray, colour: str, hatch: str, label: str) -> None:
    ax.fill_between(t, low, high, facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0.0, label=label)
    ax.plot(t, high, color="white", linewidth=0.4)


def _measured(found: Audit) -> str:
    return {
        "C1": "measured average gap", "C11": "measured average gap", "C2": "measured gap",
        "C7": r"measured $\|Q^*_\tau - Q_\tau\|_\infty$", "P7": "measured duality gap",
    }[found.claim]  # fmt: skip
