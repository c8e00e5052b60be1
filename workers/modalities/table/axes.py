"""Where the values of a column with an order lie on a line: numbers, dates, times, durations. Torch-free, numpy-free.

Values are exact fractions, so that grids, bounds and the ends of ranges are met exactly."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from fractions import Fraction
from functools import cached_property
from typing import Any

from workers.modalities.conditions import Condition, Objection, Range

MICRO = 1_000_000
MINUTE, DAY = 60 * MICRO, 86_400 * MICRO
UNITS = {
    DAY: "days", 60 * MINUTE: "hours", MINUTE: "minutes", MICRO: "seconds", 1000: "milliseconds", 1: "microseconds",
}  # fmt: skip
STARTS = {"ms": 1000, "mill": 1000, "m": MINUTE, "s": MICRO, "h": 60 * MINUTE, "d": DAY, "w": 7 * DAY}
MIDNIGHT = datetime(1970, 1, 1)
WHOLE = re.compile(r"\s*[+-]?\d{1,30}\s*")
LASTING = (  # sign, days, hours, minutes, seconds: "1 day, 02:30:00", "-0:30", "3d"; "P1DT2H30M"
    re.compile(r"(-)?(?:(\d{1,9}) ?(?:d|days?)\b,? ?)?(?:(\d{1,9}):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?)?"),
    re.compile(r"(-)?P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,6})?)S)?)?"),
)


@dataclass(frozen=True)
class Axis:
    """Where the values of a column lie on a line: exact numbers, so that grids and ends are met exactly."""

    column: Mapping[str, Any]
    number: Callable[[Any], Fraction]  # of a value in JSON; raises Objection
    value: Callable[[Fraction], Any]  # in storage units
    step: Fraction | None  # all values are multiples of it
    grid: str = ""  # the same in words
    words: Callable[[Fraction], str] | None = None  # a value for people, where it is not what is stored

    def one(self, given: Any) -> Any:
        x = self.number(given)
        if self.step and x % self.step:
            raise Objection(f"{_shown(given)} is never seen here: {self.grid}.")
        low, high = self.bounds
        if (low is not None and x < low) or (high is not None and x > high):
            raise Objection(f"{_shown(given)} was never seen: the column's values lie {self._from(low, high)}.")
        return self._stored(x)

    def between(self, given: Mapping[str, Any]) -> Condition:
        asked, seen = self.ends(given), self.bounds
        low = max((x for x in (asked[0], seen[0]) if x is not None), default=None)
        high = min((x for x in (asked[1], seen[1]) if x is not None), default=None)
        if low is not None and high is not None and low > high:
            raise Objection(f"No value of the column lies in this range; they lie {self._from(*seen)}.")
        return Range(*(None if x is None else self._stored(x) for x in (low, high)))

    @cached_property
    def bounds(self) -> tuple[Fraction | None, Fraction | None]:
        """Of the training data, where the schema tells."""
        ends = (self.column.get(end) for end in ("minimum", "maximum"))
        stored = Fraction if self.words else self.number  # times and durations are counted in microseconds
        low, high = (None if end is None else stored(end) for end in ends)
        return low, high

    def ends(self, given: Mapping[str, Any]) -> tuple[Fraction | None, Fraction | None]:
        """First and last value that a range allows, on the grid if there is one."""
        if {"min", "above"} <= given.keys() or {"max", "below"} <= given.keys():
            raise Objection("A range has one lower and one upper end.")
        if None in given.values():
            raise Objection("An end of a range that is open is left out.")
        x = {word: self.number(end) for word, end in given.items()}
        low = x["min"] if "min" in x else self._after(x["above"], 1) if "above" in x else None
        high = x["max"] if "max" in x else self._after(x["below"], -1) if "below" in x else None
        if self.step:
            low = None if low is None else math.ceil(low / self.step) * self.step
            high = None if high is None else math.floor(high / self.step) * self.step
        if low is not None and high is not None and low > high:
            raise Objection("The range ends before it begins, or holds no value that the column can have.")
        return low, high

    def _after(self, x: Fraction, way: int) -> Fraction:
        """The next number that the column can have above x, or below."""
        if self.step:
            steps = x / self.step
            return (math.floor(steps) + 1 if way > 0 else math.ceil(steps) - 1) * self.step
        try:
            found = math.nextafter(float(x), way * math.inf)
        except OverflowError:
            raise Objection("This is beyond what the column can hold.") from None
        if math.isinf(found):
            raise Objection("No number lies beyond this one.")
        return Fraction(found)

    def _stored(self, x: Fraction) -> Any:
        try:
            return self.value(x)
        except (OverflowError, ValueError):
            raise Objection("This is beyond what the column can hold.") from None

    def _from(self, low: Fraction | None, high: Fraction | None) -> str:
        ends = [(word, x) for word, x in (("from", low), ("to", high)) if x is not None]
        return " ".join(f"{word} {(self.words or self.value)(x)}" for word, x in ends) or "elsewhere"


def _shown(given: Any) -> str:
    return str(given)[:60]


def _integers(column: Mapping[str, Any]) -> Axis:
    def number(given: Any) -> Fraction:
        if isinstance(given, str) and WHOLE.fullmatch(given):
            return Fraction(int(given))
        return _number(given)

    return Axis(column, number, _int64, Fraction(1), "its values are whole numbers")


def _int64(x: Fraction) -> int:
    """Raises OverflowError beyond 64 bits."""
    if not -(2**63) <= x < 2**63:
        raise OverflowError
    return int(x)


def _floats(column: Mapping[str, Any]) -> Axis:
    decimals = column.get("decimals")
    if decimals is None:
        return Axis(column, _number, float, None)
    words = f"its values have up to {decimals} decimals" if decimals else "its values are whole numbers"
    return Axis(column, _number, float, Fraction(1, 10**decimals), words)


def _number(given: Any) -> Fraction:
    """The number as it is written: .1 is a tenth."""
    if isinstance(given, int) and not isinstance(given, bool):
        return Fraction(given)
    try:
        found = float(given) if isinstance(given, str | float) and not isinstance(given, bool) else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise Objection(f"The column holds numbers, and {_shown(given)!r} is none.")
    return Fraction(repr(found))


def _dates(column: Mapping[str, Any]) -> Axis:
    def number(given: Any) -> Fraction:
        found = _moment(given, column)
        if found.time() != time():
            raise Objection(f"{_shown(given)} is never seen here: the column holds dates without a time.")
        return Fraction(found.date().toordinal())

    return Axis(column, number, lambda x: date.fromordinal(int(x)), Fraction(1), "its values are dates")


def _datetimes(column: Mapping[str, Any]) -> Axis:
    step, words = _finest(column)
    return Axis(
        column,
        lambda given: Fraction((_moment(given, column) - MIDNIGHT) // timedelta(microseconds=1)),
        lambda x: MIDNIGHT + timedelta(microseconds=int(x)),
        Fraction(step),
        f"its times are in whole {words}",
    )


def _times(column: Mapping[str, Any]) -> Axis:
    def number(given: Any) -> Fraction:
        text = given.strip().upper() if isinstance(given, str) else ""
        for read in (time.fromisoformat, _twelve):
            with suppress(ValueError):
                day = datetime.combine(MIDNIGHT, read(text).replace(tzinfo=None))
                return Fraction((day - MIDNIGHT) // timedelta(microseconds=1))
        raise Objection(f"The column holds times of the day such as 08:30:00, and {_shown(given)!r} is none.")

    step, words = _finest(column)
    return Axis(column, number, _int64, step, f"its times are in whole {words}", _clock)


def _twelve(text: str) -> time:
    form = "%I:%M:%S %p" if text.count(":") > 1 else "%I:%M %p"
    return datetime.strptime(text, form).time()


def _clock(micros: Fraction) -> str:
    return str((MIDNIGHT + timedelta(microseconds=int(micros))).time())


def _durations(column: Mapping[str, Any]) -> Axis:
    def number(given: Any) -> Fraction:
        text = given.strip() if isinstance(given, str) else ""
        found = next((found for form in LASTING if (found := form.fullmatch(text)) and any(found.groups()[1:])), None)
        if found is None:
            return _number(given) * MICRO
        days, hours, minutes, seconds = (Fraction(part or 0) for part in found.groups()[1:])
        whole = 86_400 * days + 3_600 * hours + 60 * minutes + seconds
        return whole * MICRO * (-1 if found[1] else 1)

    step, words = _finest(column)
    lasts = lambda x: str(timedelta(microseconds=int(x)))  # noqa: E731
    return Axis(column, number, _int64, step, f"its durations are in whole {words}", lasts)


def _finest(column: Mapping[str, Any]) -> tuple[Fraction, str]:
    """The smallest difference between two times of a column, in microseconds and in words."""
    style = column.get("style", column)
    unit = re.search(r"\[(s|ms)[\],]", column.get("arrow", ""))
    arrow = {"s": MICRO, "ms": 1000}[unit[1]] if unit else 1
    if "%S" not in column.get("format", "%S") or style.get("seconds") is False:
        arrow = MINUTE
    counted = _unit(str(style["unit"])) if "unit" in style else MICRO
    step = max(Fraction(arrow), Fraction(counted, 10 ** min(6, style.get("fraction", 6))))
    return step, UNITS.get(int(step), f"steps of {float(step / MICRO):g} seconds")


def _unit(word: str) -> int:
    """Of durations that are written as "45 min", in microseconds."""
    plain = word.strip().lower()
    return next(size for start, size in STARTS.items() if plain.startswith(start))


def _moment(given: Any, column: Mapping[str, Any]) -> datetime:
    """A time as it stands in the column: in its own zone, or offset, and without one."""
    try:
        found = datetime.fromisoformat(given.strip()) if isinstance(given, str) else None
    except ValueError:
        found = None
    if found is None:
        found = _in_format(given, column)
    try:
        return found if found.tzinfo is None else found.astimezone(_zone(column)).replace(tzinfo=None)
    except OverflowError:
        raise Objection("This is beyond what the column can hold.") from None


def _in_format(given: Any, column: Mapping[str, Any]) -> datetime:
    try:
        return datetime.strptime(given.strip(), column["format"])
    except (AttributeError, KeyError, ValueError):
        raise Objection(f"The column holds dates such as 2024-03-01, and {_shown(given)!r} is none.") from None


def _zone(column: Mapping[str, Any]) -> timezone:
    """The offset that all values of a text column are written with; other zoned times are kept as universal time."""
    offset = re.search(r"%[SM]([+-])(\d\d):?(\d\d)?$", column.get("format", ""))
    if not offset:
        return UTC
    return timezone((-1 if offset[1] == "-" else 1) * timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0)))


KINDS: dict[str, Callable[[Mapping[str, Any]], Axis]] = {
    "integer": _integers,
    "float": _floats,
    "date": _dates,
    "datetime": _datetimes,
    "time": _times,
    "duration": _durations,
}
