"""One training run on a table: rows to tensors, presets to settings, the trained generator to a model's files."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from service.errors import Rejected
from workers.engine.batch import Batch
from workers.engine.trainer import Settings, Trainer
from workers.modalities import Dataset, Json, Split
from workers.modalities.table import codec as codecs
from workers.modalities.table import metrics, relations, whitening
from workers.modalities.table.codec import Codec
from workers.modalities.table.networks import Discriminator, Generator, Shape, Start
from workers.modalities.table.sampler import TableSampler, rows_as_json
from workers.modalities.table.sampling import FastGenerator
from workers.modalities.table.spec import TableConfig
from workers.modalities.table.writing import storage_type

MIN_ROWS = 10
STEPS = {"draft": 1_600, "standard": 12_000, "best": 60_000}  # for tables of FULL rows and more
FULL = 20_000
JUDGED_ROWS = 20_000  # with 4,000 a classifier sees too little: adult's AUC comes out as .55, with 20,000 as .62
FIXED_SHARE = 0.5  # of a batch has some columns fixed by the condition
BATCH = 256  # 1024 was no better in the same time, 512 worse
LEVEL_PASSES = (*([0.7] * 4), *([0.4] * 4))  # strength of each pass of calibration


class Rows:
    """The training rows as tensors. `draw` is the engine's door."""

    def __init__(self, codes: NDArray[np.int64], row: Tensor, codec: Codec) -> None:
        self.codes, self.row = torch.from_numpy(codes), row
        self.offsets, self.k = torch.from_numpy(codec.offsets), codec.one_hots
        self.fixable = torch.tensor([variable.levels is not None for variable in codec.variables], dtype=torch.bool)

    def one_hots(self, index: Tensor) -> Tensor:
        return torch.zeros(len(index), self.k).scatter_(1, self.codes[index] + self.offsets, 1.0)

    def draw(self, n: int, rng: torch.Generator) -> Batch:
        """n rows with replacement, and for about half of them one, two or more of their categories as condition."""
        index = torch.randint(len(self.codes), (n,), generator=rng)
        one_hots = self.one_hots(index)
        fixed = self._fixed(n, rng)
        condition = one_hots * torch.repeat_interleave(fixed, self._sizes(), dim=1)
        return Batch(torch.cat([self.row[index], one_hots], 1), condition)

    def _sizes(self) -> Tensor:
        return torch.diff(torch.cat([self.offsets, torch.tensor([self.k])]))

    def _fixed(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, v) of 0 and 1: how many variables are fixed halves in probability with each more."""
        v = self.codes.shape[1]
        u = torch.rand(n, 1, generator=rng)
        number = torch.where(
            u < 1 - FIXED_SHARE, 0, 1 + torch.floor(-torch.log2(torch.rand(n, 1, generator=rng).clamp_min(1e-6)))
        )
        rank = (torch.rand(n, v, generator=rng) + (~self.fixable).float() * 2).argsort(1).argsort(1)
        return ((rank < number) & self.fixable).float()


class TableTraining:
    def __init__(self, dataset: Dataset, config: TableConfig, device: str) -> None:
        self.config, self.device, self.schema = config, device, dataset.schema
        columns = list(dataset.schema["columns"])
        self.train = read_rows(dataset, "train", config.max_rows, columns, config.seed)
        self.holdout = read_rows(dataset, "holdout", 20_000, columns, config.seed)
        if self.train.num_rows < MIN_ROWS:
            raise Rejected("too_few_rows", f"Training needs at least {MIN_ROWS} rows; the dataset has {dataset.rows}.")
        self.codec, codes = codecs.fit(columns, self.train, config.max_levels)
        rng = np.random.default_rng([config.seed, 1])
        codes, g, valid = self.codec.encode(self.train, rng)
        white = whitening.fit(codes, self.codec.offsets, self.codec.one_hots, g, valid)
        shape = Shape(
            self.codec.sizes, len(self.codec.numbers), [number.hole for number in self.codec.numbers], **widths(config)
        )
        self.shares, self.forbidden = level_shares(self.codec, codes), forbidden(self.codec, codes)
        start = Start(
            torch.from_numpy(np.log(self.shares)), tree_pairs(self.codec, codes),
            *(torch.from_numpy(part) for part in (white.mean, white.root, white.inverse)),
        )  # fmt: skip
        generator, discriminator = build(shape, start, config.seed)
        self.rows = Rows(codes, _seen(generator, g, codes, self.codec), self.codec)
        self.settings = settings(config, self.train.num_rows)
        self.trainer = Trainer(generator, discriminator, self.rows.draw, self.settings, seed=config.seed, device=device)
        self.shape = shape

    def evaluate(self) -> dict[str, float]:
        real = self.holdout if self.holdout.num_rows >= metrics.ENOUGH else self.train
        return metrics.quick(
            real, self._sample(FastGenerator(self._settled(20), self.forbidden, self.device), 4_000), self.codec.columns
        )

    def picture(self) -> bytes | None:
        return None

    def export(self, directory: Path) -> Json:
        network = self._settled(60)
        self._calibrate(network)
        tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        save_file(tensors | {"forbidden": self.forbidden.to(torch.uint8)}, directory / "generator.safetensors")
        state = {
            name: value.detach().cpu().contiguous() for name, value in self.trainer.discriminator.state_dict().items()
        }
        save_file(state, directory / "discriminator.safetensors")
        _write(directory / "codec.json", self.codec.to_json())
        config = {
            "modality": "table",
            "version": 1,
            "shape": network.shape.to_json(),
            "layout": self.schema.get("layout", {}),
        }
        _write(directory / "config.json", config | {"config": self.config.model_dump()})
        sampler = TableSampler(directory, self.device)
        _write(directory / "samples.json", rows_as_json(sampler.table(0, 20, self.config.seed, {}), self.codec.columns))
        report = self._report(sampler)
        _write(directory / "report.json", report)
        return report

    def _report(self, sampler: TableSampler) -> dict[str, Any]:
        synthetic = sampler.table(0, JUDGED_ROWS, self.config.seed + 1, {})
        figures = metrics.report(
            self.train, self.holdout if self.holdout.num_rows else None, synthetic, self.codec.columns, self.config.seed
        )
        used = {
            "trained_on": self.train.num_rows,
            "holdout": self.holdout.num_rows,
            "synthetic_judged": synthetic.num_rows,
        }
        return {"modality": "table", "preset": self.config.preset, "steps": self.trainer.step, "rows": used} | figures

    def _settled(self, batches: int) -> Generator:
        """The averaged generator with batch norm statistics of its own, not the live one's."""
        network: Generator = copy.deepcopy(self.trainer.ema)  # type: ignore[assignment]
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.reset_running_stats()
                module.momentum = None  # a plain mean over the batches
        network.train()
        rng = torch.Generator().manual_seed(self.config.seed + 2)
        with torch.no_grad():
            for _ in range(batches):
                batch = self.rows.draw(512, rng)
                condition = None if batch.condition is None else batch.condition.to(self.device)
                network(network.latent(512, rng).to(self.device), condition)
        return network.eval()

    def _calibrate(self, network: Generator) -> None:
        """Shares of levels, then quantiles of numbers, to those of the training rows: learning left them a bit off."""
        fast = FastGenerator(network, self.forbidden, self.device)
        share = min(1.0, 250 / max(1, self.codec.one_hots))  # a row of a wide table costs more and says more
        goal = torch.from_numpy(self.shares).to(self.device)
        for i, strength in enumerate(LEVEL_PASSES):
            codes, _ = fast.draw(int(20_000 * share), np.random.default_rng([self.config.seed, 3, i]))
            made = torch.from_numpy(level_shares(self.codec, codes)).to(self.device)
            fast.bias += strength * torch.log(goal / made)
        with torch.no_grad():
            network.logits.bias.copy_(fast.bias)
        codes, g = fast.draw(int(100_000 * share), np.random.default_rng([self.config.seed, 4]))
        for i, number in enumerate(self.codec.numbers):
            there = slice(None) if number.hole is None else codes[:, number.hole] == 0
            if len(g[there, i]) >= 1000:
                number.table.calibrate(g[there, i])

    def _sample(self, fast: FastGenerator, n: int) -> pa.Table:
        rng = np.random.default_rng([self.config.seed, 5])
        codes, g = fast.draw(n, rng)
        return self.codec.decode(codes, g, np.arange(n, dtype=np.uint64), self.config.seed, rng)


def build(shape: Shape, start: Start, seed: int) -> tuple[Generator, Discriminator]:
    """Both networks with weights that follow from the seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # a table may lack numbers or categories
        torch.manual_seed(seed)
        return Generator(shape, start), Discriminator(shape)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, default=str), encoding="utf-8")


def _seen(generator: Generator, g: NDArray[np.float32], codes: NDArray[np.int64], codec: Codec) -> Tensor:
    """The numeric part of each training row, as the discriminator sees it (n, 2d), made in slices."""
    out = torch.empty(len(g), 2 * g.shape[1])
    offsets = torch.from_numpy(codec.offsets)
    with torch.no_grad():
        for start in range(0, len(g), 8192):
            some = slice(start, start + 8192)
            part = torch.from_numpy(codes[some])
            one_hots = torch.zeros(len(part), codec.one_hots).scatter_(1, part + offsets, 1.0)
            out[some] = generator.row_of_data(torch.from_numpy(g[some]), one_hots)[:, : 2 * g.shape[1]]
    return out


def widths(config: TableConfig) -> dict[str, int]:
    width = config.width or {"draft": 128, "standard": 128, "best": 256}[config.preset]
    return {"width": width, "width_discriminator": width * 3 // 2}


def settings(config: TableConfig, rows: int) -> Settings:
    """Steps follow from preset and rows alone, never from the clock, so that a run can be repeated."""
    scale = min(1.0, max(0.5, (rows / FULL) ** 0.5))
    steps = config.steps or int(STEPS[config.preset] * scale)
    batch = config.batch or min(BATCH, max(32, rows))
    return Settings(
        steps=steps,
        batch=batch,
        lr_generator=(2e-3, 4e-5),
        lr_discriminator=(2e-3, 4e-5),
        gamma=(0.1, 0.1),
        beta2=(0.99, 0.99),
        ema_half_life=min(138.0, 0.1 * steps),
        burn_in=1.0,
        warmup=min(50, steps // 10),
        penalty="finite",
        penalty_share=0.25,
        balance=0.62,
    )


def read_rows(dataset: Dataset, split: Split, limit: int, columns: list[dict[str, Any]], seed: int) -> pa.Table:
    """At most `limit` rows of a split, drawn at random in their order; of columns that are never learned only whether a
    value is there."""
    columns = [column for column in columns if column["type"] not in codecs.AFRESH or column["nullable"]]
    parts = [part for part in dataset.parts if part.split == split]
    total = sum(part.rows for part in parts)
    chosen = np.arange(total)
    if total > limit:
        chosen = np.sort(np.random.default_rng([seed, 2]).choice(total, limit, replace=False, shuffle=False))
    tables, start = [], 0
    for part in parts:
        file = pq.ParquetFile(part.path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=[column["name"] for column in columns])
            rows = file.metadata.row_group(group).num_rows
            first, last = np.searchsorted(chosen, [start, start + rows])
            some = pa.array(chosen[first:last] - start)
            tables.append(_learnable(table.take(some), columns) if columns else _only_rows(last - first))
            start += rows
    if not tables:
        return _learnable(pa.schema([(c["name"], storage_type(c)) for c in columns]).empty_table(), columns)
    return pa.concat_tables(tables).combine_chunks()


def _learnable(table: pa.Table, columns: list[dict[str, Any]]) -> pa.Table:
    """Values that are never learned give way to a mere yes."""
    arrays = [
        pc.if_else(pc.is_valid(array), True, pa.scalar(None, pa.bool_())) if column["type"] in codecs.AFRESH else array
        for column, array in zip(columns, table.columns, strict=True)
    ]
    return pa.table(arrays, names=table.column_names)


def _only_rows(n: int) -> pa.Table:
    """A table whose columns are all of no interest, but not the number of its rows."""
    return pa.table({"": pa.nulls(n)})


# -- what the generator starts from -------------------------------------------------------------------------------


def level_shares(codec: Codec, codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """The share of each level among the rows, smoothed, all variables one after the other (k,)."""
    shares = [
        (np.bincount(codes[:, i], minlength=size) + 0.1) / (len(codes) + 0.1 * size)
        for i, size in enumerate(codec.sizes)
    ]
    return np.concatenate(shares).astype(np.float32) if shares else np.zeros(0, np.float32)


def tree_pairs(codec: Codec, codes: NDArray[np.int64]) -> Tensor:
    """Log-ratios of levels (k, k): from each variable's parent to it, and from it, where it is fixed, to all that come
    before it on its branch. For a tree, drawing with these is exact, with one variable fixed as without."""
    out = torch.zeros(codec.one_hots, codec.one_hots)
    ends = [*codec.offsets.tolist(), codec.one_hots]
    for j, parent in enumerate(codec.parents):
        own, i = slice(ends[j], ends[j + 1]), parent
        while i >= 0:
            ratio = relations.log_ratio(codes[:, i], codes[:, j], codec.sizes[i], codec.sizes[j])
            if i == parent:
                out[ends[i] : ends[i + 1], own] = torch.from_numpy(ratio)
            out[own, ends[i] : ends[i + 1]] = torch.from_numpy(ratio.T.copy())
            i = codec.parents[i]
    return out


def forbidden(codec: Codec, codes: NDArray[np.int64]) -> Tensor:
    """Levels that never meet because one variable determines the other (k, k) of 0 and 1."""
    out = torch.zeros(codec.one_hots, codec.one_hots)
    ends = [*codec.offsets.tolist(), codec.one_hots]
    for i, j in codec.determined:
        never = torch.from_numpy(relations.unseen(codes[:, i], codes[:, j], codec.sizes[i], codec.sizes[j])).float()
        a, b = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
        out[a, b] = torch.maximum(out[a, b], never)
        out[b, a] = torch.maximum(out[b, a], never.T)
    return out
