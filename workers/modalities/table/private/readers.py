"""Columns read through counts with noise alone: what they ask in each round, and the field that comes of answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table import axes
from workers.modalities.table.codec import Presence
from workers.modalities.table.fields import Bools, Column, Field, Floats, Ints
from workers.modalities.table.infer import least_rows
from workers.modalities.table.levels import Levels
from workers.modalities.table.numbers import as_floats, decimals_of
from workers.modalities.table.private.counting import Histogram
from workers.modalities.table.private.numbers import ROUNDS, Measured, shares
from workers.modalities.table.telling import telling

SURE = 4.0  # standard deviations of the noise above which public keys such as a gap are believed to have rows


class Reader(Protocol):
    """Of one column (a place: of two). `ask` and `hear` are called round by round."""

    rounds: ClassVar[int]

    def ask(self, round_: int) -> list[Histogram]:
        """What it wants to know of the rows."""

    def hear(self, round_: int, found: list[Histogram], scale: float, rows: int) -> None:
        """The answers, if it asked. `scale` is the standard deviation of the next round's noise, `rows` the number of
        rows."""

    def entries(self) -> list[Column]:
        """Its columns' entries in the model's schema, free of what the data alone could tell."""

    def field(self) -> Field | None:
        """None if nothing can be learned of it."""

    def shares(self) -> list[Floats]:
        """Of the levels of each of the field's codes."""

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Codes (n, codes) of rows in which nothing else is known."""


def drawn(share: Floats, n: int, rng: np.random.Generator) -> Ints:
    edges = np.cumsum(share)
    edges /= edges[-1]  # 1 from the last level on that has any share: no later one is drawn
    return np.searchsorted(edges, rng.random(n), side="right").astype(np.int64)


# -- levels -----------------------------------------------------------------------------------------------------------


@dataclass
class LevelsReader:
    """A category, or a number of few values. Its levels are counted in the rows: those of the schema are the ones that
    so many rows have, and that depends on each of these. True and false are nobody's secret: they always stay."""

    column: Column
    array: pa.Array
    rounds: ClassVar[int] = 1
    limit: int = field(init=False, default=2)  # levels that are drawn in one step
    found: list[Any] = field(init=False, default_factory=list)  # levels that enough rows have
    counts: list[float] = field(init=False, default_factory=list)
    gone: float = field(init=False, default=0.0)  # rows in which it is missing
    rows: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        told = pc.value_counts(self.array.drop_null())
        values = told.field(0).to_pylist()
        order = sorted(range(len(values)), key=lambda i: (values[i] != values[i], values[i]))
        self.values = [values[i] for i in order]
        self.held = told.field(1).to_numpy()[order].astype(float)
        if pa.types.is_boolean(self.array.type):
            held = dict(zip(self.values, self.held, strict=True))
            self.values, self.held = [False, True], np.array([held.get(False, 0.0), held.get(True, 0.0)])

    def ask(self, round_: int) -> list[Histogram]:
        if round_:
            return []
        public = pa.types.is_boolean(self.array.type)
        counts = np.append(self.held, float(self.array.null_count))
        some = np.flatnonzero(counts > 0) if not public else np.arange(len(counts))
        return [Histogram(some, counts[some], public)]

    def hear(self, round_: int, found: list[Histogram], scale: float, rows: int) -> None:
        """As many rows as its user wants must share a level, as far as the noise lets that be seen."""
        self.rows = rows
        places, counts = found[0].keys.astype(int), np.maximum(found[0].counts, 1.0)
        null = places == len(self.values)
        self.gone = float(counts[null & (counts > SURE * found[0].noise)].sum())
        least = 1 if found[0].public else least_rows(self.column)
        apart = telling(self.values[i] for i in places[~null])
        good = [
            i for i in np.flatnonzero(~null & (counts >= least))
            if self.values[places[i]] not in apart and self.values[places[i]] == self.values[places[i]]
        ]  # fmt: skip
        order = sorted(good, key=lambda i: -counts[i])
        self.found, self.counts = [self.values[places[i]] for i in order], [float(counts[i]) for i in order]

    def entries(self) -> list[Column]:
        if not self.found:
            why = "Too few rows share a value to be told under differential privacy."
            return [cleansed(self.column, 1.0, why, type="constant", value=None, nullable=True)]
        levels = self.found
        more: Column = {"levels": levels, "nullable": self.gone > 0}
        if "minimum" in self.column:
            more |= {"minimum": min(levels), "maximum": max(levels)}
        return [cleansed(self.column, self.gone / self.rows, "Its levels are those of enough rows.", **more)]

    def field(self) -> Levels | None:
        if not self.found:
            return None
        (column,) = self.entries()
        counts = [*self.counts, *([self.gone] if self.gone else [])]
        kept = list(range(len(counts)))
        alone = len(kept) if len(kept) <= self.limit else self.limit // 2
        together = max(2, int(np.ceil(np.sqrt(len(kept) - alone)))) if len(kept) > alone else 1
        order = np.argsort(-np.array(counts), kind="stable").tolist()
        return Levels(column, [kept[i] for i in order], [round(counts[i]) for i in order], alone, together)

    def shares(self) -> list[Floats]:
        one = self.field()
        if one is None:
            return []
        codes = one._split(np.arange(len(one.kept)))
        counts = np.array(one.counts, float)
        return [np.bincount(codes[:, i], counts, size) / counts.sum() for i, size in enumerate(one.sizes)]

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        one = self.field()
        return np.zeros((n, 0), np.int64) if one is None else one._split(drawn(np.array(one.counts, float), n, rng))


# -- numbers ----------------------------------------------------------------------------------------------------------


def measured(column: Column, array: pa.Array) -> Measured:
    """A column of numbers in steps of what its type and format allow."""
    decimals = decimals_of(column)
    if column["type"] in ("time", "duration"):
        step = float(axes._finest(column)[0])
        return Measured(column, as_floats(array) / step, step, 1.0, 0)
    scale = 10.0 ** (decimals or 0)
    return Measured(column, as_floats(array) * scale, float(decimals is not None), scale, decimals)


@dataclass
class NumberReader:
    column: Column
    array: pa.Array
    rounds: ClassVar[int] = ROUNDS
    by: Measured = field(init=False)
    rows: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self.by = measured(self.column, self.array)

    def ask(self, round_: int) -> list[Histogram]:
        return self.by.ask(round_)

    def hear(self, round_: int, found: list[Histogram], scale: float, rows: int) -> None:
        self.rows = rows
        self.by.hear(round_, found, scale, rows)

    def entries(self) -> list[Column]:
        low, high = (end * (self.by.step or 1.0) / self.by.scale for end in self.by.bounds())
        whole = self.column["type"] != "float"
        limits = {"minimum": int(low) if whole else low, "maximum": int(high) if whole else high}
        more: Column = {"nullable": self.by.hole} | (limits if "minimum" in self.column else {})
        why = "Its bounds are those of cells of enough rows."
        return [cleansed(self.column, self.by.gone / self.rows, why, **more)]

    def field(self) -> Field:
        (self.by.column,) = self.entries()
        return self.by.number()

    def shares(self) -> list[Floats]:
        return [shares(self.by.number(), self.by.gone / self.rows)]

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        return drawn(self.shares()[0], n, rng)[:, None]


# -- what is never learned --------------------------------------------------------------------------------------------


@dataclass
class PresenceReader:
    """Keys, texts, constants, personal values: how often they are there, and how often they are missing."""

    column: Column
    gone_at: Bools  # rows in which it is missing
    rounds: ClassVar[int] = 1
    gone: float = field(init=False, default=0.0)
    told: bool = field(init=False, default=False)  # whether enough rows have a value
    rows: int = field(init=False, default=1)

    def ask(self, round_: int) -> list[Histogram]:
        return [] if round_ else [Histogram.of(self.gone_at.astype(np.int64))]

    def hear(self, round_: int, found: list[Histogram], scale: float, rows: int) -> None:
        counts = dict(zip(found[0].keys.tolist(), found[0].counts.tolist(), strict=True))
        self.rows, self.told, self.gone = rows, 0 in counts, float(counts.get(1, 0.0))

    def entries(self) -> list[Column]:
        if self.column["type"] == "constant" and not self.told:
            why = "Too few rows have a value for it to be told under differential privacy."
            return [cleansed(self.column, 1.0, why, value=None, nullable=True)]
        return [cleansed(self.column, self.gone / self.rows, AFRESH_WHY, nullable=self.gone > 0)]

    def field(self) -> Presence | None:
        return Presence(self.entries()[0]) if self.gone else None

    def shares(self) -> list[Floats]:
        lost = min(self.gone / self.rows, 0.999)
        return [np.array([1 - lost, lost])] if self.gone else []

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        return drawn(self.shares()[0], n, rng)[:, None] if self.gone else np.zeros((n, 0), np.int64)


def cleansed(column: Column, gone: float, reason: str, **more: Any) -> Column:
    """A column's entry without what only its data could tell; its type and the way its values are written are taken
    to be public."""
    kept = {k: v for k, v in column.items() if k not in ("levels", "minimum", "maximum", *DROPPED)}
    kept |= {"missing": round(min(max(gone, 0.0), 1.0), 6), "reason": reason}
    if "pattern" in kept and kept["pattern"].get("kind") == "count":
        kept["pattern"] = kept["pattern"] | {"next": 1}
    if "words" in kept:
        kept["words"] = WORDS
    if kept.get("distinct"):
        kept["distinct"] = None
    return kept | more


AFRESH_WHY = "Nothing is learned of it; its type and format are taken to be public."
DROPPED = ("pooled", "unreadable", "warnings")
WORDS = list(range(1, 22))  # of a text: as many words as its quantiles say, and any text may have so many
