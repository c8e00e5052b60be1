"""Types that a user asks for: the column's entry as wished, or a refusal that says why it cannot be so."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from service.errors import Rejected
from workers.modalities.table import entries, personal
from workers.modalities.table.entries import Column
from workers.modalities.table.observe import MAX_LEVELS, Observed

Wish = Callable[[Observed, int], Column]
REASON = "The upload's options say so."


def meet(seen: Observed, wanted: str, least: int) -> Column:
    """Raises Rejected if the values cannot be read so."""
    if not seen.filled and not wanted.startswith("personal"):
        return entries.entry(seen, "constant", entries.plain_arrow(seen), "Every value is missing.", value=None)
    kind, _, entity = wanted.partition(":")
    if kind == "personal":
        return _personal(seen, entity or None)
    return WISHES[kind](seen, least) | {"reason": REASON} if kind in PLAIN else WISHES[kind](seen, least)


def _refused(seen: Observed, wanted: str, why: str) -> Rejected:
    return Rejected("invalid_options", f"Column {seen.name!r} cannot be of type {wanted}: {why}")


def _personal(seen: Observed, entity: str | None) -> Column:
    if not (seen.textual or pa.types.is_integer(seen.kind)):
        raise _refused(seen, "personal", f"it holds values of type {seen.kind}, not text.")
    found = personal.wanted(entries.own(seen), entity)
    if found is None:
        raise _refused(seen, "personal", "say what it holds, such as 'personal:name' or 'personal:email'.")
    return entries.someones(seen, found)


def _category(seen: Observed, least: int) -> Column:
    if not _nameable(seen.kind, "category"):
        raise _refused(seen, "category", f"it holds values of type {seen.kind}.")
    if entries.shared(seen, least):
        return entries.category(seen, REASON)
    why = f"it has more than {MAX_LEVELS} different values" if seen.levels is None else f"no {least} rows share a value"
    warning = f"Column {seen.name!r} was to be a category, but {why}; its values are made up afresh."
    reason = f"It was to be a category, but {why}."
    column = entries.text(seen, reason) if seen.textual else _key(seen, reason)
    return column | {"warnings": [warning]}


def _key(seen: Observed, reason: str) -> Column:
    return entries.identifier(seen, entries.plain_arrow(seen), reason)


def _boolean(seen: Observed, least: int) -> Column:
    column = entries.boolean(seen) if seen.textual else None
    if column:
        return column
    levels = {level: count for level, count in (seen.levels or {}).items() if level not in seen.maybe}
    if seen.levels is None or len(levels) > 2 or not _nameable(seen.kind, "category"):
        raise _refused(seen, "boolean", "it has more than two different values.")
    if entries.whole_text(seen):
        whole = {int(level): count for level, count in levels.items()}
        return entries.entry(seen, "boolean", "int64", REASON, levels=entries.ordered(whole))
    return entries.category(seen, REASON) | {"type": "boolean"}


def _constant(seen: Observed, least: int) -> Column:
    if seen.levels is None or len(seen.levels) != 1:
        raise _refused(seen, "constant", "it has several different values.")
    return entries.constant(seen)


def _identifier(seen: Observed, least: int) -> Column:
    if not _nameable(seen.kind, "identifier"):
        raise _refused(seen, "identifier", f"it holds values of type {seen.kind}.")
    arrow = entries.plain_arrow(seen)
    if entries.whole_text(seen):
        entries.forget_maybe(seen)
        arrow = "int64"
    return entries.identifier(seen, arrow, REASON)


def _text(seen: Observed, least: int) -> Column:
    if not seen.textual:
        raise _refused(seen, "text", f"it holds values of type {seen.kind}.")
    return entries.text(seen, REASON)


def _number(seen: Observed, wanted: str) -> Column:
    column = entries.number(seen, REASON)
    if column is None:
        raise _refused(seen, wanted, "not all of its values are numbers.")
    if wanted == "integer" and column["type"] != "integer":
        raise _refused(seen, wanted, "some of its numbers are not whole.")
    if odd := column.get("unreadable"):
        column["warnings"] = [f"{odd} values of column {seen.name!r} are no numbers and were read as missing."]
    if wanted == "float" and column["type"] == "integer":
        column |= {"type": "float", "decimals": 0, "fixed": False, "comma": False}
    return column


def _moment(seen: Observed, wanted: str) -> Column:
    column = entries.moment(seen, lasting=wanted == "duration")
    if column is None:
        raise _refused(seen, wanted, "not all of its values read as one in the same format.")
    if column["type"] != wanted:
        raise _refused(seen, wanted, f"its values read as {column['type']}.")
    return column


def _nameable(kind: pa.DataType, wanted: str) -> bool:
    """Whether values of this type can be levels, or keys, of a schema that is JSON."""
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return True
    return wanted != "identifier" and (pa.types.is_boolean(kind) or pa.types.is_floating(kind))


def _of(read: Callable[[Observed, str], Column], wanted: str) -> Wish:
    return lambda seen, least: read(seen, wanted)


PLAIN = ("boolean", "constant", "date", "datetime", "time", "duration")
WISHES: dict[str, Wish] = {
    "category": _category,
    "boolean": _boolean,
    "constant": _constant,
    "identifier": _identifier,
    "text": _text,
    **{kind: _of(_number, kind) for kind in ("integer", "float")},
    **{kind: _of(_moment, kind) for kind in ("date", "datetime", "time", "duration")},
}
