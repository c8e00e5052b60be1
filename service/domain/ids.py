"""Ids: a prefix that says what it is, then a ULID, so that ids sort by time."""

from typing import Literal

from ulid import ULID

Prefix = Literal["ds", "job", "unit", "mdl", "prj", "key", "up", "req", "wrk"]


def new_id(prefix: Prefix) -> str:
    return f"{prefix}_{str(ULID()).lower()}"
