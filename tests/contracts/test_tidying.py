"""What has no use goes from a real bucket: all of it, also after an interruption; and nothing else does."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from service import admin
from service.bootstrap import Context
from service.db.tables import Project, Trash
from service.domain.ids import new_id
from service.storage import objects
from service.usecases import moves, orphans, sweep, tidying, units
from tests.contracts.test_units import claimed, generate_job, train_job
from tests.integration.workers.conftest import environment
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
MANY = 200


@pytest.fixture
def project(sqlite_context: Context) -> str:
    with sqlite_context.database.begin() as session:
        project = Project(id=new_id("prj"), name="test", created_at=0.0)
        session.add(project)
    return project.id


def fill(context: Context, prefix: str, count: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: context.storage.put(f"{prefix}{i:05d}", b"1"), range(count)))


def trash(context: Context) -> list[str]:
    with context.database.read() as session:
        return list(session.scalars(select(Trash.prefix).order_by(Trash.prefix)))


TIDY = """
import time
from service.bootstrap import bootstrap
from service.usecases import sweep
context = bootstrap()
context.storage.client.meta.events.register("before-call.s3.DeleteObject", lambda **_: time.sleep(0.1))
sweep.tidy(context)
"""  # slowly, so that it can be caught in the middle


def test_a_deletion_whose_process_is_killed_in_the_middle_goes_on(sqlite_context: Context, project: str) -> None:
    context, prefix = sqlite_context, f"projects/{project}/outputs/job_x/"
    fill(context, prefix, MANY)
    with context.database.begin() as session:
        moves.trash(session, prefix, 0.0)
    tidying_process = subprocess.Popen([sys.executable, "-c", TIDY], env=environment(context), cwd=ROOT)
    wait_until(lambda: len(list(context.storage.keys(prefix))) < MANY, "the deletion", 60)
    os.kill(tidying_process.pid, signal.SIGKILL)
    tidying_process.wait(10)
    left = len(list(context.storage.keys(prefix)))
    assert 0 < left < MANY
    assert trash(context) == [prefix]
    sweep.tidy(context)
    assert (list(context.storage.keys(prefix)), trash(context)) == ([], [])


def test_many_pages_are_deleted_in_one_go(
    sqlite_context: Context, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "LISTED", 7)
    prefix = f"projects/{project}/outputs/job_x/"
    fill(sqlite_context, prefix, 40)
    assert sqlite_context.storage.delete(prefix) == 40
    assert list(sqlite_context.storage.keys(prefix)) == []


def begun(context: Context, key: str) -> str:
    """A multipart upload with one part, begun and left."""
    upload_id = context.storage.start_multipart(key)
    context.storage.client.upload_part(
        Bucket=context.storage.bucket, Key=key, UploadId=upload_id, PartNumber=1, Body=b"x" * (5 << 20)
    )
    return upload_id


def test_uploads_in_parts_that_were_left_are_aborted_also_those_that_no_row_knows(
    sqlite_context: Context, project: str
) -> None:
    context, prefix = sqlite_context, f"projects/{project}/"
    begun(context, f"{prefix}datasets/ds_x/source/up_x")
    tidying.scour(context)
    assert len(list(context.storage.multipart_uploads(prefix))) == 1  # it may still be going on
    time.sleep(1.1)
    short = context.settings.model_copy(update={"upload_seconds": 1})
    tidying.scour(replace(context, settings=short))
    assert list(context.storage.multipart_uploads(prefix)) == []


def test_deleting_ends_the_uploads_that_were_going_there(sqlite_context: Context, project: str) -> None:
    context, prefix = sqlite_context, f"projects/{project}/outputs/job_x/"
    begun(context, f"{prefix}part-00000-a1.csv")
    begun(context, f"projects/{project}/outputs/job_y/part-00000-a1.csv")
    with context.database.begin() as session:
        moves.trash(session, prefix, 0.0)
    sweep.tidy(context)
    assert list(context.storage.multipart_uploads(prefix)) == []
    assert len(list(context.storage.multipart_uploads(f"projects/{project}/"))) == 1


def test_orphans_are_what_no_row_knows_and_are_deleted_when_that_is_asked_for(
    sqlite_context: Context, project: str, capsys: pytest.CaptureFixture[str]
) -> None:
    context, own = sqlite_context, f"projects/{project}/"
    generation, training, failure = (
        generate_job(context, project, 2),
        train_job(context, project),
        train_job(context, project),
    )
    known = []
    for index in range(2):
        got = claimed(context, generation, index)
        context.storage.put(got.payload["key"], b"1")
        known.append(got.payload["key"])
        file = {"key": got.payload["key"], "rows": 10, "bytes": 1, "sha256": "0"}
        assert units.finish(context, got.unit_id, got.attempt, file)
    known += [f"{own}outputs/{generation}/{name}" for name in ("manifest.json", "card.md", "croissant.json")]
    running, failing = claimed(context, training), claimed(context, failure)
    assert units.fail(context, failing.unit_id, failing.attempt, "internal_error", "Oh.")
    for got in (running, failing):
        known += [
            f"{got.payload['prefix']}generator.safetensors",
            f"{got.payload['checkpoint_prefix']}a1-5.safetensors",
        ]
    known.append(f"{own}something/that/a newer version may know")
    lost = [
        f"{own}outputs/{generation}/part-00000-a7.csv",
        f"{own}outputs/job_gone/part-00000-a1.csv",
        f"{own}jobs/{generation}/checkpoints/a1-1.safetensors",
        f"{own}models/mdl_gone/a1/generator.safetensors",
        f"{own}datasets/ds_gone/source/up_x",
    ]
    for key in [*known, *lost]:
        if key not in known[:5]:
            context.storage.put(key, b"22")

    def found(older: float, **more: bool) -> list[str]:
        return sorted(one.key for one in orphans.find(context, older, **more) if one.key.startswith(own))

    assert found(3600.0) == []
    assert found(0.0) == sorted(lost)
    lines = list(admin.list_orphans(context, admin.parser().parse_args(["orphans", "--older", "0"])))
    assert [line.split()[-1] for line in lines[:-1] if own in line] == sorted(lost)
    assert found(0.0, delete=True) == sorted(lost)
    assert found(0.0) == []
    assert sorted(context.storage.keys(own)) == sorted(known)
