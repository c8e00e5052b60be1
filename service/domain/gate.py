"""A gate: what the figures of a model's report must reach before files are made of it. Knows JSON alone."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Require = Mapping[str, Mapping[str, float]]  # {"c2st_auc": {"max": 0.7}}: of each figure one bound or both
Places = Mapping[str, tuple[str, ...]]  # where in its report a modality puts each figure: the keys that lead there
SAID = {"min": "at least", "max": "at most"}


@dataclass(frozen=True)
class Failed:
    """A figure that is beyond one of its bounds; `end` is "min" or "max"."""

    figure: str
    value: float
    end: str
    bound: float

    def to_json(self) -> dict[str, Any]:
        return {"figure": self.figure, "value": self.value, self.end: self.bound}

    def sentence(self) -> str:
        return f"{self.figure} is {self.value:.6g}, {SAID[self.end]} {self.bound:.6g} was required."


@dataclass(frozen=True)
class Outcome:
    """What a report came to. A figure that it lacks, or that is no finite number, is missing, and fails as well."""

    require: Require
    failed: tuple[Failed, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failed and not self.missing

    def to_json(self) -> dict[str, Any]:
        return {
            "require": {name: dict(bounds) for name, bounds in self.require.items()},
            "passed": self.passed,
            "failed": [one.to_json() for one in self.failed],
            "missing": list(self.missing),
        }

    def sentences(self) -> list[tuple[str, str]]:
        """(figure, what is wrong with it) of all that failed."""
        absent = [(name, f"{name} was required, and the report does not have it.") for name in self.missing]
        return [(one.figure, one.sentence()) for one in self.failed] + absent


def held(report: Mapping[str, Any] | None, require: Require, places: Places) -> Outcome:
    """The report against what is required of it."""
    values = {name: figure(report or {}, places.get(name, ())) for name in require}
    failed = (one for name, value in values.items() if value is not None for one in _beyond(name, value, require[name]))
    return Outcome(require, tuple(failed), tuple(name for name, value in values.items() if value is None))


def read(told: Mapping[str, Any]) -> Outcome:
    """The opposite of `to_json`."""
    failed = [
        Failed(one["figure"], one["value"], end, one[end]) for one in told["failed"] for end in SAID if end in one
    ]
    return Outcome(told["require"], tuple(failed), tuple(told["missing"]))


def figure(report: Mapping[str, Any], place: tuple[str, ...]) -> float | None:
    """The number at this place of the report; None where there is nothing, or no finite number."""
    found: Any = report
    for key in place:
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def both(one: Require, other: Require) -> dict[str, dict[str, float]]:
    """What meets this meets either."""
    names = dict.fromkeys([*one, *other])
    return {name: _narrower(one.get(name, {}), other.get(name, {})) for name in names}


def _narrower(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    ends = {"min": max, "max": min}
    found = {end: [bounds[end] for bounds in (one, other) if end in bounds] for end in ends}
    return {end: ends[end](values) for end, values in found.items() if values}


def _beyond(name: str, value: float, bounds: Mapping[str, float]) -> Iterator[Failed]:
    if "min" in bounds and value < bounds["min"]:
        yield Failed(name, value, "min", bounds["min"])
    if "max" in bounds and value > bounds["max"]:
        yield Failed(name, value, "max", bounds["max"])
