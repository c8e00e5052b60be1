"""What the API shows of a dataset's schema: of long lists of levels the beginning. Jobs are told all of them."""

from collections.abc import Mapping
from typing import Any

LEVELS_SHOWN, LEVELS_LISTED = 1_000, 20  # of a column, in answers about one thing and in lists of things


def shown(schema: Mapping[str, Any], levels: int = LEVELS_SHOWN) -> dict[str, Any]:
    """The schema with at most so many levels a column; where there are more, `levels_count` says how many."""
    if "columns" not in schema:
        return dict(schema)
    return {**schema, "columns": [_cut(column, levels) for column in schema["columns"]]}


def _cut(column: Mapping[str, Any], levels: int) -> dict[str, Any]:
    count = len(column.get("levels") or ())
    if count <= levels:
        return dict(column)
    return {**column, "levels": column["levels"][:levels], "levels_count": count, "levels_truncated": True}
