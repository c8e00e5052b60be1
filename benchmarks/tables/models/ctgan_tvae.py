"""CTGAN and TVAE of the package ctgan, at their defaults (300 epochs), or as many epochs as the cap allows.

They take no missing numbers: those become the median, with a column beside that says where, and are put back."""

import random
import time
from collections.abc import Iterable, Iterator
from typing import Any

import ctgan.synthesizers.ctgan as gan_module
import ctgan.synthesizers.tvae as vae_module
import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN, TVAE
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from benchmarks.tables.models.cost import Cost, arguments

DEFAULT_EPOCHS = 300
FEW = 20  # a number that takes no more values is named to them as discrete, as someone who knows the data would
ABSENT, FLAG = "\u2205", " is missing"


class Epochs:
    """Stands in for their progress bar: counts epochs and ends the loop when the cap is spent."""

    def __init__(self, start: float, cap: float | None) -> None:
        self.start, self.cap, self.done, self.first, self.last = start, cap, 0, 0.0, 0.0

    def __call__(self, epochs: Iterable[int], **_: Any) -> Iterator[int]:
        self.first = time.process_time()
        for epoch in epochs:
            yield epoch
            self.done, self.last = epoch + 1, time.process_time()
            if self.cap is not None and self.last - self.start >= self.cap:
                return

    def estimate(self, whole: float) -> float:
        """CPU seconds of the default number of epochs: what is not epochs, and the mean epoch so many times."""
        spent = self.last - self.first
        return whole - spent + spent / self.done * DEFAULT_EPOCHS


def prepared(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The frame without missing values, and the names of its discrete columns."""
    out, discrete = {}, []
    for name, column in frame.items():
        numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
        if not numeric:
            out[name] = column.astype(object).where(column.notna(), ABSENT).astype(str)
            discrete.append(name)
            continue
        out[name] = column.fillna(column.median())
        if column.nunique() <= FEW:
            discrete.append(name)
        if column.isna().any():
            out[name + FLAG] = column.isna().map({True: "yes", False: "no"})
            discrete.append(name + FLAG)
    return pd.DataFrame(out), discrete


def restored(made: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    out = {}
    for name in like:
        column = made[name]
        if name + FLAG in made:
            column = column.astype(float).mask(made[name + FLAG] == "yes")
        out[name] = column.mask(column == ABSENT, None) if column.dtype == object else column
    return pd.DataFrame(out)


def main() -> None:
    args, cost = arguments(), Cost()
    frame = pd.read_parquet(args.folder / "train.parquet")
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    random.seed(args.seed)
    model = {"ctgan": CTGAN, "tvae": TVAE}[args.model](enable_gpu=False)
    epochs = Epochs(time.process_time(), args.cap)
    gan_module.tqdm = vae_module.tqdm = epochs
    with cost.phase("train"):
        ready, discrete = prepared(frame)
        model.fit(ready, discrete)
    with cost.phase("sample"):
        made = restored(model.sample(args.rows), frame)
    made.to_parquet(args.folder / "synthetic.parquet", index=False)
    whole = DEFAULT_EPOCHS * 1.0
    notes = {"epochs": epochs.done, "estimated_cpu_seconds": round(epochs.estimate(cost.cpu["train"]), 1)}
    cost.write(args.folder, ["ctgan", "torch"], capped=epochs.done < whole, **notes)


if __name__ == "__main__":
    main()
