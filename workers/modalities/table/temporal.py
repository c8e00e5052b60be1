"""Formats of dates and times: finding the one a column is written in, reading it, writing it back."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

DATE_FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
TIME_FORMATS = ("%H:%M:%S", "%H:%M", "%H:%M:%SZ", "%I:%M:%S %p", "%I:%M %p")
FORMATS = (
    *DATE_FORMATS,
    *(f"{date}{gap}{time}" for date in DATE_FORMATS[:7] for gap in (" ", "T") for time in TIME_FORMATS),
)
ZONE = "%z"  # an offset that is not the same in all values
OFFSET = r"[+-]\d\d(?::?\d\d)?$"  # from universal time
FRACTION = rf"(:\d\d)[.](\d{{1,6}})(Z|{OFFSET[:-1]})?$"
ZONES = rf"(?P<zone>Z|{OFFSET[:-1]})$"
_NAMED = r":\d\d[.](?P<f>\d{1,6})(?:Z|[+-]\d\d(?::?\d\d)?)?$"


def candidates(first: str) -> tuple[str, ...]:
    """The formats a column may have whose first value this is. An offset is that of the whole column, or none is."""
    offset = re.search(rf":\d\d(?:[.]\d{{1,6}})?({OFFSET})", first)
    if not offset:
        return FORMATS
    return tuple(f + offset[1] for f in FORMATS if f.endswith(("%S", "%H:%M")))


def zoned(first: str) -> tuple[str, ...]:
    """The formats a column may have whose values have different offsets from universal time: they end in %z."""
    if not re.search(rf":\d\d(?:[.]\d{{1,6}})?(Z|{OFFSET[:-1]})$", first):
        return ()
    return tuple(f + ZONE for f in FORMATS if f.endswith(("%S", "%H:%M")))


def with_zones(pattern: str) -> str | None:
    """The same format with any offset in place of its own; None if it has none."""
    return pattern.removesuffix(offset_of(pattern)) + ZONE if offset_of(pattern) else None


def has_zones(pattern: str) -> bool:
    return pattern.endswith(ZONE)


def offset_of(pattern: str) -> str:
    """The offset at a format's end; nothing if it has none."""
    found = re.search(rf"(Z|{OFFSET[:-1]})$", pattern)
    return found[1] if found else ""


def offsets(text: pa.Array) -> dict[str, int]:
    """How many values have each offset."""
    counted = pc.value_counts(pc.struct_field(pc.extract_regex(text, ZONES), "zone"))
    return dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))


def _minutes(offset: str) -> int:
    digits = re.sub(r"\D", "", offset).ljust(4, "0")
    return (int(digits[:2]) * 60 + int(digits[2:4])) * (-1 if offset.startswith("-") else 1)


def _universal(text: pa.Array, pattern: str) -> pa.Array:
    found = pc.struct_field(pc.extract_regex(text, ZONES), "zone").dictionary_encode()
    if found.null_count:
        raise pa.ArrowInvalid("a value has no offset from universal time")
    minutes = pa.array([_minutes(offset) for offset in found.dictionary.to_pylist()], pa.int64()).take(found.indices)
    local = parse(pc.replace_substring_regex(text, ZONES.replace("?P<zone>", ""), ""), pattern.removesuffix(ZONE))
    return pc.subtract(local, pc.cast(pc.multiply(minutes, 60_000_000), pa.duration("us")))


def shifted(text: pa.Array, pattern: str) -> pa.Array:
    """Times of many offsets as they are at the format's own one."""
    minutes = _minutes(offset_of(pattern))
    universal = parse(text, str(with_zones(pattern)))
    return pc.add(universal, pa.scalar(minutes * 60_000_000, pa.duration("us")))


def fits(text: pa.Array, pattern: str) -> bool:
    """Whether every value (none of them null) reads in this format and is a date of the calendar."""
    try:
        parsed = parse(text, pattern)
    except pa.ArrowInvalid:
        return False
    if parsed.null_count:
        return False
    years = pc.min_max(pc.year(parsed)).as_py()
    return bool(years["min"] >= 1000 and years["max"] <= 9999)


def parse(text: pa.Array, pattern: str) -> pa.Array:
    """Timestamps in microseconds; fractions of a second are kept, whatever the format says of seconds. Universal time
    where the format ends in %z, as at the place otherwise."""
    if has_zones(pattern):
        return _universal(text, pattern)
    if "%S" not in pattern or "%p" in pattern:
        return pc.strptime(text, format=pattern, unit="us")
    whole = pc.strptime(pc.replace_substring_regex(text, FRACTION, r"\1\3"), format=pattern, unit="us")
    if (
        not pc.any(pc.match_substring(text, ".")).as_py()
        or not pc.any(pc.match_substring_regex(text, FRACTION)).as_py()
    ):
        return whole
    digits = pc.struct_field(pc.extract_regex(text, _NAMED), "f")
    micros = pc.cast(pc.utf8_rpad(pc.fill_null(digits, "0"), 6, "0"), pa.int64())
    return pc.add(whole, pc.cast(micros, pa.duration("us")))


def is_date(pattern: str) -> bool:
    return "%H" not in pattern and "%I" not in pattern


def fraction_digits(text: pa.Array) -> int:
    """Digits after the second in the longest value."""
    found = pc.struct_field(pc.extract_regex(text, _NAMED), "f")
    return pc.max(pc.utf8_length(found)).as_py() or 0


def padded(text: pa.Array, pattern: str) -> bool:
    """Whether days and months below ten are written with a zero, as strftime writes them."""
    return bool(
        pc.all(pc.equal(pc.utf8_length(text), pc.utf8_length(write(parse(text, pattern), pattern, 0, True)))).as_py()
    )


def write(times: pa.Array, pattern: str, digits: int, pad: bool) -> pa.Array:
    """Text in the column's own format."""
    unit = "s" if digits == 0 else "ms" if digits <= 3 else "us"
    text = pc.strftime(pc.cast(times, pa.timestamp(unit), safe=False), format=pattern, locale="C")
    if pad:
        return text
    return pc.replace_substring_regex(pc.replace_substring_regex(text, r"^0(\d)", r"\1"), r"([/. -])0(\d)", r"\1\2")
