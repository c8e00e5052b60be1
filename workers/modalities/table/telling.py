"""Levels and constants that hold somebody's e-mail address, account or telephone, alone or within other words: they are
never shown, learned or made, whatever many rows share them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table import entries, forms, personal
from workers.modalities.table.entries import Column
from workers.modalities.table.observe import Observed

COVERED = 0.5  # of the rows that the levels that are left must have, or the column is text
MAYBE = r"@|\d{4}|(\d[ ()./-]*){7}"  # what any of them has


def telling(values: Iterable[Any]) -> set[Any]:
    """Those that hold something that is somebody's own."""
    spoken = {str(value): value for value in values if isinstance(value, str | int) and not isinstance(value, bool)}
    texts = pa.array(list(spoken), pa.string())
    maybe = texts.filter(pc.match_substring_regex(texts, MAYBE)).to_pylist()
    return {spoken[text] for text in maybe if _tells(text)}


def _tells(text: str) -> bool:
    if forms.EMAIL_WITHIN.search(text) or forms.SSN_WITHIN.search(text):
        return True
    if any(forms.dialled_clearly(found[0]) for found in forms.PHONE_WITHIN.finditer(text)):
        return True
    if any(forms.issued(found[0]) for found in forms.CARD_WITHIN.finditer(text)):
        return True
    return any(forms.iban_at_start(found[0]) for found in forms.IBAN_WITHIN.finditer(text.upper()))


def guarded(seen: Observed, column: Column, least: int) -> Column:
    """The column without levels that tell; made up as a whole where little or nothing is left."""
    held = [column.get("value")] if column["type"] == "constant" else column.get("levels", ())
    if column["type"] not in ("constant", "category", "boolean") or not (gone := telling(held)):
        return column
    what = f"{len(gone)} of its values hold e-mail addresses, account, card, telephone or social security numbers"
    left = [level for level in held if level not in gone]
    counts = [(seen.levels or {}).get(level, 0) for level in left]
    if column["type"] == "category" and max(counts, default=0) >= least and sum(counts) >= COVERED * seen.filled:
        told = f"{what}; these are never shown or learned, and drawn as others."
        warnings = [*column.get("warnings", ()), f"Column {seen.name!r}: {told}"]
        return column | {"levels": left, "private": len(gone), "warnings": warnings}
    warning = f"Column {seen.name!r} cannot be learned: {what}. Its values are made up afresh."
    if found := personal.strictly(entries.own(seen)):
        return entries.someones(seen, found) | {"warnings": [warning]}
    made = entries.text if seen.textual else _key
    return made(seen, f"{what}.") | {"warnings": [warning]}


def _key(seen: Observed, reason: str) -> Column:
    return entries.identifier(seen, entries.plain_arrow(seen), reason)


def without_mark(column: Column) -> tuple[Column, int]:
    """The column as it is shown, and how many levels were dropped from it."""
    return {key: value for key, value in column.items() if key != "private"}, int(column.get("private", 0))
