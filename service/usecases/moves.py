"""How a job moves and what its end does to its dataset or model. Each move is one guarded UPDATE and one event.

The caller holds the job's row (`hold`): jobs are locked before units, everywhere, so that nothing dead-locks."""

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.db.database import now
from service.db.tables import Dataset, Job, Model, Trash, Unit
from service.domain.states import JOB_MOVES, WITH_OUTPUT, DatasetStatus, JobKind, ModelStatus, State
from service.usecases import events

TRASH_SECONDS = 600.0  # what nobody points to is deleted so much later: a frozen worker may still be writing there

MESSAGES = {
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
    froms = [state for state, tos in JOB_MOVES.items() if to in tos]
    values: dict[str, Any] = {"state": to, "started_at" if to is State.RUNNING else "finished_at": now()}
    values |= {name: value for name, value in (("result", result), ("error", error)) if value is not None}
    moved = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state.in_(froms))
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


def fail(session: Session, job: Job, code: str, message: str) -> bool:
    """The job ends in failure, and with it what it was making."""
    return _end(session, job, State.FAILED, {"code": code, "message": message})


def cancel(session: Session, job: Job) -> bool:
    """The job ends as cancelled, and with it what it was making; running units notice at their next heartbeat."""
    return _end(session, job, State.CANCELLED, None)


def cancel_if_idle(session: Session, job: Job) -> bool:
    """Cancel the job if that was asked for and no unit of it runs any more."""
    if job.cancel_requested_at is None or running(session, job.id):
        return False
    return cancel(session, job)


def running(session: Session, job_id: str) -> int:
    """How many units of the job are with a worker."""
    query = select(func.count()).where(Unit.job_id == job_id, Unit.state == State.RUNNING)
    return session.scalar(query) or 0


def trash(session: Session, prefix: str, seconds: float = TRASH_SECONDS) -> None:
    """Have the sweep delete what lies below `prefix`, some time later."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    session.execute(dialect.insert(Trash).values(prefix=prefix, due_at=now() + seconds).on_conflict_do_nothing())


def _end(session: Session, job: Job, to: State, error: dict[str, Any] | None) -> bool:
    if not move(session, job, to, error=error):
        return False
    session.execute(
        update(Unit)
        .where(Unit.job_id == job.id, Unit.state == State.QUEUED)
        .values(state=State.CANCELLED, finished_at=now())
        .execution_options(synchronize_session=False)
    )
    _spoil(session, job, error or {"code": "cancelled", "message": "The job was cancelled."})
    return True


def _spoil(session: Session, job: Job, error: dict[str, Any]) -> None:
    """What the job was making will never be ready; what it wrote goes."""
    project = f"projects/{job.project_id}"
    trash(session, f"{project}/jobs/{job.id}/")
    if job.kind == JobKind.INGEST and job.dataset_id:
        session.execute(
            update(Dataset)
            .where(Dataset.id == job.dataset_id, Dataset.job_id == job.id, Dataset.status == DatasetStatus.INGESTING)
            .values(status=DatasetStatus.REJECTED, error=error)
        )
        trash(session, f"{project}/datasets/{job.dataset_id}/parts/{job.id}-")
    elif job.kind in (JobKind.TRAIN, JobKind.AUGMENT) and job.model_id:
        spoilt = session.execute(  # a model that an augmentation was given, or has trained already, stays
            update(Model)
            .where(Model.id == job.model_id, Model.job_id == job.id, Model.status == ModelStatus.TRAINING)
            .values(status=ModelStatus.FAILED)
            .returning(Model.id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if spoilt is not None:
            trash(session, f"{project}/models/{job.model_id}/")
    if job.kind in WITH_OUTPUT:
        trash(session, f"{project}/outputs/{job.id}/")
