"""A positive number as a smooth function of a few others, its own for each level of a category: instalments by amount
and rate for each term, weights by size for each material."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.structure.grids import Floats, Grid
from workers.modalities.table.structure.predictors import Natural, Predictor, on_grid
from workers.modalities.table.structure.steps import Frame, Given

MOVES = 4  # Newton's steps towards a wanted value
CUBES = 3


def powers(columns: int) -> list[tuple[int, ...]]:
    """Of a polynomial of the second degree with the cubes of its columns, each term as the columns in its product."""
    mixed = [term for degree in range(3) for term in combinations_with_replacement(range(columns), degree)]
    return mixed + [(i,) * CUBES for i in range(columns)]


def terms(z: Floats) -> Floats:
    """(rows, terms) of standardised logarithms (rows, columns)."""
    return np.stack([z[:, list(term)].prod(1) for term in powers(z.shape[1])], 1)


@dataclass
class Surface(Predictor):
    """The exponential of a polynomial in the columns' standardised logarithms. Beyond `ends` it goes on as at them."""

    kind: ClassVar[str] = "surface"
    by: str | None  # the category
    levels: list[Any]  # of it, as stored
    weights: list[list[float]]  # (levels, terms)
    centres: list[float]  # of the logarithms
    spreads: list[float]
    ends: list[list[float]]  # for each column the lowest and highest of its standardised logarithm

    @property
    def needs(self) -> tuple[str, ...]:
        return (*self.grids, self.by) if self.by is not None else tuple(self.grids)

    def natural(self, frame: Frame) -> Natural:
        """With the place of the category's level, NaN for others."""
        out = super().natural(frame)
        if self.by is not None:
            array = frame[self.by]
            place = pc.index_in(array, pa.array(self.levels, array.type)).cast(pa.float64())
            out[self.by] = place.to_numpy(zero_copy_only=False)
        return out

    def value(self, columns: Natural) -> Floats:
        z, weights, good = self._look(columns)
        return np.where(good, np.exp(np.einsum("nt,nt->n", terms(z), weights)), np.nan)

    def _look(self, columns: Natural) -> tuple[Floats, Floats, np.ndarray]:
        """Standardised logarithms (rows, columns), each row's weights (rows, terms), and which rows have both."""
        x = np.stack([columns[name] for name in self.grids], 1)
        good = (x > 0).all(1)
        z = (np.log(np.where(x > 0, x, 1.0)) - self.centres) / self.spreads
        place = np.zeros(len(x)) if self.by is None else columns[self.by]
        good &= ~np.isnan(place)
        low, high = np.array(self.ends).T
        return np.clip(z, low, high), np.array(self.weights)[np.nan_to_num(place).astype(np.int64)], good

    def _slopes(self, columns: Natural) -> Floats:
        """(rows, columns): of the logarithm by each column's standardised logarithm."""
        z, weights, _ = self._look(columns)
        out = np.zeros_like(z)
        for t, term in enumerate(powers(z.shape[1])):
            for i in set(term):
                rest = list(term)
                rest.remove(i)
                out[:, i] += weights[:, t] * term.count(i) * z[:, rest].prod(1)
        return out

    def moved(self, columns: Natural, goal: Floats, loose: float, width: float, given: Given) -> Natural:
        names = list(self.grids)
        free = np.stack([given.movable(name, len(goal)) for name in names], 1)
        for _ in range(MOVES):
            slopes = np.where(free, self._slopes(columns), 0.0)
            total = (slopes**2).sum(1) + loose**2
            share = np.divide(slopes, total[:, None], out=np.zeros_like(slopes), where=total[:, None] > 0)
            short = np.log(goal) - np.log(self.value(columns))
            for i, name in enumerate(names):
                wanted = columns[name] * np.exp(np.clip(share[:, i] * short * self.spreads[i], -50, 50))
                to = on_grid(wanted, self.grids[name], given, name)
                columns[name] = np.where(free[:, i] & ~np.isnan(to), to, columns[name])
            if loose:
                break  # what is left open takes its part once
        return {name: columns[name] for name in names}

    def formula(self, target: str) -> str:
        own = f", for each {self.by}" if self.by is not None else ""
        return f"{target} = a smooth function of {', '.join(self.grids)}{own}"

    def own_json(self) -> dict[str, Any]:
        names = ("by", "levels", "weights", "centres", "spreads", "ends")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def own_from_json(cls, grids: dict[str, Grid], saved: Mapping[str, Any]) -> Surface:
        return cls(grids, **saved)
