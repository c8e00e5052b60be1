"""Real workers as processes of their own, and the jobs that tests give them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.engine import make_url

import migrations
from service.bootstrap import Context, bootstrap
from service.db.database import now
from service.db.tables import Dataset, Event, Job, Model, Project, Unit
from service.domain.ids import new_id
from service.domain.states import ENDED, JobKind, State
from service.settings import Settings
from service.usecases import opening

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
QUICK = {
    "lease_seconds": 2.0,
    "heartbeat_seconds": 0.25,
    "sweep_seconds": 0.3,
    "checkpoint_seconds": 0.3,
    "device": "cpu",
}


def environment(context: Context) -> dict[str, str]:
    """The variables that give a process the same settings."""
    env = {**os.environ, "PYTHONPATH": f"{HERE / 'site'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    for name, value in context.settings:
        if value is not None:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            env[f"MINTAGE_{name.upper()}"] = str(plain)
    return env


class Worker:
    """One `python -m workers`."""

    def __init__(self, context: Context, log: Path, queues: str = "gpu,cpu", slots: int = 2) -> None:
        self.log = log
        command = [sys.executable, "-m", "workers", "--queues", queues, "--slots", str(slots)]
        with log.open("ab") as out:
            self.process = psutil.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=environment(context), start_new_session=True
            )

    def children(self) -> list[psutil.Process]:
        """Its child processes that work or wait for work."""
        found = self.process.children(recursive=True)
        return [one for one in found if "workers.child" in _command(one)]

    def end(self) -> None:
        if self.process.is_running():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@dataclass
class Yard:
    """One set of servers, its workers and its jobs."""

    context: Context
    folder: Path
    project: str
    workers: list[Worker] = field(default_factory=list)

    def with_settings(self, **changes: Any) -> "Yard":
        self.context = replace(self.context, settings=self.context.settings.model_copy(update=changes))
        return self

    def worker(self, queues: str = "gpu,cpu", slots: int = 2) -> Worker:
        worker = Worker(self.context, self.folder / f"worker-{len(self.workers)}.log", queues, slots)
        self.workers.append(worker)
        return worker

    def ingest(self, text: str | bytes, modality: str | None = "tiny", options: dict[str, Any] | None = None) -> str:
        """An upload that waits to be read; returns the job's id."""
        dataset_id = new_id("ds")
        key = f"projects/{self.project}/datasets/{dataset_id}/source/up"
        body = text if isinstance(text, bytes) else text.encode()
        self.context.storage.put(key, body)
        with self.context.database.begin() as session:
            dataset = Dataset(
                id=dataset_id,
                project_id=self.project,
                created_at=time.time(),
                name="d",
                status="ingesting",
                options=options or {},
                bytes=len(body),
                filename="d.tiny",
                source_key=key,
                modality=modality,
            )
            session.add(dataset)
            job = opening.open_job(session, self.project, JobKind.INGEST, {}, dataset_id=dataset_id)
            dataset.job_id = job.id
        opening.ring(self.context, job.id)
        return job.id

    def dataset(self, numbers: str = "1.0 2.0 3.0 4.0") -> str:
        """A ready dataset, made without a worker; returns its id."""
        import torch
        from safetensors.torch import save

        values = torch.tensor([float(word) for word in numbers.split()])
        dataset_id = new_id("ds")
        key = f"projects/{self.project}/datasets/{dataset_id}/parts/job-a1/part-00000.safetensors"
        body = save({"x": values})
        self.context.storage.put(key, body)
        part = {
            "key": key,
            "rows": len(values),
            "split": "train",
            "bytes": len(body),
            "sha256": sha256(body).hexdigest(),
        }
        with self.context.database.begin() as session:
            session.add(
                Dataset(
                    id=dataset_id,
                    project_id=self.project,
                    created_at=time.time(),
                    name="d",
                    status="ready",
                    options={},
                    bytes=1,
                    modality="tiny",
                    rows=len(values),
                    schema={"modality": "tiny"},
                    parts=[part],
                )
            )
        return dataset_id

    def train(self, dataset_id: str | None = None, ring: bool = True, modality: str = "tiny", **config: Any) -> str:
        dataset_id = dataset_id or self.dataset()
        with self.context.database.begin() as session:
            model_id = new_id("mdl")
            job = opening.open_job(
                session, self.project, JobKind.TRAIN, {"config": config}, dataset_id=dataset_id, model_id=model_id
            )
            session.add(
                Model(
                    id=model_id,
                    project_id=self.project,
                    created_at=time.time(),
                    name="m",
                    status="training",
                    modality=modality,
                    dataset_id=dataset_id,
                    job_id=job.id,
                    schema={},
                    config=config,
                )
            )
        if ring:
            opening.ring(self.context, job.id)
        return job.id

    def generate(self, model_id: str, count: int = 250, seconds: float = 0.0, given: str | None = None) -> str:
        spec = {"count": count, "seed": 7, "format": "csv", "conditions": {"seconds": seconds}}
        spec |= {"given": given, "copies": 2} if given else {}
        shards = [{"start": start, "count": min(100, count - start)} for start in range(0, count, 100)]
        with self.context.database.begin() as session:
            job = opening.open_job(
                session,
                self.project,
                JobKind.GENERATE,
                spec,
                dataset_id=given,
                model_id=model_id,
                payloads=shards,
                total=len(shards),
            )
        opening.ring(self.context, job.id)
        return job.id

    def augment(self, count: int = 246, target: str | None = None, model_id: str | None = None, **config: Any) -> str:
        """Four real numbers and so many synthetic ones, by this model or by one that is trained first."""
        dataset_id = self.dataset()
        spec = {"target": target, "method": "enlarge", "count": count, "max_count": 9, "seed": 7, "format": "csv"}
        with self.context.database.begin() as session:
            found = model_id or new_id("mdl")
            job = opening.open_job(
                session,
                self.project,
                JobKind.AUGMENT,
                spec | {"config": config},
                dataset_id=dataset_id,
                model_id=found,
                total=1 if model_id else 2,
                first=None if model_id else JobKind.TRAIN,
            )
            if model_id is None:
                session.add(
                    Model(
                        id=found,
                        project_id=self.project,
                        created_at=time.time(),
                        name="m",
                        status="training",
                        modality="tiny",
                        dataset_id=dataset_id,
                        job_id=job.id,
                        schema={},
                        config=config,
                    )
                )
        opening.ring(self.context, job.id)
        return job.id

    def preview(self, model_id: str) -> str:
        spec = {"count": 5, "seed": 1}
        with self.context.database.begin() as session:
            job = opening.open_job(session, self.project, JobKind.PREVIEW, spec, model_id=model_id)
        opening.ring(self.context, job.id)
        return job.id

    def model(self) -> str:
        """A ready model, made without a worker; returns its id."""
        from safetensors.torch import save

        from tests.integration.workers.tiny.training import Generator

        model_id = new_id("mdl")
        prefix = f"projects/{self.project}/models/{model_id}/a1/"
        self.context.storage.put(prefix + "generator.safetensors", save(Generator().state_dict()))
        with self.context.database.begin() as session:
            session.add(
                Model(
                    id=model_id,
                    project_id=self.project,
                    created_at=time.time(),
                    name="m",
                    status="ready",
                    modality="tiny",
                    dataset_id="ds_x",
                    job_id="job_x",
                    schema={},
                    config={},
                    prefix=prefix,
                )
            )
        return model_id

    def cancel(self, job_id: str) -> None:
        with self.context.database.begin() as session:
            session.execute(update(Job).where(Job.id == job_id).values(cancel_requested_at=now()))

    def job(self, job_id: str) -> Job:
        with self.context.database.read() as session:
            return session.get_one(Job, job_id)

    def unit(self, job_id: str, index: int = 0) -> Unit:
        with self.context.database.read() as session:
            return session.scalars(select(Unit).where(Unit.job_id == job_id, Unit.index == index)).one()

    def row(self, table: type[Any], id: str | None) -> Any:
        with self.context.database.read() as session:
            return session.get_one(table, id)

    def messages(self, job_id: str) -> list[str]:
        with self.context.database.read() as session:
            return list(session.scalars(select(Event.message).where(Event.job_id == job_id).order_by(Event.seq)))

    def until(self, true: Callable[[], Any], seconds: float = 40.0) -> float:
        """Wait for `true`; returns the seconds that it took."""
        start = time.monotonic()
        while not true():
            if time.monotonic() - start > seconds:
                logs = "\n".join(worker.log.read_text()[-6_000:] for worker in self.workers)
                raise TimeoutError(f"nothing in {seconds} s\n{logs}")
            time.sleep(0.02)
        return time.monotonic() - start

    def wait(self, job_id: str, seconds: float = 40.0) -> Job:
        """The job when it has ended."""
        self.until(lambda: State(self.job(job_id).state) in ENDED, seconds)
        return self.job(job_id)


@pytest.fixture
def yard(sqlite_context: Context, tmp_path: Path) -> Iterator[Yard]:
    yield from _yard(sqlite_context, tmp_path)


@pytest.fixture
def postgres_yard(
    postgres_database: str, valkey_url: str, s3: dict[str, str], tmp_path: Path
) -> Iterator[tuple[Yard, str]]:
    """On PostgreSQL alone, and the folder of the server's socket."""
    migrations.upgrade(postgres_database)
    settings = Settings(database_url=postgres_database, redis_url=valkey_url, work_dir=tmp_path / "work", **s3)  # type: ignore[arg-type]
    context = bootstrap(settings)
    for yard in _yard(context, tmp_path):
        yield yard, str(make_url(postgres_database).query["host"])
    context.doorbell.app.close()
    context.database.dispose()


@pytest.fixture
def either_yard(context: Context, tmp_path: Path) -> Iterator[Yard]:
    """On each kind of database."""
    yield from _yard(context, tmp_path)


def _yard(context: Context, folder: Path) -> Iterator[Yard]:
    settings = context.settings.model_copy(update=QUICK)
    with context.database.begin() as session:
        project = Project(id=new_id("prj"), name="p", created_at=time.time())
        session.add(project)
    yard = Yard(replace(context, settings=settings), folder, project.id)
    yield yard
    for worker in yard.workers:
        worker.end()
    context.doorbell.app.control.purge()
