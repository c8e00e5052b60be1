"""One training run on a table with differential privacy: what it may spend, on what, and what its report says of it."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from service.errors import Rejected
from workers.engine import accounting
from workers.engine.accounting import Gaussian
from workers.engine.batch import Batch
from workers.engine.checkpoints import Unusable
from workers.engine.private import STATISTICS, PrivateSettings, PrivateStart, stream
from workers.engine.trainer import Settings, Trainer
from workers.modalities import Dataset, Json, Preparing, unheard
from workers.modalities.table import metrics
from workers.modalities.table.networks import Discriminator, Generator, Shape
from workers.modalities.table.private.counting import Counter
from workers.modalities.table.private.fitting import Fitted, Statistics, fit, hidden_keys
from workers.modalities.table.private.gradients import clipped
from workers.modalities.table.private.raking import rake
from workers.modalities.table.rows import available, read_rows
from workers.modalities.table.sampler import TableSampler
from workers.modalities.table.sampling import rule_tables
from workers.modalities.table.spec import Privacy, TableConfig
from workers.modalities.table.training import JUDGED_ROWS, MIN_ROWS, TableTraining, build

DELTA, POWER = 1e-5, 1.1  # delta is DELTA, or rows ** -POWER where that is less, unless it is said
THRESHOLDS = 0.1  # share of delta that hides keys of too few rows
STATISTICS_SHARE = 0.5  # of the budget, as 1 / sigma^2; measured, see docs/LOG.md
STEPS = {"draft": 100, "standard": 300, "best": 600}
RATE, LEAST_BATCH, MOST_BATCH = 0.1, 64, 4_096  # of the rows that are in a step's batch, on average
WIDTH = 32  # fewer weights, less noise
AT_ONCE = 100_000  # codes whose gradients are worked out together: memory does not grow with the batch
FIXED_SHARE = 0.5  # of the rows have some codes fixed, as a condition would
RAKED, RAKED_LAST = 8, 4  # rounds before the steps and after them


class PrivateTrainer(Trainer):
    """Everything secret follows from the state of `rng`, which checkpoints hold. So one that goes on from a checkpoint
    is made anew with the statistics' noise of the first attempt: to count again would cost privacy again."""

    def __init__(
        self,
        prepared: Callable[[bytes], tuple[Generator, Discriminator, PrivateStart]],
        rng: torch.Generator,
        device: str,
    ) -> None:
        self.prepared, self.on = prepared, device
        self._begin(rng.get_state())

    def _begin(self, state: Tensor) -> None:
        generator, discriminator, start = self.prepared(_secret(state))
        half_life = max(1.0, start.private.steps / 6)
        settings = Settings(steps=0, batch=1, ema_half_life=half_life)
        super().__init__(generator, discriminator, _nothing, settings, seed=0, device=self.on, warm_start=start)
        self.rng.set_state(state)

    def load(self, path: Path) -> None:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                state = file.get_tensor("rng")
            torch.Generator().set_state(state)  # raises for what is no state, before anything is made anew
        except (OSError, ValueError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
            raise Unusable(f"The checkpoint cannot be read: {error}") from error
        if not torch.equal(state, self.rng.get_state()):
            self._begin(state)
        super().load(path)


def _nothing(n: int, rng: torch.Generator) -> Batch:
    raise AssertionError("no adversarial step is made")


def _secret(state: Tensor) -> bytes:
    return hashlib.sha256(state.numpy().tobytes()).digest()[:16]


def secret_rng(seed: int | None) -> torch.Generator:
    """In a state that nobody can guess, or in one that follows from a seed."""
    rng = torch.Generator().manual_seed(0 if seed is None else seed)
    if seed is None:  # a seed of our own would give 32 bits of the numbers, which could be tried one after the other
        state = rng.get_state()
        words = np.frombuffer(os.urandom(4 * len(_WORDS)), np.uint32).astype(np.int64)
        state.view(torch.int64)[_WORDS.start : _WORDS.stop] = torch.from_numpy(words)
        rng.set_state(state)
    return rng


_WORDS = range(3, 3 + 624)  # a Mersenne twister's state, as torch keeps it behind its seed and its place


@dataclass(frozen=True)
class Budget:
    """What may be spent, and on what."""

    epsilon: float
    delta: float
    rows: int

    @classmethod
    def of(cls, privacy: Privacy, rows: int) -> Budget:
        """Raises Rejected for a delta with which a row could be given away outright."""
        delta = min(DELTA, rows**-POWER) if privacy.delta is None else privacy.delta
        if delta >= 1 / rows:
            raise Rejected(
                "privacy_delta_too_large",
                f"delta is {delta:g}; with {rows} training rows it must be below {1 / rows:.3g}, or it would allow to "
                "give whole rows away. Leave it out to have it chosen.",
            )
        return cls(privacy.epsilon, delta, rows)

    @property
    def hiding(self) -> float:
        """The part of delta for keys of too few rows."""
        return THRESHOLDS * self.delta

    @property
    def noise(self) -> float:
        """The part of delta for the noise."""
        return self.delta - self.hiding

    @property
    def statistics(self) -> float:
        """The noise multiplier of all statistics together."""
        return accounting.gaussian_sigma(self.epsilon, self.noise) / math.sqrt(STATISTICS_SHARE)

    def steps(self, rounds: list[Gaussian], rate: float, times: int) -> float:
        """The noise multiplier of the steps with which all is spent that the statistics left."""
        return accounting.step_sigma(self.epsilon, self.noise, rounds, rate, times)


class PrivateTraining(TableTraining):
    """Statistics with noise, then likelihood by noisy steps. No row decides when to stop or what to keep, and no figure
    about real rows is told before the end."""

    def __init__(
        self,
        dataset: Dataset,
        config: TableConfig,
        privacy: Privacy,
        device: str,
        preparing: Preparing = unheard,
    ) -> None:
        self.config, self.privacy, self.device, self.schema = config, privacy, device, dataset.schema
        columns = list(dataset.schema["columns"])
        self.available = available(dataset)
        ahead = self._outlook(preparing, columns)
        self.train = read_rows(dataset, "train", config.max_rows, columns, config.seed, ahead.reading)
        self.holdout = read_rows(dataset, "holdout", 20_000, columns, config.seed)
        ahead.fitting(0.0, 1.0)
        rows = self.train.num_rows
        if rows < MIN_ROWS:
            raise Rejected("too_few_rows", f"Training needs at least {MIN_ROWS} rows; the dataset has {dataset.rows}.")
        self.budget = Budget.of(privacy, rows)
        rng = secret_rng(config.seed if privacy.reproducible else None)
        self.trainer: Trainer = PrivateTrainer(self._prepared, rng, device)

    def _prepared(self, secret: bytes) -> tuple[Generator, Discriminator, PrivateStart]:
        rng, rows = stream(secret, STATISTICS), self.train.num_rows
        rules = [rule.model_dump() for rule in self.config.constraints]
        columns = list(self.schema["columns"])
        counter = Counter(rng, self.budget.hiding, hidden_keys(columns, rules), self.budget.statistics)
        statistics = Statistics(counter, self.budget.statistics)
        self.fitted = fit(columns, self.train, rules, self.config.max_levels, statistics, stream(secret, STATISTICS, 1))
        # Whether or not all of it was asked for: what was depends on answers, and what is charged must not.
        self.rounds = [Gaussian(self.budget.statistics)]
        self.codec, self.codes = self.fitted.codec, torch.from_numpy(self.fitted.codes)
        self.settings = self._settings(rows)
        self.shape = _shape(self.fitted, self.config.width or WIDTH)
        generator, discriminator = build(self.shape, self.fitted.start, self.codec, self.config.seed)
        generator.rules = rule_tables(self.codec.rules)
        self._rake(generator, self.fitted.pairs, RAKED)
        return generator, discriminator, PrivateStart(self._clipped, self.settings, secret)

    def _settings(self, rows: int) -> PrivateSettings:
        times = self.config.steps or STEPS[self.config.preset]
        batch = self.config.batch or min(max(RATE * rows, LEAST_BATCH), MOST_BATCH)
        rate = min(batch / rows, 0.5)
        try:
            sigma = self.budget.steps(self.rounds, rate, times)
        except ValueError:
            raise Rejected(
                "privacy_budget_too_small",
                f"An epsilon of {self.budget.epsilon:g} is too little for {times} steps; ask for fewer, or allow more.",
            ) from None
        return PrivateSettings(times, rows, rate, sigma)

    def _clipped(self, rows: np.ndarray, clip: float, rng: np.random.Generator) -> dict[str, Tensor]:
        codes = self.codes[rows]
        share = rng.random((len(rows), 1)) * (rng.random((len(rows), 1)) < FIXED_SHARE)
        fixed = torch.from_numpy((rng.random(codes.shape) < share).astype(np.float32))
        network, sums = self.trainer.generator, dict[str, Tensor]()
        size = max(1, AT_ONCE // max(1, codes.shape[1]))
        for some, given in zip(torch.split(codes, size), torch.split(fixed, size), strict=True):
            part, _ = clipped(network, some.to(self.device), given.to(self.device), clip)  # type: ignore[arg-type]
            sums = {name: sums[name] + value for name, value in part.items()} if sums else part
        return sums

    def _rake(self, network: Generator, pairs: dict[tuple[int, int], np.ndarray], rounds: int) -> None:
        rake(network, self.fitted.shares, pairs, np.random.default_rng([self.config.seed, 6]), rounds)

    def evaluate(self) -> dict[str, float]:
        """Nothing: a curve over real rows, if somebody acts on it, is not accounted for."""
        return {}

    def export(self, directory: Path) -> Json:
        self._rake(self.trainer.ema, {}, RAKED_LAST)  # type: ignore[arg-type]
        return super().export(directory)

    # -- the report --

    def _report(self, sampler: TableSampler) -> dict[str, Any]:
        used = {
            "available": self.available,
            "drawn": self.train.num_rows,
            "trained_on": self.train.num_rows,
            "set_aside": 0,
            "holdout": self.holdout.num_rows,
        }
        made = {"preset": self.config.preset, "steps": self.trainer.step, "kept": None}
        rules = [{k: v for k, v in rule.items() if k != "holds_in"} for rule in self.codec.structure.describe()]
        rules = [rule | {"reason": "A rule of the training's config."} for rule in rules]
        used["synthetic_judged"], figures = self._figures(sampler)
        head = {"modality": "table", **made, "rows": used, "privacy": self.spent(), "structure": rules}
        return head | figures

    def _figures(self, sampler: TableSampler) -> tuple[int, dict[str, Any]]:
        """Against the rows that were set aside at the upload. None looks at a training row: it would not be accounted
        for."""
        if self.holdout.num_rows < metrics.ENOUGH:
            return 0, {"verdict": f"Fewer than {metrics.ENOUGH} rows were set aside, so the model was not judged."}
        most = self.codec.structure.capacity
        synthetic = sampler.table(0, min(JUDGED_ROWS, most or JUDGED_ROWS), self.config.seed + 1, {})
        figures = metrics.report(self.holdout, None, synthetic, self.codec.columns, self.config.seed)
        verdict = str(figures["verdict"]).partition(";")[0]
        told = {"verdict": f"{verdict}; how private it is was not measured but is proven, see privacy."}
        return synthetic.num_rows, figures | told | {"compared_with": "holdout rows"}

    def spent(self) -> dict[str, Any]:
        """What the model has told of any one training row."""
        s = self.settings
        done = Gaussian(s.sigma, s.rate, self.trainer.step)
        return {
            "mechanism": "statistics with Gaussian noise, then DP-SGD on the generator's likelihood",
            "unit": "one training row, as it is or blank",
            "epsilon": self.budget.epsilon,
            "delta": self.budget.delta,
            "epsilon_spent": accounting.epsilon([*self.rounds, done], self.budget.noise),
            "epsilon_of_statistics": accounting.epsilon(self.rounds, self.budget.noise),
            "noise_multiplier": s.sigma,
            "clip": s.clip,
            "sample_rate": s.rate,
            "steps": self.trainer.step,
            "accountant": accounting.NAME,
            "noise": "follows from the public seed" if self.privacy.reproducible else "from a secret of the run",
            "covers": "every file of the model, this report among them, and whatever is generated by it",
            "does_not_cover": "the rows that were set aside at the upload, with which this report compares; the "
            "dataset's schema and profile; the number of rows; the columns' types and formats",
        }


def _shape(fitted: Fitted, width: int) -> Shape:
    codec = fitted.codec
    pairs = [list(pair) for pair in codec.pairs]
    return Shape(codec.sizes, pairs, width=width, width_discriminator=4 * width, views=codec.views().shape[1])
