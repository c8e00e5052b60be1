"""How a job moves and what its end does to its dataset or model. Each move is one guarded UPDATE and one event.

The caller holds the job's row (`hold`): jobs are locked before units, everywhere, so that nothing dead-locks."""

from typing import Any

from sqlalchemy import case, delete, func, literal_column, null, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.db.database import now
from service.db.tables import RUNNING, Dataset, Job, Model, Trash, Unit
from service.domain.machine import JOB_MOVES, UNIT_MOVES, sources
from service.domain.states import ENDED, WITH_OUTPUT, DatasetStatus, JobKind, ModelStatus, State
from service.usecases import events

TRASH_SECONDS = 600.0  # what nobody points to is deleted so much later: a frozen worker may still be writing there
RETRY_MARGIN = 60.0  # what a failed job left is kept for so much longer than it can be retried: nothing is ever taken
# back out of the trash that the sweep may be deleting

MESSAGES = {
    State.QUEUED: "The job is to go on, and waits for a worker.",
    State.RUNNING: "The job runs.",
    State.SUCCEEDED: "The job has succeeded.",
    State.FAILED: "The job has failed.",
    State.CANCELLED: "The job was cancelled.",
}


def hold(session: Session, job_id: str, *, skip: bool = False) -> Job | None:
    """The job, locked until the transaction ends; None if there is none, or with `skip` if another holds it."""
    query = select(Job).where(Job.id == job_id).with_for_update(skip_locked=skip)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def move(
    session: Session,
    job: Job,
    to: State,
    *,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> bool:
    """Move the job if it is where such a move can start; False where it is not."""
    values: dict[str, Any] = {"state": to, "started_at" if to is State.RUNNING else "finished_at": now()}
    values |= {name: value for name, value in (("result", result), ("error", error)) if value is not None}
    if to is State.QUEUED:
        values |= {"started_at": None, "finished_at": None, "cancel_requested_at": None, "retry_until": None}
        values |= {"error": null()}
    if to is State.SUCCEEDED:
        values["expires_at"] = now() + Job.retention_seconds  # null, and so for ever, where that is
    moved = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state.in_(sources(JOB_MOVES, to)))
        .values(values)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if moved is None:
        return False
    session.refresh(job)
    message = str(error["message"]) if error else MESSAGES[to]
    data = {"state": to.value} | ({"code": error["code"]} if error else {})
    events.append(session, job.id, "state", message, "error" if to is State.FAILED else "info", data)
    return True


def fail(session: Session, job: Job, code: str, message: str, kept_seconds: float) -> bool:
    """The job ends in failure, and with it what it was making; for so long it can be retried, and what it left in
    storage is kept."""
    if not _end(session, job, State.FAILED, {"code": code, "message": message}):
        return False
    job.retry_until = (session.scalar(select(now())) or 0.0) + kept_seconds
    session.flush()
    for prefix in _spoil(session, job, {"code": code, "message": message}):
        trash(session, prefix, kept_seconds + RETRY_MARGIN, again=True)
    return True


def retry(session: Session, job: Job) -> bool:
    """A failed job is queued again, with all of its units that did not succeed; what its failure spoilt is undone.

    Whoever calls this has seen that what the job needs is there, and that `retry_until` has not passed."""
    if not move(session, job, State.QUEUED):
        return False
    session.execute(
        update(Unit)
        .where(Unit.job_id == job.id, Unit.state.in_(ENDED.intersection(sources(UNIT_MOVES, State.QUEUED))))
        .values(
            state=State.QUEUED,
            failures=0,
            error=null(),
            available_at=now(),
            lease_until=None,
            finished_at=None,
        )
        .execution_options(synchronize_session=False)
    )
    _mend(session, job)
    return True


def cancel(session: Session, job: Job) -> bool:
    """The job ends as cancelled, and with it what it was making; running units notice at their next heartbeat."""
    if not _end(session, job, State.CANCELLED, None):
        return False
    for prefix in _spoil(session, job, {"code": "cancelled", "message": MESSAGES[State.CANCELLED]}):
        trash(session, prefix, 0.0, again=True)
    return True


def cancel_if_idle(session: Session, job: Job) -> bool:
    """Cancel the job if that was asked for and no unit of it runs any more."""
    if job.cancel_requested_at is None or running(session, job.id):
        return False
    return cancel(session, job)


def running(session: Session, job_id: str) -> int:
    """How many units of the job are with a worker."""
    query = select(func.count()).where(Unit.job_id == job_id, literal_column(RUNNING))
    return session.scalar(query) or 0


def trash(session: Session, prefix: str, seconds: float = TRASH_SECONDS, *, again: bool = False) -> None:
    """Have the sweep delete what lies below `prefix`, some time later; with `again` once more when a worker that was
    frozen must have given up. What is in the trash already goes at the sooner time of the two."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(Trash)
    new = insert.values(
        prefix=prefix, due_at=now() + seconds, again_at=now() + seconds + TRASH_SECONDS if again else None
    )
    sooner = {"due_at": new.excluded.due_at, "again_at": func.coalesce(new.excluded.again_at, Trash.again_at)}
    session.execute(
        new.on_conflict_do_update(
            index_elements=["prefix"],
            set_={
                name: case((new.excluded.due_at < Trash.due_at, value), else_=getattr(Trash, name))
                for name, value in sooner.items()
            },
        )
    )


def _end(session: Session, job: Job, to: State, error: dict[str, Any] | None) -> bool:
    if not move(session, job, to, error=error):
        return False
    session.execute(
        update(Unit)
        .where(Unit.job_id == job.id, Unit.state == State.QUEUED)
        .values(state=State.CANCELLED, finished_at=now())
        .execution_options(synchronize_session=False)
    )
    return True


def _spoil(session: Session, job: Job, error: dict[str, Any]) -> list[str]:
    """What the job was making will not be ready. Returns the prefixes of what it wrote, which is of no use now."""
    places = _places(job)
    job.stored_bytes = 0  # goes by itself; what a retry keeps of it counts again at its end
    if job.kind == JobKind.INGEST and job.dataset_id:
        session.execute(
            update(Dataset)
            .where(Dataset.id == job.dataset_id, Dataset.job_id == job.id, Dataset.status == DatasetStatus.INGESTING)
            .values(status=DatasetStatus.REJECTED, error=error)
        )
    elif _model_becomes(session, job, ModelStatus.TRAINING, ModelStatus.FAILED):
        places.append(_model_place(job))
    return places


def _mend(session: Session, job: Job) -> None:
    """The opposite of `_spoil`: what the job was making is under way again, and what it wrote stays."""
    places = _places(job)
    if job.kind == JobKind.INGEST and job.dataset_id:
        session.execute(
            update(Dataset)
            .where(Dataset.id == job.dataset_id, Dataset.job_id == job.id, Dataset.status == DatasetStatus.REJECTED)
            .values(status=DatasetStatus.INGESTING, error=null())
        )
    elif _model_becomes(session, job, ModelStatus.FAILED, ModelStatus.TRAINING):
        places.append(_model_place(job))
    session.execute(delete(Trash).where(Trash.prefix.in_(places)))


def _places(job: Job) -> list[str]:
    """The prefixes below which a job of this kind writes, and nobody else; its model's not among them."""
    project = f"projects/{job.project_id}"
    places = [f"{project}/jobs/{job.id}/"]
    if job.kind == JobKind.INGEST and job.dataset_id:
        places.append(f"{project}/datasets/{job.dataset_id}/parts/{job.id}-")
    if job.kind in WITH_OUTPUT:
        places.append(f"{project}/outputs/{job.id}/")
    return places


def _model_place(job: Job) -> str:
    return f"projects/{job.project_id}/models/{job.model_id}/"


def _model_becomes(session: Session, job: Job, before: ModelStatus, after: ModelStatus) -> bool:
    """Whether there was such a model that the job was to make; one that it was given is not its to change."""
    changed = session.execute(
        update(Model)
        .where(Model.id == job.model_id, Model.job_id == job.id, Model.status == before)
        .values(status=after)
        .returning(Model.id)
        .execution_options(synchronize_session=False)
    )
    return changed.one_or_none() is not None
