"""The reconcile loop: whatever a lost process or message left undone, any process does at its next sweep.

Every step is safe from many processes at once: jobs are taken one by one, those that another holds are skipped, and
every change is guarded by the state that it starts from."""

import random
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import exists, literal_column, select

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import CANCELLING, RUNNING, Job, Unit
from service.domain.states import QUEUES, WITH_OUTPUT, State
from service.usecases import due, moves, units
from service.usecases.finalize import finalize
from service.usecases.tidying import complain, guarded, scour, tidy

__all__ = ["loop", "reconcile", "sweep", "tidy"]


AT_ONCE = 500  # jobs, units or rows handled in one sweep; the next one takes the rest
TIDY_SECONDS = 30.0
SCOUR_SECONDS = 3600.0
FINALIZE_SECONDS = 10.0  # in one sweep: each may wait long for a bucket that is away
UNFINISHED = (State.QUEUED, State.RUNNING)
log = structlog.get_logger()


def sweep(context: Context) -> None:
    """Everything once."""
    reconcile(context)
    tidy(context)


def loop(context: Context, stop: threading.Event) -> None:
    """Start sweeping in the background until `stop`: jobs every sweep_seconds, the rest now and then."""
    rounds = ((reconcile, context.settings.sweep_seconds), (tidy, TIDY_SECONDS), (scour, SCOUR_SECONDS))
    for work, seconds in rounds:
        threading.Thread(target=_repeat, args=(context, stop, work, seconds), name=work.__name__, daemon=True).start()


def _repeat(context: Context, stop: threading.Event, work: Callable[[Context], None], seconds: float) -> None:
    while not stop.wait(seconds * random.uniform(0.8, 1.2)):  # noqa: S311  # so that processes do not sweep in step
        try:
            work(context)
        except Exception as error:  # noqa: BLE001  # a loop that ended would leave jobs lying for ever
            complain(work, error)


def reconcile(context: Context) -> None:
    """What jobs wait for; the bucket, which may keep one waiting, comes last."""
    for step in (take_back, ring_all, end_jobs):
        guarded(step, context)


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
        guarded(_cancel, context, job_id)
    end = time.monotonic() + FINALIZE_SECONDS
    for job_id in whole:
        if time.monotonic() < end:
            guarded(finalize, context, job_id)


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
