"""What type each column has, and why: the rules that read what a pass over the data has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected
from workers.modalities.table import entries, overrides, personal, telling
from workers.modalities.table.entries import Column
from workers.modalities.table.observe import MAX_LEVELS, Observed

# Rows that share a level, or it is never published, learned or drawn: it may be someone's own. Fewer do in small
# tables: one for every ROWS_A_LEAST rows, and so all of them from 200 rows on.
LEAST, SMALL_LEAST = 5, 2
ROWS_A_LEAST = 40
STRANGE_SHARE = 0.02  # of the rows: words among numbers that are read as missing
NAME = r"^\p{Lu}[\p{L}'’-]*\p{Ll}( \p{Lu}\.)?( \p{Lu}[\p{L}'’-]*\p{Ll}){1,2}$"  # a personal name, or much like it

__all__ = ["LEAST", "Column", "decide", "least_for", "least_rows", "publishable"]


def least_for(rows: int, wanted: int | None) -> int:
    """How many rows must share a level in a table of so many, if its user does not say."""
    return wanted or min(LEAST, max(SMALL_LEAST, rows // ROWS_A_LEAST))


def decide(seen: Observed, wanted: str | None, least: int = LEAST) -> Column:
    """The column's entry in the public schema; `least` rows must share a level. `warnings` in it are for its user.
    Raises Rejected for a wish that the data cannot meet."""
    if wanted is not None:
        column = overrides.meet(seen, wanted, least)
    elif not seen.filled:
        arrow = "string" if seen.textual else str(seen.kind)
        column = entries.entry(seen, "constant", arrow, "Every value is missing.", value=None)
    else:
        column = _typed(seen) if not seen.textual else _written(seen, least)
    column = telling.guarded(seen, column, least)
    if "levels" in column:
        column["min_rows"] = 1 if column["type"] == "boolean" else least
    if seen.tokens:
        tokens = {token: count for token, count in seen.missing.items() if token}
        column["missing_token"] = (
            max(tokens, key=lambda token: tokens[token]) if tokens and "" not in seen.missing else ""
        )
    return column


def least_rows(column: Column) -> int:
    """How many training rows a level of this column needs; true and false are nobody's secret."""
    return 1 if column["type"] == "boolean" else int(column.get("min_rows", LEAST))


def publishable(column: Column, counts: Mapping[Any, int]) -> Column:
    """The column without the values that too few training rows share; `counts` are those of its levels or its value."""
    least = least_rows(column)
    column, private = telling.without_mark(column)
    if column["type"] == "constant" and column.get("value") is not None and sum(counts.values()) < min(least, 2):
        return column | {"value": None, "nullable": True, "missing": 1.0, "reason": "A single row has a value."}
    if "levels" not in column:
        return column
    levels = [level for level in column["levels"] if counts.get(level, 0) >= least]
    if levels or column["type"] == "boolean":
        return _pooled(column | {"levels": levels}, counts, len(column["levels"]) - len(levels), private)
    bare = {key: value for key, value in column.items() if key not in ("levels", "min_rows")}
    if column["type"] != "category":
        return bare
    gone = {"type": "constant", "value": None, "nullable": True, "missing": 1.0}
    return bare | gone | {"reason": f"No {least} training rows share a value."}


def _pooled(column: Column, counts: Mapping[Any, int], levels: int, private: int) -> Column:
    """The column with how many of its levels are too rare or too telling to be shown, and how many training rows have
    one of them."""
    if not levels + private:
        return column
    rows = sum(counts.values()) - sum(counts.get(level, 0) for level in column["levels"])
    rare = f" Fewer than {column['min_rows']} training rows have each of {levels} of them; these are drawn as others."
    own = f" {private} hold somebody's address, account or telephone and are not shown or drawn."
    told = (rare if levels else "") + (own if private else "")
    why = column["reason"] + (told if column["type"] == "category" else "")
    return column | {"pooled": {"levels": levels + private, "rows": rows}, "reason": why}


def _typed(seen: Observed) -> Column:
    """A column whose type the file states."""
    arrow = str(seen.kind)
    if pa.types.is_null(seen.kind):
        return entries.entry(seen, "constant", "string", "Every value is missing.", value=None)
    if seen.counts.size() == 1 and not pa.types.is_temporal(seen.kind):
        return _alone(seen)
    if pa.types.is_boolean(seen.kind):
        levels = entries.ordered(seen.levels or {})
        return entries.entry(seen, "boolean", arrow, "The file says so.", levels=levels)
    if column := entries.moment(seen):
        return column
    if entries.whole(seen) and (found := personal.find(entries.own(seen))):
        return entries.someones(seen, found)
    if pa.types.is_integer(seen.kind) and (why := entries.key_like(seen)):
        return entries.identifier(seen, arrow, why)
    column = entries.number(seen)
    if column is None:
        raise Rejected(
            "unsupported_column", f"Column {seen.name!r} holds values of type {arrow}, which cannot be read."
        )
    return column


def _alone(seen: Observed) -> Column:
    """A column with a single value: made up where it is somebody's own. What a single row has is not shown anyway."""
    own = seen.filled > 1 and (seen.textual or entries.whole(seen))
    found = personal.find(entries.own(seen)) if own else None
    return entries.someones(seen, found) if found else entries.constant(seen)


def _written(seen: Observed, least: int) -> Column:
    """A column of text: whatever its text says."""
    if seen.counts.size() == 1 and not seen.maybe:
        return _alone(seen)
    if seen.tokens and (column := entries.boolean(seen)):
        return column
    few = seen.numbers.strange_rows <= STRANGE_SHARE * seen.filled
    if seen.numbers.some and few:
        return _written_number(seen)
    if column := entries.moment(seen):
        return column
    if found := personal.find(entries.own(seen)):
        return entries.someones(seen, found)
    column = _words(seen, least)
    if seen.numbers.some:
        share = seen.numbers.strange_rows / max(1, seen.filled)
        column["warnings"] = [
            f"Column {seen.name!r} mixes numbers with words (in {share:.0%} of the rows), so it is read as "
            f"{column['type']}; with type float the words are read as missing."
        ]
    elif seen.numbers.beyond:
        column["warnings"] = [f"Column {seen.name!r} holds whole numbers of more than 64 bits; they are read as text."]
    return column


def _written_number(seen: Observed) -> Column:
    if entries.whole(seen) and (found := personal.find(entries.own(seen))):
        return entries.someones(seen, found)
    whole = seen.numbers.integer and not seen.numbers.strange
    if whole and not seen.maybe and (why := entries.key_like(seen)):
        return entries.identifier(seen, "int64" if seen.tokens else "string", why)
    column = entries.number(seen)
    if column is None:
        raise TypeError("a column of numbers holds none")
    if odd := column.get("unreadable"):
        column["warnings"] = [
            f"{odd} values of column {seen.name!r} are no numbers and were read as missing; with type category or text "
            "they stay."
        ]
    return column


def _words(seen: Observed, least: int) -> Column:
    filled, distinct = seen.filled, seen.distinct()
    share = distinct / max(1, filled)
    sizes = np.concatenate(seen.words) if seen.words else np.ones((1, 2))
    words = float(sizes[:, 1].mean())
    if filled >= 20 and seen.unique_share() >= 0.98 and words < 1.5 and sizes[:, 0].max() <= 64:
        return entries.identifier(seen, "string", "Nearly every value is unique and a single word.")
    if seen.levels is None:
        return entries.text(seen, f"There are more than {MAX_LEVELS} different values.")
    if not entries.shared(seen, least):
        return entries.text(seen, f"No {least} rows share a value." if share < 1 else "Every value is different.")
    if filled < personal.FEW_NAMES * distinct and _mostly(seen, NAME):
        return entries.text(seen, "Most values read like names of people, and few rows share one.")
    if distinct > entries.FEW_LEVELS and filled >= 20:
        if share > 0.4 or (words >= 4 and share > 0.3):
            return entries.text(seen, f"{distinct} of {filled} values are different.")
        if (part := entries.covered(seen, least)) < telling.COVERED:
            return entries.text(seen, f"Only {part:.0%} of the rows have a value that {least} of them share.")
    if filled < 20 and share == 1 and words >= 3:
        return entries.text(seen, "Every value is different and made of several words.")
    return entries.category(seen, f"{distinct} different values.")


def _mostly(seen: Observed, pattern: str) -> bool:
    """Whether four in five of the different values are of this form."""
    values = pc.utf8_trim_whitespace(pa.array(list(seen.levels or {}), pa.string()))
    return bool(pc.mean(pc.match_substring_regex(values, pattern).cast(pa.float64())).as_py() >= 0.8)
