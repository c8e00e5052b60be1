"""How long a training on a table will take, guessed from its size before anything can be timed. Knows no clock.

The constants were measured on one core of an AMD EPYC; the caller's clock corrects them as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.modalities import Preparing, Progress
from workers.modalities.table.fields import Column

READ = 1.3e-8  # seconds a value that is read
FIT = 2e-6  # seconds a value that is kept: rules are looked for, codes are made
SEARCH = 7e-6  # seconds a pair of columns, whose relation is measured
STEP, UNIT, LOGIT = 2e-3, 3e-8, 2.5e-8  # seconds a step, and of it for each hidden unit and each logit of a batch
CODES = {"category": 1.0, "boolean": 1.0, "datetime": 3.0, "date": 2.0}  # of a column; a number has about two
LEVELS = {"boolean": 2, "datetime": 120, "date": 100}  # of its codes together; a number has about 40
OVER = 0.6  # share of the steps that are made before held-out rows end the warm start, usually


@dataclass
class Outlook:
    """Seconds that reading, fitting and the steps are guessed to take, told on as they pass."""

    heard: Preparing
    read: float
    fit: float
    steps: float

    @property
    def total(self) -> float:
        return self.read + self.fit + self.steps

    def reading(self, done: float, total: float) -> None:
        self.heard("reading", self.read * min(1.0, done / max(total, 1)), self.total)

    def fitting(self, done: float, total: float) -> None:
        self.heard("fitting", self.read + self.fit * min(1.0, done / max(total, 1)), self.total)


def part(progress: Progress, begin: float, end: float) -> Progress:
    """Progress of a piece that is from `begin` to `end` of the whole, as shares."""

    def told(done: float, total: float) -> None:
        progress(begin + (end - begin) * done / max(total, 1), 1.0)

    return told


def outlook(
    heard: Preparing, columns: Sequence[Column], rows: int, kept: int, steps: int, batch: int, width: int
) -> Outlook:
    """Of a training on `kept` of `rows` rows."""
    v, levels = guessed(columns)
    step = STEP + batch * (UNIT * v * width + LOGIT * levels)
    fit = FIT * kept * len(columns) + SEARCH * len(columns) ** 2
    return Outlook(heard, READ * rows * len(columns), fit, OVER * steps * step)


def guessed(columns: Sequence[Column]) -> tuple[float, float]:
    """About how many codes these columns become, and how many levels these have together."""
    v = sum(CODES.get(column["type"], 1.0 if "levels" in column else 2.0) for column in columns)
    levels = sum(min(len(column.get("levels", ())) or LEVELS.get(column["type"], 40), 300) for column in columns)
    return v, levels
