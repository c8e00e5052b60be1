"""What clients ask for: a few different things, many times each, so that what comes out can be held against what came
out in peace. Everything has a seed."""

import csv
import io
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROWS, PICTURES, SIDE = 400, 160, 16
STEPS = 30


@dataclass(frozen=True)
class Order:
    """One thing that can be asked for. `body` is that of POST /v1/jobs; an upload has a `file` in its place."""

    name: str
    body: dict[str, Any] = field(default_factory=dict, hash=False)
    file: Path | None = None
    weight: float = 1.0

    @property
    def fails(self) -> bool:
        """Whether it is refused by whoever reads it, in peace too."""
        return self.file is not None and self.file.stem == "torn"

    @property
    def kind(self) -> str:
        return "ingest" if self.file else str(self.body["kind"])


def files(folder: Path) -> dict[str, Path]:
    """Two tables, one that is none, and pictures in three classes."""
    found = {name: folder / f"{name}.csv" for name in ("people", "sales")}
    for seed, name in enumerate(("people", "sales")):
        found[name].write_text(_table(random.Random(seed)), encoding="utf-8")
    found["torn"] = folder / "torn.parquet"
    found["torn"].write_bytes(b"PAR1, and then nothing that a reader could use")
    found["shapes"] = folder / "shapes.zip"
    found["shapes"].write_bytes(_pictures(np.random.default_rng(0)))
    return found


def _table(rng: random.Random) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["age", "group", "score", "seven"])
    for _ in range(ROWS):
        group = rng.choice("aab")
        rows.writerow([rng.randint(18, 80), group, f"{rng.gauss(0 if group == 'a' else 5, 1):.2f}", 7])
    return text.getvalue()


def _pictures(rng: np.random.Generator) -> bytes:
    """Bars, squares and noise."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(PICTURES):
            label = ("bar", "square", "noise")[number % 3]
            image = rng.integers(0, 60, (SIDE, SIDE), dtype=np.uint8)
            at = int(rng.integers(2, SIDE - 6))
            if label == "bar":
                image[:, at : at + 3] = 230
            elif label == "square":
                image[at : at + 5, at : at + 5] = 230
            else:
                image = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
            data = io.BytesIO()
            Image.fromarray(image).save(data, "png")
            archive.writestr(zipfile.ZipInfo(f"{label}/{number:03d}.png"), data.getvalue())
    return packed.getvalue()


def uploads(found: dict[str, Path]) -> list[Order]:
    weights = {"people": 1.0, "sales": 1.0, "torn": 0.3, "shapes": 0.5}
    return [Order(f"ingest {name}", file=path, weight=weights[name]) for name, path in found.items()]


def trainings(datasets: dict[str, str]) -> Iterator[Order]:
    """Of each dataset that there is; by its name, its id."""
    for name, seed in (("people", 1), ("people", 2), ("sales", 1), ("shapes", 1)):
        if name not in datasets:
            continue
        config = {"preset": "draft", "seed": seed, "steps": STEPS}
        body = {"kind": "train", "dataset_id": datasets[name], "config": config}
        yield Order(f"train {name} {seed}", body, weight=0.5 if name == "shapes" else 1.0)


def makings(datasets: dict[str, str], models: dict[str, str]) -> Iterator[Order]:
    """What is made of models: by the names of their trainings, their ids. Some have several shards."""
    people, shapes = models["train people 1"], models.get("train shapes 1")
    for count, format, weight in ((100, "csv", 2.0), (20_000, "parquet", 2.0), (2_300_000, "parquet", 0.5)):
        for seed in (1, 2):
            body = {"kind": "generate", "model_id": people, "count": count, "format": format, "seed": seed}
            yield Order(f"generate people {count} {seed}", body, weight=weight)
    body = {"kind": "generate", "model_id": people, "count": 500, "seed": 3, "conditions": {"group": "b"}}
    yield Order("generate people where", {**body, "format": "csv"})
    body = {"kind": "generate", "model_id": people, "given": datasets["people"], "copies": 2, "seed": 4}
    yield Order("generate people given", {**body, "format": "csv"})
    body = {"kind": "augment", "dataset_id": datasets["people"], "model_id": people, "target": "group", "seed": 6}
    yield Order("augment people", body, weight=0.7)
    body = {"kind": "augment", "dataset_id": datasets["sales"], "target": "group", "seed": 7}
    yield Order(
        "augment and train sales", {**body, "config": {"preset": "draft", "seed": 3, "steps": STEPS}}, weight=0.4
    )
    yield Order("score people", {"kind": "score", "model_id": people, "dataset_id": datasets["people"]}, weight=0.5)
    if shapes is None:
        return
    for count, weight in ((64, 1.0), (21_000, 0.4)):
        body = {"kind": "generate", "model_id": shapes, "count": count, "seed": 5, "format": "zip"}
        yield Order(f"generate shapes {count}", body, weight=weight)
    yield Order("score shapes", {"kind": "score", "model_id": shapes, "dataset_id": datasets["shapes"]}, weight=0.5)
