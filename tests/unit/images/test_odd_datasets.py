"""Trainings on pictures that teach next to nothing, and on what is no number: they end well, and say what they are."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from workers.engine.batch import Batch
from workers.modalities import Dataset
from workers.modalities.images.modality import MODALITY
from workers.modalities.images.spec import ImageConfig
from workers.modalities.images.training import ImageTraining

from .helpers import encoded, ingested, noise, pngs, zipped

SAME = encoded(noise(0))
ODD = {
    "all pictures the same": {f"{'ab'[i % 2]}/{i}.png": SAME for i in range(120)},
    "a picture a class": pngs(10, tuple(f"{i}/" for i in range(10))),
}


def training(data: Dataset, **fields: Any) -> ImageTraining:
    config = ImageConfig.model_validate({"preset": "draft", "network_width": 16, "batch": 4, "steps": 30, **fields})
    return MODALITY.training(data, config, "cpu")


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", list(ODD))
def test_a_training_on_pictures_that_teach_nothing_ends_in_a_model_and_a_report(what: str, tmp_path: Path) -> None:
    run = training(ingested(tmp_path / "in", zipped(ODD[what]))[1])
    steps = [progress.metrics for progress in run.trainer.run()]
    assert len(steps) == 30
    assert run.trainer.trouble is None
    assert all(map(math.isfinite, [value for metrics in steps for value in (metrics or {}).values()]))
    assert json.dumps(run.evaluate(), allow_nan=False)
    (tmp_path / "model").mkdir()
    report = run.export(tmp_path / "model")
    assert json.loads(json.dumps(report, allow_nan=False))["verdict"].endswith(".")
    if what == "all pictures the same":
        assert str(report["memorisation"]).startswith("The training pictures are so alike")
    sampler = MODALITY.sampler(tmp_path / "model", "cpu")
    assert Image.open(io.BytesIO(sampler.preview(4, 1))).format == "PNG"


def test_a_batch_of_nan_rolls_the_training_back_and_leaves_nothing_behind(tmp_path: Path) -> None:
    run = training(ingested(tmp_path, zipped(pngs(120)))[1], steps=40)
    draw, spoilt = run.trainer.draw, []

    def spoiling(n: int, rng: torch.Generator) -> Batch:
        """As `draw`, but for one batch while held-out pictures judge, between two looks at the numbers."""
        batch = draw(n, rng)
        if run.trainer.step != 24 or spoilt:
            return batch
        spoilt.append(run.trainer.best.score)
        return Batch(batch.real * math.nan, batch.condition)

    run.trainer.draw = spoiling
    steps = [progress.step for progress in run.trainer.run()]
    assert spoilt
    assert (run.trainer.guard.strikes, run.trainer.trouble) == (1, None)
    assert len(steps) > len(set(steps)), "some steps were gone again"
    assert steps[-1] == 40
    assert math.isfinite(run.trainer.best.score)
    for network in (run.trainer.ema, run.trainer.discriminator):
        assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
