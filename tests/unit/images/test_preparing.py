"""What a run on pictures tells before its first step, and that it can be stopped there."""

from pathlib import Path

import numpy as np
import pytest

from workers.modalities import Dataset, Stop
from workers.modalities.images import feed as module
from workers.modalities.images.modality import MODALITY
from workers.modalities.images.spec import ImageConfig

from .helpers import encoded, ingested, zipped

CONFIG = ImageConfig(preset="draft", network_width=16, batch=8)


@pytest.fixture
def dots(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    pictures = {f"{i}.png": encoded(rng.integers(0, 255, (16, 16)).astype(np.uint8)) for i in range(80)}
    return ingested(tmp_path, zipped(pictures))[1]


def test_reading_pictures_is_told_of_as_a_small_part_of_the_run(dots: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_AT_ONCE", 10)
    told: list[tuple[str, float, float]] = []
    training = MODALITY.training(dots, CONFIG, "cpu", lambda *heard: told.append(heard))
    assert training.feed.pixels is not None
    assert (training.feed.pixels.numpy() == training.train.take(np.arange(len(training.train)))).all()
    assert len(told) == len(training.train) / 10
    assert {stage for stage, _, _ in told} == {"reading"}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert all(done < total / 10 for _, done, total in told)


def test_reading_pictures_can_be_stopped(dots: Dataset) -> None:
    def stop(stage: str, done: float, total: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        MODALITY.training(dots, CONFIG, "cpu", stop)
