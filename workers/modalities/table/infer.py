"""What type each column has, and why: the rules that read what a pass over the data has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected
from workers.modalities.table import patterns, temporal
from workers.modalities.table.observe import MAX_LEVELS, MISSING, Observed, cast

LEAST = 2  # rows that share a level, or it is never published, learned or drawn: it may be someone's own
FEW_LEVELS = 20  # a number with no more values than this is learned as a category
NAME = r"^\p{Lu}[\p{L}'’-]*\p{Ll}( \p{Lu}\.)?( \p{Lu}[\p{L}'’-]*\p{Ll}){1,2}$"  # a personal name, or much like it
CONTACT = r"^[^@\s]+@[^@\s]+\.[^@\s]+$|^(\+|\(|0)[\d ()./-]*\d[ ()./-][\d ()./-]*\d$|^\d{3}[ .-]\d{3}[ .-]\d{4}$"
FEW_NAMES, FEW_CONTACTS = 3, 10  # rows a value on average below which names, and addresses or telephones, are private
BOOLEANS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})
Column = dict[str, Any]


def decide(seen: Observed, wanted: str | None) -> Column:
    """The column's entry in the public schema."""
    filled = seen.rows - seen.missing_count
    if wanted is None and filled == 0:
        return _entry(
            seen, "constant", "string" if seen.textual else str(seen.kind), "Every value is missing.", value=None
        )
    column = _as_wanted(seen, wanted) if wanted else None
    if column is None:
        column = _typed(seen) if not seen.textual else _written(seen)
    if seen.tokens:
        tokens = {token: count for token, count in seen.missing.items() if token}
        column["missing_token"] = (
            max(tokens, key=lambda token: tokens[token]) if tokens and "" not in seen.missing else ""
        )
    return column


def least_rows(column: Column) -> int:
    """How many training rows a level of this column needs; true and false are nobody's secret."""
    return 1 if column["type"] == "boolean" else LEAST


def publishable(column: Column, counts: Mapping[Any, int]) -> Column:
    """The column without the values that too few training rows share; `counts` are those of its levels or its value."""
    least = least_rows(column)
    if column["type"] == "constant" and column.get("value") is not None and sum(counts.values()) < least:
        return column | {"value": None, "nullable": True, "missing": 1.0, "reason": "A single row has a value."}
    if "levels" not in column:
        return column
    levels = [level for level in column["levels"] if counts.get(level, 0) >= least]
    if levels or column["type"] == "boolean":
        return column | {"levels": levels}
    bare = {key: value for key, value in column.items() if key != "levels"}
    if column["type"] != "category":
        return bare
    gone = {"type": "constant", "value": None, "nullable": True, "missing": 1.0}
    return bare | gone | {"reason": "No two training rows share a value."}


def _entry(seen: Observed, kind: str, arrow: str, reason: str, **more: Any) -> Column:
    share = seen.missing_count / max(1, seen.rows)
    entry = {
        "name": seen.name,
        "type": kind,
        "arrow": arrow,
        "nullable": seen.missing_count > 0,
        "missing": round(share, 6),
        "reason": reason,
    }
    return entry | more


def _as_wanted(seen: Observed, wanted: str) -> Column | None:
    """The column with the type its user asked for; None if the data cannot be read so (inference then decides)."""
    arrow = "string" if seen.textual else str(seen.kind)
    reason = "The upload's options say so."
    if wanted in ("category", "constant", "identifier") and not _nameable(seen.kind, wanted):
        raise Rejected(
            "invalid_options", f"Column {seen.name!r} holds values of type {arrow} and cannot be of type {wanted}."
        )
    if wanted in ("category", "boolean", "constant") and _shared(seen):
        return _entry(seen, "category", arrow, reason, levels=_ordered(seen.levels or {}))
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


def _nameable(kind: pa.DataType, wanted: str) -> bool:
    """Whether values of this type can be levels, or keys, of a schema that is JSON."""
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return True
    return wanted != "identifier" and (pa.types.is_boolean(kind) or pa.types.is_floating(kind))


def _shared(seen: Observed) -> bool:
    """Whether any level is shared by rows enough to be learned."""
    return seen.levels is not None and max(seen.levels.values(), default=0) >= LEAST


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
    whole = (
        not (pa.types.is_floating(seen.kind) or pa.types.is_decimal(seen.kind)) if not seen.textual else seen.integer
    )
    more: Column = {"minimum": seen.minimum, "maximum": seen.maximum}
    if seen.grouped:
        more["grouped"] = True
    if not whole:
        digits = max(seen.decimals, default=0)
        more |= {
            "decimals": digits if digits <= 12 else None,
            "fixed": seen.textual and len(seen.decimals) == 1,
            "comma": seen.comma,
        }
    levels = {k: v for k, v in (seen.levels or {}).items() if k not in seen.maybe} if seen.levels is not None else None
    filled = seen.rows - seen.missing_count
    if levels and len(levels) <= FEW_LEVELS and filled >= 10 * len(levels):
        named = _numeric_levels(levels, whole, seen)
        if named and all(math.isfinite(level) for level in named):
            more["levels"] = _ordered(named)
    return _entry(seen, "integer" if whole else "float", arrow, reason, **more)


def _numeric_levels(levels: Mapping[Any, int], whole: bool, seen: Observed) -> dict[Any, int]:
    out: dict[Any, int] = {}
    for level, count in levels.items():
        number = _parsed(level, whole, seen)
        out[number] = out.get(number, 0) + count
    return out


def _parsed(level: Any, whole: bool, seen: Observed) -> int | float:
    if isinstance(level, str):
        level = level.strip().replace(",", "" if seen.grouped else ".")
    return int(level) if whole else float(level)


def _constant(seen: Observed, arrow: str) -> Column:
    (value,) = seen.levels or {None: 0}
    value = value if isinstance(value, str | int | float | bool) else str(value)
    return _entry(seen, "constant", arrow, "Every value is the same.", value=value)


def _key_like(seen: Observed) -> str | None:
    """Why a column of whole numbers is a key, or None if it is a quantity."""
    head = seen.head()
    if seen.textual:
        head = cast(pc.utf8_trim_whitespace(head), pa.int64()) or pa.array([], pa.int64())
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
        value = _parsed(value, number["type"] == "integer", seen)
    extra = {key: number[key] for key in ("decimals", "fixed", "comma", "grouped") if number and key in number}
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
    return _entry(
        seen, "boolean", "string", f"Every value is one of {' and '.join(sorted(levels))}.", levels=_ordered(levels)
    )


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
    return _entry(
        seen, "date" if date else "datetime", arrow, reason, format=pattern, fraction=seen.fraction, padded=seen.pad
    )


def _words(seen: Observed) -> Column:
    filled, share = seen.rows - seen.missing_count, seen.unique_share()
    sizes = np.concatenate(seen.words) if seen.words else np.ones((1, 2))
    words = float(sizes[:, 1].mean())
    if filled >= 20 and share >= 0.98 and words < 1.5 and sizes[:, 0].max() <= 64:
        return _identifier(seen, "string", "Nearly every value is unique and a single word.")
    if seen.levels is None:
        return _text(seen, f"There are more than {MAX_LEVELS} different values.")
    if not _shared(seen):
        return _text(seen, "Every value is different.")
    distinct = len(seen.levels)
    if filled < FEW_CONTACTS * distinct and _mostly(seen, CONTACT):
        return _identifier(seen, "string", "Most values are e-mail addresses or telephone numbers.")
    if filled < FEW_NAMES * distinct and _mostly(seen, NAME):
        return _text(seen, "Most values read like names of people, and few rows share one.")
    if distinct > FEW_LEVELS and (share > 0.4 or (words >= 4 and share > 0.3)) and filled >= 20:
        return _text(seen, f"{distinct} of {filled} values are different.")
    if filled < 20 and share == 1 and words >= 3:
        return _text(seen, "Every value is different and made of several words.")
    return _entry(seen, "category", "string", f"{distinct} different values.", levels=_ordered(seen.levels))


def _mostly(seen: Observed, pattern: str) -> bool:
    """Whether four in five of the different values are of this form."""
    values = pc.utf8_trim_whitespace(pa.array(list(seen.levels or {}), pa.string()))
    return bool(pc.mean(pc.match_substring_regex(values, pattern).cast(pa.float64())).as_py() >= 0.8)


def _identifier(seen: Observed, arrow: str, reason: str) -> Column:
    filled = seen.rows - seen.missing_count
    text = seen.head().cast(pa.string()) if seen.prefix else pa.array([], pa.string())
    if seen.tokens and seen.textual:
        text = text.filter(pc.invert(pc.is_in(pc.utf8_trim_whitespace(text), pa.array(sorted(MISSING)))))
    whole = seen.maximum if isinstance(seen.maximum, int) and (seen.number or not seen.textual) else None
    narrow = arrow in ("int8", "int16", "uint8", "uint16") or (arrow in ("int32", "uint32") and (whole or 0) > 2**30)
    arrow = "int64" if narrow else arrow  # keys that are counted on may outgrow the upload's type
    return _entry(seen, "identifier", arrow, reason, pattern=patterns.fit(text, filled, whole))


def _text(seen: Observed, reason: str) -> Column:
    sizes = np.concatenate(seen.words) if seen.words else np.ones((1, 2))
    counts = np.quantile(sizes[:, 1], np.linspace(0, 1, 21)).round().astype(int)
    return _entry(seen, "text", "string", reason, words=counts.tolist())
