"""What one pass over the data sees of a column, in bounded memory: levels, extremes, formats, missing values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected
from workers.modalities.table import temporal

MAX_LEVELS = 10_000  # a category with more distinct values is text: its values are too rare to be shared knowledge
PREFIX = 100_000  # first values of a column, in which uniqueness is judged exactly
PREFIX_BYTES = 4 << 20
LEVEL_BYTES = 4 << 20  # of a column's levels, as text
ALL_LEVELS, ALL_PREFIXES = 1_000_000, 256 << 20  # of all columns together: wide tables remember less of each
WORDS = 20_000  # values of a column whose length is remembered
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-nan", "-NaN"]
)
GROUPED = r"^[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?$"  # 1,580 or 1,580.25, and 727 among such
# Missing only where everything else is a number, a date or a boolean; elsewhere they are levels as good as any.
MAYBE_MISSING = frozenset(
    [
        "?",
        "-",
        "--",
        ".",
        "*",
        "none",
        "na",
        "unknown",
        "Unknown",
        "missing",
        "Missing",
        "inf",
        "-inf",
        "Inf",
        "-Inf",
        "Infinity",
        "-Infinity",
        "infinity",
        "-infinity",
        "+inf",
        "+Inf",
        "+Infinity",
        "+infinity",
        "INF",
        "-INF",
    ]
)


@dataclass
class Observed:
    """One column, as the first pass has seen it. `add` takes a chunk; memory is bounded."""

    name: str
    kind: pa.DataType
    tokens: bool  # raw text of a CSV
    rows: int = 0
    missing: dict[str | None, int] = field(default_factory=dict)  # by how it is written; None for a real null
    maybe: dict[str, int] = field(default_factory=dict)
    columns: int = 1  # how many share the memory
    levels: dict[Any, int] | None = field(default_factory=dict)  # None when there are too many
    level_bytes: int = 0
    minimum: float | int | None = None
    maximum: float | int | None = None
    decimals: set[int] = field(default_factory=set)
    integer: bool = True
    number: bool = True
    comma: bool = False  # the decimals follow a comma
    grouping: bool = False  # whether commas between groups of three digits are to be expected
    grouped: bool = False
    formats: list[str] | None = None
    fraction: int = 0
    pad: bool = True
    words: list[np.ndarray] = field(default_factory=list)
    prefix: list[pa.Array] = field(default_factory=list)
    prefix_size: int = 0

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
        if not pa.types.is_temporal(self.kind):
            self._count_levels(values, counts)
        if len(values) and self.textual:
            self._add_text(values, counts)
        elif len(values):
            self._add_typed(values)

    def _without_missing(self, values: pa.Array, counts: pa.Array) -> tuple[pa.Array, pa.Array]:
        trimmed = pc.utf8_trim_whitespace(values)
        hard = pc.is_in(trimmed, pa.array(sorted(MISSING)))
        for value, count in zip(values.filter(hard).to_pylist(), counts.filter(hard).to_pylist(), strict=True):
            self.missing[value] = self.missing.get(value, 0) + count
        keep = pc.invert(hard)
        return values.filter(keep), counts.filter(keep)

    def _count_levels(self, values: pa.Array, counts: pa.Array) -> None:
        if self.levels is None:
            return
        limit = min(MAX_LEVELS, ALL_LEVELS // self.columns)
        if len(values) <= limit and values.nbytes <= LEVEL_BYTES:
            before = len(self.levels)
            for value, count in zip(values.to_pylist(), counts.to_pylist(), strict=True):
                self.levels[value] = self.levels.get(value, 0) + count
            self.level_bytes += values.nbytes * (len(self.levels) - before) // max(1, len(values))
        if len(values) > limit or len(self.levels) > limit or max(values.nbytes, self.level_bytes) > LEVEL_BYTES:
            self.levels = None

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
        if self.tokens and pc.any(maybe).as_py():
            for value, count in zip(values.filter(maybe).to_pylist(), counts.filter(maybe).to_pylist(), strict=True):
                self.maybe[value] = self.maybe.get(value, 0) + count
            trimmed = trimmed.filter(pc.invert(maybe))
        if len(trimmed) and self.number:
            self._add_written_numbers(trimmed)
        if not self.number:
            self._add_words(values)
        if not len(trimmed):
            return
        if self.formats is None or self.formats:
            self._add_written_times(trimmed)

    def _add_words(self, values: pa.Array) -> None:
        self.words.append(_summary(values))
        if sum(map(len, self.words)) > WORDS:
            self.words = [np.concatenate(self.words)[::2]]

    def _add_written_numbers(self, text: pa.Array) -> None:
        if pc.any(pc.match_substring_regex(text, r"^[+-]?0\d|^\+|[xX_]")).as_py():
            self.number = False  # 007 is a code, not seven
            return
        numbers = cast(text, pa.float64())
        if numbers is None:
            if self.grouping and not self.comma and _all_match(text, GROUPED):
                self.grouped = True
            else:
                self.comma = True
            text = plain_number(text, self.comma, self.grouped)
            numbers = cast(text, pa.float64())
        if numbers is None or (self.comma and self.grouped) or not pc.all(pc.is_finite(numbers)).as_py():
            self.number = False
            return
        whole = cast(text, pa.int64()) if self.integer else None
        self.integer = self.integer and whole is not None
        self._extremes(numbers if whole is None else whole)
        self._add_decimals(text)

    def _add_decimals(self, text: pa.Array) -> None:
        point = pc.find_substring(text, ".")
        exponent = pc.any(pc.match_substring_regex(text, "[eE]")).as_py()
        digits = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(pc.utf8_length(text), point), 1))
        self.decimals.update([99] if exponent else pc.unique(digits).to_pylist())

    def _add_written_times(self, text: pa.Array) -> None:
        if self.formats is None:
            shapely = pc.match_substring_regex(text[:1000], r"\d.*[-/.: ].*\d")
            head = text[:1000] if pc.all(shapely).as_py() else text[:0]
            likely = temporal.candidates(head[0].as_py()) if len(head) else ()
            self.formats = [pattern for pattern in likely if temporal.fits(head, pattern)]
        self.formats = [pattern for pattern in self.formats if temporal.fits(text, pattern)]
        if self.formats:
            self.fraction = max(self.fraction, temporal.fraction_digits(text))
            self.pad = self.pad and (bool(self.fraction) or temporal.padded(text, self.formats[0]))
            times = temporal.parse(text, self.formats[0])
            self._extremes(pc.cast(times, pa.int64()))

    def _add_typed(self, values: pa.Array) -> None:
        if pa.types.is_temporal(self.kind):
            width = pa.int32() if self.kind.bit_width == 32 else pa.int64()
            self._extremes(pc.cast(values, width))
        elif pa.types.is_floating(self.kind) or pa.types.is_decimal(self.kind):
            numbers = pc.cast(values, pa.float64())
            finite = numbers.filter(pc.is_finite(numbers))
            if len(finite):
                self._extremes(finite)
                self.decimals.update(_float_decimals(finite.to_numpy(zero_copy_only=False), self.kind))
        elif pa.types.is_integer(self.kind):
            if pa.types.is_uint64(self.kind) and pc.max(values).as_py() >= 2**63:
                raise Rejected(
                    "unsupported_column", f"Column {self.name!r} holds whole numbers from 2^63 on; store them as text."
                )
            self._extremes(pc.cast(values, pa.int64(), safe=False))

    def _extremes(self, numbers: pa.Array) -> None:
        ends = pc.min_max(numbers).as_py()
        self.minimum = ends["min"] if self.minimum is None else min(self.minimum, ends["min"])
        self.maximum = ends["max"] if self.maximum is None else max(self.maximum, ends["max"])

    # -- what the decision reads --

    @property
    def missing_count(self) -> int:
        return sum(self.missing.values())

    def unique_share(self) -> float:
        """Distinct over all, among the first values that are not missing (exact there)."""
        if not self.prefix:
            return 0.0
        head = self.head()
        if self.tokens and self.textual:
            head = head.filter(pc.invert(pc.is_in(pc.utf8_trim_whitespace(head), pa.array(sorted(MISSING)))))
        return float(pc.count_distinct(head).as_py() / max(1, len(head)))

    def head(self) -> pa.Array:
        return pa.concat_arrays(self.prefix) if self.prefix else pa.array([], self.kind)


def cast(text: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        return None


def plain_number(text: pa.Array, comma: bool, grouped: bool) -> pa.Array:
    """Numbers as computers write them."""
    return pc.replace_substring(text, ",", "" if grouped else ".") if comma or grouped else text


def _all_match(text: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(text, pattern)).as_py())


def _float_decimals(values: np.ndarray, kind: pa.DataType) -> set[int]:
    if pa.types.is_decimal(kind):
        return {kind.scale}
    some = np.abs(values[:20_000])
    # Half a unit in the last place is what storing a decimal costs; doubles are often computed, and lose a few units.
    single = kind.bit_width < 64
    ulp = np.spacing(some.astype(kind.to_pandas_dtype())).astype(float) * (0.51 if single else 4)
    for digits in range(10):
        if np.all(np.abs(some - np.round(some, digits)) <= np.maximum(ulp, 1e-9 * 10.0**-digits)):
            return {digits}
    return {99}


def _summary(values: pa.Array) -> np.ndarray:
    """Of some values: characters and words, as pairs."""
    some = values[:2000]
    words = pc.add(pc.count_substring(pc.utf8_trim_whitespace(some), " "), 1)
    return np.stack([pc.utf8_length(some).to_numpy(), words.to_numpy()], axis=1)
