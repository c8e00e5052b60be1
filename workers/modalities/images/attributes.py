"""What is known of pictures beside their pixels: columns of values, by picture, and of which type each is."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAXIMUM_COLUMNS = 64
MAXIMUM_LEVELS = 1_000  # of a category
HELD_LEVELS = 100_000  # different values that are remembered of a column
FEW_NUMBERS = 20  # so many different numbers, or fewer, are a category
TRUTHS = {("false", "true"), ("no", "yes"), ("0", "1"), ("-1", "1"), ("f", "t"), ("n", "y")}


@dataclass(frozen=True)
class Column:
    """The values of one column by picture."""

    name: str
    levels: list[str] | None  # in order of first sight; None where there are too many
    codes: NDArray[np.int32]  # index into `levels`, -1 for missing
    numbers: NDArray[np.float32] | None  # NaN for missing; None where some value is no number

    def seen(self, among: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many of these pictures have each level."""
        return np.bincount(self.codes[among & (self.codes >= 0)], minlength=len(self.levels or ()))


@dataclass(frozen=True)
class Attributes:
    """The columns that are kept beside each picture."""

    described: list[dict[str, Any]]  # [{"name", "type": boolean | category | number, "levels" | "minimum", "maximum"}]
    values: NDArray[np.float32]  # (pictures, columns): 0 or 1, the level's index, or the number; NaN for missing


def number(value: str) -> float | None:
    """The finite number that the text is."""
    try:
        found = float(value) if len(value) < 40 and "_" not in value else None
    except ValueError:
        return None
    return found if found is not None and abs(found) < 3e38 else None


class _Growing:
    """One column, value after value; a few bytes for each picture."""

    def __init__(self, missing: int) -> None:
        self.levels: dict[str, int] = {}
        self.codes = array("i", [-1]) * missing
        self.numbers = array("f", [float("nan")]) * missing
        self.known = array("f")  # the levels as numbers
        self.many = self.words = False

    def add(self, value: str | None) -> None:
        code, as_number = -1, float("nan")
        if value is not None:
            code = self.levels.get(value, -1)
            if code < 0:
                stated = number(value)
                self.words |= stated is None
                as_number = float("nan") if stated is None else stated
                code = self._new(value, as_number)
            else:
                as_number = self.known[code]
        self.codes.append(code)
        self.numbers.append(as_number)

    def _new(self, value: str, as_number: float) -> int:
        if len(self.levels) >= HELD_LEVELS:
            self.many = True
            return -1
        self.known.append(as_number)
        return self.levels.setdefault(value, len(self.levels))

    def column(self, name: str) -> Column:
        numbers = None if self.words else np.array(self.numbers, np.float32)
        return Column(name, None if self.many else list(self.levels), np.array(self.codes, np.int32), numbers)


class Gathered:
    """Columns that grow picture by picture."""

    def __init__(self) -> None:
        self.rows = 0
        self.left_out: set[str] = set()  # names beyond the limit, some of them
        self._columns: dict[str, _Growing] = {}

    def add(self, told: Mapping[str, str]) -> None:
        """What is told of the next picture."""
        for name in told:
            if name not in self._columns:
                if len(self._columns) < MAXIMUM_COLUMNS:
                    self._columns[name] = _Growing(self.rows)
                elif len(self.left_out) < MAXIMUM_COLUMNS:
                    self.left_out.add(name)
        for name, column in self._columns.items():
            column.add(told.get(name))
        self.rows += 1

    def columns(self) -> list[Column]:
        return [column.column(name) for name, column in self._columns.items()]


def natural(name: str) -> tuple[int, int, str]:
    """Numbers in their order, then names."""
    digits = name.removeprefix("-")
    return (0, int(name), name) if digits.isascii() and digits.isdigit() and len(name) < 18 else (1, 0, name)


def shown(levels: list[str]) -> list[str]:
    """Levels as people wrote them: 1.0 and 2.0, which pandas makes of integers beside missing values, are 1 and 2."""
    stated = [number(level) for level in levels]
    if all(level.endswith(".0") and value is not None for level, value in zip(levels, stated, strict=True)):
        return [level[:-2] for level in levels]
    return levels


def described(columns: list[Column], among: NDArray[np.bool_], warnings: list[str]) -> Attributes | None:
    """The columns that tell something of these pictures, typed; None where there are none."""
    kept, values = list[dict[str, Any]](), list[NDArray[np.float32]]()
    for column in columns:
        found = _typed(column, among)
        if found is None:
            warnings.append(
                f"The column '{column.name[:60]}' has too many different values to be an attribute; it was left out."
            )
        elif found[0]["type"] != "constant":
            kept.append({"name": column.name, **found[0]})
            values.append(found[1])
    return Attributes(kept, np.stack(values, 1)) if kept else None


def _typed(column: Column, among: NDArray[np.bool_]) -> tuple[dict[str, Any], NDArray[np.float32]] | None:
    """(type and what goes with it, values); None for words that hardly repeat."""
    numeric = column.numbers is not None
    counted = None if column.levels is None else column.seen(among)
    levels = 0 if counted is None else int((counted > 0).sum())
    if counted is not None and column.levels is not None and levels <= MAXIMUM_LEVELS:
        if levels < 2:
            return {"type": "constant"}, np.zeros(0, np.float32)
        if not numeric or levels <= FEW_NUMBERS:
            return _levelled(column, counted)
    if not numeric or column.numbers is None:
        return None
    inside = column.numbers[among & ~np.isnan(column.numbers)]
    bounds = {"minimum": float(inside.min()), "maximum": float(inside.max())}
    return {"type": "number", **bounds}, column.numbers


def _levelled(column: Column, counted: NDArray[np.int64]) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """A category or a boolean: its values are the places of its levels in their natural order."""
    names = column.levels or []
    used = [index for index in range(len(names)) if counted[index]]
    plain = dict(zip(used, shown([names[index] for index in used]), strict=True))
    order = sorted(used, key=lambda index: natural(plain[index]))
    place = np.full(len(names) + 1, np.nan, np.float32)  # the last for -1: missing
    place[order] = np.arange(len(order))
    values = place[column.codes]
    levels = [plain[index] for index in order]
    if tuple(level.lower() for level in levels) in TRUTHS:
        return {"type": "boolean", "levels": levels}, values
    return {"type": "category", "levels": levels}, values


def told(attributes: Attributes, among: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The attributes for a profile: how many pictures have each level, or the quartiles, and how many have none."""
    out = []
    for index, one in enumerate(attributes.described):
        values = attributes.values[among, index]
        missing = np.isnan(values)
        entry = {"name": one["name"], "type": one["type"], "missing": int(missing.sum())}
        if "levels" in one:
            counted = np.bincount(values[~missing].astype(np.int64), minlength=len(one["levels"]))
            entry["counts"] = dict(zip(one["levels"], counted.tolist(), strict=True))
        elif not missing.all():
            entry["quantiles"] = [float(q) for q in np.quantile(values[~missing], (0, 0.25, 0.5, 0.75, 1))]
        out.append(entry)
    return out
