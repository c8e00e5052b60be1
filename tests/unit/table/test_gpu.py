"""The same on a GPU, where there is one."""

from pathlib import Path

import pytest
import torch

from tests.unit.table.tables import config, ingest, people
from workers.modalities.table.modality import MODALITY

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("fields", [{}, {"preset": "best", "steps": 1_000}], ids=["draft", "best"])
def test_a_table_is_trained_and_generated_on_a_gpu(tmp_path: Path, fields: dict[str, object]) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", people(6_000))
    training = MODALITY.training(dataset, config(**fields), "cuda")
    for progress in training.trainer.run():
        assert progress.step <= progress.steps
    model = tmp_path / "model"
    model.mkdir()
    report = training.export(model)
    assert report["c2st_auc"] < 0.95
    sampler = MODALITY.sampler(model, "cuda")
    one, other = (sampler.table(0, 5_000, 3, {"city": "Lima"}) for _ in range(2))
    assert one.equals(other)
    assert set(one["country"].to_pylist()) == {"Peru"}
    on_cpu = MODALITY.sampler(model, "cpu").table(0, 5_000, 3, {"city": "Lima"})
    assert on_cpu.schema == one.schema
