"""The reconcile loop: whatever a lost process or message left undone, any process does at its next sweep.

Every step is safe from many processes at once: jobs are taken one by one, those that another holds are skipped, and
every change is guarded by the state that it starts from."""

import random
import threading
import time
from collections.abc import Callable

import structlog
from botocore.exceptions import ClientError
from sqlalchemy import delete, exists, literal_column, select

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import CANCELLING, RUNNING, IdempotentAnswer, Job, Trash, Unit, Upload
from service.domain.states import QUEUES, WITH_OUTPUT, JobKind, State
from service.usecases import due, moves, units
from service.usecases.finalize import finalize

AT_ONCE = 500  # jobs, units or rows handled in one sweep; the next one takes the rest
TIDY_SECONDS = 30.0
PREVIEW_SECONDS = 3600.0
ANSWER_SECONDS = 48 * 3600.0
UPLOAD_SECONDS = 2 * 86_400.0
FINALIZE_SECONDS = 10.0  # in one sweep: each may wait long for a bucket that is away
UNFINISHED = (State.QUEUED, State.RUNNING)
log = structlog.get_logger()


def sweep(context: Context) -> None:
    """Everything once."""
    reconcile(context)
    tidy(context)


def loop(context: Context, stop: threading.Event) -> None:
    """Start sweeping in the background until `stop`: jobs every sweep_seconds, the rest now and then."""
    for work, seconds in ((reconcile, context.settings.sweep_seconds), (tidy, TIDY_SECONDS)):
        threading.Thread(target=_repeat, args=(context, stop, work, seconds), name=work.__name__, daemon=True).start()


def _repeat(context: Context, stop: threading.Event, work: Callable[[Context], None], seconds: float) -> None:
    while not stop.wait(seconds * random.uniform(0.8, 1.2)):  # noqa: S311  # so that processes do not sweep in step
        try:
            work(context)
        except Exception as error:  # noqa: BLE001  # a loop that ended would leave jobs lying for ever
            _complain(work, error)


def _guarded(work: Callable[..., object], *arguments: object) -> None:
    """Do it; where it fails, what comes after it is not kept waiting, and the next sweep tries again."""
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001  # a bucket that is away, for one
        _complain(work, error)


def _complain(work: Callable[..., object], error: Exception) -> None:
    log.warning("sweep failed", work=work.__name__, error=f"{type(error).__name__}: {error}")


def reconcile(context: Context) -> None:
    """What jobs wait for; the bucket, which may keep one waiting, comes last."""
    for step in (take_back, ring_all, end_jobs):
        _guarded(step, context)


def take_back(context: Context) -> None:
    """Units whose worker fell silent go back to the queue, or fail after too many times."""
    with context.database.read() as session:
        expired = session.execute(
            select(Unit.id, Unit.attempt).where(literal_column(RUNNING), Unit.lease_until < now()).limit(AT_ONCE)
        ).all()
    for unit_id, attempt in expired:
        reason = "it stopped answering"
        if units.release(context, unit_id, attempt, drained=False, reason=reason, only_expired=True):
            log.warning("lease expired", unit=unit_id, attempt=attempt)


def end_jobs(context: Context) -> None:
    """Cancelled jobs of which nothing runs, and jobs with an output that is all there."""
    with context.database.read() as session:
        runs = exists().where(Unit.job_id == Job.id, literal_column(RUNNING))
        asked = session.scalars(select(Job.id).where(literal_column(CANCELLING), ~runs).limit(AT_ONCE)).all()
        whole = session.scalars(
            select(Job.id)
            .where(Job.state == State.RUNNING, Job.kind.in_(WITH_OUTPUT), Job.units_done >= Job.units_total)
            .limit(AT_ONCE)
        ).all()
    for job_id in asked:
        _guarded(_cancel, context, job_id)
    end = time.monotonic() + FINALIZE_SECONDS
    for job_id in whole:
        if time.monotonic() < end:
            _guarded(finalize, context, job_id)


def _cancel(context: Context, job_id: str) -> None:
    with context.database.begin() as session:
        job = moves.hold(session, job_id, skip=True)
        if job is not None:
            moves.cancel_if_idle(session, job)


def ring_all(context: Context) -> None:
    """Wake workers where units are due that nobody was woken for: a backoff is over, or doorbells were lost. Where all
    workers are busy, the broker holds doorbells enough; who ends a unit asks for the next one anyway."""
    for queue in sorted(set(QUEUES.values())):
        with context.database.read() as session:
            wanted = due.waiting(session, context.settings, queue)
        waiting = context.doorbell.waiting(queue) if wanted else None
        if waiting is not None and wanted > waiting:
            context.doorbell.ring(queue, wanted - waiting)


def tidy(context: Context) -> None:
    """What has no use any more: trash, previews, old answers, uploads that were never completed."""
    for step in (_forget, _abort_uploads, _empty_trash):
        _guarded(step, context)


def _forget(context: Context) -> None:
    with context.database.begin() as session:
        old = select(Job).where(Job.kind == JobKind.PREVIEW, Job.created_at < now() - PREVIEW_SECONDS)
        for job in session.scalars(old.limit(AT_ONCE).with_for_update(skip_locked=True)).all():
            moves.trash(session, f"projects/{job.project_id}/jobs/{job.id}/", 0.0)
            session.execute(delete(Job).where(Job.id == job.id))
        session.execute(delete(IdempotentAnswer).where(IdempotentAnswer.created_at < now() - ANSWER_SECONDS))


def _abort_uploads(context: Context) -> None:
    """An upload to the bucket whose URLs have long expired keeps its parts, and costs, until it is aborted."""
    with context.database.read() as session:
        old = select(Upload).where(Upload.completed_at.is_(None), Upload.created_at < now() - UPLOAD_SECONDS)
        uploads = session.scalars(old.limit(AT_ONCE)).all()
    for upload in uploads:
        _guarded(_abort_upload, context, upload)


def _abort_upload(context: Context, upload: Upload) -> None:
    try:
        context.storage.abort_multipart(upload.key, upload.s3_upload_id)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in {"NoSuchUpload", "404"}:
            raise
    with context.database.begin() as session:
        session.execute(delete(Upload).where(Upload.id == upload.id, Upload.completed_at.is_(None)))


def _empty_trash(context: Context) -> None:
    with context.database.read() as session:
        due = session.scalars(
            select(Trash.prefix).where(Trash.due_at <= now()).order_by(Trash.due_at).limit(AT_ONCE)
        ).all()
    for prefix in due:
        _guarded(_empty, context, prefix)


def _empty(context: Context, prefix: str) -> None:
    context.storage.delete(prefix)
    with context.database.begin() as session:
        session.execute(delete(Trash).where(Trash.prefix == prefix))
