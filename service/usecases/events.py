"""What happened to a job, in order: appended by whoever moves it, read as pages by people and streams."""

from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.database import Scope, now
from service.db.tables import Event, Job, Metric
from service.domain.states import ENDED, State
from service.domain.views import EventPage, EventView, MetricPoint, MetricsView, moment

Level = Literal["info", "warning", "error"]
MOST_POINTS = 1_000


def append(
    session: Session, job_id: str, type: str, message: str, level: Level = "info", data: dict[str, Any] | None = None
) -> int:
    """Add one event within the caller's transaction; returns its number. The job's row counts, so none is skipped."""
    seq: int | None = session.scalar(
        update(Job).where(Job.id == job_id).values(event_count=Job.event_count + 1).returning(Job.event_count)
    )
    if seq is None:
        raise LookupError(f"there is no job {job_id}")
    at = session.scalar(select(now()))
    session.add(Event(job_id=job_id, seq=seq, at=at, type=type, level=level, message=message, data=data or {}))
    session.flush()
    return seq


def page(context: Context, project_id: str, job_id: str, after: int, limit: int) -> EventPage:
    """The events that follow number `after`, oldest first, and whether that is all there will be."""
    with context.database.read() as session:
        job = Scope(session, project_id).get(Job, job_id)
        query = select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq).limit(limit + 1)
        rows = list(session.scalars(query))
        more = len(rows) > limit
        return EventPage(
            data=[view(row) for row in rows[:limit]],
            next_cursor=str(rows[limit - 1].seq) if more else None,
            ended=State(job.state) in ENDED and not more,
        )


def view(row: Event) -> EventView:
    return EventView(id=row.seq, at=moment(row.at), type=row.type, level=row.level, message=row.message, data=row.data)


def metrics(context: Context, project_id: str, job_id: str) -> MetricsView:
    """The training curves, thinned evenly to what a picture can show; the last point is always there."""
    with context.database.read() as session:
        Scope(session, project_id).get(Job, job_id)
        steps = list(session.scalars(select(Metric.step).where(Metric.job_id == job_id).order_by(Metric.step)))
        stride = -(-len(steps) // MOST_POINTS) or 1
        kept = steps[::-1][::stride]
        rows = session.scalars(
            select(Metric).where(Metric.job_id == job_id, Metric.step.in_(kept)).order_by(Metric.step)
        )
        return MetricsView(data=[MetricPoint(step=row.step, at=moment(row.at), values=row.values) for row in rows])
