"""What has no use any more goes: trash, previews, old answers, uploads that were left, what its retention has ended.

Any process may do this at any time, and stop in the middle of it: rows say what is to go until it is gone, so that
whoever comes next goes on. The reconcile loop for jobs: service.usecases.sweep."""

import time
from collections.abc import Callable, Iterable

import structlog
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from sqlalchemy import delete, func, select, update

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Dataset, IdempotentAnswer, Job, Trash, Upload
from service.domain.states import JobKind
from service.errors import InUse, NotFound
from service.storage.objects import ABSENT
from service.usecases import datasets, events, moves

AT_ONCE = 500  # rows handled in one round; the next one takes the rest
PREVIEW_SECONDS = 3600.0
ANSWER_SECONDS = 48 * 3600.0
log = structlog.get_logger()


def tidy(context: Context) -> None:
    """Every round: what rows of ours name."""
    for step in (_forget, _expire_outputs, _expire_datasets, _abort_uploads, _empty_trash):
        guarded(step, context)


def scour(context: Context) -> None:
    """Now and then: multipart uploads that the bucket holds and that nobody will complete. Those of a process that was
    killed while it streamed a file have no row of ours, cost space, and are seen in no list of objects."""
    oldest = time.time() - context.settings.upload_seconds
    for key, upload_id, began in context.storage.multipart_uploads("projects/"):
        if began < oldest:
            guarded(_abort, context, key, upload_id)


def guarded(work: Callable[..., object], *arguments: object) -> None:
    """Do it; where it fails, what comes after it is not kept waiting, and the next round tries again."""
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001  # a bucket that is away, for one
        complain(work, error)


def complain(work: Callable[..., object], error: Exception) -> None:
    log.warning("sweep failed", work=work.__name__, error=f"{type(error).__name__}: {error}")


def _each(work: Callable[..., object], context: Context, things: Iterable[object]) -> None:
    """One after the other, unless the bucket is away: then the next round goes on."""
    for thing in things:
        try:
            work(context, thing)
        except (ConnectionError, HTTPClientError) as error:
            complain(work, error)
            return
        except Exception as error:  # noqa: BLE001  # what comes after it is not kept waiting
            complain(work, error)


def _forget(context: Context) -> None:
    with context.database.begin() as session:
        old = select(Job).where(Job.kind == JobKind.PREVIEW, Job.created_at < now() - PREVIEW_SECONDS)
        for job in session.scalars(old.limit(AT_ONCE).with_for_update(skip_locked=True)).all():
            moves.trash(session, f"projects/{job.project_id}/jobs/{job.id}/", 0.0)
            session.execute(delete(Job).where(Job.id == job.id))
        session.execute(delete(IdempotentAnswer).where(IdempotentAnswer.created_at < now() - ANSWER_SECONDS))


def _expire_outputs(context: Context) -> None:
    """The job stays, with what it tells; its files go."""
    with context.database.read() as session:
        over = session.scalars(select(Job.id).where(Job.expires_at <= now()).limit(AT_ONCE)).all()
    _each(_expire_output, context, over)


def _expire_output(context: Context, job_id: str) -> None:
    with context.database.begin() as session:
        job = moves.hold(session, job_id, skip=True)
        if job is None or job.expires_at is None or job.expires_at > (session.scalar(select(now())) or 0.0):
            return
        moves.trash(session, f"projects/{job.project_id}/outputs/{job.id}/", 0.0, again=True)
        told = dict(job.result or {})
        job.result = told | {"output": dict(told.get("output") or {}) | {"deleted": True}}
        job.expires_at, job.stored_bytes = None, 0
        session.flush()
        events.append(session, job_id, "message", "The output was deleted: it was kept for as long as was asked.")


def _expire_datasets(context: Context) -> None:
    """A dataset that a job reads goes when that job has ended."""
    with context.database.read() as session:
        over = session.execute(
            select(Dataset.project_id, Dataset.id).where(Dataset.expires_at <= now()).limit(AT_ONCE)
        ).all()
    for project_id, dataset_id in over:
        guarded(_expire_dataset, context, project_id, dataset_id)


def _expire_dataset(context: Context, project_id: str, dataset_id: str) -> None:
    try:
        datasets.delete(context, project_id, dataset_id)
    except InUse:
        with context.database.begin() as session:  # looked at again soon, and meanwhile in nobody's way
            later = update(Dataset).where(Dataset.id == dataset_id).values(expires_at=now() + 60.0)
            session.execute(later.execution_options(synchronize_session=False))
    except NotFound:
        return  # another was faster


def _abort_uploads(context: Context) -> None:
    """An upload in parts that was begun and left: its dataset may take another one."""
    with context.database.read() as session:
        oldest = now() - context.settings.upload_seconds
        old = select(Upload).where(Upload.completed_at.is_(None), Upload.created_at < oldest)
        uploads = session.scalars(old.limit(AT_ONCE)).all()
    _each(_abort_upload, context, uploads)


def _abort_upload(context: Context, upload: Upload) -> None:
    _abort(context, upload.key, upload.s3_upload_id)
    with context.database.begin() as session:
        session.execute(delete(Upload).where(Upload.id == upload.id, Upload.completed_at.is_(None)))


def _abort(context: Context, key: str, upload_id: str) -> None:
    try:
        context.storage.abort_multipart(key, upload_id)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in {"NoSuchUpload", *ABSENT}:
            raise


def _empty_trash(context: Context) -> None:
    with context.database.read() as session:
        due = session.scalars(
            select(Trash.prefix).where(Trash.due_at <= now()).order_by(Trash.due_at).limit(AT_ONCE)
        ).all()
    _each(_empty, context, due)


def _empty(context: Context, prefix: str) -> None:
    """The row goes last, so that whatever stops this in the middle leaves the rest to the next round."""
    for key, upload_id, _ in context.storage.multipart_uploads(prefix):
        _abort(context, key, upload_id)
    context.storage.delete(prefix)
    with context.database.begin() as session:
        session.execute(
            update(Trash)
            .where(Trash.prefix == prefix, Trash.due_at <= now(), Trash.again_at.is_not(None))
            .values(due_at=func.coalesce(Trash.again_at, 0.0), again_at=None)
        )
        session.execute(delete(Trash).where(Trash.prefix == prefix, Trash.due_at <= now()))
