"""A number's quantile cells out of counts with noise: first its range and its frequent values, then finer bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.modalities.table.fields import Bools, Column, Floats
from workers.modalities.table.numbers import SINGLE, Number, Quantiles, _cells
from workers.modalities.table.private.counting import Histogram, bucket, ends, simplex

MISSING = np.iinfo(np.int64).max  # the key of missing values among buckets
ROUNDS = 3
SURE = 6.0  # standard deviations of the noise that a bin should hold
EMPTY = 2.0  # standard deviations up to which a bin is taken to be empty: noise alone would make outliers
BINS = 512  # at most
CELLS = 20  # wanted: fewer codes are learned better from noisy steps
LARGEST = 1e300


@dataclass
class Measured:
    """Numbers `x` counted in steps (or plain, with step 0), NaN where missing."""

    column: Column
    x: Floats
    step: float  # in units of the last decimal; 0: no grid
    scale: float
    decimals: int | None
    spiky: bool = True  # whether frequent values are looked for
    hole: bool = field(init=False, default=False)
    gone: float = field(init=False, default=0.0)  # rows in which it is missing
    spikes: Floats = field(init=False)
    weights: Floats = field(init=False)  # rows of each spike
    edges: Floats = field(init=False)  # of the bins
    spread: Floats = field(init=False)  # rows expected in each bin

    def __post_init__(self) -> None:
        x = np.clip(np.where(np.isinf(self.x), np.sign(self.x) * LARGEST, self.x), -LARGEST, LARGEST)
        self.x = np.round(x) if self.step else x

    @property
    def missing(self) -> Bools:
        out: Bools = np.isnan(self.x)
        return out

    # -- round by round --

    def ask(self, round_: int) -> list[Histogram]:
        """First coarse buckets, with missing values as one more, and the values themselves, as keys that are not
        public; then bins within the buckets; then finer ones within those."""
        return self._coarse() if round_ == 0 else self._bins() if round_ < ROUNDS else []

    def hear(self, round_: int, found: Sequence[Histogram], scale: float, rows: int) -> None:
        """`scale` is about the standard deviation of the next round's noise."""
        if round_ == 0:
            self._read_coarse(found, scale, rows)
        elif round_ < ROUNDS:
            self._read_bins(found[0], rows)
            if round_ + 1 < ROUNDS:
                full = self.spread > 0
                self._cut(self.edges[:-1][full], self.edges[1:][full], self.spread[full], scale, rows)

    def _coarse(self) -> list[Histogram]:
        there = self.x[~self.missing]
        keys = np.full(len(self.x), MISSING)
        keys[~self.missing] = bucket(there)
        return [Histogram.of(keys), *([Histogram.of(there)] if self.spiky else [])]

    def _read_coarse(self, found: Sequence[Histogram], scale: float, rows: int) -> None:
        coarse = found[0]
        at = coarse.keys == MISSING
        self.hole = bool(at.any())
        self.gone = float(coarse.counts[at].sum()) if self.hole else 0.0
        spikes = found[1] if self.spiky else Histogram(np.zeros(0), np.zeros(0))
        order = np.argsort(spikes.keys)
        self.spikes, self.weights = spikes.keys[order].astype(float), spikes.counts[order]
        low, high = ends(coarse.keys[~at].astype(np.int64))
        mass = coarse.counts[~at]
        if self.step:  # the whole numbers of a bucket
            low, high = np.ceil(low), np.maximum(np.ceil(high), np.ceil(low) + 1)
        order = np.argsort(low, kind="stable")
        self._cut(low[order], high[order], mass[order], scale, rows)

    def _rest(self, rows: int) -> float:
        """Rows that are neither missing nor on a spike."""
        return max(float(rows) - float(self.weights.sum()) - self.gone, 0.0)

    def _cut(self, low: Floats, high: Floats, mass: Floats, scale: float, rows: int) -> None:
        """Bins within these parts of the line, in proportion to their rows; one of no width stands for zero alone."""
        if not len(low):
            self.edges, self.spread = np.array([0.0, 1.0]), np.zeros(1)
            return
        bins = np.clip(self._rest(rows) / (SURE * max(scale, 1e-9)), 4, BINS)
        parts = np.maximum(np.round(bins * mass / max(mass.sum(), 1e-9)), 1).astype(int)
        if self.step:
            parts = np.minimum(parts, np.maximum((high - low).astype(int), 1))
        edges = [np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(low, high, parts, strict=True)]
        edges = [*edges, np.array([high[-1]])]
        for i in np.flatnonzero(high[:-1] < low[1:]):  # between two parts: empty, and asked for all the same
            edges[i] = np.append(edges[i], high[i])
        whole = np.concatenate(edges)
        self.edges = np.unique(np.ceil(whole) if self.step else whole)
        if len(self.edges) < 2:
            last = self.edges[-1]
            self.edges = np.append(self.edges, last + 1 if self.step else np.nextafter(last, np.inf))

    def _bins(self) -> list[Histogram]:
        there = ~self.missing & ~np.isin(self.x, self.spikes)
        place = np.clip(np.searchsorted(self.edges, self.x, side="right") - 1, 0, len(self.edges) - 2)
        return [Histogram.over(np.where(there, place, -1), len(self.edges) - 1)]

    def _read_bins(self, found: Histogram, rows: int) -> None:
        counts = found.counts
        sure = np.where(counts > EMPTY * found.noise, counts, 0.0)
        some = np.flatnonzero(sure if sure.any() else counts == counts.max())
        self.spread = np.zeros(len(counts))
        self.spread[some] = simplex(counts[some], self._rest(rows))

    # -- what comes of it --

    def quantiles(self) -> Quantiles:
        low, high, mass = self._pieces()
        edges = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
        edges[-1] = 1.0
        return Quantiles(0.0, self.step, self.scale, self.decimals, edges, low, high)

    def number(self) -> Number:
        table = self.quantiles()
        cells, wanted = _cells(table.edges, 20 * CELLS), CELLS
        while len(cells) - 1 > SINGLE and wanted > 4:
            wanted -= 2
            cells = _cells(table.edges, 20 * wanted)
        return Number(self.column, 0, table, cells, self.hole)

    def _pieces(self) -> tuple[Floats, Floats, Floats]:
        """Low and high value and rows of each piece: spikes alone, and what they leave of the bins."""
        low, high, mass = [], [], []
        unit = float(bool(self.step))
        for a, b, rows in zip(self.edges[:-1], self.edges[1:], self.spread, strict=True):
            if rows <= 0:
                continue
            last = b - unit if unit else np.nextafter(b, -np.inf)
            inside = self.spikes[(self.spikes >= a) & (self.spikes <= last)]
            starts = np.concatenate([[a], inside + unit if unit else np.nextafter(inside, np.inf)])
            stops = np.concatenate([inside - unit if unit else np.nextafter(inside, -np.inf), [last]])
            room = stops - starts + unit
            good = (room > 0) | (len(inside) == 0)
            width = np.maximum(room[good], 1e-300)
            low.append(starts[good])
            high.append(stops[good])
            mass.append(rows * width / width.sum())
        lows = np.concatenate([*low, self.spikes])
        highs = np.concatenate([*high, self.spikes])
        rows_ = np.concatenate([*mass, np.maximum(self.weights, 0)])
        if not rows_.sum() > 0:  # too few rows for anything to be told
            return self.edges[:1], self.edges[:1], np.ones(1)
        some = rows_ > 0
        order = np.argsort(lows[some], kind="stable")
        return lows[some][order], highs[some][order], rows_[some][order]

    def bounds(self) -> tuple[float, float]:
        low, high, _ = self._pieces()
        return float(low.min()), float(high.max())


def shares(number: Number, gone: float) -> Floats:
    """Of the levels of its code; `gone` is the share of missing values."""
    cells = np.diff(number.table.edges[number.bounds])
    lost = min(max(gone, 0.0), 0.999) if number.hole else 0.0
    out: Floats = np.append(cells * (1 - lost), [lost] * number.hole)
    return out
