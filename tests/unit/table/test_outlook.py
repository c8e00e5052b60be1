"""What is told of a training before its first step: stages in their order, seconds that add up, and a way to stop."""

from pathlib import Path

import pytest

from tests.unit.table.tables import config, ingest, people
from workers.modalities import Dataset, Stop
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.outlook import outlook

NUMBER, CATEGORY = {"name": "x", "type": "float"}, {"name": "c", "type": "category", "levels": ["a", "b"]}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return ingest(tmp_path, "people.parquet", people())[1]


@pytest.mark.parametrize("privacy", [None, {"epsilon": 5.0, "reproducible": True}])
def test_a_training_tells_how_far_its_preparation_is(dataset: Dataset, privacy: dict[str, float] | None) -> None:
    told: list[tuple[str, float, float]] = []
    MODALITY.training(dataset, config(privacy=privacy), "cpu", lambda *heard: told.append(heard))
    stages = [stage for stage, _, _ in told]
    assert stages == sorted(stages, key=["reading", "fitting"].index)
    assert set(stages) == {"reading", "fitting"}
    done = [seconds for _, seconds, _ in told]
    assert done == sorted(done)
    assert done[0] == 0
    [total] = {total for _, _, total in told}
    assert done[-1] < total  # the steps are yet to come


@pytest.mark.parametrize("at", ["reading", "fitting"])
def test_a_training_can_be_stopped_before_its_first_step(dataset: Dataset, at: str) -> None:
    def heard(stage: str, done: float, total: float) -> None:
        if stage == at:
            raise Stop

    with pytest.raises(Stop):
        MODALITY.training(dataset, config(), "cpu", heard)


def test_more_of_everything_takes_longer() -> None:
    def seconds(columns: int = 20, rows: int = 100_000, steps: int = 1_000, width: int = 64) -> float:
        both = [NUMBER, CATEGORY] * (columns // 2)
        return outlook(lambda *heard: None, both, rows, min(rows, 50_000), steps, 256, width).total

    assert seconds() < seconds(columns=200)
    assert seconds() < seconds(rows=10**8)
    assert seconds() < seconds(steps=5_000)
    assert seconds(width=16) < seconds()
    assert 3 < seconds() < 60
