"""The claim and its fence, on both kinds of database: whatever a lost attempt still says changes nothing."""

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from botocore.config import Config
from sqlalchemy import select, update

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Dataset, Event, Job, Metric, Model, Project, Trash, Unit
from service.domain.ids import new_id
from service.domain.states import JobKind, State
from service.storage.objects import ObjectStore
from service.usecases import moves, sweep, units
from service.usecases.opening import open_job

INGESTED = {
    "modality": "table", "rows": 7, "schema": {"modality": "table", "columns": []}, "profile": {}, "warnings": ["a"],
    "parts": [{"key": "k", "rows": 7, "split": "train", "bytes": 1, "sha256": "0"}],
}  # fmt: skip
MODEL_FILES = [{"key": "k/generator.safetensors", "name": "generator.safetensors", "bytes": 1, "sha256": "0"}]


@pytest.fixture
def project(context: Context) -> str:
    with context.database.begin() as session:
        project = Project(id=new_id("prj"), name="test", created_at=0.0)
        session.add(project)
    return project.id


def ingest_job(context: Context, project: str) -> str:
    with context.database.begin() as session:
        dataset = Dataset(
            id=new_id("ds"), project_id=project, created_at=0.0, name="d", status="ingesting", options={}, bytes=5,
            filename="d.csv", source_key="projects/p/datasets/d/source/u",
        )  # fmt: skip
        session.add(dataset)
        job = open_job(session, project, JobKind.INGEST, {}, dataset_id=dataset.id)
        dataset.job_id = job.id
    return job.id


def train_job(context: Context, project: str) -> str:
    with context.database.begin() as session:
        dataset = Dataset(
            id=new_id("ds"), project_id=project, created_at=0.0, name="d", status="ready", options={}, bytes=5,
            rows=7, schema={}, parts=INGESTED["parts"], modality="table",
        )  # fmt: skip
        model_id = new_id("mdl")
        job = open_job(
            session, project, JobKind.TRAIN, {"config": {"steps": 3}}, dataset_id=dataset.id, model_id=model_id
        )
        model = Model(
            id=model_id, project_id=project, created_at=0.0, name="m", status="training", modality="table",
            dataset_id=dataset.id, job_id=job.id, schema={}, config={},
        )  # fmt: skip
        session.add_all([dataset, model])
    return job.id


def generate_job(context: Context, project: str, shards: int = 2) -> str:
    with context.database.begin() as session:
        model = Model(
            id=new_id("mdl"), project_id=project, created_at=0.0, name="m", status="ready", modality="table",
            dataset_id="ds_x", job_id="job_x", schema={}, config={}, prefix="projects/p/models/m/a1/",
        )  # fmt: skip
        session.add(model)
        spec = {"count": 10 * shards, "seed": 3, "format": "csv", "conditions": {}}
        shard = [{"start": 10 * i, "count": 10} for i in range(shards)]
        job = open_job(session, project, JobKind.GENERATE, spec, model_id=model.id, payloads=shard, total=shards)
    return job.id


def unit_of(context: Context, job_id: str, index: int = 0) -> Unit:
    with context.database.read() as session:
        return session.scalars(select(Unit).where(Unit.job_id == job_id, Unit.index == index)).one()


def row(context: Context, table: type[Any], id: str) -> Any:
    with context.database.read() as session:
        return session.get_one(table, id)


def claimed(context: Context, job_id: str, index: int = 0) -> units.Claimed:
    got = units.claim(context, unit_of(context, job_id, index).id, "wrk_a")
    assert got is not None
    return got


def let_expire(context: Context, unit_id: str) -> None:
    with context.database.begin() as session:
        session.execute(update(Unit).where(Unit.id == unit_id).values(lease_until=now() - 1.0))


def with_settings(context: Context, **changes: Any) -> Context:
    return replace(context, settings=context.settings.model_copy(update=changes))


def test_twenty_claim_at_once_and_one_wins(context: Context, project: str) -> None:
    job_id = ingest_job(context, project)
    unit_id = unit_of(context, job_id).id
    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(lambda i: units.claim(context, unit_id, f"wrk_{i}"), range(20)))
    winners = [one for one in got if one is not None]
    assert len(winners) == 1
    assert winners[0].attempt == 1
    assert row(context, Job, job_id).state == State.RUNNING
    assert row(context, Job, job_id).started_at is not None
    assert unit_of(context, job_id).worker_id == f"wrk_{got.index(winners[0])}"


def test_a_claim_tells_the_child_what_to_read_and_where_to_write(context: Context, project: str) -> None:
    got = claimed(context, ingest_job(context, project))
    assert got.payload["source"] == {
        "key": "projects/p/datasets/d/source/u", "filename": "d.csv", "size_bytes": 5,
    }  # fmt: skip
    assert got.payload["prefix"].endswith("-a1/")
    trained = claimed(context, train_job(context, project))
    assert trained.payload["config"] == {"steps": 3}
    assert trained.payload["dataset"]["parts"] == [{"key": "k", "rows": 7, "split": "train", "sha256": "0"}]
    assert "/a1/" in trained.payload["prefix"]
    made = claimed(context, generate_job(context, project), 1)
    assert (made.payload["start"], made.payload["count"]) == (10, 10)
    assert made.payload["key"].endswith("part-00001-a1.csv")


def test_a_running_unit_is_not_claimed_again_before_its_lease_ends(context: Context, project: str) -> None:
    job_id = ingest_job(context, project)
    first = claimed(context, job_id)
    assert units.claim(context, first.unit_id, "wrk_b") is None
    let_expire(context, first.unit_id)
    second = units.claim(context, first.unit_id, "wrk_b")
    assert second is not None
    assert second.attempt == 2
    assert unit_of(context, job_id).failures == 1


Late = Callable[[Context, str, int], object]
SAID: list[units.Message] = [{"type": "progress", "fraction": 0.9}, {"type": "event", "message": "z"}]
LATE: dict[str, Late] = {
    "finish": lambda c, u, a: units.finish(c, u, a, INGESTED),
    "fail": lambda c, u, a: units.fail(c, u, a, "x", "y"),
    "release": lambda c, u, a: units.release(c, u, a, drained=False),
    "drain": lambda c, u, a: units.release(c, u, a, drained=True),
    "cancelled": units.cancelled,
    "starved": units.starved,
    "report": lambda c, u, a: units.report(c, u, a, SAID),
}


@pytest.mark.parametrize("late", LATE)
def test_a_lost_workers_late_word_is_refused(context: Context, project: str, late: str) -> None:
    job_id = ingest_job(context, project)
    first = claimed(context, job_id)
    let_expire(context, first.unit_id)
    second = claimed(context, job_id)
    before = (unit_of(context, job_id).__dict__, row(context, Job, job_id).__dict__)
    assert LATE[late](context, first.unit_id, first.attempt) is False
    assert units.heartbeat(context, first.unit_id, first.attempt).lost
    after = (unit_of(context, job_id).__dict__, row(context, Job, job_id).__dict__)
    for old, new in zip(before, after, strict=True):
        assert {k: v for k, v in old.items() if k[0] != "_"} == {k: v for k, v in new.items() if k[0] != "_"}
    assert units.finish(context, second.unit_id, second.attempt, INGESTED) is True
    assert row(context, Job, job_id).state == State.SUCCEEDED


@pytest.mark.parametrize("late", LATE)
def test_nothing_moves_a_unit_that_has_ended(context: Context, project: str, late: str) -> None:
    job_id = ingest_job(context, project)
    got = claimed(context, job_id)
    assert units.finish(context, got.unit_id, got.attempt, INGESTED)
    assert LATE[late](context, got.unit_id, got.attempt) is False
    assert unit_of(context, job_id).state == State.SUCCEEDED
    assert row(context, Job, job_id).state == State.SUCCEEDED


def test_an_ingest_that_finishes_makes_its_dataset_ready(context: Context, project: str) -> None:
    job_id = ingest_job(context, project)
    got = claimed(context, job_id)
    units.finish(context, got.unit_id, got.attempt, INGESTED)
    job = row(context, Job, job_id)
    dataset = row(context, Dataset, job.dataset_id)
    assert (dataset.status, dataset.rows, dataset.warnings, dataset.modality) == ("ready", 7, ["a"], "table")
    assert job.result == {"dataset_id": dataset.id}
    assert job.finished_at is not None


def test_an_ingest_that_fails_rejects_its_dataset_with_the_same_words(context: Context, project: str) -> None:
    job_id = ingest_job(context, project)
    got = claimed(context, job_id)
    assert units.fail(context, got.unit_id, got.attempt, "empty_file", "The file is empty.")
    job = row(context, Job, job_id)
    assert job.error == {"code": "empty_file", "message": "The file is empty."}
    assert row(context, Dataset, job.dataset_id).error == job.error
    assert row(context, Dataset, job.dataset_id).status == "rejected"


def test_a_training_that_finishes_publishes_the_files_of_its_own_attempt(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    first = claimed(context, job_id)
    let_expire(context, first.unit_id)
    second = claimed(context, job_id)
    units.finish(context, second.unit_id, second.attempt, {"report": {"a": 1}, "files": MODEL_FILES, "steps": 3})
    job = row(context, Job, job_id)
    model = row(context, Model, job.model_id)
    assert model.status == "ready"
    assert model.prefix == second.payload["prefix"] != first.payload["prefix"]
    assert job.result == {"model_id": model.id}
    with context.database.read() as session:
        assert first.payload["prefix"] in session.scalars(select(Trash.prefix)).all()


def test_reports_give_progress_metrics_events_and_checkpoints(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    got = claimed(context, job_id)
    said: list[units.Message] = [
        {"type": "progress", "fraction": 0.5, "step": 2, "steps": 4, "eta_seconds": 3.0},
        {"type": "metrics", "step": 1, "values": {"loss": 1.0}},
        {"type": "metrics", "step": 2, "values": {"loss": 0.5}},
        {"type": "event", "level": "warning", "message": "hm"},
        {"type": "checkpoint", "key": "c1", "step": 1, "seconds": 4.0},
        {"type": "checkpoint", "key": "c2", "step": 2, "seconds": 9.0},
    ]
    assert units.report(context, got.unit_id, got.attempt, said)
    assert units.report(context, got.unit_id, got.attempt, [{"type": "metrics", "step": 2, "values": {"loss": 0.4}}])
    unit = unit_of(context, job_id)
    assert unit.progress == {"fraction": 0.5, "step": 2, "steps": 4, "eta_seconds": 3.0, "stage": None}
    assert unit.checkpoint == {"key": "c2", "step": 2, "seconds": 9.0, "before": "c1"}
    with context.database.read() as session:
        points = session.execute(select(Metric.step, Metric.values).where(Metric.job_id == job_id)).all()
        seen = session.execute(select(Event.seq, Event.type).where(Event.job_id == job_id).order_by(Event.seq)).all()
    assert [tuple(point) for point in points] == [(1, {"loss": 1.0}), (2, {"loss": 0.4})]
    assert [tuple(one) for one in seen] == [
        (1, "state"), (2, "state"), (3, "message"), (4, "checkpoint"), (5, "checkpoint"),
    ]  # fmt: skip


def test_only_the_attempt_that_runs_throws_old_checkpoints_away(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    first = claimed(context, job_id)
    said: list[units.Message] = [{"type": "checkpoint", "key": f"c{i}", "step": i} for i in (1, 2, 3)]

    def trashed() -> set[str]:
        with context.database.read() as session:
            return set(session.scalars(select(Trash.prefix)))

    assert units.report(context, first.unit_id, first.attempt, said[:2])
    assert units.report(context, first.unit_id, first.attempt, [said[1]])  # told once more: the one before stays
    assert trashed() == set()
    let_expire(context, first.unit_id)
    second = claimed(context, job_id)
    assert (second.payload["checkpoint"], second.payload["checkpoint_before"]) == ("c2", "c1")
    assert not units.report(context, first.unit_id, first.attempt, [said[2]])
    assert trashed() == set()
    assert units.report(context, second.unit_id, second.attempt, [said[2]])
    assert trashed() == {"c1"}


def test_the_last_shard_ends_the_job_with_the_manifest(context: Context, project: str) -> None:
    job_id = generate_job(context, project)
    for index in (1, 0):
        got = claimed(context, job_id, index)
        result = {"key": got.payload["key"], "rows": 10, "bytes": 5 + index, "sha256": str(index)}
        assert row(context, Job, job_id).state == State.RUNNING
        assert units.finish(context, got.unit_id, got.attempt, result)
    job = row(context, Job, job_id)
    assert job.state == State.SUCCEEDED
    assert job.result == {"output": {"files": 2, "rows": 20, "bytes": 11}}
    prefix = f"projects/{project}/outputs/{job_id}/"

    manifest = json.loads(context.storage.get(prefix + "manifest.json"))
    assert [file["name"] for file in manifest["files"]] == ["part-00000.csv", "part-00001.csv"]
    assert [file["key"] for file in manifest["files"]] == [prefix + f"part-0000{i}-a1.csv" for i in (0, 1)]
    assert (manifest["count"], manifest["seed"], manifest["modality"]) == (20, 3, "table")
    assert [card["key"] for card in manifest["cards"]] == [prefix + name for name in ("card.md", "croissant.json")]
    for card in manifest["cards"]:
        body = context.storage.get(card["key"])
        assert (len(body), hashlib.sha256(body).hexdigest()) == (card["bytes"], card["sha256"])


def test_a_job_whose_last_worker_died_before_the_manifest_is_ended_by_any_sweep(context: Context, project: str) -> None:
    job_id = generate_job(context, project, 1)
    got = claimed(context, job_id)
    result = {"key": got.payload["key"], "rows": 10, "bytes": 5, "sha256": "0"}
    with context.database.begin() as session:  # all of finish but its last line
        session.execute(
            update(Unit).where(Unit.id == got.unit_id).values(state=State.SUCCEEDED, result=result, finished_at=now())
        )
        session.execute(update(Job).where(Job.id == job_id).values(units_done=1))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: sweep.reconcile(context), range(4)))
    assert row(context, Job, job_id).state == State.SUCCEEDED
    with context.database.read() as session:
        ends = session.scalars(
            select(Event).where(Event.job_id == job_id, Event.message == "The job has succeeded.")
        ).all()
    assert len(ends) == 1


def test_a_lost_worker_hands_over_and_the_third_loss_is_the_end(context: Context, project: str) -> None:
    context = with_settings(context, max_attempts=3)
    job_id = ingest_job(context, project)
    for failures in (1, 2):
        got = claimed(context, job_id)
        assert units.release(context, got.unit_id, got.attempt, drained=False, reason="killed by signal 9 (SIGKILL)")
        unit = unit_of(context, job_id)
        assert (unit.state, unit.failures) == (State.QUEUED, failures)
        assert unit.available_at > time.time()
        with context.database.begin() as session:
            session.execute(update(Unit).where(Unit.id == got.unit_id).values(available_at=now()))
    got = claimed(context, job_id)
    assert units.release(context, got.unit_id, got.attempt, drained=False, reason="killed by signal 9 (SIGKILL)")
    job = row(context, Job, job_id)
    assert job.state == State.FAILED
    assert job.error["code"] == "worker_lost"
    assert "SIGKILL" in job.error["message"]


def test_losses_are_forgiven_where_a_checkpoint_gets_further(context: Context, project: str) -> None:
    context = with_settings(context, max_attempts=3)
    job_id = train_job(context, project)
    for step, failures in ((10, 1), (20, 1), (20, 2)):
        got = claimed(context, job_id)
        key = f"checkpoints/a{got.attempt}-{step}"
        units.report(context, got.unit_id, got.attempt, [{"type": "checkpoint", "key": key, "step": step}])
        assert units.release(context, got.unit_id, got.attempt, drained=False)
        assert unit_of(context, job_id).failures == failures
        with context.database.begin() as session:
            session.execute(update(Unit).where(Unit.id == got.unit_id).values(available_at=now()))
    got = claimed(context, job_id)
    assert units.release(context, got.unit_id, got.attempt, drained=False)
    assert row(context, Job, job_id).error["code"] == "worker_lost"


def test_a_shard_that_ends_after_its_job_has_failed_costs_no_quota(context: Context, project: str) -> None:
    job_id = generate_job(context, project)
    one, two = (claimed(context, job_id, index) for index in range(2))
    assert units.fail(context, one.unit_id, one.attempt, "oh", "Oh.")
    units.finish(context, two.unit_id, two.attempt, {"key": "k", "rows": 1, "bytes": 12_345, "sha256": "0"})
    job = row(context, Job, job_id)
    assert (job.state, job.stored_bytes) == (State.FAILED, 0)


def test_a_drain_is_no_failure_however_often(context: Context, project: str) -> None:
    context = with_settings(context, max_attempts=2)
    job_id = train_job(context, project)
    for attempt in range(1, 6):
        got = claimed(context, job_id)
        assert got.attempt == attempt
        assert units.release(context, got.unit_id, got.attempt, drained=True)
    assert unit_of(context, job_id).failures == 0


def test_an_outage_of_the_bucket_is_no_failure_unless_it_lasts(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    for _ in range(9):
        let_go_on(context, job_id)
        got = claimed(context, job_id)
        assert units.starved(context, got.unit_id, got.attempt)
        unit = unit_of(context, job_id)
        assert (unit.state, unit.failures) == (State.QUEUED, 0)
        assert unit.available_at > time.time() + 1.0
    let_go_on(context, job_id)
    got = claimed(context, job_id)
    assert units.report(context, got.unit_id, got.attempt, [{"type": "checkpoint", "key": "c", "step": 1}])
    assert units.starved(context, got.unit_id, got.attempt)  # the bucket was there meanwhile: counted anew
    for _ in range(9):
        assert unit_of(context, job_id).state == State.QUEUED
        let_go_on(context, job_id)
        got = claimed(context, job_id)
        assert units.starved(context, got.unit_id, got.attempt)
    job = row(context, Job, job_id)
    assert (job.state, job.error["code"]) == (State.FAILED, "storage_unavailable")


def let_go_on(context: Context, job_id: str) -> None:
    with context.database.begin() as session:
        session.execute(update(Unit).where(Unit.job_id == job_id).values(available_at=now() - 1.0))


def test_a_sweep_takes_back_what_a_silent_worker_held(context: Context, project: str) -> None:
    job_id = ingest_job(context, project)
    got = claimed(context, job_id)
    sweep.reconcile(context)
    assert unit_of(context, job_id).state == State.RUNNING
    let_expire(context, got.unit_id)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: sweep.reconcile(context), range(4)))
    unit = unit_of(context, job_id)
    assert (unit.state, unit.failures) == (State.QUEUED, 1)


def test_a_cancel_reaches_the_heartbeat_and_ends_the_job_when_the_unit_stops(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    got = claimed(context, job_id)
    assert units.heartbeat(context, got.unit_id, got.attempt) == units.Beat()
    with context.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(cancel_requested_at=now()))
    assert units.heartbeat(context, got.unit_id, got.attempt) == units.Beat(cancel=True)
    sweep.reconcile(context)
    assert row(context, Job, job_id).state == State.RUNNING
    assert units.cancelled(context, got.unit_id, got.attempt)
    job = row(context, Job, job_id)
    assert job.state == State.CANCELLED
    assert row(context, Model, job.model_id).status == "failed"


def test_a_cancelled_job_of_a_lost_worker_is_ended_by_the_sweep(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    got = claimed(context, job_id)
    with context.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(cancel_requested_at=now()))
    let_expire(context, got.unit_id)
    assert units.claim(context, got.unit_id, "wrk_b") is None
    sweep.reconcile(context)
    assert row(context, Job, job_id).state == State.CANCELLED
    assert unit_of(context, job_id).state == State.CANCELLED


def test_one_failed_shard_ends_the_job_and_stops_the_others(context: Context, project: str) -> None:
    job_id = generate_job(context, project, 3)
    first, second = claimed(context, job_id, 0), claimed(context, job_id, 1)
    assert units.fail(context, first.unit_id, first.attempt, "internal_error", "Oh.")
    assert row(context, Job, job_id).state == State.FAILED
    assert unit_of(context, job_id, 2).state == State.CANCELLED
    assert units.heartbeat(context, second.unit_id, second.attempt).cancel
    assert units.cancelled(context, second.unit_id, second.attempt)
    assert row(context, Job, job_id).state == State.FAILED


def test_a_unit_whose_model_is_gone_fails_with_a_sentence(context: Context, project: str) -> None:
    job_id = generate_job(context, project, 1)
    with context.database.begin() as session:
        session.delete(session.get_one(Model, session.get_one(Job, job_id).model_id))
    assert units.claim(context, unit_of(context, job_id).id, "wrk_a") is None
    assert row(context, Job, job_id).error == {"code": "gone", "message": "The model is not there any more."}


def test_an_end_empties_the_trash_when_it_is_due(context: Context, project: str) -> None:
    context.storage.put(f"projects/{project}/jobs/x/checkpoints/a1-5.safetensors", b"1")
    with context.database.begin() as session:
        moves.trash(session, f"projects/{project}/jobs/x/", 0.0)
        moves.trash(session, f"projects/{project}/jobs/y/")
    sweep.tidy(context)
    assert list(context.storage.keys(f"projects/{project}/jobs/x/")) == []
    with context.database.read() as session:
        assert session.scalars(select(Trash.prefix)).all() == [f"projects/{project}/jobs/y/"]


def test_a_bucket_that_is_away_keeps_no_other_work_of_the_sweep_waiting(context: Context, project: str) -> None:
    whole, cancelled = generate_job(context, project, 1), train_job(context, project)
    train_job(context, project)
    context.doorbell.app.control.purge()
    got = claimed(context, whole)
    with context.database.begin() as session:
        done = {"key": got.payload["key"], "rows": 10, "bytes": 5, "sha256": "0"}
        session.execute(update(Unit).where(Unit.id == got.unit_id).values(state=State.SUCCEEDED, result=done))
        session.execute(update(Job).where(Job.id == whole).values(units_done=1))
        session.execute(update(Job).where(Job.id == cancelled).values(cancel_requested_at=now()))
    sweep.reconcile(replace(context, storage=nowhere()))
    assert row(context, Job, whole).state == State.RUNNING
    assert row(context, Job, cancelled).state == State.CANCELLED
    assert context.doorbell.waiting("gpu")
    sweep.reconcile(context)
    assert row(context, Job, whole).state == State.SUCCEEDED


def nowhere() -> ObjectStore:
    """A bucket that is away, and that is not asked twice."""
    store = ObjectStore("b", endpoint_url="http://127.0.0.1:9", access_key="a", secret_key="b")
    store._options["config"] = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return store


def test_trash_that_cannot_be_emptied_keeps_no_other_waiting(context: Context, project: str) -> None:
    context.storage.put(f"projects/{project}/jobs/x/a", b"1")
    with context.database.begin() as session:
        moves.trash(session, "too-short", -1.0)  # refused as too short a prefix
        moves.trash(session, f"projects/{project}/jobs/x/", 0.0)
    sweep.tidy(context)
    assert list(context.storage.keys(f"projects/{project}/jobs/x/")) == []
