"""What rows can be asked to meet, column by column: JSON in, values in storage units out. Torch-free and numpy-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from service.domain.modality import Conditions, Schema
from service.errors import InvalidCondition, InvalidRequest
from workers.modalities.conditions import Condition, Objection, OneOf, Range, Shares, Value, assign, read
from workers.modalities.table.axes import KINDS, Axis
from workers.modalities.table.contradictions import against_rules

__all__ = [
    "Condition", "OneOf", "Range", "Shares", "Value",
    "assign", "check_conditions", "check_given", "parse", "same_level",
]  # fmt: skip

UNLEARNED = {
    "identifier": "a key, made anew in each row",
    "text": "free text, of which nothing is learned",
    "personal": "personal data, made up in each row",
}
SHOWN = 8


def parse(schema: Schema, conditions: Conditions) -> dict[str, Condition]:
    """Each column's condition, in the values of its storage type: text, bool, int, float, date, datetime (as it stands
    in the column, without a zone); whole microseconds of a time of day or a duration; None for missing. Ranges are
    closed, within the column's bounds and on its grid; of a column with levels they become the levels within. Raises
    InvalidCondition, with an error for each condition that no row can be asked to meet."""
    columns = {column["name"]: column for column in schema["columns"]}
    found: dict[str, Condition] = {}
    errors = []
    for name, given in conditions.items():
        try:
            found[name] = _condition(columns.get(name), given)
        except Objection as objection:
            errors.append({"path": f"conditions.{name}", "message": str(objection)})
    if errors:
        raise InvalidCondition(errors[0]["message"], errors=errors)
    shared = {name: condition for name, condition in found.items() if isinstance(condition, Shares)}
    return found | {name: replace(shared[name], place=place) for place, name in enumerate(sorted(shared))}


def check_conditions(schema: Schema, conditions: Conditions, config: Mapping[str, Any]) -> None:
    """Raises InvalidCondition, with an error for each condition that no row of this schema can be asked to meet, or
    none that keeps the rules of the model's training."""
    found = parse(schema, conditions)
    errors = against_rules(schema["columns"], config.get("constraints") or (), found) if found else []
    if errors:
        listed = [{"path": f"conditions.{name}", "message": message} for name, message in errors]
        raise InvalidCondition(listed[0]["message"], errors=listed)


def check_given(schema: Schema, given: Schema) -> None:
    """Raises InvalidRequest for rows to complete that have a column which rows of this schema do not have."""
    known = {column["name"] for column in schema["columns"]}
    unknown = [column["name"] for column in given["columns"] if column["name"] not in known]
    if unknown:
        more = f", nor {len(unknown) - 1} others" if len(unknown) > 1 else ""
        message = f"The model has no column {unknown[0]!r}{more}; rows to complete have some of its columns."
        raise InvalidRequest(message, errors=[{"path": "given", "message": message}])


def same_level(level: Any, value: Any) -> bool:
    """Whether a condition's value names this level: as itself, or as text (a command line knows nothing else)."""
    if isinstance(value, str) and not isinstance(level, str):
        return str(level).lower() == value.lower()
    return (type(level) is type(value) and bool(level == value)) or (_is_number(level, value) and level == value)


def _is_number(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _condition(column: Mapping[str, Any] | None, given: Any) -> Condition:
    if column is None:
        raise Objection("The dataset has no column of this name.")
    kind = column["type"]
    if kind in UNLEARNED:
        if given is None and column["nullable"]:
            return Value(None)
        raise Objection(f"The column is {UNLEARNED[kind]}; no value of it can be asked for.")
    if kind == "constant":
        levels = _Levels([column.get("value")] if column.get("value") is not None else [])
        return read(given, _or_missing(column, levels.one))
    axis = KINDS[kind](column) if kind in KINDS else None
    if axis is None:
        return read(given, _or_missing(column, _Levels(column.get("levels") or ()).one), _unordered(column))
    if "levels" in column:
        numbers = _Numbers(column["levels"], axis)
        return read(given, _or_missing(column, numbers.one), numbers.between)
    return read(given, _or_missing(column, axis.one), axis.between)


def _or_missing(column: Mapping[str, Any], one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def found(given: Any) -> Any:
        if given is not None:
            return one(given)
        if not column["nullable"]:
            raise Objection("The column is never missing, so it cannot be asked to be.")
        return None

    return found


def _unordered(column: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Condition] | None:
    """Levels may be called "min" and "max": then such a mapping gives them shares."""
    if any(level in ("min", "max", "above", "below") for level in column.get("levels") or ()):
        return None

    def refuse(ends: Mapping[str, Any]) -> Condition:
        raise Objection(f'The column is of type {column["type"]}, whose values have no order; write {{"in": [...]}}.')

    return refuse


class _Levels:
    """The levels of a column, found at once however many there are; nothing is made of them until it is needed."""

    def __init__(self, levels: Sequence[Any]) -> None:
        self._levels = levels

    @cached_property
    def _as_such(self) -> dict[Any, Any]:
        return {_key(level): level for level in self._levels}

    @cached_property
    def _as_text(self) -> dict[str, Any]:
        return {str(level).lower(): level for level in self._levels if not isinstance(level, str)}

    def one(self, given: Any) -> Any:
        key = _key(given)
        if key in self._as_such:
            return self._as_such[key]
        if isinstance(given, str) and given.lower() in self._as_text:
            return self._as_text[given.lower()]
        shown = ", ".join(str(level)[:60] for level in self._levels[:SHOWN])
        more = " and more" if len(self._levels) > SHOWN else ""
        raise Objection(f"The column has no level {str(given)[:60]!r}; its levels are {shown or 'none'}{more}.")


class _Numbers(_Levels):
    """The levels of a column of numbers, which have an order."""

    def __init__(self, levels: Sequence[Any], axis: Axis) -> None:
        super().__init__(levels)
        self._axis = axis

    @cached_property
    def _by_number(self) -> list[tuple[Fraction, Any]]:
        return sorted((self._axis.number(level), level) for level in self._levels)

    def between(self, ends: Mapping[str, Any]) -> Condition:
        low, high = self._axis.ends(ends)
        within = tuple(
            level for x, level in self._by_number if (low is None or low <= x) and (high is None or x <= high)
        )
        if not within:
            shown = ", ".join(str(level) for _, level in self._by_number[:SHOWN])
            raise Objection(f"No value of the column lies in this range; it has {shown}.")
        return Value(within[0]) if len(within) == 1 else OneOf(within)


def _key(level: Any) -> Any:
    """By which equal levels are equal: 1 and 1.0 are, 1 and true are not."""
    return (bool, level) if isinstance(level, bool) else level
