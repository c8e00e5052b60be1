"""What a run of noisy steps has told of any one sample: epsilon at a given delta. Knows noise; nothing of data.

The accountant is Opacus' of privacy loss random variables (Gopi, Lee and Wutschitz 2021), which composes numerically
and bounds its own error. It is imported when it is asked: it takes seconds, and other runs have no use for it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import norm

NAME = "prv (opacus)"
MOST_NOISE = 1e4
NEAR = 2e-3  # share of epsilon that calibration may leave unspent
TRIES = 6


@dataclass(frozen=True)
class Gaussian:
    """Noise of `sigma` times the sensitivity, added `times` times to what a random share of the samples gives."""

    sigma: float
    rate: float = 1.0
    times: int = 1


def epsilon(mechanisms: Sequence[Gaussian], delta: float, tight: bool = True) -> float:
    """Of all of them together, one sample more or less; an upper bound, by moments alone if it need not be tight."""
    mechanisms = _merged([one for one in mechanisms if one.times and one.rate])
    if not mechanisms:
        return 0.0
    if all(one.rate == 1.0 for one in mechanisms):
        return gaussian_epsilon(math.sqrt(sum(one.times / one.sigma**2 for one in mechanisms)), delta)
    from opacus.accountants import PRVAccountant, RDPAccountant

    history = [(one.sigma, one.rate, one.times) for one in mechanisms]
    plain = RDPAccountant()
    plain.history = list(history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logarithms of zero, and of orders that might be finer
        bound = float(plain.get_epsilon(delta=delta))
        if not tight:
            return bound
        numeric = PRVAccountant()
        numeric.history = list(history)
        try:
            found = float(numeric.get_epsilon(delta=delta, eps_error=min(0.01, bound / 50)))
        except (ValueError, RuntimeError, MemoryError):
            return bound
    return min(found, bound) if math.isfinite(found) and found > 0 else bound


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Of Gaussian noise of 1 / mu times the sensitivity, exactly (Balle and Wang 2018)."""

    def excess(eps: float) -> float:
        tail = norm.logcdf(-mu / 2 - eps / mu)
        return float(norm.cdf(mu / 2 - eps / mu) - math.exp(eps + tail)) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-9))


def gaussian_sigma(eps: float, delta: float) -> float:
    """The noise multiplier with which one Gaussian mechanism spends `eps`."""
    return 1 / float(brentq(lambda mu: gaussian_epsilon(mu, delta) - eps, 1e-6, 1e3, xtol=1e-9))


def step_sigma(eps: float, delta: float, before: Sequence[Gaussian], rate: float, times: int) -> float:
    """The least noise multiplier (to a hair) of `times` sampled steps with which these and what went `before` spend no
    more than `eps`. Raises ValueError if nothing is left for them."""
    if epsilon(before, delta) >= eps:
        raise ValueError("what went before has spent it all")

    def spent(sigma: float, tight: bool = True) -> float:
        return epsilon([*before, Gaussian(sigma, rate, times)], delta, tight)

    low, high = 0.3, 1.0
    while spent(high, tight=False) > eps:
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise ValueError("no noise is enough")
    found = high = float(brentq(lambda sigma: spent(sigma, tight=False) - eps, low, high, xtol=1e-3, rtol=1e-3))
    while (now := spent(high)) > eps:  # a looser bound has found it, so this is a matter of rounding
        found = high = 1.01 * high
    points = [(math.log(high), math.log(now / eps))]
    for _ in range(TRIES):
        if points[-1][1] > -NEAR and points[-1][1] <= 0:
            break
        slope = _slope(points)
        at = points[-1][0] - (points[-1][1] + NEAR / 2) / slope
        points.append((at, math.log(spent(math.exp(at)) / eps)))
        if points[-1][1] <= 0:
            found = min(found, math.exp(at))
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the logarithm of epsilon over that of the noise; about -1 where nothing else is known."""
    if len(points) < 2 or points[-1][0] == points[-2][0]:
        return -1.0
    return min((points[-1][1] - points[-2][1]) / (points[-1][0] - points[-2][0]), -0.2)


def _merged(mechanisms: Sequence[Gaussian]) -> list[Gaussian]:
    """All that sees every sample is one Gaussian mechanism."""
    whole = sum(one.times / one.sigma**2 for one in mechanisms if one.rate == 1.0)
    rest = [one for one in mechanisms if one.rate < 1.0]
    return [*([Gaussian(whole**-0.5)] if whole else []), *rest]
