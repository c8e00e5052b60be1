"""The entries of a schema: for each type of column, what its entry says of what a pass over the data has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table import clock, forms, patterns, personal, temporal
from workers.modalities.table.observe import Observed
from workers.modalities.table.written import cast

FEW_LEVELS = 20  # a number with no more values than this is learned as a category
BOOLEANS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})
OWN = 0.9  # different values a row from which each made-up person has one row, as in the upload
DIGITS = 18  # that fit 64 bits, whichever they are
Column = dict[str, Any]


def entry(seen: Observed, kind: str, arrow: str, reason: str, **more: Any) -> Column:
    share = seen.missing_count / max(1, seen.rows)
    common = {
        "name": seen.name,
        "type": kind,
        "arrow": arrow,
        "nullable": seen.missing_count > 0,
        "missing": round(share, 6),
        "reason": reason,
    }
    return common | more


def plain_arrow(seen: Observed) -> str:
    return "string" if seen.textual else str(seen.kind)


def forget_maybe(seen: Observed) -> None:
    """Words that may stand for missing do stand for it here: count them as missing."""
    for token in list(seen.maybe):
        (seen.levels or {}).pop(token, None)
        seen.missing[token] = seen.missing.get(token, 0) + seen.maybe.pop(token)


# -- levels -------------------------------------------------------------------------------------------------------


def shared(seen: Observed, least: int) -> bool:
    """Whether any level is shared by rows enough to be learned."""
    return seen.levels is not None and max(seen.levels.values(), default=0) >= least


def covered(seen: Observed, least: int) -> float:
    """The share of rows whose level is shared by enough of them."""
    counts = np.array(list((seen.levels or {}).values()) or [0])
    return float(counts[counts >= least].sum() / max(1, seen.filled))


def ordered(levels: Mapping[Any, int]) -> list[Any]:
    """The most frequent first."""
    return [level for level, _ in sorted(levels.items(), key=lambda item: (-item[1], str(item[0])))]


def category(seen: Observed, reason: str) -> Column:
    return entry(seen, "category", plain_arrow(seen), reason, levels=ordered(seen.levels or {}))


def boolean(seen: Observed) -> Column | None:
    """A column of two words such as yes and no; None if it is not one."""
    if (seen.counts.size() or 0) > 2 + len(seen.maybe):
        return None
    levels = {k: v for k, v in (seen.levels or {}).items() if k not in seen.maybe}
    spoken = {str(level).strip().lower() for level in levels}
    if len(levels) != 2 or not any(spoken == pair for pair in BOOLEANS):
        return None
    forget_maybe(seen)
    if spoken == BOOLEANS[0]:
        spelling = sorted(levels, key=lambda level: level.strip().lower())
        counts = {level.strip().lower() == "true": count for level, count in levels.items()}
        reason = "Every value is true or false."
        return entry(seen, "boolean", "bool", reason, levels=ordered(counts), spelling=spelling)
    reason = f"Every value is one of {' and '.join(sorted(levels))}."
    return entry(seen, "boolean", "string", reason, levels=ordered(levels))


def constant(seen: Observed) -> Column:
    """A column in which all values that are there are the same one."""
    (value,) = seen.levels or {None: 0}
    reason = "Every value is the same."
    if not seen.textual:
        value = value if isinstance(value, str | int | float | bool) else str(value)
        return entry(seen, "constant", str(seen.kind), reason, value=value)
    found = number(seen) if seen.tokens and not seen.numbers.strange else None
    if found and value is not None and found["type"] in ("integer", "float"):
        value = parsed(value, found["type"] == "integer", seen)
    extra = {key: found[key] for key in ("decimals", "fixed", "comma", "grouped") if found and key in found}
    return entry(seen, "constant", found["arrow"] if found else "string", reason, value=value, **extra)


# -- numbers ------------------------------------------------------------------------------------------------------


def number(seen: Observed, reason: str | None = None) -> Column | None:
    """A column of numbers, typed or written; None if it holds none."""
    if seen.textual and not seen.numbers.some:
        return None
    if not seen.textual and not _numeric(seen.kind):
        return None
    forget_maybe(seen)
    odd = seen.numbers.strange_rows
    if odd:
        seen.missing[None] = seen.missing.get(None, 0) + odd
    if not seen.textual:
        return _number(seen, str(seen.kind), pa.types.is_integer(seen.kind), reason or "The file says so.")
    whole = seen.numbers.integer
    arrow = ("int64" if whole else "double") if seen.tokens else "string"
    why = "whole number" if whole else "number"
    column = _number(seen, arrow, whole, reason or f"{'Nearly every' if odd else 'Every'} value is a {why}.")
    if odd:
        column["unreadable"] = odd
    return column


def _numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _number(seen: Observed, arrow: str, whole: bool, reason: str) -> Column:
    ends, decimals = (seen.numbers.ends, seen.numbers.decimals) if seen.textual else (seen.ends, seen.decimals)
    more: Column = {"minimum": ends.minimum, "maximum": ends.maximum}
    if seen.numbers.grouped:
        more["grouped"] = True
    if not whole:
        digits = max(decimals, default=0)
        more |= {
            "decimals": digits if digits <= 12 else None,
            "fixed": seen.textual and len(decimals) == 1,
            "comma": seen.numbers.comma,
        }
    size = seen.counts.size()
    if size is not None and size <= FEW_LEVELS + len(seen.maybe) + len(seen.numbers.strange):
        plain = {
            k: v
            for k, v in (seen.levels or {}).items()
            if k not in seen.maybe and str(k).strip() not in seen.numbers.strange
        }
        named = _numeric_levels(plain, whole, seen)
        if named and len(named) <= FEW_LEVELS and seen.filled >= 10 * len(named) and all(map(math.isfinite, named)):
            more["levels"] = ordered(named)
    return entry(seen, "integer" if whole else "float", arrow, reason, **more)


def _numeric_levels(levels: Mapping[Any, int], whole: bool, seen: Observed) -> dict[Any, int]:
    out: dict[Any, int] = {}
    for level, count in levels.items():
        value = parsed(level, whole, seen)
        out[value] = out.get(value, 0) + count
    return out


def parsed(level: Any, whole: bool, seen: Observed) -> int | float:
    if isinstance(level, str):
        level = level.strip().replace(",", "" if seen.numbers.grouped else ".")
    return int(level) if whole else float(level)


# -- dates and times ----------------------------------------------------------------------------------------------


def moment(seen: Observed, lasting: bool | None = None) -> Column | None:
    """A column of dates, times or durations, typed or written; None if it holds none. A time of day is read as a
    duration where `lasting` says so, or the column's name does."""
    if not seen.textual:
        return _typed_moment(seen)
    if seen.times.ends.minimum is None:
        return None
    if seen.times.formats:
        return _written_date(seen, seen.times.formats)
    if seen.times.form:
        return _written_clock(seen, seen.times.form, clock.lasts(seen.name) if lasting is None else lasting)
    return None


def _typed_moment(seen: Observed) -> Column | None:
    kind, why = seen.kind, "The file says so."
    if pa.types.is_date(kind):
        return entry(seen, "date", str(kind), why, format="%Y-%m-%d", fraction=0, padded=True)
    if pa.types.is_timestamp(kind):
        return entry(seen, "datetime", str(kind), why, format="%Y-%m-%dT%H:%M:%S", fraction=6, padded=True)
    if not (pa.types.is_time(kind) or pa.types.is_duration(kind)):
        return None
    form, micros = ("clock" if pa.types.is_time(kind) else "iso"), {"s": 10**6, "ms": 1_000}.get(kind.unit, 1)
    more: Column = {
        "form": form,
        "style": {"fraction": {10**6: 0, 1_000: 3}.get(micros, 6), "padded": True, "seconds": True},
    }
    if seen.ends.minimum is not None and seen.ends.maximum is not None:
        more |= {"minimum": int(seen.ends.minimum) * micros, "maximum": int(seen.ends.maximum) * micros}
    return entry(seen, "time" if pa.types.is_time(kind) else "duration", str(kind), why, **more)


def _written_date(seen: Observed, formats: list[str]) -> Column:
    forget_maybe(seen)
    pattern = formats[0]
    day = temporal.is_date(pattern)
    arrow = ("date32[day]" if day else "timestamp[us]") if seen.tokens else "string"
    reason = f"Every value reads as {pattern}."
    if len(formats) > 1:
        reason += f" It would also read as {formats[1]}."
    more: Column = {"format": pattern, "fraction": seen.times.fraction, "padded": seen.times.pad}
    if temporal.has_zones(pattern):
        offset = seen.times.offsets.most_common(1)[0][0]
        more |= {"format": pattern.removesuffix(temporal.ZONE) + offset, "offsets": "mixed"}
        more["warnings"] = [
            f"Column {seen.name!r} holds times at several offsets from universal time; they are read as the same "
            f"moments at {offset}, the most frequent one, and written so."
        ]
    return entry(seen, "date" if day else "datetime", arrow, reason, **more)


def _written_clock(seen: Observed, form: str, lasting: bool) -> Column:
    forget_maybe(seen)
    low, high = int(seen.times.ends.minimum or 0), int(seen.times.ends.maximum or 0)
    of_day = form == "twelve" or (form == "clock" and not lasting and low >= 0 and high < clock.DAY)
    what = "time of day" if of_day else "duration"
    more = {"minimum": low, "maximum": high, "form": form, "style": seen.times.style}
    return entry(seen, "time" if of_day else "duration", "string", f"Every value reads as a {what}.", **more)


# -- what is made afresh ------------------------------------------------------------------------------------------


def own(seen: Observed) -> personal.Values:
    """What the search for personal values looks at."""
    textual = seen.textual and not seen.numbers.some
    some = seen.some(personal.SAMPLE)
    if not textual:  # whole numbers are written 7.0 where some are missing
        some = [value.removesuffix(".0") for value in some]
    return personal.Values(seen.name, some, seen.filled, seen.distinct(), textual)


def whole(seen: Observed) -> bool:
    """Whether all numbers of the column are whole."""
    if seen.textual:
        return seen.numbers.integer or seen.numbers.decimals == {1}
    return bool(pa.types.is_integer(seen.kind)) or (bool(pa.types.is_floating(seen.kind)) and seen.decimals == {0})


def someones(seen: Observed, found: personal.Found) -> Column:
    share = seen.distinct() / max(1, seen.filled)
    more: Column = {"entity": found.entity, "distinct": None if share >= OWN else seen.distinct()} | found.more
    few = personal.FEW_LEVELS if found.entity in ("first_name", "last_name") else seen.filled
    if seen.distinct() <= few and seen.filled >= personal.FEW_CONTACTS * seen.distinct():
        more["shared"] = True
    if found.entity == "national_id":
        more["pattern"] = patterns.shape(_plain_text(seen))
    arrow = plain_arrow(seen)
    if found.entity not in forms.WHOLE or len(more.get("pattern", {}).get("places", ())) > DIGITS:
        arrow = "string"
    elif whole_text(seen):
        forget_maybe(seen)
        arrow = "int64"
    return entry(seen, "personal", arrow, f"{found.reason} They are made up afresh.", **more)


def whole_text(seen: Observed) -> bool:
    """Whether a CSV's column is all plain whole numbers, which are kept as such."""
    numbers = seen.numbers
    plain = numbers.some and numbers.integer and not (numbers.strange or numbers.grouped or numbers.comma)
    return seen.textual and seen.tokens and plain


def _plain_text(seen: Observed) -> pa.Array:
    return pc.utf8_trim_whitespace(seen.head().cast(pa.string()))


def key_like(seen: Observed) -> str | None:
    """Why a column of whole numbers is a key, or None if it is a quantity."""
    head, filled = seen.head(), seen.filled
    if seen.textual:
        head = cast(pc.utf8_trim_whitespace(head), pa.int64()) or pa.array([], pa.int64())
    if seen.missing_count or filled < 20 or len(head) < 20 or seen.unique_share() < 1:
        return None
    numbers = head.to_numpy(zero_copy_only=False).astype(np.int64)
    if filled >= 50 and np.all(np.diff(numbers) > 0):
        return "Every value is unique and larger than the one before."
    ends = seen.numbers.ends if seen.textual else seen.ends
    span = int(ends.maximum or 0) - int(ends.minimum or 0) + 1
    if filled >= 50 and span <= 1.2 * filled:
        return "Every value is unique and they fill a range without gaps."
    return "Every value is unique and the name says that it is a key." if patterns.named_like_key(seen.name) else None


def identifier(seen: Observed, arrow: str, reason: str) -> Column:
    text = seen.head().cast(pa.string()) if seen.prefix else pa.array([], pa.string())
    numeric = seen.numbers.some and not seen.numbers.strange if seen.textual else _numeric(seen.kind)
    maximum = seen.numbers.ends.maximum if seen.textual else seen.ends.maximum
    whole = maximum if isinstance(maximum, int) and numeric else None
    narrow = arrow in ("int8", "int16", "uint8", "uint16") or (arrow in ("int32", "uint32") and (whole or 0) > 2**30)
    arrow = "int64" if narrow else arrow  # keys that are counted on may outgrow the upload's type
    return entry(seen, "identifier", arrow, reason, pattern=patterns.fit(text, seen.filled, whole))


def text(seen: Observed, reason: str) -> Column:
    sizes = np.concatenate(seen.words) if seen.words else np.ones((1, 2))
    counts = np.quantile(sizes[:, 1], np.linspace(0, 1, 21)).round().astype(int)
    return entry(seen, "text", "string", reason, words=counts.tolist())
