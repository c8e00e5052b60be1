"""A rule that holds in the table as a step: it takes columns out before the codec and puts them back after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.infer import Column
from workers.modalities.table.structure.grids import Flags, Floats, Ints

Frame = dict[str, pa.Array]
Source = Literal["found", "user"]
SHARED = 5  # training rows that stand behind whatever is stored of their values
ARROW = {
    str(kind): kind for kind in (pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.date32(), pa.timestamp("us"))
}
CERTAIN = 0.9995  # share of rows in which a found rule must hold to leave its column no choice


@dataclass
class Given:
    """What is asked of some rows while a step's columns are put back."""

    pinned: dict[str, Flags]  # of columns: rows in which their value may not be changed
    limits: Mapping[str, tuple[float, float]]  # of numbers and times: lowest and highest, in natural units
    firm: bool = False  # columns are moved only where there is no other way

    def take(self, rows: Ints) -> Given:
        return Given({name: fixed[rows] for name, fixed in self.pinned.items()}, self.limits, self.firm)

    def hold(self, name: str, moved: Flags) -> None:
        """A column that was moved for one rule is not moved back for another."""
        self.pinned[name] = self.pinned[name] | moved if name in self.pinned else moved

    def movable(self, name: str, n: int) -> Flags:
        fixed = self.pinned.get(name)
        return np.ones(n, bool) if fixed is None else ~fixed


@dataclass
class Step(ABC):
    """`makes` are original columns that leave the table, `needs` those of which they are made, `free` the columns that
    the codec learns in their place. A frame holds original columns and free ones by name."""

    kinds: ClassVar[dict[str, type[Step]]] = {}
    kind: ClassVar[str]

    makes: tuple[str, ...]
    needs: tuple[str, ...]
    free: list[Column]
    source: Source = field(default="found", kw_only=True)
    holds: float = field(default=1.0, kw_only=True)  # share of training rows
    rule: int | None = field(default=None, kw_only=True)  # of a user's rule, its place

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            Step.kinds[cls.kind] = cls

    @abstractmethod
    def forward(self, frame: Frame, rng: np.random.Generator) -> Frame:
        """The free columns, of original ones."""

    @abstractmethod
    def inverse(self, frame: Frame, rng: np.random.Generator) -> Frame:
        """The columns that it makes, of those that it needs and the free ones."""

    @abstractmethod
    def meet(self, frame: Frame, wanted: Frame, given: Given, rng: np.random.Generator) -> Frame:
        """New values of needed and free columns, with which `inverse` gives what is wanted (null: anything) as far as
        it can be. Columns that stay as they are may be left out."""

    @abstractmethod
    def formula(self) -> str:
        """For people."""

    @abstractmethod
    def own_json(self) -> dict[str, Any]: ...

    @classmethod
    @abstractmethod
    def own_from_json(cls, saved: Mapping[str, Any], common: dict[str, Any]) -> Step: ...

    def reason(self) -> str:
        return "A rule of the training's config." if self.source == "user" else self.why()

    def why(self) -> str:
        return f"Holds in {percent(self.holds)} of the training rows."

    def way(self) -> str:
        """How it comes that rows meet it."""
        return "built in"

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "columns": [*self.makes, *(name for name in self.needs if name not in self.makes)],
            "formula": self.formula(),
            "holds_in": round(self.holds, 6),
            "source": self.source,
            "reason": self.reason(),
            "met_by": self.way(),
        }

    def to_json(self) -> dict[str, Any]:
        common = {name: getattr(self, name) for name in ("free", "source", "holds", "rule")}
        return {"kind": self.kind, "makes": list(self.makes), "needs": list(self.needs)} | common | self.own_json()

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> Step:
        common = {name: saved[name] for name in ("free", "source", "holds", "rule")}
        common |= {"makes": tuple(saved["makes"]), "needs": tuple(saved["needs"])}
        return Step.kinds[saved["kind"]].own_from_json(saved, common)


# -- small helpers ------------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    """Never 100 % for what is less."""
    return f"{np.floor(share * 10_000) / 100:g} %"


def replaced(array: pa.Array, at: Flags, values: pa.Array) -> pa.Array:
    """The array with other values where `at` says so; both are as long."""
    if not at.any():
        return array
    return pc.if_else(pa.array(at), values, array)


def spread_out(array: pa.Array, at: Ints, values: pa.Array) -> pa.Array:
    """The array with other values at some places."""
    index = np.full(len(array), -1)
    index[at] = np.arange(len(at))
    return pc.if_else(pa.array(index >= 0), values.take(pa.array(np.maximum(index, 0))), array)


def there(array: pa.Array) -> Flags:
    out: Flags = array.is_valid().to_numpy(zero_copy_only=False)
    return out


def column(name: str, kind: str, nullable: bool, missing: float, reason: str, **more: Any) -> Column:
    """The entry of a free column, as a schema has it."""
    arrow = {"integer": "int64", "float": "double", "boolean": "bool", "category": "string"}[kind]
    entry = {"name": name, "type": kind, "arrow": arrow, "nullable": nullable, "missing": round(missing, 6)}
    return entry | {"reason": reason} | more


def numeric_column(name: str, values: Floats, whole: bool, reason: str) -> Column:
    """The entry of a free column of numbers, NaN where missing."""
    gone = np.isnan(values)
    filled = values[~gone]
    ends = {"minimum": float(filled.min()), "maximum": float(filled.max())} if len(filled) else {}
    if whole:
        return column(
            name, "integer", bool(gone.any()), float(gone.mean()), reason, **{k: int(v) for k, v in ends.items()}
        )
    return column(
        name, "float", bool(gone.any()), float(gone.mean()), reason, decimals=None, fixed=False, comma=False, **ends
    )  # fmt: skip


def as_numbers(values: Floats, entry: Column) -> pa.Array:
    """A free column's numbers as storage values."""
    gone = np.isnan(values)
    mask = gone if gone.any() else None
    if entry["type"] == "integer":
        return pa.array(np.where(gone, 0, values).astype(np.int64), mask=mask)
    return pa.array(values, pa.float64(), mask=mask)


def numbers(array: pa.Array) -> Floats:
    """A free column's storage values as doubles, NaN where missing."""
    out: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return out


def unused(name: str, taken: set[str]) -> str:
    """The name, or with a number after it where another column has it."""
    out, i = name, 2
    while out in taken:
        out, i = f"{name} ({i})", i + 1
    taken.add(out)
    return out
