"""One training run on a table: rows to tensors, the trained generator to a model's files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from service.errors import Rejected
from workers.engine.batch import Batch
from workers.engine.trainer import Trainer
from workers.engine.warmstart import WarmSettings, WarmStart
from workers.modalities import Dataset, Json, Preparing, unheard
from workers.modalities.table import codec as codecs
from workers.modalities.table import guides, metrics, relations
from workers.modalities.table.codec import Codec
from workers.modalities.table.ensemble import Ensemble
from workers.modalities.table.fields import Column, Ints
from workers.modalities.table.guiding import Guiding
from workers.modalities.table.networks import Discriminator, Generator, Rules, Shape, Start
from workers.modalities.table.outlook import Outlook, guessed, outlook, part
from workers.modalities.table.presets import Plan, narrowed, planned, set_aside, settings
from workers.modalities.table.rows import affordable, available, read_rows
from workers.modalities.table.sampler import TableSampler, generator_file, rows_as_json
from workers.modalities.table.sampling import FastGenerator, rule_tables
from workers.modalities.table.spec import TableConfig
from workers.modalities.table.tilting import Tilted

MIN_ROWS = 10
LIKELY_ROWS, JUDGE_EVERY = 2_500, 75  # set aside to judge by likelihood; steps between
JUDGED_AT_ONCE = 640  # rows: what comes between stays in the cache, which takes a third less time than with 2,048
JUDGED_ROWS = 20_000  # with 4,000 a classifier sees too little: adult's AUC comes out as .55, with 20,000 as .62
FIXED_SHARE = 0.3  # of a batch has some columns fixed by the condition: more cost the whole, see docs/LOG.md
SURE = 0.3  # share of a number's variance from which training starts from its guide, not its strongest predecessor
WEIGHT_DECAY = 0.1
SEEDS = 1_000_003  # between the seeds of two rounds
ANCHOR = 0.05  # weight of the likelihood, in nats a row, beside the adversarial loss
SLICE = 20_000  # rows whose guides' steps are computed at a time
PRIOR = 2.0  # rows of prior belief in a table's log-ratios


class Rows:
    """The training rows as one tensor of codes on the device, in an order of chance; `aside` of them are not learned
    from in a round. `draw` is the engine's door."""

    def __init__(self, codes: Ints, codec: Codec, aside: int, device: str) -> None:
        kind = torch.int16 if max(codec.sizes, default=0) < 2**15 else torch.int32
        self.codes, self.k = torch.from_numpy(codes).to(kind).to(device), sum(codec.sizes)
        self.offsets = torch.from_numpy(codec.offsets).to(device)
        self.sizes = torch.tensor(codec.sizes, device=device)
        self.device = device
        self.aside, self.first = aside, 0  # how many, and the first of them

    @property
    def learned(self) -> int:
        """How many rows a round learns from."""
        return len(self.codes) - self.aside

    def validation(self, most: int | None = None) -> Tensor:
        """(rows, v) that decide when the round stops and what is kept of it; at most so many."""
        return self.codes[self.first : self.first + self.aside][:most].long()

    def to_learn(self) -> Ints:
        """(rows, v): those that the round learns from."""
        parts = self.codes[: self.first], self.codes[self.first + self.aside :]
        out: Ints = torch.cat(parts).long().cpu().numpy()
        return out

    def turn(self, number: int) -> None:
        """Each round sets others aside."""
        self.first = number * self.aside % (self.learned + 1)

    def some(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """n rows with replacement (n, v), and which of their codes are fixed: none in most rows, else each number of
        codes as often as any other."""
        rows = torch.randint(self.learned, (n,), generator=rng)
        rows = (rows + self.aside * (rows >= self.first)).to(self.device, non_blocking=True)
        codes = self.codes[rows].long()
        share = torch.rand(n, 1, generator=rng) * (torch.rand(n, 1, generator=rng) < FIXED_SHARE)
        fixed = (torch.rand(codes.shape, generator=rng) < share).float()
        return codes, fixed.to(self.device, non_blocking=True)

    def one_hots(self, codes: Tensor) -> Tensor:
        return torch.zeros(len(codes), self.k, device=self.device).scatter_(1, codes + self.offsets, 1.0)

    def draw(self, n: int, rng: torch.Generator) -> Batch:
        """Rows as one-hots, and as condition the one-hots of what is fixed."""
        codes, fixed = self.some(n, rng)
        real = self.one_hots(codes)
        return Batch(real, real * torch.repeat_interleave(fixed, self.sizes, dim=1))


class TableTraining:
    def __init__(self, dataset: Dataset, config: TableConfig, device: str, preparing: Preparing = unheard) -> None:
        self.config, self.device, self.schema = config, device, dataset.schema
        columns = list(dataset.schema["columns"])
        self.available = available(dataset)
        ahead = self._outlook(preparing, columns)
        self.train = read_rows(dataset, "train", config.max_rows, columns, config.seed, ahead.reading)
        self.holdout = read_rows(dataset, "holdout", 20_000, columns, config.seed)
        if self.train.num_rows < MIN_ROWS:
            raise Rejected("too_few_rows", f"Training needs at least {MIN_ROWS} rows; the dataset has {dataset.rows}.")
        self.plan = planned(config, self.train.num_rows)
        rng = np.random.default_rng([config.seed, 1])
        rules = [rule.model_dump() for rule in config.constraints]
        fitting = part(ahead.fitting, 0.0, 0.6)
        search = config.structure == "search"
        self.codec, codes = codecs.fit(columns, self.train, rng, config.max_levels, rules, fitting, search)
        self.plan = narrowed(self.plan, config, len(self.codec.sizes))
        ahead.fitting(0.6, 1.0)
        codes = codes.T[:, rng.permutation(len(codes))].T
        self.rows = Rows(codes, self.codec, set_aside(len(codes)), device)
        learned = codes[self.rows.aside :]
        self._guides = guides.fit(self.codec, learned)
        ahead.fitting(0.7, 1.0)
        begin = start(self.codec, learned, self._guides)
        self.shape = shape(self.codec, begin, self.plan)
        generator, discriminator = build(self.shape, begin, self.codec, config.seed)
        generator.rules = rule_tables(self.codec.rules)
        warm = WarmSettings(
            self.plan.warm_steps,
            weight_decay=WEIGHT_DECAY,
            judge_every=JUDGE_EVERY,
            patience=self.plan.patience,
            rounds=self.plan.rounds,
        )
        self.trainer = Trainer(
            generator,
            discriminator,
            self.rows.draw,
            settings(self.plan),
            seed=config.seed,
            device=device,
            auxiliary_loss=self._anchor,
            warm_start=WarmStart(self._likelihood, warm, self._renew),
            judge=self._judge if self.rows.aside else None,
        )

    def _outlook(self, preparing: Preparing, columns: list[Column]) -> Outlook:
        kept = min(self.available, self.config.max_rows, affordable(len(columns)))
        plan = narrowed(planned(self.config, kept), self.config, round(guessed(columns)[0]))
        return outlook(preparing, columns, self.available, kept, plan.all_steps, plan.batch, plan.width)

    def _renew(self, number: int) -> dict[str, Tensor]:
        """Another generator and other rows set aside, for a round of the warm start."""
        self.rows.turn(number)
        begin = start(self.codec, self.rows.to_learn(), self._guides)
        generator, _ = build(self.shape, begin, self.codec, self.config.seed + SEEDS * number)
        return generator.state_dict()

    def _likelihood(self, rng: torch.Generator) -> Tensor:
        codes, fixed = self.rows.some(self.plan.batch, rng)
        losses: Tensor = self.trainer.generator.likelihood(codes, fixed, rng)  # type: ignore[operator]
        return (losses * (1 - fixed)).sum() / len(codes)

    def _anchor(self, fake: Tensor, batch: Batch) -> Tensor:
        """Keeps the likelihood of real rows in sight while D is followed: without it G drifts (docs/LOG.md)."""
        return ANCHOR * self._likelihood(self.trainer.rng)

    def _judge(self, network: nn.Module, warm: bool) -> float:
        """The mean negative log-likelihood of the rows set aside, in nats; or how well they are told from samples."""
        if warm:
            return self._mean_loss(network, self.rows.validation(LIKELY_ROWS))
        return self._detected(network)

    @torch.no_grad()
    def _mean_loss(self, network: nn.Module, codes: Tensor) -> float:
        slices = torch.split(codes, JUDGED_AT_ONCE)
        parts = [network.likelihood(part).sum() for part in slices]  # type: ignore[operator]
        return float(torch.stack(parts).sum()) / max(1, len(codes))

    def _detected(self, network: nn.Module) -> float:
        fast = FastGenerator(network, self._rules(), self.device)  # type: ignore[arg-type]
        made = fast.draw(self.rows.aside, np.random.default_rng([self.config.seed, 4]))
        return metrics.codes_auc(self.rows.validation().cpu().numpy(), made, self.codec)

    def _rules(self) -> Rules:
        return rule_tables(self.codec.rules)

    def evaluate(self) -> dict[str, float]:
        real = self.holdout if self.holdout.num_rows >= metrics.ENOUGH else self.train
        return metrics.quick(real, self._sample(4_000), self.codec.columns)

    def picture(self) -> bytes | None:
        return None

    def _sample(self, n: int) -> pa.Table:
        """Rows of the averaged generator, in storage types."""
        rng = np.random.default_rng([self.config.seed, 5])
        members = [self._member(kept.tensors) for kept in self.trainer.ensemble()]
        codes = Ensemble(members).draw(n, rng)
        return self.codec.decode(codes, np.arange(n, dtype=np.uint64), self.config.seed, rng)

    def _member(self, weights: dict[str, Tensor]) -> Tilted:
        network = copy.deepcopy(self.trainer.ema)
        network.load_state_dict(weights)
        return Tilted(FastGenerator(network, self._rules(), self.device), self.codec.sizes)  # type: ignore[arg-type]

    def export(self, directory: Path) -> Json:
        members = self.trainer.ensemble()
        named = [(generator_file(number), kept.tensors) for number, kept in enumerate(members)]
        for name, weights in [*named, ("discriminator.safetensors", self.trainer.discriminator.state_dict())]:
            state = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
            save_file(state, directory / name)
        _write(directory / "codec.json", self.codec.to_json())
        config = {
            "modality": "table",
            "version": 2,
            "shape": self.shape.to_json(),
            "members": len(members),
            "layout": self.schema.get("layout", {}),
        }
        _write(directory / "config.json", config | {"config": self.config.model_dump(mode="json")})
        sampler = TableSampler(directory, self.device)
        _write(
            directory / "samples.json",
            rows_as_json(sampler.table(0, sampler.at_most(20), self.config.seed, {}), self.codec.columns),
        )
        report = self._report(sampler)
        _write(directory / "report.json", report)
        return report

    def _trouble(self) -> list[str]:
        why = self.trainer.trouble
        return [] if why is None else [f"{why} The model is what had been learned before that went wrong."]

    def _figures(self, sampler: TableSampler) -> tuple[int, dict[str, Any]]:
        """How many synthetic rows were judged, and what came of it."""
        most = self.codec.structure.capacity  # where values are unique, rows are too few to be drawn at will
        synthetic = sampler.table(0, min(JUDGED_ROWS, most or JUDGED_ROWS), self.config.seed + 1, {})
        holdout = self.holdout if self.holdout.num_rows else None
        figures = metrics.report(self.train, holdout, synthetic, self.codec.columns, self.config.seed)
        return synthetic.num_rows, figures

    def _report(self, sampler: TableSampler) -> dict[str, Any]:
        judged_rows, figures = self._figures(sampler)
        used = {
            "available": self.available,
            "drawn": self.train.num_rows,  # of these, at random: what is held in memory
            "trained_on": self.rows.learned,  # by each generator
            "set_aside": self.rows.aside,  # of the training rows: they decided when to stop and what to keep
            "holdout": self.holdout.num_rows,
            "synthetic_judged": judged_rows,
        }
        warm = self.plan.rounds * self.plan.warm_steps
        kept = [
            {"step": one.step, "stage": "likelihood" if one.step <= warm else "adversarial"}
            for one in self.trainer.ensemble()
        ]
        made = {"preset": self.config.preset, "steps": self.trainer.step, "kept": kept if self.rows.aside else None}
        structure = self.codec.structure
        told = {"structure": structure.describe(), "warnings": [*structure.warnings(), *self._trouble()]}
        return {"modality": "table", **made, "rows": used} | told | figures


def build(shape: Shape, begin: Start, codec: Codec, seed: int) -> tuple[Generator, Discriminator]:
    """Both networks with weights that follow from the seed; the global random state is left as it was."""
    views = torch.from_numpy(codec.views()).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(shape, begin), Discriminator(shape, views)


def shape(codec: Codec, begin: Start, plan: Plan) -> Shape:
    guiding = begin.guiding
    return Shape(
        codec.sizes,
        [list(pair) for pair in codec.pairs],
        guiding.terms,
        guiding.coarse,
        guiding.fine,
        plan.width,
        max(128, 3 * plan.width),
        codec.views().shape[1],
        plan.dropout,
    )


def start(codec: Codec, codes: Ints, found: guides.Guides) -> Start:
    """Shares of levels in these rows, and for each variable what its guide, if that is a good one, or its strongest
    predecessor says of it; all other tables begin with zeros."""
    shares = [
        np.log((np.bincount(codes[:, i], minlength=size) + 0.1) / (len(codes) + 0.1 * size))
        for i, size in enumerate(codec.sizes)
    ]
    guiding = found.at_work(codec.sizes)
    taken = _steps_taken(guiding, codes)
    steps = {}
    for j, m in [*guiding.coarse, *guiding.fine]:
        height, size = guiding.height(j), codec.sizes[j]
        said = relations.log_ratio(taken[j].astype(np.int64), codes[:, j], height, size, PRIOR)
        steps[j] = torch.from_numpy(said).float() if found.worth[m] >= SURE else torch.zeros(height, size)
    settled = {j for j, table in steps.items() if table.any()}
    pairs = []
    for i, j in codec.pairs:
        a, b = codec.sizes[i], codec.sizes[j]
        said = np.zeros((a, b)) if j in settled else relations.log_ratio(codes[:, i], codes[:, j], a, b, PRIOR)
        pairs.append(torch.from_numpy(said).float())
        settled.add(j)
    return Start([torch.from_numpy(share).float() for share in shares], pairs, steps, guiding)


def _steps_taken(guiding: Guiding, codes: Ints) -> dict[int, NDArray[np.uint8]]:
    """The steps of all rows for each guided variable; some rows at a time, as what comes between is much larger."""
    out = {j: np.empty(len(codes), np.uint8) for j, _ in [*guiding.coarse, *guiding.fine]}
    for begin in range(0, len(codes) if out else 0, SLICE):
        steps = guiding.steps(torch.from_numpy(np.ascontiguousarray(codes[begin : begin + SLICE].T))).numpy()
        for j, found in out.items():
            found[begin : begin + SLICE] = steps[j]
    return out


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
