"""Counts of rows with Gaussian noise. Knows arrays and noise; nothing of columns.

Neighbouring tables have as many rows; in one of them a row is blank and counts nowhere. A row adds one to at most one
count of a histogram, so m histograms that are asked together change by at most sqrt(m) in Euclidean norm: one Gaussian
mechanism."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from workers.modalities.table.fields import Floats, Ints


@dataclass
class Histogram:
    """Rows by key. Where the keys are `public` all of them are told, with noise; else only those of enough rows, so
    that a key which a single row brings in stays hidden but for a chance of delta."""

    keys: NDArray[np.generic]
    counts: Floats
    public: bool = True
    noise: float = 0.0  # its standard deviation in each count

    @classmethod
    def of(cls, values: NDArray[np.generic], public: bool = False) -> Histogram:
        keys, counts = np.unique(values, return_counts=True)
        return cls(keys, counts.astype(float), public)

    @classmethod
    def over(cls, places: Ints, size: int) -> Histogram:
        """Of the keys 0 to size - 1; negative places are not counted."""
        counts = np.bincount(places[places >= 0], minlength=size)[:size]
        return cls(np.arange(size), counts.astype(float))


@dataclass
class Counter:
    """Asks for histograms, round by round. `rounds` are the noise multipliers of the Gaussian mechanisms so far."""

    rng: np.random.Generator  # of noise that nobody else knows
    delta: float  # the chance that any key of too few rows is told, in all rounds together
    asked: int  # histograms with keys that are not public, in all rounds together
    sigma: float = 0.0  # of all rounds together, as one mechanism: no more may be asked
    rounds: list[float] = field(default_factory=list)
    hidden: int = 0  # of `asked`, so far

    def ask(self, histograms: Sequence[Histogram], sigma: float) -> list[Histogram]:
        """The same with noise; `sigma` is the noise multiplier of all of them together."""
        if not histograms:
            return []
        self._spend(sigma)
        self.hidden += sum(not one.public for one in histograms)
        if self.hidden > self.asked:
            raise RuntimeError("more histograms were asked for than delta was divided by")
        scale = sigma * np.sqrt(len(histograms))
        return [self._noisy(one, scale) for one in histograms]

    def measure(self, values: Floats, sigma: float) -> Floats:
        """The same with noise, as whole numbers. A row changes each of these by one at most."""
        self._spend(sigma)
        return np.rint(values + self.rng.normal(0.0, sigma * np.sqrt(max(1, len(values))), len(values)))

    def _spend(self, sigma: float) -> None:
        self.rounds.append(sigma)
        if sum(one**-2 for one in self.rounds) * self.sigma**2 > 1 + 1e-9:
            raise RuntimeError("more was asked for than the statistics may spend")

    def _noisy(self, one: Histogram, scale: float) -> Histogram:
        """Counts stay whole: the last bits of a sum of a count and noise would tell the count (Mironov 2012)."""
        counts = one.counts + np.rint(self.rng.normal(0.0, scale, len(one.counts)))
        if one.public:
            return Histogram(one.keys, counts, noise=scale)
        kept = counts > self.threshold(scale)
        return Histogram(one.keys[kept], counts[kept], False, scale)

    def threshold(self, scale: float) -> float:
        """What a key of one row passes with a chance of the histogram's part of delta."""
        return float(1 + scale * ndtri(1 - self.delta / max(1, self.asked)))


def simplex(noisy: Floats, total: float) -> Floats:
    """The nearest counts that are not negative and sum to `total` (Duchi et al. 2008): mere clipping would add rows."""
    if not len(noisy) or total <= 0:
        return np.zeros(len(noisy))
    falling = np.sort(noisy)[::-1]
    over = (np.cumsum(falling) - total) / np.arange(1, len(noisy) + 1)
    out: Floats = np.maximum(noisy - over[np.flatnonzero(falling > over)[-1]], 0)
    return out


# -- buckets of numbers that do not depend on the data ----------------------------------------------------------------

PARTS = 4  # buckets between a power of two and the next
_LOWEST = 1_100  # exponents of doubles begin above -_LOWEST


def bucket(values: Floats) -> Ints:
    """The bucket of each number: 0 for zero, else by sign, exponent and the first bits of the fraction."""
    fraction, exponent = np.frexp(np.abs(values))
    part = np.minimum(np.floor((fraction - 0.5) * 2 * PARTS), PARTS - 1)
    place = (exponent + _LOWEST) * PARTS + part + 1
    out: Ints = np.where(values == 0, 0, np.sign(values) * place).astype(np.int64)
    return out


def ends(buckets: Ints) -> tuple[Floats, Floats]:
    """Lowest number of each bucket, and where the next one begins."""
    place = np.abs(buckets) - 1
    exponent, part = place // PARTS - _LOWEST, place % PARTS
    near = np.ldexp(0.5 + part / (2 * PARTS), exponent)
    far = np.ldexp(0.5 + (part + 1) / (2 * PARTS), exponent)
    far = np.minimum(far, np.finfo(float).max)
    low = np.where(buckets > 0, near, -far)
    high = np.where(buckets > 0, far, -near)
    return np.where(buckets == 0, 0.0, low), np.where(buckets == 0, 0.0, high)
