"""What type each column has, and why: bounded statistics of one pass over the data, and the rules that read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table import patterns, temporal

MAX_LEVELS = 10_000  # a category with more distinct values is text: its values are too rare to be shared knowledge
FEW_LEVELS = 20  # a number with no more values than this is learned as a category
PREFIX = 100_000  # first values of a column, in which uniqueness is judged exactly
PREFIX_BYTES = 4 << 20
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-nan", "-NaN"]
)
# Missing only where everything else is a number, a date or a boolean; elsewhere they are levels as good as any.
MAYBE_MISSING = frozenset(["?", "-", "--", ".", "*", "none", "na", "unknown", "Unknown", "missing", "Missing", "inf", "-inf", "Inf", "-Inf"])
BOOLEANS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})
Column = dict[str, Any]


@dataclass
class Observed:
    """One column, as the first pass has seen it. `add` takes a chunk; memory is bounded."""

    name: str
    kind: pa.DataType
    tokens: bool  # raw text of a CSV
    rows: int = 0
    missing: dict[str | None, int] = field(default_factory=dict)  # by how it is written; None for a real null
    maybe: dict[str, int] = field(default_factory=dict)
    levels: dict[Any, int] | None = field(default_factory=dict)  # None when there are too many
    minimum: float | int | None = None
    maximum: float | int | None = None
    decimals: set[int] = field(default_factory=set)
    integer: bool = True
    number: bool = True
    comma: bool = False
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
        if len(values) <= MAX_LEVELS:
            for value, count in zip(values.to_pylist(), counts.to_pylist(), strict=True):
                self.levels[value] = self.levels.get(value, 0) + count
        if len(values) > MAX_LEVELS or len(self.levels) > MAX_LEVELS:
            self.levels = None

    def _keep_prefix(self, array: pa.Array) -> None:
        kept = sum(map(len, self.prefix))
        if kept < PREFIX and self.prefix_size < PREFIX_BYTES:
            part = array[: PREFIX - kept]
            size = max(1, part.nbytes // max(1, len(part)))
            part = part[: max(64, (PREFIX_BYTES - self.prefix_size) // size)]
            self.prefix_size += part.nbytes
            self.prefix.append(pa.concat_arrays([part]))

    def _add_text(self, values: pa.Array, counts: pa.Array) -> None:
        trimmed = pc.utf8_trim_whitespace(values)
        maybe = pc.is_in(trimmed, pa.array(sorted(MAYBE_MISSING)))
        if self.tokens and pc.any(maybe).as_py():
            for value, count in zip(values.filter(maybe).to_pylist(), counts.filter(maybe).to_pylist(), strict=True):
                self.maybe[value] = self.maybe.get(value, 0) + count
            trimmed = trimmed.filter(pc.invert(maybe))
        self.words.append(_summary(values))
        if not len(trimmed):
            return
        if self.number:
            self._add_written_numbers(trimmed)
        if self.formats is None or self.formats:
            self._add_written_times(trimmed)

    def _add_written_numbers(self, text: pa.Array) -> None:
        if pc.any(pc.match_substring_regex(text, r"^[+-]?0\d|^\+|[xX_]")).as_py():
            self.number = False  # 007 is a code, not seven
            return
        numbers = _cast(text, pa.float64())
        if numbers is None:
            text = pc.replace_substring(text, ",", ".")
            numbers, self.comma = _cast(text, pa.float64()), True
        if numbers is None or not pc.all(pc.is_finite(numbers)).as_py():
            self.number = False
            return
        whole = _cast(text, pa.int64()) if self.integer else None
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
            self.formats = [f for f in temporal.FORMATS if len(head) and temporal.fits(head, f)]
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
        """Distinct over all, among the first values (exact there)."""
        if not self.prefix:
            return 0.0
        head = pa.chunked_array(self.prefix)
        return float(pc.count_distinct(head).as_py() / max(1, len(head)))

    def head(self) -> pa.Array:
        return pa.concat_arrays(self.prefix) if self.prefix else pa.array([], self.kind)


def _cast(text: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        return None


def _float_decimals(values: np.ndarray, kind: pa.DataType) -> set[int]:
    if pa.types.is_decimal(kind):
        return {kind.scale}
    some = np.abs(values[:20_000])
    tolerance = 1e-4 if kind.bit_width == 32 else 1e-9
    for digits in range(10):
        if np.all(np.abs(some - np.round(some, digits)) <= tolerance * 10.0**-digits * np.maximum(1, some)):
            return {digits}
    return {99}


def _summary(values: pa.Array) -> np.ndarray:
    """Of some values: characters and words, as pairs."""
    some = values[:2000]
    words = pc.add(pc.count_substring(pc.utf8_trim_whitespace(some), " "), 1)
    return np.stack([pc.utf8_length(some).to_numpy(), words.to_numpy()], axis=1)


# -- the rules ----------------------------------------------------------------------------------------------------


def decide(seen: Observed, wanted: str | None) -> Column:
    """The column's entry in the public schema."""
    filled = seen.rows - seen.missing_count
    if wanted is None and filled == 0:
        return _entry(seen, "constant", "string" if seen.textual else str(seen.kind), "Every value is missing.", value=None)
    column = _as_wanted(seen, wanted) if wanted else None
    if column is None:
        column = _typed(seen) if not seen.textual else _written(seen)
    if seen.tokens:
        tokens = {token: count for token, count in seen.missing.items() if token}
        column["missing_token"] = max(tokens, key=lambda token: tokens[token]) if tokens and "" not in seen.missing else ""
    return column


def _entry(seen: Observed, kind: str, arrow: str, reason: str, **more: Any) -> Column:
    share = seen.missing_count / max(1, seen.rows)
    entry = {"name": seen.name, "type": kind, "arrow": arrow, "nullable": seen.missing_count > 0, "missing": round(share, 6), "reason": reason}
    return entry | more


def _as_wanted(seen: Observed, wanted: str) -> Column | None:
    """The column with the type its user asked for; None if the data cannot be read so (inference then decides)."""
    arrow = "string" if seen.textual else str(seen.kind)
    reason = "The upload's options say so."
    if wanted in ("category", "boolean", "constant") and seen.levels is not None:
        return _entry(seen, "category", arrow, reason, levels=_ordered(seen.levels))
    if wanted == "identifier":
        return _identifier(seen, arrow, reason)
    if wanted == "text" and seen.textual:
        return _text(seen, reason)
    if wanted in ("float", "integer", "date", "datetime"):
        column = _typed(seen) if not seen.textual else (_written_number(seen) or _written_time(seen))
        if column and column["type"] == "identifier" and not seen.textual:
            column = _number(seen, arrow, reason)
        return column
    return None


def _ordered(levels: Mapping[Any, int]) -> list[Any]:
    return [level for level, _ in sorted(levels.items(), key=lambda item: (-item[1], str(item[0])))]


def _typed(seen: Observed) -> Column:
    """A column whose type the file states."""
    arrow = str(seen.kind)
    if pa.types.is_null(seen.kind):
        return _entry(seen, "constant", "string", "Every value is missing.", value=None)
    if seen.levels is not None and len(seen.levels) == 1 and not pa.types.is_temporal(seen.kind):
        return _constant(seen, arrow)
    if pa.types.is_boolean(seen.kind):
        return _entry(seen, "boolean", arrow, "The file says so.", levels=_ordered(seen.levels or {}))
    if pa.types.is_date(seen.kind):
        return _entry(seen, "date", arrow, "The file says so.", format="%Y-%m-%d", fraction=0, padded=True)
    if pa.types.is_timestamp(seen.kind):
        return _entry(seen, "datetime", arrow, "The file says so.", format="%Y-%m-%dT%H:%M:%S", fraction=6, padded=True)
    if pa.types.is_integer(seen.kind) and (why := _key_like(seen)):
        return _identifier(seen, arrow, why)
    return _number(seen, arrow, "The file says so.")


def _number(seen: Observed, arrow: str, reason: str) -> Column:
    whole = not (pa.types.is_floating(seen.kind) or pa.types.is_decimal(seen.kind)) if not seen.textual else seen.integer
    more: Column = {"minimum": seen.minimum, "maximum": seen.maximum}
    if not whole:
        digits = max(seen.decimals, default=0)
        more |= {"decimals": digits if digits <= 12 else None, "fixed": seen.textual and len(seen.decimals) == 1, "comma": seen.comma}
    levels = {k: v for k, v in (seen.levels or {}).items() if k not in seen.maybe} if seen.levels is not None else None
    filled = seen.rows - seen.missing_count
    if levels and len(levels) <= FEW_LEVELS and filled >= 10 * len(levels):
        named = _numeric_levels(levels, whole, seen.comma)
        if named and all(math.isfinite(level) for level in named):
            more["levels"] = _ordered(named)
    return _entry(seen, "integer" if whole else "float", arrow, reason, **more)


def _numeric_levels(levels: Mapping[Any, int], whole: bool, comma: bool) -> dict[Any, int]:
    out: dict[Any, int] = {}
    for level, count in levels.items():
        text = str(level).strip().replace(",", ".") if comma else level
        number = int(text) if whole else float(text)
        out[number] = out.get(number, 0) + count
    return out


def _constant(seen: Observed, arrow: str) -> Column:
    (value,) = seen.levels or {None: 0}
    value = value if isinstance(value, str | int | float | bool) else str(value)
    return _entry(seen, "constant", arrow, "Every value is the same.", value=value)


def _key_like(seen: Observed) -> str | None:
    """Why a column of whole numbers is a key, or None if it is a quantity."""
    head = seen.head()
    if seen.textual:
        head = _cast(pc.utf8_trim_whitespace(head), pa.int64()) or pa.array([], pa.int64())
    filled = seen.rows - seen.missing_count
    if seen.missing_count or filled < 20 or len(head) < 20 or seen.unique_share() < 1:
        return None
    numbers = head.to_numpy(zero_copy_only=False).astype(np.int64)
    if filled >= 50 and np.all(np.diff(numbers) > 0):
        return "Every value is unique and larger than the one before."
    span = int(seen.maximum or 0) - int(seen.minimum or 0) + 1
    if filled >= 50 and span <= 1.2 * filled:
        return "Every value is unique and they fill a range without gaps."
    return "Every value is unique and the name says that it is a key." if patterns.named_like_key(seen.name) else None


def _written(seen: Observed) -> Column:
    """A column of text: whatever its text says."""
    levels = seen.levels
    if levels is not None and len(levels) == 1 and not seen.maybe:
        return _constant_text(seen)
    if seen.tokens:
        boolean = _written_boolean(seen)
        if boolean:
            return boolean
    number = _written_number(seen)
    if number:
        return number
    time = _written_time(seen)
    if time:
        return time
    return _words(seen)


def _constant_text(seen: Observed) -> Column:
    number = _written_number(seen) if seen.tokens else None
    arrow = number["arrow"] if number else "string"
    (value,) = seen.levels or {None: 0}
    if number and value is not None:
        plain = str(value).strip().replace(",", ".") if seen.comma else str(value).strip()
        value = int(plain) if number["type"] == "integer" else float(plain)
    extra = {key: number[key] for key in ("decimals", "fixed", "comma") if number and key in number}
    return _entry(seen, "constant", arrow, "Every value is the same.", value=value, **extra)


def _forget_maybe(seen: Observed) -> None:
    """Words that may stand for missing do stand for it here: count them as missing."""
    for token in list(seen.maybe):
        (seen.levels or {}).pop(token, None)
        seen.missing[token] = seen.missing.get(token, 0) + seen.maybe.pop(token)


def _written_boolean(seen: Observed) -> Column | None:
    levels = {k: v for k, v in (seen.levels or {}).items() if k not in seen.maybe}
    spoken = {str(level).strip().lower() for level in levels}
    if len(levels) != 2 or not any(spoken == pair for pair in BOOLEANS):
        return None
    _forget_maybe(seen)
    if spoken == BOOLEANS[0]:
        spelling = sorted(levels, key=lambda level: level.strip().lower())
        ordered = _ordered({level.strip().lower() == "true": count for level, count in levels.items()})
        return _entry(seen, "boolean", "bool", "Every value is true or false.", levels=ordered, spelling=spelling)
    return _entry(seen, "boolean", "string", f"Every value is one of {' and '.join(sorted(levels))}.", levels=_ordered(levels))


def _written_number(seen: Observed) -> Column | None:
    if not seen.number or seen.minimum is None:
        return None
    _forget_maybe(seen)
    whole = seen.integer
    arrow = ("int64" if whole else "double") if seen.tokens else "string"
    if whole and (why := _key_like(seen)):
        return _identifier(seen, arrow, why)
    return _number(seen, arrow, "Every value is a whole number." if whole else "Every value is a number.")


def _written_time(seen: Observed) -> Column | None:
    if not seen.formats or seen.minimum is None:
        return None
    _forget_maybe(seen)
    pattern = seen.formats[0]
    date = temporal.is_date(pattern)
    arrow = ("date32[day]" if date else "timestamp[us]") if seen.tokens else "string"
    reason = f"Every value reads as {pattern}."
    if len(seen.formats) > 1:
        reason += f" It would also read as {seen.formats[1]}."
    return _entry(seen, "date" if date else "datetime", arrow, reason, format=pattern, fraction=seen.fraction, padded=seen.pad)


def _words(seen: Observed) -> Column:
    filled, share = seen.rows - seen.missing_count, seen.unique_share()
    sizes = np.concatenate(seen.words) if seen.words else np.ones((1, 2))
    words = float(sizes[:, 1].mean())
    if filled >= 20 and share >= 0.98 and words < 1.5 and sizes[:, 0].max() <= 64:
        return _identifier(seen, "string", "Nearly every value is unique and a single word.")
    if seen.levels is None:
        return _text(seen, f"There are more than {MAX_LEVELS} different values.")
    distinct = len(seen.levels)
    if distinct > FEW_LEVELS and (share > 0.4 or (words >= 4 and share > 0.3)) and filled >= 20:
        return _text(seen, f"{distinct} of {filled} values are different.")
    if filled < 20 and share == 1 and words >= 3:
        return _text(seen, "Every value is different and made of several words.")
    return _entry(seen, "category", "string", f"{distinct} different values.", levels=_ordered(seen.levels))


def _identifier(seen: Observed, arrow: str, reason: str) -> Column:
    filled = seen.rows - seen.missing_count
    text = seen.head().cast(pa.string()) if seen.prefix else pa.array([], pa.string())
    if seen.tokens and seen.textual:
        text = text.filter(pc.invert(pc.is_in(pc.utf8_trim_whitespace(text), pa.array(sorted(MISSING)))))
    whole = seen.maximum if isinstance(seen.maximum, int) and (seen.number or not seen.textual) else None
    return _entry(seen, "identifier", arrow, reason, pattern=patterns.fit(text, filled, whole))


def _text(seen: Observed, reason: str) -> Column:
    sizes = np.concatenate(seen.words) if seen.words else np.ones((1, 2))
    counts = np.quantile(sizes[:, 1], np.linspace(0, 1, 21)).round().astype(int)
    return _entry(seen, "text", "string", reason, words=counts.tolist())
