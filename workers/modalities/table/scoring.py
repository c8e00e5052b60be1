"""How odd a row looks to a table's model: unlikely, unlike in what goes together, against its rules, doubted, far off.

What each view sees of planted counterfeits: docs/LOG.md, and the result of every job."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file
from torch import Tensor

from service.errors import Rejected
from workers.modalities import Dataset, Given, Progress
from workers.modalities.scoring import LEAST, Floats, Measured, Upload
from workers.modalities.table import given, metrics, networks
from workers.modalities.table.codec import AFRESH, Codec
from workers.modalities.table.fields import Bools, Column, Ints
from workers.modalities.table.neighbours import Neighbours
from workers.modalities.table.rows import read_rows
from workers.modalities.table.sampler import TableSampler, generator_file

VIEWS = ("likelihood", "relations", "impossible", "discriminator", "distance")
CALIBRATED, PLANTED = 5_000, 2_000  # rows that stand for real ones; counterfeits of each kind
SURE = 0.99  # share of training rows in which a found rule must hold for its breach to count
PIECE, PIECE_CELLS = 8_192, 1 << 23  # rows measured at a time, and numbers in a hidden layer
SMOOTH = 0.5  # rows that each level is given beforehand when levels are counted


class TableViews:
    """A loaded model and the real rows beside which others are looked at."""

    def __init__(self, directory: Path, device: str, codec: Codec, known: pa.Table, rng: np.random.Generator) -> None:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        shape = networks.Shape(**config["shape"])
        self.codec, self.device, self._offsets = codec, device, torch.from_numpy(codec.offsets).to(device)
        self.members = [
            _loaded(networks.Generator(shape), directory / generator_file(number), device)
            for number in range(config["members"])
        ]
        self.discriminator = _loaded(networks.Discriminator(shape), directory / "discriminator.safetensors", device)
        self.rows = max(256, min(PIECE, PIECE_CELLS // (shape.width * len(shape.sizes)), PIECE_CELLS // shape.levels))
        self._marginal = _marginals(codec.encode(known, rng), codec.sizes).to(device)
        self.near = Neighbours(metrics.arrays(known, codec.columns), device)

    def of(self, table: pa.Table, rng: np.random.Generator) -> Measured:
        """Of prepared rows, as many as fit into memory at once."""
        if not table.num_rows:
            return Measured(np.zeros((0, len(VIEWS))), np.zeros(0))
        codes = self.codec.encode(table, rng)
        impossible = unseen(table, self.codec.columns) + self._broken(table, codes, rng)
        unlikely, alone, doubt = self._networks(torch.from_numpy(np.ascontiguousarray(codes)).to(self.device))
        distance = self.near.distance(metrics.arrays(table, self.codec.columns))
        return Measured(np.stack([unlikely, unlikely - alone, impossible, doubt, distance], 1), distance)

    @torch.no_grad()
    def _networks(self, codes: Tensor) -> tuple[Floats, Floats, Floats]:
        """-log p of each row; the same were its codes independent of each other; and -D."""
        logs = torch.stack([-member.likelihood(codes).sum(1) for member in self.members])
        unlikely = math.log(len(self.members)) - torch.logsumexp(logs.double(), 0)
        places = codes + self._offsets
        alone = self._marginal[places].sum(1)
        size = int(self._marginal.shape[0])
        real = torch.zeros(len(codes), size, device=self.device).scatter_(1, places, 1.0)
        doubt = -self.discriminator(real)
        return tuple(one.double().cpu().numpy() for one in (unlikely, alone, doubt))  # type: ignore[return-value]

    def _broken(self, table: pa.Table, codes: Ints, rng: np.random.Generator) -> Floats:
        """How many rules each row breaks: those of the codes, and columns that follow from others."""
        out = np.zeros(len(codes))
        for i, j, never in self.codec.rules:
            out += never[codes[:, i], codes[:, j]]
        structure = self.codec.structure
        learned = [c["name"] for c in self.codec.columns if c["type"] not in AFRESH]
        frame = {name: table[name].combine_chunks() for name in learned}
        columns = {column["name"]: column for column in self.codec.columns}
        for step in structure.steps:
            if step.holds < SURE:
                continue
            made = step.inverse(frame | step.forward(frame, rng), rng)
            found = [_differs(frame[name], made[name], columns[name]) for name in step.makes if name in frame]
            out += np.logical_or.reduce(found) if found else 0
        return out


class TableScorer:
    """The door for scoring."""

    views: tuple[str, ...] = VIEWS

    def __init__(self, reference: Dataset | None, upload: Upload, directory: Path, device: str, seed: int) -> None:
        self.seed, self.sampler, self.upload = seed, TableSampler(directory, device), upload
        self.codec, self.warnings = self.sampler.codec, list[str]()
        self.columns = [c for c in self.codec.columns if c["type"] not in AFRESH or c["nullable"]]
        self._samples = 0  # that stand for real rows
        known, self._real = self._from(reference)
        rng = np.random.default_rng([seed, 1])
        self.measure = TableViews(directory, device, self.codec, known, rng)
        self.calibrated_on = "the model's own samples" if self._samples else "held-out rows"

    def _from(self, reference: Dataset | None) -> tuple[pa.Table, pa.Table]:
        """Rows that are known to be real, and others that stand for real ones."""
        if reference is not None:
            held = read_rows(reference, "holdout", CALIBRATED, self.codec.columns, self.seed)
            if held.num_rows >= LEAST:
                known = read_rows(reference, "train", CALIBRATED, self.codec.columns, self.seed)
                return self._prepared(known), self._prepared(held)
            why = f"only {held.num_rows} rows of its dataset were held out"
        else:
            why = "no held-out rows of its dataset may be looked at, or they are not there any more"
        self._samples = count = self.sampler.at_most(2 * CALIBRATED)
        if count < 2 * LEAST:
            raise Rejected("nothing_to_calibrate_on", f"The model makes only {count} rows, too few to compare with.")
        self.warnings.append(
            f"Scores are calibrated on the model's own samples, since {why}: they say how unlike these a row is, and "
            "of real rows more or fewer may be called counterfeit than the rates say."
        )
        made = self._prepared(self.sampler.table(0, count, self.seed, {}))
        return made.slice(0, count // 2), made.slice(count // 2)

    def real(self, progress: Progress) -> Measured:
        return self._measured(self._real, 2, progress)

    def planted(self, progress: Progress) -> Iterator[tuple[str, Measured]]:
        rng = np.random.default_rng([self.seed, 3])
        some = self._real.take(pa.array(rng.permutation(self._real.num_rows)[:PLANTED]))
        kinds = {"random values": _random, "columns independent of each other": _independent, "one value swapped": _one}
        made = {name: make(some, rng) for name, make in kinds.items()}
        if not self._samples:
            count = self.sampler.at_most(PLANTED)
            made["the model's own samples"] = self._prepared(self.sampler.table(0, count, self.seed, {}))
        for number, (name, table) in enumerate(made.items()):
            progress(number, len(made))
            yield name, self._measured(table, 4 + number, lambda done, total: progress(0, 1))

    def uploaded(self, progress: Progress) -> Iterator[Measured]:
        upload = self.upload
        source = Given(upload.path, upload.options)
        rng = np.random.default_rng([self.seed, 20])
        done = 0
        for chunk in given.chunks(source, self.sampler.schema, 0, upload.rows, self.measure.rows):
            yield self.measure.of(self._prepared(chunk), rng)
            done += chunk.num_rows
            progress(done, upload.rows)

    def _measured(self, table: pa.Table, number: int, progress: Progress) -> Measured:
        rng, parts = np.random.default_rng([self.seed, number]), []
        for start in range(0, table.num_rows, self.measure.rows):
            progress(start, table.num_rows)
            parts.append(self.measure.of(table.slice(start, self.measure.rows), rng))
        return Measured(
            np.concatenate([part.views for part in parts]), np.concatenate([part.distance for part in parts])
        )

    def _prepared(self, table: pa.Table) -> pa.Table:
        """The columns that the model has a view of; of those made afresh only whether they are there."""
        arrays = [_present(table, column) for column in self.columns]
        return pa.table(arrays, names=[column["name"] for column in self.columns])


def _loaded(network: Any, path: Path, device: str) -> Any:
    network.load_state_dict(load_file(path))
    return network.to(device).eval().requires_grad_(False)


def _present(table: pa.Table, column: Column) -> pa.Array:
    if column["type"] not in AFRESH:
        return table[column["name"]].combine_chunks()
    there = np.ones(table.num_rows, bool)
    if column["name"] in table.column_names:
        there = table[column["name"]].is_valid().to_numpy()
    return pa.array(there, mask=~there)


def _marginals(codes: Ints, sizes: list[int]) -> Tensor:
    """-log of each level's share, those of all variables in a row."""
    parts = []
    for j, size in enumerate(sizes):
        counts = np.bincount(codes[:, j], minlength=size) + SMOOTH
        parts.append(-np.log(counts / counts.sum()))
    return torch.from_numpy(np.concatenate(parts))


def unseen(table: pa.Table, columns: list[Column]) -> Floats:
    """How many of each row's values no training row could have had: unknown levels, out of range, missing where
    nothing is ever missing."""
    out = np.zeros(table.num_rows)
    for column in columns:
        if column["type"] in AFRESH:
            continue
        array = table[column["name"]].combine_chunks()
        gone = array.is_null().to_numpy(zero_copy_only=False)
        out += gone & (not column["nullable"])
        if "levels" in column:
            known = pc.is_in(array, pa.array(column["levels"]).cast(array.type)).to_numpy(zero_copy_only=False)
            out += ~known & ~gone
        elif "minimum" in column and column["type"] in ("integer", "float"):
            values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            with np.errstate(invalid="ignore"):
                out += (values < float(column["minimum"])) | (values > float(column["maximum"]))
    return out


def _differs(array: pa.Array, made: pa.Array, column: Column) -> Bools:
    """Where a column is not what follows from the others, beyond rounding."""
    here, there = (one.is_null().to_numpy(zero_copy_only=False) for one in (array, made))
    out: Bools = here != there
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        a, b = (one.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) for one in (array, made))
        unit = 10.0 ** -column["decimals"] if column.get("decimals") is not None else 0.0
        with np.errstate(invalid="ignore"):
            out |= np.abs(a - b) > 1.01 * unit + 1e-6 * np.abs(a)
        return out
    same = pc.equal(array, made.cast(array.type)).fill_null(True).to_numpy(zero_copy_only=False)
    out |= ~same
    return out


# -- counterfeits -------------------------------------------------------------------------------------------------


def _random(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Any value of a column is as likely as any other."""
    arrays = []
    for column in table.columns:
        values = pc.unique(column.combine_chunks())
        arrays.append(values.take(pa.array(rng.integers(len(values), size=table.num_rows))))
    return pa.table(arrays, names=table.column_names)


def _independent(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Each column keeps its values, in another order."""
    arrays = [column.take(pa.array(rng.permutation(table.num_rows))) for column in table.columns]
    return pa.table(arrays, names=table.column_names).combine_chunks()


def _one(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Each row has one value of another row."""
    which, rows = rng.integers(table.num_columns, size=table.num_rows), np.arange(table.num_rows)
    arrays = [
        column.take(pa.array(np.where(which == j, rng.permutation(table.num_rows), rows)))
        for j, column in enumerate(table.columns)
    ]
    return pa.table(arrays, names=table.column_names).combine_chunks()
