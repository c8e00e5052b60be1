"""Keys and unique values for synthetic rows that stand beside real ones: none that a real row has.

Such values follow from a row's number. The numbers whose values some real row has are left out, so that the synthetic
rows take the first numbers that are free. Memory does not grow with the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities.table.patterns import mixed

Numbers = NDArray[np.uint64]
SPAN = 65_536  # numbers that are looked at together
EXACT = 4_000_000  # real rows up to which their values are told apart for certain; of more a few free numbers are lost
FILTER = 1 << 24  # words of 64 bits, where there are more
PROBES = 3
SPARE = 1 << 40  # numbers beyond which no more are looked for
PRIME = np.uint64(0x100000001B3)  # of the FNV hash
BASIS = np.uint64(0xCBF29CE484222325)


class Taken:
    """The values that real rows have in some columns, as hashes."""

    def __init__(self, rows: int) -> None:
        self._exact = rows <= EXACT
        self._parts: list[Numbers] = []
        self._words = np.zeros(0 if self._exact else FILTER, np.uint64)

    def add(self, arrays: Sequence[pa.Array]) -> None:
        found = hashed(arrays)
        if self._exact:
            self._parts = [np.unique(np.concatenate([*self._parts, found]))] if len(self._parts) > 15 else [
                *self._parts, found]  # fmt: skip
            return
        for word, bit in _probes(found):
            np.bitwise_or.at(self._words, word, bit)

    def has(self, arrays: Sequence[pa.Array]) -> NDArray[np.bool_]:
        asked = hashed(arrays)
        if self._exact:
            if len(self._parts) != 1:  # sorted once: there are many more questions than additions
                self._parts = [np.unique(np.concatenate([*self._parts, np.zeros(0, np.uint64)]))]
            (known,) = self._parts
            at = np.searchsorted(known, asked)
            found: NDArray[np.bool_] = at < len(known)
            found[found] = known[at[found]] == asked[found]
            return found
        out: NDArray[np.bool_] = np.logical_and.reduce([(self._words[word] & bit) != 0 for word, bit in _probes(asked)])
        return out


def _probes(hashes: Numbers) -> Iterable[tuple[NDArray[np.int64], Numbers]]:
    for _ in range(PROBES):
        hashes = mixed(hashes)
        yield (hashes >> np.uint64(6)).astype(np.int64) & (FILTER - 1), np.uint64(1) << (hashes & np.uint64(63))


def hashed(arrays: Sequence[pa.Array]) -> Numbers:
    """A number for each row's values together; equal values of equal types have the same."""
    out = np.full(len(arrays[0]), BASIS)
    for array in arrays:
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        out = mixed(out ^ _hashed(array)) + PRIME
    return out


def _hashed(array: pa.Array) -> Numbers:
    if pa.types.is_string(array.type):
        return _hashed_texts(array.fill_null(""))
    if pa.types.is_floating(array.type):
        plain = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
        return mixed((plain + 0.0).view(np.uint64))  # so that -0 is 0
    whole = array.cast(pa.int32()) if pa.types.is_date32(array.type) else array
    return mixed(whole.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64))


def _hashed_texts(array: pa.Array) -> Numbers:
    """Letter by letter (FNV-1a), of all rows that have as many."""
    array = array.cast(pa.large_string())
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    letters = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    out, lengths = np.full(len(array), BASIS), np.diff(offsets)
    rows = np.argsort(-lengths, kind="stable")
    left = np.cumsum(np.bincount(lengths, minlength=1)[::-1])[::-1] if len(lengths) else np.zeros(1, np.int64)
    for at in range(int(lengths.max(initial=0))):
        some = rows[: left[at + 1]]  # those longer than this
        out[some] = (out[some] ^ letters[offsets[some] + at]) * PRIME
    return mixed(out ^ lengths.astype(np.uint64))


@dataclass
class Free:
    """`values(numbers)` are the columns that rows of these numbers would have, for each of the `taken`."""

    values: Callable[[Numbers], list[list[pa.Array]]]
    taken: list[Taken]
    room: int = SPARE  # numbers that there are
    _ends: list[int] = field(default_factory=list)  # free numbers up to the end of each span
    _lock: Lock = field(default_factory=Lock)

    def of(self, rows: Numbers) -> Numbers:
        """The numbers of synthetic rows, counted from 0 and in order. Raises Rejected where too few are free."""
        if not len(rows):
            return rows
        with self._lock:  # rows are made side by side
            while not self._ends or self._ends[-1] <= int(rows[-1]):
                if len(self._ends) * SPAN >= self.room:
                    have = self._ends[-1] if self._ends else 0
                    raise Rejected(
                        "too_many_unique_rows",
                        f"Only {have} different values are left that no real row has, for columns in which no two rows "
                        "may have the same; ask for no more synthetic rows.",
                    )
                self._ends.append((self._ends[-1] if self._ends else 0) + len(self._span(len(self._ends))))
        first, last = (int(np.searchsorted(self._ends, row, side="right")) for row in (rows[0], rows[-1]))
        free = np.concatenate([self._span(span) for span in range(first, last + 1)])
        return free[(rows - np.uint64(self._ends[first - 1] if first else 0)).astype(np.int64)]

    def _span(self, span: int) -> Numbers:
        numbers = np.arange(span * SPAN, min((span + 1) * SPAN, self.room), dtype=np.uint64)
        used = np.zeros(len(numbers), bool)
        for taken, arrays in zip(self.taken, self.values(numbers), strict=True):
            used |= taken.has(arrays)
        return numbers[~used]
