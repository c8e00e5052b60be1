"""The whole road through real workers: ingest, train, generate, preview."""

import json

from service.db.tables import Dataset, Model
from service.domain.states import State
from tests.integration.workers.conftest import Yard


def test_an_upload_becomes_a_dataset_a_model_and_an_output(either_yard: Yard) -> None:
    yard = either_yard
    yard.worker()
    ingested = yard.wait(yard.ingest("TINY print 1.0 2.0 3.0"))
    assert ingested.state == State.SUCCEEDED, ingested.error
    dataset = yard.row(Dataset, ingested.dataset_id)
    assert (dataset.status, dataset.modality, dataset.rows) == ("ready", "tiny", 3)
    assert dataset.parts[0]["rows"] == 3
    trained = yard.wait(yard.train(dataset.id, steps=30))
    assert trained.state == State.SUCCEEDED, trained.error
    model = yard.row(Model, trained.model_id)
    assert (model.report or {})["steps"] == 30
    assert (model.report or {})["provenance"]["dataset"] == "d"
    assert {file["name"] for file in model.files} >= {"generator.safetensors", "codec.json", "report.json"}
    made = yard.wait(yard.generate(model.id, 250))
    output = (made.result or {})["output"]
    assert (output["files"], output["rows"]) == (3, 250)
    manifest = json.loads(yard.context.storage.get(f"projects/{yard.project}/outputs/{made.id}/manifest.json"))
    assert [file["rows"] for file in manifest["files"]] == [100, 100, 50]
    assert sum(file["bytes"] for file in manifest["files"]) == output["bytes"]
    seen = yard.wait(yard.preview(model.id)).result or {}
    assert json.loads(yard.context.storage.get(seen["key"]))["columns"] == ["x"]
