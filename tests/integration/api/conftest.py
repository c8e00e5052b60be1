"""The API behind a real uvicorn on a free port, and a worker's hands that move rows through the real seams."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import select

from service.bootstrap import Context
from service.db.tables import Unit
from service.domain.states import JobKind, State
from service.main import create_app
from service.usecases import keys, units

SCHEMA = {
    "modality": "table",
    "columns": [
        {"name": "age", "type": "integer", "nullable": False},
        {"name": "income", "type": "category", "nullable": False, "levels": ["<=50K", ">50K"]},
    ],
}
REPORT = {"fidelity": {"marginals": 0.97}, "columns": {"<script>alert(1)</script>": {"distance": 0.01}}, "steps": 10}
TOLD = {"real_rows": 1, "synthetic_rows": 1, "before": {"roc_auc": 0.8}, "after": {"roc_auc": 0.9}, "verdict": "Good."}
SHARD = b"age,income\n39,<=50K\n"


@dataclass
class Api:
    """A running server, a client with a key of one project, and a worker's hands."""

    url: str
    context: Context
    project: str
    key: str
    http: httpx.Client
    server: uvicorn.Server
    others: list[httpx.Client] = field(default_factory=list)

    def client(self, key: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.others.append(httpx.Client(base_url=self.url, headers=headers, timeout=30))
        return self.others[-1]

    def stranger(self) -> httpx.Client:
        """A client of another project."""
        return self.client(keys.create_project(self.context, "strangers")[1])

    def dataset(self, **body: Any) -> str:
        answer = self.http.post("/v1/datasets", json={"name": "people"} | body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def uploaded(self, content: bytes = b"age,income\n39,<=50K\n") -> dict[str, Any]:
        answer = self.http.put(f"/v1/datasets/{self.dataset()}/content?filename=people.csv", content=content)
        assert answer.status_code == 202, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def ready(self) -> str:
        """A dataset that a worker has read."""
        found = self.uploaded()
        self.work(found["job_id"])
        return str(found["id"])

    def submit(self, **body: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def model(self) -> str:
        """A model that a worker has trained."""
        job = self.submit(kind="train", dataset_id=self.ready(), config={"preset": "draft"})
        self.work(job["id"])
        return str(job["model_id"])

    def output(self, count: int = 10) -> str:
        """A finished generation; its job."""
        job = self.submit(kind="generate", model_id=self.model(), count=count, format="csv")
        self.work(job["id"])
        return str(job["id"])

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def claim(self, job_id: str) -> units.Claimed:
        """Begin the job's next unit, as a worker does."""
        with self.context.database.read() as session:
            query = select(Unit.id).where(Unit.job_id == job_id, Unit.state == State.QUEUED).order_by(Unit.index)
            unit_id = session.scalars(query.limit(1)).one()
        claimed = units.claim(self.context, unit_id, "wrk_test")
        assert claimed is not None
        return claimed

    def work(self, job_id: str) -> None:
        """Do every unit of the job, as a worker does."""
        with self.context.database.read() as session:
            waiting = len(session.scalars(select(Unit.id).where(Unit.job_id == job_id)).all())
        for _ in range(waiting):
            claimed = self.claim(job_id)
            assert units.finish(self.context, claimed.unit_id, claimed.attempt, self.result(claimed))

    def result(self, claimed: units.Claimed) -> dict[str, Any]:
        if claimed.kind == JobKind.INGEST:
            key = f"{claimed.payload['prefix']}part-0.parquet"
            part = {"key": key, "rows": 1, "split": "train", "bytes": 1, "sha256": "0"}
            whole = {"modality": "table", "rows": 1, "schema": SCHEMA, "profile": {}, "warnings": []}
            return whole | {"parts": [part]}
        if claimed.kind == JobKind.TRAIN:
            key = f"{claimed.payload['prefix']}generator.safetensors"
            self.context.storage.put(key, b"weights")
            file = {"key": key, "name": "generator.safetensors", "bytes": 7, "sha256": "0"}
            return {"report": REPORT, "files": [file], "steps": 10}
        if claimed.kind == JobKind.AUGMENT:
            key = claimed.payload["keys"].format(index=0)
            self.context.storage.put(key, SHARD)
            file = {"key": key, "rows": 2, "bytes": len(SHARD), "sha256": hashlib.sha256(SHARD).hexdigest()}
            return {"files": [file], "told": TOLD}
        key = claimed.payload["key"]
        body = SHARD if claimed.kind == JobKind.GENERATE else b'{"columns": ["age"], "rows": [[39]]}'
        self.context.storage.put(key, body)
        return {
            "key": key,
            "rows": claimed.payload["count"],
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }


@contextmanager
def serving(context: Context) -> Iterator[Api]:
    """The API of this context, on a free port, until the end of the block."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(context), log_config=None, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    project, key = keys.create_project(context, "people")
    api = Api(url, context, project, key, httpx.Client(), server)
    api.http = api.client(key)
    try:
        yield api
    finally:
        for client in api.others:
            client.close()
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def serve() -> Callable[[Context], AbstractContextManager[Api]]:
    """For tests that change settings or lose a server first."""
    return serving


@pytest.fixture
def api(context: Context) -> Iterator[Api]:
    """The API on each kind of database in turn."""
    with serving(context) as api:
        yield api


@pytest.fixture
def lite(sqlite_context: Context) -> Iterator[Api]:
    """The API on SQLite, for what does not depend on the database."""
    with serving(sqlite_context) as api:
        yield api


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that the answer must be; nothing in it may look like a stack trace."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, answer.text
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code}"
    assert problem["detail"].endswith(".")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return problem
