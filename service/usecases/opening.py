"""Opens a job: its row, its units and its first event in the caller's transaction; then rings for what may start."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Job, Unit
from service.domain.ids import new_id
from service.domain.states import QUEUES, RANKS, URGENT, JobKind, Priority, State
from service.usecases import events

UNITS_AT_ONCE = 5_000  # rows in one executemany: a job may have 100,000 units


def open_job(
    session: Session,
    project_id: str,
    kind: JobKind,
    spec: dict[str, Any],
    *,
    id: str | None = None,
    name: str | None = None,
    dataset_id: str | None = None,
    model_id: str | None = None,
    payloads: Iterable[dict[str, Any]] = ({},),
    total: int = 1,
    first: JobKind | None = None,
    priority: Priority = Priority.NORMAL,
    retention_seconds: int | None = None,
) -> Job:
    """Add a queued job with a queued unit for each payload, of the job's kind or of the kind `first`.

    `total` says how many units the job will have: those, and what open_unit adds when they are done."""
    at: float = session.scalar(select(now())) or 0.0
    job = Job(
        id=id or new_id("job"),
        project_id=project_id,
        created_at=at,
        kind=kind,
        state=State.QUEUED,
        priority=priority,
        name=name,
        dataset_id=dataset_id,
        model_id=model_id,
        spec=spec,
        units_total=total,
        retention_seconds=retention_seconds,
    )
    session.add(job)
    session.flush()
    common = _common(job, first or kind, at)
    rows = ({"id": new_id("unit"), "index": index, "payload": payload} for index, payload in enumerate(payloads))
    for chunk in _chunks(rows):
        session.execute(insert(Unit.metadata.tables["units"]), [common | row for row in chunk])
    events.append(session, job.id, "state", "The job waits for a worker.", data={"state": State.QUEUED})
    return job


def open_unit(session: Session, job: Job, kind: JobKind, index: int) -> None:
    """Add one more queued unit to a job that was opened with it in its total."""
    at: float = session.scalar(select(now())) or 0.0
    row = {"id": new_id("unit"), "index": index, "payload": {}}
    session.execute(insert(Unit.metadata.tables["units"]), [_common(job, kind, at) | row])


def _common(job: Job, kind: JobKind, at: float) -> dict[str, Any]:
    """What units of a job that are opened together share."""
    rank = URGENT if kind == JobKind.PREVIEW else RANKS[Priority(job.priority)]
    common = {
        "project_id": job.project_id,
        "job_id": job.id,
        "kind": kind,
        "queue": QUEUES[kind],
        "rank": rank,
        "attempt": 0,
    }
    return common | {"created_at": at, "available_at": at, "state": State.QUEUED, "failures": 0}


def ring(context: Context, job_id: str) -> None:
    """After the commit: wake as many workers as the job has use for.

    Nothing that goes wrong here is the caller's business any more: the job stands, and the sweep rings again."""
    with suppress(SQLAlchemyError):
        with context.database.read() as session:
            waiting = select(Unit.queue).where(Unit.job_id == job_id, Unit.state == State.QUEUED)
            queues = Counter(session.scalars(waiting.limit(context.settings.shards_in_flight)))
        for queue, units in queues.items():
            context.doorbell.ring(queue, units)


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(rows, UNITS_AT_ONCE)):
        yield chunk
