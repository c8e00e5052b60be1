"""A codec, and what training starts from, that know the training rows through counts with noise alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.errors import Rejected
from workers.modalities.table import relations
from workers.modalities.table.codec import AFRESH, MOMENTS, Codec, Presence, _impossible, _level_limit, _places
from workers.modalities.table.fields import Bools, Column, Field, Floats, Ints, missing
from workers.modalities.table.guiding import Guiding
from workers.modalities.table.levels import Levels
from workers.modalities.table.networks import Start
from workers.modalities.table.private import relating
from workers.modalities.table.private.counting import Counter, Histogram
from workers.modalities.table.private.moments import MomentReader
from workers.modalities.table.private.places import PlaceReader
from workers.modalities.table.private.readers import (
    AFRESH_WHY,
    LevelsReader,
    NumberReader,
    PresenceReader,
    Reader,
    cleansed,
    drawn,
)
from workers.modalities.table.ruleforms import Known, Refused, forms
from workers.modalities.table.structure import Structure
from workers.modalities.table.structure.build import _groups as combinations_of

# How the budget of the statistics is shared out, as parts of 1 / sigma^2.
COLUMNS, STRENGTHS, TABLES = 0.6, 0.1, 0.3
ROUNDS = (0.30, 0.08, 0.17, 0.05)  # about single columns, of those that are needed
# With rules the rounds are gone through twice, for the columns and for what rules leave of them, and known combinations
# are counted: how each round's part is shared out then.
TWICE, COMBINED = 0.4, 0.2
MADE_UP = 5_000  # rows of independent columns, that stand for the data where rules are fitted


@dataclass
class Fitted:
    codec: Codec
    codes: Ints  # of the training rows: as private as these
    start: Start
    shares: list[Floats]  # of the levels of each variable
    pairs: dict[tuple[int, int], Floats]  # P(later | earlier) of the codec's pairs


@dataclass
class Statistics:
    """`sigma` is the noise multiplier of all statistics together, as one Gaussian mechanism."""

    counter: Counter
    sigma: float

    def part(self, share: float) -> float:
        return float(self.sigma / np.sqrt(share))

    def read(self, readers: Sequence[Reader], rows: int, share: float) -> None:
        """Round by round, with this share of the budget of single columns."""
        used = ROUNDS[: max((reader.rounds for reader in readers), default=0)]
        sigmas = [self.part(COLUMNS * share * part / sum(used)) for part in used]
        for round_, sigma in enumerate(sigmas):
            asked = [reader.ask(round_) for reader in readers]
            found = iter(self.counter.ask([one for own in asked for one in own], sigma))
            scale = sigmas[min(round_ + 1, len(sigmas) - 1)] * float(np.sqrt(len(readers)))  # about, in the next one
            for reader, own in zip(readers, asked, strict=True):
                if own:
                    reader.hear(round_, [next(found) for _ in own], scale, rows)


def hidden_keys(columns: Sequence[Column], constraints: Sequence[Any]) -> int:
    """How many histograms can be asked for whose keys are not public."""
    each = {"date": 1, "datetime": 3} | dict.fromkeys(AFRESH, 1)
    learned = [column for column in columns if column["type"] not in AFRESH]
    asked = sum(1 if "levels" in column else each.get(column["type"], 2) for column in columns)
    free = 3 * len(learned)  # what rules leave of a column may be of another type
    return asked + free + len(constraints) if constraints else asked


def fit(
    columns: list[Column],
    table: pa.Table,
    constraints: Sequence[Mapping[str, Any]],
    max_levels: int,
    statistics: Statistics,
    rng: np.random.Generator,
) -> Fitted:
    """Of training rows in storage types. `rng` is as secret as the noise: it deals out values that are not told."""
    rows = table.num_rows
    arrays = {name: table[name].combine_chunks() for name in table.column_names}
    readers = _readers(columns, arrays, rows)
    statistics.read(readers, rows, TWICE if constraints else 1.0)
    _limit(readers, max_levels)
    sought = [reader for reader in readers if not isinstance(reader, PresenceReader)]
    if sought and all(reader.field() is None for reader in sought):
        raise Rejected(
            "privacy_leaves_nothing",
            "With this epsilon and so few rows, the noise hides every column; give more rows, or a larger epsilon.",
        )
    told = {entry["name"]: entry for reader in readers for entry in reader.entries()}
    known = [told[c["name"]] if c["name"] in told else cleansed(c, 0.0, AFRESH_WHY) for c in columns]
    learned = [column for column in known if column["type"] not in AFRESH]
    made_up = _made_up(learned, readers, _together(constraints, learned, arrays, statistics, rng), rng)
    structure = Structure.fit(learned, made_up, constraints, rng, search=False, tolerated=1.0)
    free = structure.forward(table.select([c["name"] for c in learned]), rng) if constraints else table
    fresh = [column for column in structure.columns if column["name"] not in told]
    made = {column["name"]: free[column["name"]].combine_chunks() for column in fresh}
    more = _readers(fresh, made, rows)
    if more:
        statistics.read(more, rows, TWICE)
        _limit([*readers, *more], max_levels)
    left = {column["name"] for column in structure.columns}
    readers = [r for r in readers if isinstance(r, PresenceReader) or left & {e["name"] for e in r.entries()}]
    return _fitted(known, structure, [*readers, *more], arrays | made, statistics, rng)


def _made_up(
    learned: list[Column], readers: Sequence[Reader], together: Mapping[str, pa.Array], rng: np.random.Generator
) -> pa.Table:
    """Rows whose columns know nothing of each other, but for those that are drawn `together`."""
    arrays: dict[str, pa.Array] = {}
    for reader in readers:
        one = reader.field()
        if one is not None:
            arrays |= zip(one.columns, one.decode(reader.draw(MADE_UP, rng), rng), strict=True)
    arrays |= together
    names = [column["name"] for column in learned]
    return pa.table([arrays[name] for name in names], names=names) if names else pa.table({"": pa.nulls(MADE_UP)})


def _together(
    constraints: Sequence[Mapping[str, Any]],
    columns: list[Column],
    arrays: Mapping[str, pa.Array],
    statistics: Statistics,
    rng: np.random.Generator,
) -> dict[str, pa.Array]:
    """Made-up values of columns that keep to known combinations: those that enough rows share. Raises Rejected."""
    try:
        known = [form for form in forms(constraints, columns) if isinstance(form, Known)]
    except Refused as refused:
        raise Rejected("invalid_constraint", str(refused)) from None
    groups = [names for names, _ in combinations_of(known)]
    frames = [pa.table({name: arrays[name] for name in names}) for names in groups]
    counted = [frame.group_by(frame.column_names).aggregate([([], "count_all")]) for frame in frames]
    asked = [Histogram(np.arange(len(one)), one["count_all"].to_numpy().astype(float), False) for one in counted]
    sigma = statistics.part(COLUMNS * COMBINED)
    out: dict[str, pa.Array] = {}
    for names, one, found in zip(groups, counted, statistics.counter.ask(asked, sigma), strict=True):
        some = _known(one.take(pa.array(found.keys)), [c for c in columns if c["name"] in names])
        if not some.any():
            raise Rejected(
                "privacy_hides_combinations",
                f"Too few rows share a combination of {', '.join(names)} for any to be told under this epsilon.",
            )
        rows = found.keys[some][drawn(found.counts[some], MADE_UP, rng)]
        out |= {name: one[name].combine_chunks().take(pa.array(rows)) for name in names}
    return out


def _known(combinations: pa.Table, columns: Sequence[Column]) -> Bools:
    """Those of which each level was told, too."""
    good = np.ones(len(combinations), bool)
    for column in columns:
        if "levels" in column:
            array = combinations[column["name"]].combine_chunks()
            levels = pa.array([*column["levels"], *[None] * column["nullable"]], array.type)
            good &= pc.is_in(array, levels).to_numpy(zero_copy_only=False)
    return good


def _fitted(
    columns: list[Column],
    structure: Structure,
    readers: Sequence[Reader],
    arrays: Mapping[str, pa.Array],
    statistics: Statistics,
    rng: np.random.Generator,
) -> Fitted:
    found = [(reader, one) for reader in readers if (one := reader.field()) is not None]
    if not found:
        return _nothing(columns, structure, arrays)
    fields = [one for _, one in found]
    codes = [encoded(one, [arrays[name] for name in one.columns], rng) for one in fields]
    shares = [reader.shares() for reader, _ in found]
    counter = statistics.counter
    flat = [share for own in shares for share in own]
    whole = np.concatenate(codes, 1)
    strength, noise = relating.strengths(whole, flat, counter, statistics.part(STRENGTHS))
    starts = np.cumsum([0, *(len(own) for own in shares)])
    heads = starts[:-1]
    order = relations.drawing_order(strength[np.ix_(heads, heads)])
    take = [i for place in order for i in range(starts[place], starts[place + 1])]
    whole, flat, strength = whole[:, take], [flat[i] for i in take], strength[np.ix_(take, take)]
    codec = Codec(columns, structure, [fields[place] for place in order], [], [])
    sigma = statistics.part(TABLES)
    codec.pairs = relating.worth_a_table(strength, codec.sizes, noise, sigma)
    codec.rules = _impossible(codec)
    said = relating.tables(whole, flat, codec.pairs, counter, sigma) if codec.pairs else []
    logs = [torch.from_numpy(np.log(np.maximum(share, 1e-6) / share.sum())).float() for share in flat]
    tables = [
        torch.from_numpy(relating.log_ratio(one, flat[j])).float()
        for (_, j), one in zip(codec.pairs, said, strict=True)
    ]
    start = Start(logs, tables, {}, Guiding(codec.sizes, [], [], []))
    return Fitted(codec, whole, start, flat, dict(zip(codec.pairs, said, strict=True)))


def _nothing(columns: list[Column], structure: Structure, arrays: Mapping[str, pa.Array]) -> Fitted:
    """For a table of nothing but keys, texts and constants."""
    codec = Codec(columns, structure, [Presence(columns[0], ever=False)], [], [])
    start = Start([torch.zeros(1)], [], {}, Guiding([1], [], [], []))
    rows = len(next(iter(arrays.values())))
    return Fitted(codec, np.zeros((rows, 1), np.int64), start, [np.ones(1)], {})


def _readers(columns: Sequence[Column], arrays: Mapping[str, pa.Array], rows: int) -> list[Reader]:
    learned = [column for column in columns if column["type"] not in AFRESH]
    pairs = _places(learned)
    second = {b["name"] for _, b in pairs.values()}
    out: list[Reader] = []
    for column in columns:
        name = column["name"]
        if column["type"] in AFRESH:
            out.append(PresenceReader(column, missing(arrays[name]) if name in arrays else np.zeros(rows, bool)))
        elif name in pairs:
            out.append(PlaceReader(pairs[name], [arrays[one["name"]] for one in pairs[name]]))
        elif "levels" in column:
            out.append(LevelsReader(column, arrays[name]))
        elif name not in second:
            out.append(
                MomentReader(column, arrays[name]) if column["type"] in MOMENTS else NumberReader(column, arrays[name])
            )
    return out


def _limit(readers: Sequence[Reader], max_levels: int) -> None:
    """How many levels are drawn in one step, by those that were told."""
    leveled = [reader for reader in readers if isinstance(reader, LevelsReader)]
    limit = _level_limit([{"levels": reader.found} for reader in leveled], max_levels)
    for reader in leveled:
        reader.limit = limit


def encoded(one: Field, arrays: Sequence[pa.Array], rng: np.random.Generator) -> Ints:
    """Codes (n, codes), each row's from that row alone: values that are not told are drawn from the others' counts."""
    if not isinstance(one, Levels):
        return one.encode(arrays)
    place = np.full(one.universe + 1, -1, np.int64)
    place[one.kept] = np.arange(len(one.kept))
    out = place[one._positions(arrays[0])]
    lost = np.flatnonzero(out < 0)
    counts = np.array(one.counts, float)
    if len(counts) > 1:
        counts[np.array(one.kept) == one.null] = 0
    out[lost] = drawn(counts, len(lost), rng)
    return one._split(out)
