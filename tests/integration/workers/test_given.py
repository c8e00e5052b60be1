"""Given rows on their way to the sampler: the upload as it was sent, or a failure that says what is gone."""

from sqlalchemy import delete

from service.db.tables import Dataset
from service.domain.states import State
from tests.integration.workers.conftest import Yard


def given(yard: Yard) -> str:
    """A dataset that was uploaded and read; returns its id."""
    read = yard.wait(yard.ingest("TINY 1.0 2.0"))
    assert read.state == State.SUCCEEDED, read.error
    return str(read.dataset_id)


def test_every_shard_gets_the_upload_as_it_was_sent(yard: Yard) -> None:
    yard.worker()
    made = yard.wait(yard.generate(yard.model(), 150, given=given(yard)))
    assert made.state == State.SUCCEEDED, made.error
    for index, rows in enumerate((100, 50)):
        key = f"projects/{yard.project}/outputs/{made.id}/part-{index:05d}-a1.csv"
        lines = yard.context.storage.get(key).decode().splitlines()
        assert lines[:3] == ["x", "TINY 1.0 2.0", "TINY 1.0 2.0"]
        assert len(lines) == rows + 1
    manifest = yard.context.storage.get(f"projects/{yard.project}/outputs/{made.id}/manifest.json")
    assert b'"copies": 2' in manifest


def test_an_upload_that_is_gone_fails_the_job_with_a_code(yard: Yard) -> None:
    yard.worker()
    model, dataset_id = yard.model(), given(yard)
    key = yard.row(Dataset, dataset_id).source_key
    yard.context.storage.delete(key)
    failed = yard.wait(yard.generate(model, 10, given=dataset_id))
    assert (failed.state, (failed.error or {})["code"]) == (State.FAILED, "given_missing")
    with yard.context.database.begin() as session:
        session.execute(delete(Dataset).where(Dataset.id == dataset_id))
    failed = yard.wait(yard.generate(model, 10, given=dataset_id))
    assert failed.state == State.FAILED
    assert (failed.error or {})["message"] == "The dataset of given rows is not there any more."
