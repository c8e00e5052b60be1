"""Pairs of columns that are a place on the earth: a latitude and a longitude."""

from __future__ import annotations

from workers.modalities.table.entries import Column
from workers.modalities.table.personal import words_of

LATITUDES, LONGITUDES = ("lat", "latitude"), ("lon", "lng", "long", "longitude")


def marked(columns: list[Column]) -> list[Column]:
    """The columns, with `geo: {"role", "with"}` in both of each pair: of the same name but for the word that says
    which it is, and within the range of its kind."""
    north = {rest: c["name"] for c in columns if (rest := _rest(c, LATITUDES, 90)) is not None}
    east = {rest: c["name"] for c in columns if (rest := _rest(c, LONGITUDES, 180)) is not None}
    pairs = {north[rest]: ("latitude", east[rest]) for rest in north if rest in east}
    pairs |= {east[rest]: ("longitude", north[rest]) for rest in north if rest in east}
    return [
        column | {"geo": dict(zip(("role", "with"), pairs[column["name"]], strict=True))}
        if column["name"] in pairs
        else column
        for column in columns
    ]


def _rest(column: Column, words: tuple[str, ...], limit: int) -> str | None:
    """What is left of the column's name without the word; None if it is no such column."""
    if column["type"] != "float" or max(-column["minimum"], column["maximum"]) > limit:
        return None
    parts = words_of(column["name"]).split("_")
    found = next((part for part in reversed(parts) if part in words), None)
    if found is None:
        return None
    parts.reverse()
    parts.remove(found)
    return "_".join(reversed(parts))
