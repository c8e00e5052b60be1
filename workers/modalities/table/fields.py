"""What the codec learns of a table, piece by piece: a field makes one column (a place makes two) out of a few codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Column = dict[str, Any]  # an entry of a table's schema


@dataclass(frozen=True)
class Allowed:
    """Which codes of a field a condition leaves: `share` (sizes[0],) is how much of each first code's rows meets it,
    each table (sizes[i-1], sizes[i]) the same of a later code given the one before it. `within` is for decoding."""

    share: Floats
    tables: list[Floats] = field(default_factory=list)
    within: Any = None


class Field(Protocol):
    """`sizes` are the numbers of levels of its codes, in the order in which they are drawn: the first says most."""

    columns: tuple[str, ...]
    sizes: list[int]

    def encode(self, arrays: Sequence[pa.Array]) -> Ints:
        """Storage values of its columns as codes (n, len(sizes)). A value that was never seen becomes a near one."""

    def decode(self, codes: Ints, rng: np.random.Generator, within: Any = None) -> list[pa.Array]:
        """Codes as storage values, drawn anew within what a code leaves open."""

    def allowed(self, condition: Any, axis: int = 0) -> Allowed:
        """What a condition (conditions.OneOf or conditions.Range) on its column, the `axis`-th, leaves."""

    def views(self) -> list[Floats]:
        """For each code its place (size,) on a line from -1 to 1 where its levels have an order, else nothing."""

    def numbers(self) -> list[tuple[int, Any]]:
        """The numbers (numbers.Number) that it is made of, each with the place of its first code."""

    def impossible(self) -> Bools | None:
        """Pairs of first and second code that stand for nothing (sizes[0], sizes[1]), if there are any."""

    def to_json(self) -> Mapping[str, Any]:
        """As `from_json` of its class reads it."""


def missing(array: pa.Array) -> Bools:
    out: Bools = array.is_null().to_numpy(zero_copy_only=False)
    return out
