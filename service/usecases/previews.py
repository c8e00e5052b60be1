"""A few fresh samples of a model while a user waits: a small job that is never listed.

Whoever asked once is likely to ask again. So the next samples are drawn ahead, for nobody yet; they are given once."""

import secrets
from contextlib import suppress
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service import modalities
from service.bootstrap import Context
from service.db.database import Scope, now
from service.db.tables import Job, Model
from service.domain.states import ENDED, JobKind, State
from service.errors import ModelNotReady, NotFound, Rejected, Unavailable
from service.storage.objects import Missing
from service.usecases import moves
from service.usecases.jobs import RANDOM_SEEDS, refuse_unless_ready
from service.usecases.opening import open_job, ring

MEDIA_TYPES = {"rows": "application/json", "picture": "image/png"}
STALE_SECONDS = 300.0  # an ended preview that nobody fetched: its request gave up, or it was drawn in vain


@dataclass(frozen=True)
class Asked:
    job_id: str
    model_id: str
    media_type: str
    count: int
    seed: int
    again: bool  # whether more of the same may be asked for: a seed is asked for once


def ask(context: Context, project_id: str, model_id: str, count: int, seed: int | None) -> Asked:
    """Have a worker draw samples, or take those that were drawn ahead. Raises NotFound, ModelNotReady. Without a seed,
    each time others."""
    with context.database.begin() as session:
        model = Scope(session, project_id).get(Model, model_id)
        refuse_unless_ready(model)
        media_type = MEDIA_TYPES[modalities.spec(model.modality).preview]
        ahead = _drawn_ahead(session, model, count) if seed is None else None
        job = ahead or _open(session, model, count, seed)
    if ahead is None:
        ring(context, job.id)
    return Asked(job.id, model_id, media_type, count, job.spec["seed"], seed is None)


def _open(session: Session, model: Model, count: int, seed: int | None, *, ahead: bool = False) -> Job:
    chosen = secrets.randbelow(RANDOM_SEEDS) if seed is None else seed
    spec = {"modality": model.modality, "count": count, "seed": chosen, "ahead": ahead}
    return open_job(session, model.project_id, JobKind.PREVIEW, spec, model_id=model.id)


def _drawn_ahead(session: Session, model: Model, count: int) -> Job | None:
    """So many samples that were, or soon will be, drawn for nobody: from now on they are the caller's."""
    query = select(Job).where(
        Job.model_id == model.id,
        Job.kind == JobKind.PREVIEW,
        Job.state.in_((State.QUEUED, State.RUNNING, State.SUCCEEDED)),
    )
    for job in session.scalars(query.order_by(Job.id).with_for_update(skip_locked=True)):
        if job.spec.get("ahead") and job.spec["count"] == count:
            job.spec = job.spec | {"ahead": False}
            return job
    return None


def look(context: Context, project_id: str, asked: Asked) -> bytes | None:
    """The samples, or None while they are being drawn. Raises Rejected with the worker's code and sentence if that
    failed, Unavailable if the worker was lost. Once they are there: `leave`."""
    with context.database.read() as session:
        job = Scope(session, project_id).get(Job, asked.job_id)
    if job.state not in ENDED:
        return None
    try:
        return _drawn(context, job)
    except Exception:
        _forget(context, project_id, asked.job_id)
        raise


def _drawn(context: Context, job: Job) -> bytes:
    if job.state == State.CANCELLED:
        raise NotFound("The model is not there any more.")
    if job.state == State.FAILED or job.result is None:
        _refuse(job)
    try:
        return context.storage.get(str((job.result or {})["key"]))
    except Missing:
        raise Unavailable("The samples were lost; ask again.") from None


def leave(context: Context, project_id: str, asked: Asked) -> None:
    """After the answer: forget what was drawn, and have the next samples drawn ahead."""
    _forget(context, project_id, asked.job_id)
    if not asked.again:
        return
    with suppress(NotFound, ModelNotReady):
        with context.database.begin() as session:
            model = Scope(session, project_id).get(Model, asked.model_id)
            refuse_unless_ready(model)
            _forget_stale(session, project_id)
            job = _open(session, model, asked.count, None, ahead=True)
        ring(context, job.id)


def give_up(context: Context, project_id: str, asked: Asked) -> None:
    """Nobody waits any more: cancel what was not begun, or let the worker stop."""
    with context.database.begin() as session:
        job = moves.hold(session, asked.job_id)
        if job is None or job.state in ENDED:
            return
        job.cancel_requested_at = session.scalar(select(now()))
        session.flush()
        if moves.cancel_if_idle(session, job):
            moves.trash(session, _prefix(project_id, job.id))
            session.execute(delete(Job).where(Job.id == job.id))


def _refuse(job: Job) -> None:
    error = job.error or {}
    code, message = str(error.get("code", "internal_error")), str(error.get("message", "The samples were not drawn."))
    if code in ("worker_lost", "storage_unavailable", "internal_error"):
        raise Unavailable(message)
    raise Rejected(code, message)


def _forget(context: Context, project_id: str, job_id: str) -> None:
    with suppress(BotoCoreError, ClientError):
        context.storage.delete(_prefix(project_id, job_id))
    with context.database.begin() as session:
        session.execute(delete(Job).where(Job.id == job_id))


def _forget_stale(session: Session, project_id: str) -> None:
    stale = select(Job.id).where(
        Job.project_id == project_id,
        Job.kind == JobKind.PREVIEW,
        Job.state.in_(ENDED),
        Job.finished_at < now() - STALE_SECONDS,
    )
    for job_id in list(session.scalars(stale.limit(20))):
        moves.trash(session, _prefix(project_id, job_id))
        session.execute(delete(Job).where(Job.id == job_id))


def _prefix(project_id: str, job_id: str) -> str:
    return f"projects/{project_id}/jobs/{job_id}/"
