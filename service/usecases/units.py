"""What workers do with units: claim, heartbeat, report, and the six ways to end an attempt.

Each is one transaction, and each is fenced by the attempt: what a lost attempt still says changes nothing and returns
False. Why the database owns units: docs/decisions/0002-doorbells.md."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy import ColumnElement, and_, case, func, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Job, Metric, Unit
from service.domain.states import ENDED, WITH_OUTPUT, JobKind, State
from service.settings import Settings
from service.usecases import events, moves, payloads
from service.usecases.effects import on_success, written
from service.usecases.finalize import finalize

BACKOFF_MOST = 300.0  # seconds; a unit whose worker was lost waits 2, 4, 8 ... seconds
STORAGE_UNAVAILABLE = "storage_unavailable"
STORAGE_BACKOFF_MOST = 60.0
STORAGE_TIMES = 10  # in a row that the bucket may fail a unit: five minutes of waits, and what each attempt tried
PROGRESS = ("fraction", "step", "steps", "eta_seconds", "stage")
Message = Mapping[str, Any]  # one line of a child's answers: docs/architecture.md


@dataclass(frozen=True)
class Claimed:
    """One attempt at one unit, and what its child is told."""

    unit_id: str
    job_id: str
    attempt: int
    kind: JobKind
    payload: dict[str, Any]


@dataclass(frozen=True)
class Beat:
    """What a heartbeat learns: the attempt is not the unit's any more, or the job should end."""

    lost: bool = False
    cancel: bool = False


def claim(context: Context, unit_id: str, worker_id: str) -> Claimed | None:
    """Take this unit, if it waits or its worker is lost; None if it does not, or another was faster. Which unit a
    worker takes next: service.usecases.due."""
    with context.database.begin() as session:
        return take(session, context.settings, unit_id, worker_id)


def take(session: Session, settings: Settings, unit_id: str, worker_id: str) -> Claimed | None:
    """The same in the caller's transaction. A unit that is not wanted any more is cancelled."""
    job = _job_of(session, unit_id)
    if job is None:
        return None
    if State(job.state) in ENDED or job.cancel_requested_at is not None:
        session.execute(
            update(Unit)
            .where(Unit.id == unit_id, Unit.state == State.QUEUED)
            .values(state=State.CANCELLED, finished_at=now())
            .execution_options(synchronize_session=False)
        )
        return None
    attempt = session.scalar(
        update(Unit)
        .where(Unit.id == unit_id, _claimable(settings.max_attempts))
        .values(
            state=State.RUNNING,
            attempt=Unit.attempt + 1,
            failures=Unit.failures + case((Unit.state == State.RUNNING, 1), else_=0),
            worker_id=worker_id,
            lease_until=now() + settings.lease_seconds,
            started_at=func.coalesce(Unit.started_at, now()),
        )
        .returning(Unit.attempt)
        .execution_options(synchronize_session=False)
    )
    if attempt is None:
        return None
    moves.move(session, job, State.RUNNING)  # the first unit moves the job, the others find it running
    unit = session.get_one(Unit, unit_id, populate_existing=True)
    try:
        payload = payloads.payload(session, job, unit)
    except payloads.Gone as gone:
        _fail(settings, session, job, unit_id, attempt, "gone", str(gone))
        return None
    return Claimed(unit_id, job.id, attempt, JobKind(unit.kind), payload)


def _claimable(max_attempts: int) -> ColumnElement[bool]:
    waits = and_(Unit.state == State.QUEUED, Unit.available_at <= now())
    lost = and_(Unit.state == State.RUNNING, Unit.lease_until < now(), Unit.failures + 1 < max_attempts)
    return or_(waits, lost)


def heartbeat(context: Context, unit_id: str, attempt: int) -> Beat:
    """Renew the lease; learn whether the unit is lost or should end."""
    with context.database.begin() as session:
        job_id = _set(session, unit_id, attempt, lease_until=now() + context.settings.lease_seconds)
        if job_id is None:
            return Beat(lost=True)
        state, asked = session.execute(select(Job.state, Job.cancel_requested_at).where(Job.id == job_id)).one()
        return Beat(cancel=asked is not None or State(state) in ENDED)


def report(context: Context, unit_id: str, attempt: int, messages: Sequence[Message]) -> bool:
    """Record what the child said: progress, metrics, events, checkpoints."""
    with context.database.begin() as session:
        job = _job_of(session, unit_id)
        last = session.scalar(select(Unit.checkpoint).where(Unit.id == unit_id))
        changes, dropped = _changes(last, messages)
        if job is None or _set(session, unit_id, attempt, attempt=attempt, **changes) is None:
            return False
        for key in dropped:
            moves.trash(session, key, 0.0)
        _record_metrics(session, job.id, [message for message in messages if message["type"] == "metrics"])
        for message in messages:
            if message["type"] == "event":
                events.append(session, job.id, "message", message["message"], message.get("level", "info"))
            elif message["type"] == "checkpoint":
                data = {"step": message["step"]}
                events.append(session, job.id, "checkpoint", f"Checkpoint at step {message['step']}.", data=data)
        return True


def _changes(last: Message | None, messages: Sequence[Message]) -> tuple[dict[str, Any], set[str]]:
    """What the messages change in the unit's row: the last progress, the last checkpoint and the one before it.

    And the keys of the checkpoints that are neither, not any more."""
    changes: dict[str, Any] = {}
    named = set()
    for message in messages:
        if message["type"] == "progress":
            changes["progress"] = {name: message.get(name) for name in PROGRESS}
        elif message["type"] == "checkpoint":
            named |= _keys(last)
            older = (last or {}).get("before" if last and last["key"] == message["key"] else "key")
            if (message.get("step") or 0) > ((last or {}).get("step") or 0):
                changes["failures"] = 0  # it gets on: attempts that were lost before count no more
            last = {name: message.get(name) for name in ("key", "step", "seconds")} | {"before": older}
            changes["checkpoint"] = last
            changes["error"] = null()  # the bucket is there again: starved() counts anew
    return changes, named - _keys(last)


def _keys(checkpoint: Message | None) -> set[str]:
    return {checkpoint[name] for name in ("key", "before") if checkpoint and checkpoint.get(name)}


def _record_metrics(session: Session, job_id: str, messages: Sequence[Message]) -> None:
    points = {message["step"]: message["values"] for message in messages}
    if not points:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(Metric)
    for step, values in points.items():
        new = insert.values(job_id=job_id, step=step, at=now(), values=values)
        session.execute(
            new.on_conflict_do_update(
                index_elements=["job_id", "step"], set_={"at": now(), "values": new.excluded["values"]}
            )
        )


def finish(context: Context, unit_id: str, attempt: int, result: dict[str, Any]) -> bool:
    """The attempt did it: publish what it made, and end the job with its last unit."""
    with context.database.begin() as session:
        job = _job_of(session, unit_id)
        if job is None or not _end(session, unit_id, attempt, State.SUCCEEDED, result=result, error=null()):
            return False
        unit, ended = session.get_one(Unit, unit_id), State(job.state) in ENDED  # a shard of a job that has failed
        done = session.scalar(
            update(Job)
            .where(Job.id == job.id)
            .values(
                units_done=Job.units_done + 1, stored_bytes=Job.stored_bytes + (0 if ended else _made(unit, result))
            )
            .returning(Job.units_done)
            .execution_options(synchronize_session=False)
        )
        last = done == job.units_total
        outcome = on_success(session, job, unit, attempt, result)
        if last and outcome is not None:
            moves.move(session, job, State.SUCCEEDED, result=outcome)
        elif not last:
            moves.cancel_if_idle(session, job)
        job_id = job.id
    if last and outcome is None:
        with suppress(BotoCoreError, ClientError):  # if this process dies here, or the bucket does, the sweep does it
            finalize(context, job_id)
    return True


def _made(unit: Unit, result: Message) -> int:
    """Bytes of the output; what models and datasets have is theirs."""
    return written(result.get("files") or [result]) if unit.kind in WITH_OUTPUT else 0


def fail(context: Context, unit_id: str, attempt: int, code: str, message: str) -> bool:
    """The attempt ended for a reason that another attempt would meet again: the job has failed."""
    with context.database.begin() as session:
        job = _job_of(session, unit_id)
        return job is not None and _fail(context.settings, session, job, unit_id, attempt, code, message)


def _fail(settings: Settings, session: Session, job: Job, unit_id: str, attempt: int, code: str, message: str) -> bool:
    if not _end(session, unit_id, attempt, State.FAILED, error={"code": code, "message": message}):
        return False
    moves.fail(session, job, code, message, settings.failed_seconds)
    return True


def cancelled(context: Context, unit_id: str, attempt: int) -> bool:
    """The attempt stopped because its job was cancelled, or had failed elsewhere; and may have been retried since."""
    with context.database.begin() as session:
        held = _held(session, unit_id, attempt)
        if held is None:
            return False
        job, unit = held
        if not _unwanted(session, job, unit):
            _requeue(session, job, unit, 0.0, "A part of the job was stopping when it was retried", "info")
        return True


def release(
    context: Context, unit_id: str, attempt: int, drained: bool, reason: str = "", only_expired: bool = False
) -> bool:
    """The attempt is over and the work is not: back to the queue. A drain is no failure; too many failures are the end.

    `reason` ends the sentence 'The worker was lost' for people; `only_expired` is for the sweep."""
    with context.database.begin() as session:
        held = _held(session, unit_id, attempt, skip=only_expired)  # the sweep has others to look after
        if held is None:
            return False
        expired = select(Unit.id).where(Unit.id == unit_id, Unit.lease_until < now()).with_for_update()
        if only_expired and session.scalar(expired) is None:  # renewed, or being renewed at this moment
            return False
        job, unit = held
        failures = unit.failures + (0 if drained else 1)
        lost = f"The worker was lost{': ' + reason if reason else ''}"
        if _unwanted(session, job, unit):
            return True
        if failures >= context.settings.max_attempts:
            sentence = f"{lost}. {failures} attempts ended so; this job cannot be run here."
            return _fail(context.settings, session, job, unit_id, attempt, "worker_lost", sentence)
        wait = 0.0 if drained or only_expired else min(BACKOFF_MOST, 2.0**failures)  # a lease that ended was a wait
        what = "The worker was stopped" if drained else lost
        _requeue(session, job, unit, wait, what, "info" if drained else "warning", failures=failures)
        return True


def starved(context: Context, unit_id: str, attempt: int) -> bool:
    """The bucket failed the attempt: back to the queue, and no failure of worker or work, unless it lasts."""
    with context.database.begin() as session:
        held = _held(session, unit_id, attempt)
        if held is None:
            return False
        job, unit = held
        times = (unit.error or {}).get("times", 0) + 1
        if _unwanted(session, job, unit):
            return True
        if times >= STORAGE_TIMES:
            sentence = f"The storage could not be reached; {times} attempts ended so. Try again later."
            return _fail(context.settings, session, job, unit_id, attempt, STORAGE_UNAVAILABLE, sentence)
        wait = min(STORAGE_BACKOFF_MOST, 2.0**times)
        error = {"code": STORAGE_UNAVAILABLE, "times": times}
        _requeue(session, job, unit, wait, "The storage could not be reached", "warning", error=error)
        return True


def _held(session: Session, unit_id: str, attempt: int, skip: bool = False) -> tuple[Job, Unit] | None:
    """Job and unit, held, if this attempt is the one that runs; with `skip` None if another holds the job."""
    job = _job_of(session, unit_id, skip)
    unit = session.get(Unit, unit_id, populate_existing=True)
    if job is None or unit is None or unit.attempt != attempt or unit.state != State.RUNNING:
        return None
    return job, unit


def _unwanted(session: Session, job: Job, unit: Unit) -> bool:
    """End the unit if its job has ended or should."""
    if State(job.state) not in ENDED and job.cancel_requested_at is None:
        return False
    _end(session, unit.id, unit.attempt, State.CANCELLED)
    moves.cancel_if_idle(session, job)
    return True


def _requeue(
    session: Session, job: Job, unit: Unit, wait: float, what: str, level: events.Level, **changes: Any
) -> None:
    attempt = unit.attempt
    available = {"state": State.QUEUED, "available_at": now() + wait, "lease_until": None}
    _set(session, unit.id, attempt, **available, **changes)
    step = (unit.checkpoint or {}).get("step")
    going_on = f"from step {step}" if step else "from the start"
    data = {"attempt": attempt, "drained": level == "info"}
    events.append(session, job.id, "message", f"{what}; the work goes on {going_on}.", level, data)


def _job_of(session: Session, unit_id: str, skip: bool = False) -> Job | None:
    """The unit's job, held."""
    job_id = session.scalar(select(Unit.job_id).where(Unit.id == unit_id))
    return moves.hold(session, job_id, skip=skip) if job_id else None


def _set(session: Session, unit_id: str, attempt: int, /, **values: Any) -> str | None:
    """Change the unit if this is still its attempt; returns the job's id, None if not. The one fence."""
    return session.scalar(
        update(Unit)
        .where(Unit.id == unit_id, Unit.attempt == attempt, Unit.state == State.RUNNING)
        .values(values)
        .returning(Unit.job_id)
        .execution_options(synchronize_session=False)
    )


def _end(session: Session, unit_id: str, attempt: int, state: State, **values: Any) -> bool:
    ended = _set(session, unit_id, attempt, state=state, finished_at=now(), lease_until=None, **values)
    return ended is not None
