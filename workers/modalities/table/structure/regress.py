"""Least squares that a few odd rows do not mislead, and the fewest columns that still explain one. Knows numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from workers.modalities.table.structure.grids import Flags, Floats, Ints

TRIMMED = (0.95, 0.95, 0.95)  # of the rows are fitted, turn by turn
MAJORITY = (1.0, 0.95, 0.95, 0.95, 0.85, 0.75, 0.7, 0.7)  # likewise, until what fits does so exactly
MOST = 24  # columns that explain one, to begin with
LEADING = 14  # of these, of which every three are tried
RIDGE = 1e-10


@dataclass
class Fit:
    columns: list[int]
    coefficients: Floats
    constant: float
    error: float  # standard deviation of what is left, over the rows that were fitted
    rows: Flags


def unexplained(x: Floats) -> tuple[Floats, Floats]:
    """Of each standardised column the share of its standard deviation that the others leave open, and how strongly
    each (row) leans on each other (column)."""
    d = x.shape[1]
    gram = x.T @ x / len(x) + RIDGE * np.eye(d)
    inverse = np.linalg.inv(gram)
    diagonal = np.diag(inverse)
    return 1 / np.sqrt(np.maximum(diagonal, 1e-300)), np.abs(inverse) / np.sqrt(np.outer(diagonal, diagonal))


def trimmed(x: Floats, y: Floats, columns: list[int], shares: Sequence[float] = TRIMMED) -> Fit:
    """Fitted to all rows, then again and again to those that fit best."""
    fit = least_squares(x, y, columns, np.ones(len(y), bool))
    for share in shares:
        off = distance(x, y, fit)
        fit = least_squares(x, y, columns, off <= np.quantile(off, share))
    return fit


def exactly(x: Floats, y: Floats, columns: list[int], noise: float) -> Fit | None:
    """Fitted to the rows, most of them, in which the columns explain all but the noise; None if these are too few."""
    fit = least_squares(x, y, columns, np.ones(len(y), bool))
    for share in MAJORITY:
        off = distance(x, y, fit)
        fit = least_squares(x, y, columns, off <= np.quantile(off, share))
        if fit.error <= noise:
            fit = least_squares(x, y, columns, distance(x, y, fit) <= 3 * max(noise, fit.error))
            return fit if fit.error <= noise else None
    return None


def distance(x: Floats, y: Floats, fit: Fit) -> Floats:
    off: Floats = np.abs(y - fit.constant - x[:, fit.columns] @ fit.coefficients)
    return off


def least_squares(x: Floats, y: Floats, columns: list[int], rows: Flags) -> Fit:
    a = np.column_stack([x[rows][:, columns], np.ones(int(rows.sum()))])
    solution: Floats = np.asarray(np.linalg.lstsq(a, y[rows], rcond=1e-12)[0], float)
    error = float(np.std(y[rows] - a @ solution))
    return Fit(columns, solution[:-1], float(solution[-1]), error, rows)


def fewest(x: Floats, y: Floats, fit: Fit, allowed: float) -> Fit:
    """Without the columns that are not needed to keep the error within what is allowed; the least needed goes first."""
    while len(fit.columns) > 1:
        costs = _costs(x[fit.rows][:, fit.columns], fit)
        least = int(np.argmin(costs))
        rest = [column for i, column in enumerate(fit.columns) if i != least]
        smaller = least_squares(x, y, rest, fit.rows)
        if smaller.error > allowed:
            return fit
        fit = smaller
    return fit


def few(x: Floats, y: Floats, fit: Fit, allowed: float) -> Fit | None:
    """One, two or three columns that explain as well as is asked, the fewest first; None if there are none."""
    columns = fit.columns[:LEADING]
    a = x[fit.rows][:, columns]
    a, left = a - a.mean(0), y[fit.rows] - y[fit.rows].mean()
    gram, moment, total = a.T @ a / len(a), a.T @ left / len(a), float(left @ left / len(a))
    for size in range(1, min(3, len(columns)) + 1):
        sets = np.array(list(combinations(range(len(columns)), size)))
        inner = gram[sets[:, :, None], sets[:, None, :]] + RIDGE * np.eye(size)
        solved = np.linalg.solve(inner, moment[sets][:, :, None])[:, :, 0]
        error = np.sqrt(np.maximum(total - (solved * moment[sets]).sum(1), 0))
        for best in np.argsort(error)[:3]:
            if error[best] > allowed + 1e-4:  # the difference of two large numbers is not exact
                break
            found = least_squares(x, y, [columns[i] for i in sets[best]], fit.rows)
            if found.error <= allowed:
                return found
    return None


def _costs(a: Floats, fit: Fit) -> Floats:
    """By how much the squared error grows without each column."""
    centred = a - a.mean(0)
    inverse = np.linalg.pinv(centred.T @ centred / len(a) + RIDGE * np.eye(a.shape[1]))
    costs: Floats = fit.coefficients**2 / np.maximum(np.diag(inverse), 1e-300)
    return costs


def leaders(leaning: Floats, target: int, allowed: list[int]) -> list[int]:
    """The columns on which one leans most."""
    order: Ints = np.argsort(-leaning[target], kind="stable")
    return [int(i) for i in order if i != target and i in set(allowed)][:MOST]


def heaped(units: Floats, step: float) -> bool:
    """Whether a column's values heap at some of its grid's: then what is left of it would be no smoother than it is."""
    places = np.rint((units - units.min()) / max(step, 1e-300)).astype(np.int64)
    if places.max() > 50 * len(units):
        return False
    counts = np.bincount(np.minimum(places, 200_000)).astype(float)
    if len(counts) < 20:
        return False
    around = np.convolve(counts, np.ones(9) / 9, mode="same")
    by_chance = np.minimum(2 * around, 0.8 * np.sqrt(around)).sum()
    return bool(0.5 * (np.abs(counts - around).sum() - by_chance) / counts.sum() > 0.15)


def plain(value: float, tolerance: float) -> float:
    """The plainest fraction within a relative tolerance, or ten digits."""
    found = fraction(value, tolerance)
    return float(f"{value:.10g}") if found is None else found


def fraction(value: float, tolerance: float) -> float | None:
    if value == 0:
        return 0.0
    for bottom in (1, 2, 3, 4, 6, 8, 12, 60, 10, 100, 1000, 10_000, 3600, 86_400):
        top = np.rint(value * bottom)
        if top and abs(top) < 1e6 and abs(value - top / bottom) <= tolerance * abs(value):
            return float(top / bottom)
    upside = np.rint(1 / value)
    if upside and abs(value * upside - 1) <= tolerance:
        return float(1 / upside)
    return None
