"""What can be done with a job that has ended: a failed one is retried, any is deleted."""

from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.database import Scope, now
from service.db.tables import Dataset, Job, Model
from service.domain.states import ENDED, WITH_OUTPUT, DatasetStatus, JobKind, ModelStatus, State
from service.domain.views import JobView
from service.errors import Conflict, GateFailed, NotFound, NotRetryable
from service.usecases import jobs, moves, quotas
from service.usecases.idempotency import Answer, Once, answer


def retry(context: Context, once: Once, id: str) -> Answer:
    """A failed job goes on: a training from its checkpoint, other work with what is missing. Raises NotFound, and
    NotRetryable where it has not failed, where what it left is not kept any more, or what it needs is gone, and
    QuotaExceeded."""

    def work(session: Session) -> JobView:
        quotas.admit(session, context.settings, once.project_id)
        job = _found(session, once.project_id, id)
        _refuse_unless_retryable(session, job)
        moves.retry(session, job)
        session.refresh(job)
        return jobs.view(session, job)

    return jobs.and_ring(context, answer(context, once, 202, work))


def delete(context: Context, project_id: str, id: str) -> None:
    """The job with its units, events and curves at once, its output and whatever else it left in the bucket soon after.
    A model that it made stays, one that it did not come to make goes. Raises Conflict for a job that has not ended."""
    with context.database.begin() as session:
        job = _found(session, project_id, id)
        if job.state not in ENDED:
            raise Conflict(f"The job is {job.state}; cancel it first, and delete it when it has ended.")
        project = f"projects/{project_id}"
        moves.trash(session, f"{project}/jobs/{id}/", 0.0, again=True)
        if job.kind in WITH_OUTPUT:
            moves.trash(session, f"{project}/outputs/{id}/", 0.0, again=True)
        spoilt = session.scalars(
            delete_rows(Model)
            .where(Model.id == job.model_id, Model.job_id == id, Model.status == ModelStatus.FAILED)
            .returning(Model.id)
        ).all()
        for model_id in spoilt:
            moves.trash(session, f"{project}/models/{model_id}/", 0.0, again=True)
        session.execute(delete_rows(Job).where(Job.id == id))


def _found(session: Session, project_id: str, id: str) -> Job:
    """The job, held. Raises NotFound, for a preview too: nobody was told its id."""
    if Scope(session, project_id).get(Job, id).kind == JobKind.PREVIEW:
        raise NotFound()
    job = moves.hold(session, id)
    if job is None:  # deleted just now
        raise NotFound()
    return job


def _refuse_unless_retryable(session: Session, job: Job) -> None:
    """Raises NotRetryable."""
    if job.state != State.FAILED:
        raise NotRetryable(f"The job is {job.state}; only one that has failed can be retried.")
    if (job.error or {}).get("code") == GateFailed.code:
        raise NotRetryable(
            "The model is as it was, and so is its gate; submit a job that names it and 'override_gate'."
        )
    if job.retry_until is None or job.retry_until <= (session.scalar(select(now())) or 0.0):
        raise NotRetryable("What the failed job left in storage is not kept any more; submit a new job.")
    dataset = session.get(Dataset, job.dataset_id, with_for_update=True) if job.dataset_id else None
    if job.dataset_id and dataset is None:
        raise NotRetryable("The job's dataset was deleted; submit a new job.")
    if job.model_id and session.get(Model, job.model_id) is None:
        raise NotRetryable("The job's model was deleted; submit a new job.")
    if job.kind == JobKind.INGEST and dataset is not None and dataset.job_id != job.id:
        raise NotRetryable("The dataset was read again since, by another job.")
    if job.kind == JobKind.INGEST or dataset is None:
        return
    if dataset.status != DatasetStatus.READY:
        raise NotRetryable(f"The job's dataset is {dataset.status}; it must be ready.")
    if (dataset.job_id or "") > job.id:  # ids follow the time: what was done so far was done with other rows or types
        raise NotRetryable("The job's dataset was read again since; submit a new job.")
