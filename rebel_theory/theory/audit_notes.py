"""What is wrong with a step, in words: which update, which action, and of what size the step really is."""

from __future__ import annotations

import numpy as np

from rebel_theory.arrays import FloatArray, IntArray
from rebel_theory.theory.audit import Update
from rebel_theory.theory.audit_update import Moved

_SAME = 1e-6  # relative: two updates are the same up to rounding


def exact_step_note(t: int, step: Moved, update: Update, row_shape: tuple[int, ...]) -> list[str]:
    """Return what can be said of update ``t`` if it is not exact (of a batch: its worst instance), or nothing."""
    if not (np.sqrt(step.error) > step.tolerance).any():
        return []
    place = np.unravel_index(int(np.argmax(step.error)), step.error.shape)
    g, advantage, z, pi, d = (
        np.broadcast_to(x, (*step.error.shape, *x.shape[x.ndim - k :]))[place]
        for x, k in ((step.g, 2), (step.advantage, 2), (step.deviation, 2), (np.exp(update.log_pi), 2),
                     (update.weights, 1))
    )  # fmt: skip
    weight = d[:, None] * pi
    with np.errstate(invalid="ignore"):
        cost = np.where(weight > 0, weight * z**2, 0.0)
    if not np.isfinite(cost).all():
        return [f"update {t}: an action loses all probability, so ln pi_{{t+1}}/pi_t is infinite"]
    s, a = (int(i) for i in np.unravel_index(int(cost.argmax()), cost.shape))
    notes = [
        f"update {t} is not the exact step: {_row(s, row_shape)}, action {a} moves by g = {g[s, a]:.4g} "
        f"where the exact step moves it by A = {advantage[s, a]:.4g}"
    ]
    size = float((weight * g * advantage).sum() / max((weight * advantage**2).sum(), np.finfo(float).tiny))
    left = (weight * (g - size * advantage) ** 2).sum()
    if left <= _SAME**2 * (weight * g**2).sum() and abs(size) > _SAME:
        notes.append(f"apart from its size the step is exact: it is {size:.4g} times the stated step size")
        return notes
    wrong = _one_action(z, weight)
    if wrong is not None:
        notes.append(f"only action {wrong} is wrong: the others move as they should relative to each other")
    return notes


def _one_action(deviation: FloatArray, weight: FloatArray) -> int | None:
    """Return the action without which the update is exact, or None."""
    n = deviation.shape[-1]
    if n < 3:
        return None
    rows = weight.sum(axis=-1) > 0
    spread = [np.ptp(np.delete(deviation[rows], a, axis=-1), axis=-1).max() for a in range(n)]
    total = np.ptp(deviation[rows], axis=-1).max()
    found = [a for a, left in enumerate(spread) if left <= _SAME * total]
    return found[0] if len(found) == 1 else None


def regularised_step_note(
    t: int, log_pi: FloatArray, log_next: FloatArray, q: FloatArray, kept: float, weight: float, temperature: float,
    counted: IntArray,
) -> list[str]:  # fmt: skip
    """Return the same for a step that should be pi^kept exp(weight Q), rows (S, A), of which some are counted."""
    log_pi, log_next, q = log_pi[counted], log_next[counted], q[counted]
    if not (np.isfinite(log_pi).all() and np.isfinite(log_next).all()):
        return [f"update {t}: an action has probability 0, which a regularised step never gives"]
    actual, before, signal = (x - x.mean(axis=-1, keepdims=True) for x in (log_next, log_pi, q))
    off = actual - kept * before - weight * signal
    s, a = (int(i) for i in np.unravel_index(int(np.abs(off).argmax()), off.shape))
    notes = [
        f"update {t} is not the stated step pi^{kept:.4g} exp({weight:.4g} Q_tau): in state {counted[s]}, ln pi of "
        f"action {a} (less the mean) is {actual[s, a]:.4g} where it should be {actual[s, a] - off[s, a]:.4g}"
    ]
    columns = np.stack([before.ravel(), signal.ravel()], axis=-1)
    (power, factor), _, rank, _ = np.linalg.lstsq(columns, actual.ravel(), rcond=1e-9)
    if np.abs(actual.ravel() - columns @ [power, factor]).max() > _SAME * np.abs(actual).max():
        return notes
    if rank == 2:
        notes.append(f"it is pi^{power:.4g} exp({factor:.4g} Q_tau), where {_reading(power, factor, temperature)}")
    elif not before.any():  # a uniform policy shows no power
        notes.append(
            f"from the uniform policy it is exp({factor:.4g} Q_tau): {factor / weight:.4g} times the stated one"
        )
    return notes


def _reading(power: float, factor: float, temperature: float) -> str:
    """Return what a step pi^power exp(factor Q) would be a step of."""
    if abs(factor * temperature + power - 1) <= 1e-6:
        return f"power and factor fit each other: this is the step of eta = {factor:.4g}, not the stated one"
    return f"power + tau factor = {power + temperature * factor:.4g} should be 1: it has another optimum"


def _row(s: int, row_shape: tuple[int, ...]) -> str:
    if len(row_shape) == 1:
        return f"state {s}"
    h, own = divmod(s, row_shape[-1])
    return f"step {h}, state {own}"
