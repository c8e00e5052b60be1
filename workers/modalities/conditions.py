"""What samples can be asked to meet: a value, a set, a range, given shares. Knows the grammar, of no column or label.

Torch-free, and free of numpy until shares are dealt out: the service reads conditions as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENDS = ("min", "max", "above", "below")
SETS = ("in", "share")
MOST = 10_000  # values of one condition
HUGE = 1e300
TOLERANCE = 1e-6  # by which shares may miss 1: people write .333
FORMS = 'Write a value, {"in": [...]}, {"min": ..., "max": ...} or {"share": {"a value": 0.5, ...}}.'
TURN = 2**64


@dataclass(frozen=True)
class Value:
    """This, in every sample."""

    value: Any


@dataclass(frozen=True)
class OneOf:
    """One of these, in the shares that they have among themselves."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """Between these, both included; None is open. What is missing lies in no range."""

    minimum: Any
    maximum: Any


@dataclass(frozen=True)
class Shares:
    """These, each in its share of the samples. `place` tells the shares of several columns apart."""

    values: tuple[Any, ...]
    shares: tuple[float, ...]
    place: int = 0


Condition = Value | OneOf | Range | Shares
One = Callable[[Any], Any]
Between = Callable[[Mapping[str, Any]], Condition]


class Objection(Exception):
    """Why no sample can be asked for this, in a sentence."""


def read(given: Any, one: One, between: Between | None = None) -> Condition:
    """A condition from its JSON. `one` reads a single value, `between` {"min", "max", "above", "below"} where values
    have an order; both raise Objection, and so does this."""
    if not isinstance(given, Mapping):
        if isinstance(given, list):
            raise Objection(FORMS)
        return Value(one(given))
    words = set(given)
    if words == {"in"} and isinstance(given["in"], list):
        return _one_of(given["in"], one)
    if words == {"share"} and isinstance(given["share"], Mapping | list):
        return _shares(_pairs(given["share"]), one)
    if words and words <= set(ENDS) and between is not None:
        return between(given)
    if not words or not all(map(_is_number, given.values())):
        raise Objection(FORMS)
    return _shares(list(given.items()), one, short=True)


def _one_of(given: list[Any], one: One) -> Condition:
    _refuse_many(given)
    values = tuple(dict.fromkeys(one(_simple(value)) for value in given))
    if not values:
        raise Objection("The set is empty, so no value is in it.")
    return Value(values[0]) if len(values) == 1 else OneOf(values)


def _pairs(given: Any) -> list[tuple[Any, Any]]:
    if isinstance(given, Mapping):
        return list(given.items())
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        raise Objection('Shares are {"a value": 0.5, ...} or [["a value", 0.5], ...].')
    return [(_simple(value), share) for value, share in given]


def _refuse_many(given: Sequence[Any]) -> None:
    if len(given) > MOST:
        raise Objection(f"A condition names {MOST} values at most, and this one names {len(given)}.")


def _shares(given: Sequence[tuple[Any, Any]], one: One, short: bool = False) -> Condition:
    _refuse_many(given)
    try:
        values = tuple(one(value) for value, _ in given)
    except Objection as objection:
        raise Objection(f"{objection} {FORMS}" if short and _worded(given) else str(objection)) from None
    shares = [share for _, share in given]
    if len(set(values)) < len(values):
        raise Objection("A value is given a share twice.")
    if not all(_is_number(share) and share > 0 for share in shares):
        raise Objection("Each share is a number above 0; leave out what should not occur.")
    total = sum(min(share, HUGE) for share in shares)  # JSON knows whole numbers beyond what can be divided
    if not abs(total - 1) <= TOLERANCE:
        raise Objection(f"The shares add up to {total:.6g}; together they are 1.")
    return Shares(values, tuple(share / total for share in shares))


def _worded(given: Sequence[tuple[Any, Any]]) -> bool:
    """Whether a word of the grammar was taken for a value."""
    return any(value in (*ENDS, *SETS) for value, _ in given)


def _simple(value: Any) -> Any:
    if isinstance(value, Mapping | list):
        raise Objection("A set or a share holds plain values.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def assign(shares: Shares, index: NDArray[np.uint64], seed: int) -> NDArray[np.int64]:
    """For each sample, by its global number, the position of its value among `shares.values`.

    The fractional parts of i * sqrt(p) fill [0, 1) as evenly as any sequence can (Kronecker's; the discrepancy of n of
    them is O(log n / n)), so that any stretch of samples, whichever shard it is in, has the shares to a sample or two.
    Each place has a prime of its own: square roots of different primes are independent over the rationals, so that the
    shares of two columns are as good as independent too. In 64-bit integers, where nothing is rounded."""
    import numpy as np  # not above: the service reads this file without it

    step = np.uint64(isqrt(_prime(shares.place) * TURN * TURN) % TURN | 1)
    start = np.random.SeedSequence([seed, shares.place]).generate_state(1, np.uint64)[0]
    edges = np.minimum(np.cumsum(shares.shares)[:-1], 1 - 2**-53)
    cuts = (edges * TURN).astype(np.uint64)
    found: NDArray[np.int64] = np.searchsorted(cuts, index * step + start, side="right").astype(np.int64)
    return found


def _prime(n: int) -> int:
    """The nth prime, the first being 2."""
    found = [2]
    while len(found) <= n:
        found.append(next(i for i in range(found[-1] + 1, 2 * found[-1] + 2) if all(i % prime for prime in found)))
    return found[n]
