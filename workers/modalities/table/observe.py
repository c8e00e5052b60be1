"""What one pass over the data sees of a column, in bounded memory: levels, extremes, formats, missing values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected
from workers.modalities.table.counting import Counts
from workers.modalities.table.written import Extremes, Numbers, Times

MAX_LEVELS = 100_000  # a category with more distinct values is text: its values are too rare to be shared knowledge
MAX_NUMBERS = 10_000  # the same for numbers, of which hardly any is a category
PREFIX = 100_000  # first values of a column, in which uniqueness is judged exactly
PREFIX_BYTES = 4 << 20
LEVEL_BYTES = 8 << 20  # of a column's levels, as text
ALL_LEVELS, ALL_PREFIXES = 1_000_000, 256 << 20  # of all columns together: wide tables remember less of each
LONGEST = 200  # letters of a value that are looked at to tell what it is
EXACT = 2.0**53  # whole numbers that a double holds
WORDS = 20_000  # values of a column whose length is remembered
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-nan", "-NaN"]
)
# Missing only where everything else is a number, a date or a boolean; elsewhere they are levels as good as any.
MAYBE_MISSING = frozenset([
    "?", "-", "--", ".", "*", "none", "na", "unknown", "Unknown", "missing", "Missing",
    *(sign + word for sign in ("", "-", "+") for word in ("inf", "Inf", "INF", "infinity", "Infinity")),
    "0000-00-00", "0000-00-00 00:00:00", "00/00/0000", "00.00.0000",
])  # fmt: skip


@dataclass
class Observed:
    """One column, as the first pass has seen it. `add` takes a chunk; memory is bounded."""

    name: str
    kind: pa.DataType
    tokens: bool  # raw text of a CSV
    grouping: bool = False  # whether commas between groups of three digits are to be expected
    columns: int = 1  # how many share the memory
    leveled: bool = False  # its user calls it a category, whatever it holds
    rows: int = 0
    missing: dict[str | None, int] = field(default_factory=dict)  # by how it is written; None for a real null
    maybe: dict[str, int] = field(default_factory=dict)
    ends: Extremes = field(default_factory=Extremes)  # of values whose type the file states
    decimals: set[int] = field(default_factory=set)
    words: list[np.ndarray] = field(default_factory=list)
    prefix: list[pa.Array] = field(default_factory=list)
    prefix_size: int = 0

    def __post_init__(self) -> None:
        self.counts = Counts(min(MAX_LEVELS, ALL_LEVELS // self.columns), LEVEL_BYTES)
        self.numbers = Numbers(self.grouping)
        self.times = Times()

    @property
    def textual(self) -> bool:
        return bool(pa.types.is_string(self.kind))

    def add(self, array: pa.Array) -> None:
        self.rows += len(array)
        if array.null_count:
            self.missing[None] = self.missing.get(None, 0) + array.null_count
            array = array.drop_null()
        counted = pc.value_counts(array)
        values, counts = counted.field(0), counted.field(1)
        if self.textual and self.tokens:
            values, counts = self._without_missing(values, counts)
        self._keep_prefix(array)
        if len(values) and self.textual:
            self._add_text(values, counts)
        elif len(values):
            self._add_typed(values)
        self._count_levels(values, counts)

    def _without_missing(self, values: pa.Array, counts: pa.Array) -> tuple[pa.Array, pa.Array]:
        trimmed = pc.utf8_trim_whitespace(values)
        hard = pc.is_in(trimmed, pa.array(sorted(MISSING)))
        for value, count in zip(values.filter(hard).to_pylist(), counts.filter(hard).to_pylist(), strict=True):
            self.missing[value] = self.missing.get(value, 0) + count
        keep = pc.invert(hard)
        return values.filter(keep), counts.filter(keep)

    def _count_levels(self, values: pa.Array, counts: pa.Array) -> None:
        if pa.types.is_temporal(self.kind):
            return
        numeric = not self.textual or self.numbers.some
        self.counts.limit = min(MAX_NUMBERS if numeric and not self.leveled else MAX_LEVELS, ALL_LEVELS // self.columns)
        self.counts.add(values, counts)

    def _keep_prefix(self, array: pa.Array) -> None:
        kept = sum(map(len, self.prefix))
        budget = min(PREFIX_BYTES, ALL_PREFIXES // self.columns)
        if kept < PREFIX and self.prefix_size < budget:
            part = array[: PREFIX - kept]
            size = max(1, part.nbytes // max(1, len(part)))
            part = part[: max(64, (budget - self.prefix_size) // size)]
            self.prefix_size += part.nbytes
            self.prefix.append(pa.concat_arrays([part]))

    def _add_text(self, values: pa.Array, counts: pa.Array) -> None:
        trimmed = pc.utf8_trim_whitespace(values)
        maybe = pc.is_in(trimmed, pa.array(sorted(MAYBE_MISSING)))
        before = self.rows - int(pc.sum(counts).as_py())
        if self.tokens and pc.any(maybe).as_py():
            for value, count in zip(values.filter(maybe).to_pylist(), counts.filter(maybe).to_pylist(), strict=True):
                self.maybe[value] = self.maybe.get(value, 0) + count
            trimmed, counts = trimmed.filter(pc.invert(maybe)), counts.filter(pc.invert(maybe))
        self.numbers.add(trimmed, counts)
        if not self.numbers.possible or self.numbers.strange:
            self._add_words(values)
        if len(trimmed) and not self.times.over:
            self.times.add(trimmed, before)

    def _add_words(self, values: pa.Array) -> None:
        self.words.append(_summary(values))
        if sum(map(len, self.words)) > WORDS:
            self.words = [np.concatenate(self.words)[::2]]

    def _add_typed(self, values: pa.Array) -> None:
        if pa.types.is_temporal(self.kind):
            width = pa.int32() if self.kind.bit_width == 32 else pa.int64()
            self.ends.add(pc.cast(values, width))
            if pa.types.is_duration(self.kind):
                self._refuse_ages()
        elif pa.types.is_floating(self.kind) or pa.types.is_decimal(self.kind):
            numbers = pc.cast(values, pa.float64())
            finite = numbers.filter(pc.is_finite(numbers))
            if len(finite):
                self.ends.add(finite)
                self.decimals.update(_float_decimals(finite.to_numpy(zero_copy_only=False), self.kind))
        elif pa.types.is_integer(self.kind):
            if pa.types.is_uint64(self.kind) and pc.max(values).as_py() >= 2**63:
                raise Rejected(
                    "unsupported_column", f"Column {self.name!r} holds whole numbers from 2^63 on; store them as text."
                )
            self.ends.add(pc.cast(values, pa.int64(), safe=False))

    def _refuse_ages(self) -> None:
        """Durations are kept in microseconds, of which 64 bits hold 292,000 years."""
        size = {"s": 10**6, "ms": 1_000}.get(self.kind.unit, 1)
        if max(abs(int(self.ends.minimum or 0)), abs(int(self.ends.maximum or 0))) * size >= 2**63:
            raise Rejected(
                "unsupported_column", f"Column {self.name!r} holds durations of more than 292,000 years; write numbers."
            )

    # -- what the decision reads --

    @property
    def levels(self) -> dict[Any, int] | None:
        """How many rows have each value; None when there are too many of them."""
        return self.counts.dictionary()

    @property
    def missing_count(self) -> int:
        return sum(self.missing.values())

    @property
    def filled(self) -> int:
        return self.rows - self.missing_count

    def distinct(self) -> int:
        """How many different values there are; an estimate where there are too many to count."""
        if (size := self.counts.size()) is not None:
            return size
        return max(self.counts.limit, int(self.unique_share() * self.filled))

    def unique_share(self) -> float:
        """Distinct over all, among the first values that are not missing (exact there)."""
        head = self.head()
        return float(pc.count_distinct(head).as_py() / max(1, len(head)))

    def head(self) -> pa.Array:
        """The first values that are not missing."""
        head = pa.concat_arrays(self.prefix) if self.prefix else pa.array([], self.kind)
        if self.tokens and self.textual:
            return head.filter(pc.invert(pc.is_in(pc.utf8_trim_whitespace(head), pa.array(sorted(MISSING)))))
        return head

    def some(self, count: int) -> list[str]:
        """Different values from all over the column, trimmed, as text."""
        found = self.counts.arrays()
        values = (found[0] if found else pc.unique(self.head())).cast(pa.string())
        step = max(1, len(values) // count)
        some = pc.utf8_slice_codeunits(values.take(pa.array(np.arange(0, len(values), step)[:count])), 0, LONGEST)
        return list(dict.fromkeys(pc.utf8_trim_whitespace(some).to_pylist()))


def _float_decimals(values: np.ndarray, kind: pa.DataType) -> set[int]:
    if pa.types.is_decimal(kind):
        return {kind.scale}
    some = np.abs(values[:20_000])
    # Half a unit in the last place is what storing a decimal costs; doubles are often computed, and lose a few units.
    # Where such values cancel out, a few units of the largest are left; but 1e-12 beside 1 was measured.
    dtype, lost, left = (np.float64, 4.0, 128.0) if kind.bit_width == 64 else (kind.to_pandas_dtype(), 0.51, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # near the largest numbers there are
        ulp = np.spacing(some.astype(dtype)).astype(float)
        nothing = left * float(ulp[some < EXACT].max(initial=0.0))
    some, ulp = some[some < EXACT], lost * ulp[some < EXACT]  # beyond, every double is a whole number
    if not len(some) or not some.any():
        return {0} if len(values) and not values.any() else {99}
    for digits in range(10):
        if np.all(np.abs(some - np.round(some, digits)) <= np.maximum(ulp, min(nothing, 1e-9 * 10.0**-digits))):
            return {digits}
    return {99}


def _summary(values: pa.Array) -> np.ndarray:
    """Of some values: characters and words, as pairs."""
    some = values[:2000]
    words = pc.add(pc.count_substring(pc.utf8_trim_whitespace(some), " "), 1)
    return np.stack([pc.utf8_length(some).to_numpy(), words.to_numpy()], axis=1)
