"""From free values to rows that meet every rule and condition: put back, adjusted where asked, else repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected
from workers.modalities.table.infer import Column
from workers.modalities.table.ruleforms import Form, speaks_of
from workers.modalities.table.structure.entries import Values
from workers.modalities.table.structure.evaluate import broken
from workers.modalities.table.structure.grids import Flags, Grid, Ints
from workers.modalities.table.structure.steps import Frame, Given, Step, replaced, spread_out, there
from workers.modalities.table.structure.wishes import Wish, chosen, meets

ROUNDS, PATIENCE = 8, 60  # of repair: each takes values from other rows that are in order; for FEW rows it may go on
FEW = 1_000
WHOLE = 3  # rounds before whole rows are taken rather than the columns of the broken rule

Extent = tuple[float, float]


@dataclass
class Asked:
    """What some rows must have: `pinned` values (null: any) and `wishes`."""

    pinned: Frame
    wishes: Mapping[str, Wish]

    def take(self, rows: pa.Array) -> Asked:
        return Asked({name: array.take(rows) for name, array in self.pinned.items()}, self.wishes)

    def missed(self, frame: Frame, grids: Mapping[str, Grid]) -> dict[str, Flags]:
        """For each column rows in which it does not have what was asked for."""
        out: dict[str, Flags] = {}
        for name, values in self.pinned.items():
            same = pc.equal(frame[name], values).fill_null(False).to_numpy(zero_copy_only=False)
            out[name] = there(values) & ~same
        for name, wish in self.wishes.items():
            off = ~meets(wish, frame[name], grids.get(name))
            out[name] = out[name] | (off & ~there(self.pinned[name])) if name in out else off
        return out


@dataclass
class Settling:
    """What is needed to turn free columns into rows; all of it is known after fitting."""

    original: list[Column]
    free: list[Column]
    steps: list[Step]  # in the order in which they put columns back
    forms: Sequence[Form]
    grids: Mapping[str, Grid]
    extents: Mapping[str, Extent]  # how far the columns' values go, and the rules let them
    bounds: Mapping[str, Extent]  # what the rules demand of single columns
    names: Sequence[str] = ()  # of the rules, for people
    maker: dict[str, Step] = field(init=False)
    kept: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.maker = {name: step for step in self.steps for name in step.makes}
        self.kept = {column["name"] for column in self.original} - set(self.maker)

    def decode(self, free: Frame, rng: np.random.Generator) -> Frame:
        """All columns, original and free."""
        frame = dict(free)
        for step in self.steps:
            frame |= step.inverse(frame, rng)
        return frame

    def settled(self, free: Frame, asked: Asked, spare: Frame | None, rng: np.random.Generator) -> Frame:
        """Raises Rejected if rows cannot have what is asked for and meet the rules."""
        frame, bad = self.attempt(free, asked, rng)
        for turn in range(PATIENCE):
            if not bad.any():
                return frame
            if turn == ROUNDS:
                frame, bad = self._overruled(frame, bad, asked)
                if bad.sum() > FEW:
                    break
            good = np.flatnonzero(~bad)
            if not len(good) or not bad.any():
                break
            frame, bad = self._again(frame, bad, asked, rng, frame, good, turn >= WHOLE)
        if bad.any() and spare is not None:
            spare, rows = self.decode(spare, rng), np.arange(rows_of(spare))
            for _ in range(ROUNDS):
                frame, bad = self._again(frame, bad, asked, rng, spare, rows, True)
                if not bad.any():
                    return frame
        frame, bad = self._overruled(frame, bad, asked)
        if bad.any():
            raise self._refusal(frame, asked, bad)
        return frame

    def _overruled(self, frame: Frame, bad: Flags, asked: Asked) -> tuple[Frame, Flags]:
        """Given values that no other row could keep a rule with: one that was only found gives way to them."""
        if not bad.any():
            return frame, bad
        out = dict(frame)
        for name, values in asked.pinned.items():
            if name in self.maker and self.maker[name].source == "found":
                out[name] = replaced(out[name], bad & there(values), values)
        return out, bad & self._bad(out, asked)

    def _bad(self, frame: Frame, asked: Asked) -> Flags:
        """Rows that break a rule, or lack what was asked for."""
        bad = np.zeros(rows_of(frame), bool)
        for form in self.forms:
            bad |= broken(form, frame, self.grids)
        for off in asked.missed(frame, self.grids).values():
            bad |= off
        return bad

    def _again(
        self,
        frame: Frame,
        bad: Flags,
        asked: Asked,
        rng: np.random.Generator,
        donors: Frame,
        rows: Ints,
        whole: bool,
    ) -> tuple[Frame, Flags]:
        """Broken rows with values of donors that are in order."""
        at = np.flatnonzero(bad)
        index = pa.array(at)
        some = {column["name"]: frame[column["name"]].take(index) for column in self.free}
        here = {name: array.take(index) for name, array in frame.items()}
        given = pa.array(self._donors(here, asked.take(index), donors, rows, rng))
        places = dict.fromkeys(some, np.ones(len(at), bool)) if whole else self._behind(here, asked.take(index))
        some |= {name: replaced(some[name], where, donors[name].take(given)) for name, where in places.items()}
        made, still = self.attempt(some, asked.take(index), rng)
        bad = bad.copy()
        bad[at] = still
        return {name: spread_out(frame[name], at, made[name]) for name in frame}, bad

    def _donors(self, here: Frame, asked: Asked, donors: Frame, rows: Ints, rng: np.random.Generator) -> Ints:
        """For each row another at random; one that has the value that is asked for, where there is any."""
        drawn = rows[rng.integers(0, len(rows), rows_of(here))]
        for name, off in asked.missed(here, self.grids).items():
            if name not in asked.pinned or name not in donors or not off.any():
                continue
            pool = Values(pc.unique(asked.pinned[name]))
            wanted, have = pool.codes(asked.pinned[name]), pool.codes(donors[name].take(pa.array(rows)))
            order = np.argsort(have, kind="stable")
            first, last = (np.searchsorted(have[order], wanted, side) for side in ("left", "right"))
            place = first + (rng.random(len(wanted)) * (last - first)).astype(np.int64)
            fits = off & (last > first)
            drawn = np.where(fits, rows[order[np.minimum(place, len(order) - 1)]], drawn)
        return drawn

    def _behind(self, frame: Frame, asked: Asked) -> dict[str, Flags]:
        """For each free column behind a rule that is broken the rows in which it is."""
        reasons = [(speaks_of(form), broken(form, frame, self.grids)) for form in self.forms]
        reasons += [([name], off) for name, off in asked.missed(frame, self.grids).items()]
        out: dict[str, Flags] = {}
        for names, rows in reasons:
            for name in self._sources(names) if rows.any() else ():
                out[name] = out[name] | rows if name in out else rows
        return out

    def _sources(self, names: Sequence[str]) -> list[str]:
        """The free columns of which columns are made."""
        seen: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            step = self.maker.get(name)
            if name not in seen and step is not None:
                waiting += [*step.needs, *(column["name"] for column in step.free)]
            seen.add(name)
        return [column["name"] for column in self.free if column["name"] in seen]

    # -- one try --

    def attempt(self, free: Frame, asked: Asked, rng: np.random.Generator) -> tuple[Frame, Flags]:
        """All columns, and the rows that are not yet as they must be."""
        free = self._first(free, asked, rng)
        frame = self.decode(free, rng)
        wanted = self._wanted(frame, asked, rng)
        if wanted:
            frame = self._met(free, frame, wanted, asked, rng, firm=False)
            if any(off.any() for off in asked.missed(frame, self.grids).values()):
                free = {name: frame[name] for name in free}
                frame = self._met(free, frame, self._wanted(frame, asked, rng), asked, rng, firm=True)
        return frame, self._bad(frame, asked)

    def _first(self, free: Frame, asked: Asked, rng: np.random.Generator) -> Frame:
        """Columns that pass through untouched get what is asked of them at once."""
        out = dict(free)
        for name, (low, high) in self.bounds.items():
            if name in out:
                out[name] = clipped(out[name], self.grids[name], low, high)
        for name, wish in asked.wishes.items():
            if name in out:
                met = meets(wish, out[name], self.grids.get(name))
                if not met.all():
                    out[name] = replaced(out[name], ~met, chosen(wish, out[name], met, self.grids.get(name), rng))
        for name, values in asked.pinned.items():
            if name in out:
                out[name] = pc.coalesce(values, out[name])
        return out

    def _wanted(self, frame: Frame, asked: Asked, rng: np.random.Generator) -> Frame:
        """Other values for columns that steps make, null where they may stay."""
        wanted: Frame = {}
        for name in self.maker:
            array, grid = frame[name], self.grids.get(name)
            new = pa.nulls(len(array), array.type)
            if grid is not None and name in self.bounds:
                inside = clipped(array, grid, *self.bounds[name])
                new = replaced(new, ~pc.equal(inside, array).fill_null(True).to_numpy(zero_copy_only=False), inside)
            if name in asked.wishes:
                met = meets(asked.wishes[name], array, grid)
                if not met.all():
                    new = replaced(new, ~met, chosen(asked.wishes[name], array, met, grid, rng))
            if name in asked.pinned:
                new = pc.coalesce(asked.pinned[name], new)
            if new.null_count < len(new):
                wanted[name] = new
        return wanted

    def _met(
        self, free: Frame, frame: Frame, wanted: Frame, asked: Asked, rng: np.random.Generator, firm: bool
    ) -> Frame:
        """Backwards through the steps: what is wanted of a column becomes what is wanted of those behind it."""
        free, wanted = dict(free), dict(wanted)
        frame = frame | {name: pc.coalesce(array, frame[name]) for name, array in wanted.items()}
        given = self._given(asked, rows_of(frame), firm)
        for step in self._backwards(given, rows_of(frame)):
            asks = {name: wanted[name] for name in step.makes if name in wanted}
            if not asks:
                continue
            for name, array in step.meet(frame, asks, given, rng).items():
                if name in free:
                    free[name] = array
                elif name in self.maker:
                    moved = ~pc.equal(array, frame[name]).fill_null(False).to_numpy(zero_copy_only=False)
                    before = wanted.get(name, pa.nulls(len(array), array.type))
                    wanted[name] = replaced(before, moved, array)
                if name in self.kept:
                    given.hold(name, ~pc.equal(array, frame[name]).fill_null(True).to_numpy(zero_copy_only=False))
                frame[name] = array
        return self.decode(free, rng)

    def _backwards(self, given: Given, n: int) -> Iterator[Step]:
        """Each step after all that need what it makes; among others those first that have least to move."""
        loose = {id(s): np.sum([given.movable(name, n).mean() for name in s.needs]) for s in self.steps}
        left = list(self.steps)
        while left:
            needed = {name for step in left for name in step.needs}
            ready = [step for step in reversed(left) if not needed & set(step.makes)]
            step = min(ready, key=lambda step: float(loose[id(step)]))
            left.remove(step)
            yield step

    def _given(self, asked: Asked, n: int, firm: bool) -> Given:
        """What may not be moved: values that were asked for, and ranges."""
        extents = dict(self.extents)
        fixed = {name: there(values) for name, values in asked.pinned.items()}
        for name, wish in asked.wishes.items():
            if wish.values is not None:
                fixed[name] = np.ones(n, bool)
                continue
            low, high = extents.get(name, (-np.inf, np.inf))
            extents[name] = max(low, wish.low), min(high, wish.high)
        return Given(fixed, extents, firm)

    def _refusal(self, frame: Frame, asked: Asked, bad: Flags) -> Rejected:
        """Names what could not be had together."""
        at = pa.array(np.flatnonzero(bad))
        some = {name: array.take(at) for name, array in frame.items()}
        off = [name for name, rows in asked.take(at).missed(some, self.grids).items() if rows.any()]
        rules = [self._rule_of(self.maker[name]) for name in off if name in self.maker]
        rules += [self.told(form) for form in self.forms if broken(form, some, self.grids).any()]
        what = f" of {', '.join(repr(name) for name in off)}" if off else ""
        named = f" The rule is {rules[0]!r}." if rules else ""
        return Rejected(
            "conditions_against_rules",
            f"No rows could be made that have the values{what} that the conditions ask for and meet every rule.{named}",
        )

    def _rule_of(self, step: Step) -> str:
        return step.formula() if step.rule is None else self.names[step.rule]

    def told(self, form: Form) -> str:
        return self.names[form.rule] if form.rule < len(self.names) else ""


def clipped(array: pa.Array, grid: Grid, low: float, high: float) -> pa.Array:
    """Values on the grid between two bounds; nulls stay."""
    natural = grid.natural(array)
    off = (natural < low) | (natural > high)
    if not off.any():
        return array
    ends = np.clip(grid.units(array), *(end(np.array([x]))[0] for end, x in ((grid.ceil, low), (grid.floor, high))))
    return grid.array(ends, array.type)


def rows_of(frame: Frame) -> int:
    return len(next(iter(frame.values()))) if frame else 0
