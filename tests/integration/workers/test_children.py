"""What children do and what they may not know; each bad one leaves the worker at work."""

import json
from pathlib import Path

import pytest

from service.db.tables import Dataset
from service.domain.states import State
from tests.integration.workers.conftest import Yard

BAD = {
    "reject": ("too_silly", "This file is too silly."),
    "bug": ("internal_error", "Something unexpected went wrong"),
    "unjson": ("internal_error", "Something unexpected went wrong"),
    "hog": ("ingest_out_of_memory", "more memory than is allowed"),
    "segfault": ("worker_lost", "SIGSEGV"),
}


@pytest.mark.parametrize("queues", ["gpu,cpu", "cpu"])
def test_bad_uploads_are_rejected_with_a_sentence_and_the_next_one_succeeds(yard: Yard, queues: str) -> None:
    yard.with_settings(max_attempts=1)
    worker = yard.worker(queues, slots=3)
    jobs = {word: yard.ingest(f"TINY {word}") for word in BAD}
    good = yard.ingest("TINY 1.0 2.0")
    assert yard.wait(good).state == State.SUCCEEDED
    for word, (code, part) in BAD.items():
        job = yard.wait(jobs[word])
        error = job.error or {}
        assert (job.state, error["code"]) == (State.FAILED, code)
        assert part in error["message"]
        assert "secret" not in error["message"]
        dataset = yard.row(Dataset, job.dataset_id)
        assert (dataset.status, dataset.error) == ("rejected", error)
    assert worker.process.is_running()
    assert "ZeroDivisionError: a secret" in worker.log.read_text()


def test_options_that_only_another_modality_takes_are_named_to_the_user(yard: Yard) -> None:
    yard.worker("cpu")
    job = yard.wait(yard.ingest("PK\x03\x04", modality=None, options={"delimiter": ";"}))
    error = job.error or {}
    assert error["code"] == "invalid_options"
    assert "options.delimiter" in error["message"]


def test_an_upload_that_takes_for_ever_is_given_up(yard: Yard) -> None:
    yard.with_settings(ingest_seconds=2)
    yard.worker("cpu")
    job = yard.wait(yard.ingest("TINY deaf"))
    assert (job.error or {})["code"] == "ingest_timeout"
    assert "longer than the 2 s" in (job.error or {})["message"]


def test_training_that_cannot_succeed_fails_with_its_own_code(yard: Yard) -> None:
    yard.worker()
    diverged, hungry = yard.train(steps=500, nan=True), yard.train(steps=50, memory_error_at=4)
    assert (yard.wait(diverged).error or {})["code"] == "training_diverged"
    assert (yard.wait(hungry).error or {})["code"] == "out_of_memory"


def test_a_time_limit_ends_training_with_what_it_has(yard: Yard) -> None:
    yard.worker()
    job = yard.wait(yard.train(steps=10_000, pause=0.02, time_limit_seconds=1))
    assert job.state == State.SUCCEEDED, job.error
    assert any("time limit" in message for message in yard.messages(job.id))


def test_a_second_generation_with_the_same_model_loads_nothing(yard: Yard) -> None:
    worker = yard.worker(slots=1)
    model = yard.model()
    first, second = yard.wait(yard.generate(model)), yard.wait(yard.generate(model))
    assert first.state == second.state == State.SUCCEEDED
    loads = [message for job in (first, second) for message in yard.messages(job.id) if "was loaded" in message]
    assert len(loads) == 1
    assert len(worker.children()) == 1


def test_shards_do_not_wait_for_the_sweep(yard: Yard) -> None:
    yard.with_settings(shards_in_flight=1, sweep_seconds=30.0)
    yard.worker(slots=1)
    model = yard.model()
    job_id = yard.generate(model, 1_000)
    assert yard.wait(job_id, 20.0).state == State.SUCCEEDED
    manifest = json.loads(yard.context.storage.get(f"projects/{yard.project}/outputs/{job_id}/manifest.json"))
    assert len(manifest["files"]) == 10


def test_a_preview_does_not_wait_behind_a_training(yard: Yard) -> None:
    yard.worker(slots=1)
    model = yard.model()
    training = yard.train(steps=10_000, pause=0.02)
    yard.until(lambda: yard.unit(training).progress)
    assert yard.wait(yard.preview(model), 20.0).state == State.SUCCEEDED
    assert yard.job(training).state == State.RUNNING
    yard.cancel(training)
    yard.wait(training)


def test_the_child_knows_no_database_and_the_supervisor_no_torch(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.train(steps=10_000, pause=0.02)
    yard.until(lambda: yard.unit(job_id).progress)
    [child] = worker.children()
    text = Path(f"/proc/{child.pid}/environ").read_text()
    settings = yard.context.settings
    assert "MINTAGE_S3_BUCKET" in text
    assert settings.database_url.get_secret_value() not in text
    assert settings.redis_url.get_secret_value() not in text
    libraries = [Path(f"/proc/{process.pid}/maps").read_text() for process in (child, worker.process)]
    assert ["libtorch" in maps for maps in libraries] == [True, False]
    assert (settings.work_dir / "worker-alive").exists()
    yard.cancel(job_id)
    yard.wait(job_id)


def test_what_the_database_refuses_fails_the_job_and_frees_the_slot(postgres_yard: tuple[Yard, str]) -> None:
    yard, _ = postgres_yard
    yard.worker(slots=1)
    refused = yard.wait(yard.ingest("TINY nul 1.0 2.0"), 20.0)
    error = refused.error or {}
    assert (refused.state, error["code"]) == (State.FAILED, "internal_error")
    assert "could not be stored" in error["message"]
    assert yard.row(Dataset, refused.dataset_id).status == "rejected"
    assert yard.wait(yard.ingest("TINY 1.0 2.0")).state == State.SUCCEEDED


def test_a_refused_message_takes_no_other_with_it(postgres_yard: tuple[Yard, str]) -> None:
    yard, _ = postgres_yard
    yard.worker(slots=1)
    job_id = yard.train(steps=100, pause=0.02, odd=True)
    job = yard.wait(job_id)
    assert job.state == State.SUCCEEDED, job.error
    assert sum("Checkpoint at step" in message for message in yard.messages(job_id)) > 2
    assert (yard.unit(job_id).progress or {})["step"] > 50


def test_a_training_for_which_memory_is_short_goes_on_in_pieces_and_ends_with_a_code_where_none_fits(
    yard: Yard,
) -> None:
    yard.worker()
    short, none = yard.train(steps=50, room=5), yard.train(steps=50, room=0)
    assert yard.wait(short).state == State.SUCCEEDED
    assert any("computed in 4 pieces" in message for message in yard.messages(short))
    error = yard.wait(none).error or {}
    assert error["code"] == "out_of_memory"
    assert "one sample at a time" in error["message"]
