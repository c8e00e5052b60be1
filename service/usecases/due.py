"""Which unit a worker takes next. A doorbell only wakes; who is due is asked of the database at that moment.

The highest rank first; then the project with the fewest running units, the job with the fewest, the oldest job, its
first unit. Of projects, or jobs, with as many running units, those go first that had fewer lately: else the oldest
would have a single slot to itself. Every step goes along an index, so that it takes as long among a hundred thousand
units as among ten: docs/decisions/0009-fair-claiming.md."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    ScalarSelect,
    Select,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.orm import Session, aliased

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import RUNNING, SUCCEEDED, WAITING, Project, Unit
from service.domain.states import RANKS, URGENT, JobKind
from service.settings import Settings
from service.usecases import units

LOWEST = min(RANKS.values())
GPU = "gpu"
ONE_AT_A_TIME = 7_250_982  # PostgreSQL's advisory lock of claims; SQLite has one writer at a time anyway
LATELY, LATELY_SECONDS = 100, 600.0  # units that ended: no more than so many, and no longer ago
TRIES = 20  # each time another head of the line was cancelled or cannot be run


def claim_next(context: Context, queues: Sequence[str], worker_id: str, least: int = LOWEST) -> units.Claimed | None:
    """Take the unit that is due, of a rank of at least `least`; None where nothing is.

    Claims go one after the other: two that look at the same time would see the same unit, and both a slot that is free
    under a limit. The first look is without a lock."""
    for _ in range(TRIES):
        with context.database.read() as session:
            if not any(session.scalar(_waits(queue, least).limit(1)) for queue in queues):
                return None
        with context.database.begin() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
            unit_id = pick(session, context.settings, queues, least)
            claimed = units.take(session, context.settings, unit_id, worker_id) if unit_id else None
        if claimed is not None or unit_id is None:
            return claimed
    return None


def waiting(session: Session, settings: Settings, queue: str) -> int:
    """How many units of the queue could be taken now, were there enough slots; at most `shards_in_flight`."""
    if pick(session, settings, [queue]) is None:
        return 0
    some = _waits(queue, LOWEST).limit(settings.shards_in_flight).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _waits(queue: str, least: int) -> Select[Any]:
    """All that wait and may begin, whether or not a limit holds them; in an order that only the index has."""
    here = Unit.queue == queue, Unit.rank >= least, Unit.available_at <= now()
    return select(Unit.id).where(literal_column(WAITING), *here).order_by(Unit.rank.desc())


def pick(session: Session, settings: Settings, queues: Sequence[str], least: int = LOWEST) -> str | None:
    """The id of the unit that is due."""
    crowd = _crowd(session)
    limits = _limits(session) if GPU in queues else {}
    busy = sorted(crowd.jobs.keys() | crowd.jobs_lately.keys())
    heads = [
        (-rank, *crowd.of_project(project), *crowd.of_job(job), job, queue, rank, project)
        for queue in queues
        for rank, project, job in session.execute(HEADS, {"queue": queue, "least": least, "busy": busy})
        if crowd.jobs[job] < settings.shards_in_flight
        and (queue != GPU or rank == URGENT or crowd.on_gpus[project] < _limit(limits, project, settings))
    ]
    if not heads:
        return None
    *_, job, queue, rank, project = min(heads)
    return session.scalar(FIRST, {"queue": queue, "rank": rank, "project": project, "job": job})


@dataclass
class _Crowd:
    """How many units run: of each project, of each job, and of each project on GPUs. And how many ended lately."""

    projects: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    on_gpus: Counter[str] = field(default_factory=Counter)
    projects_lately: Counter[str] = field(default_factory=Counter)
    jobs_lately: Counter[str] = field(default_factory=Counter)

    def of_project(self, id: str) -> tuple[int, int]:
        return self.projects[id], self.projects_lately[id]

    def of_job(self, id: str) -> tuple[int, int]:
        return self.jobs[id], self.jobs_lately[id]


def _crowd(session: Session) -> _Crowd:
    """There are no more running units than workers have slots. Previews end at once and do not count."""
    crowd = _Crowd()
    query = select(Unit.project_id, Unit.job_id, Unit.queue, func.count())
    query = query.where(literal_column(RUNNING), Unit.kind != JobKind.PREVIEW)
    for project, job, queue, count in session.execute(query.group_by(Unit.project_id, Unit.job_id, Unit.queue)):
        crowd.projects[project] += count
        crowd.jobs[job] += count
        crowd.on_gpus[project] += count if queue == GPU else 0
    lately = select(Unit.project_id, Unit.job_id).where(literal_column(SUCCEEDED), Unit.kind != JobKind.PREVIEW)
    lately = lately.where(Unit.finished_at > now() - LATELY_SECONDS).order_by(Unit.finished_at.desc())
    for project, job in session.execute(lately.limit(LATELY)):
        crowd.projects_lately[project] += 1
        crowd.jobs_lately[job] += 1
    return crowd


def _limits(session: Session) -> dict[str, int]:
    query = select(Project.id, Project.quota_gpu_units).where(Project.quota_gpu_units.is_not(None))
    return {id: limit for id, limit in session.execute(query) if limit is not None}


def _limit(limits: dict[str, int], project: str, settings: Settings) -> float:
    """How many of the project's units may run on GPUs at one time."""
    found = limits.get(project, settings.quota_gpu_units)
    return float("inf") if found is None else found


def _next(name: str, rank: Any, *, project: Any = None, after: Any = None) -> ScalarSelect[Any]:
    """The lowest project or job, after that one, that has a unit which is due: one probe of the index."""
    unit = aliased(Unit)
    column = getattr(unit, name)
    query = select(column).where(
        literal_column(WAITING), unit.queue == bindparam("queue"), unit.rank == rank, unit.available_at <= now()
    )
    if project is not None:
        query = query.where(unit.project_id == project)
    if after is not None:
        query = query.where(column > after)
    return query.order_by(column).limit(1).scalar_subquery()


def _heads() -> Select[Any]:
    """The jobs that can be next in a :queue, of each rank from :least: of each project that has waiting units, in order
    of age, those that are :busy (units of them run, or did lately), and the first that is not, which goes before all
    younger ones.

    A DISTINCT would read every waiting unit; here each row is one step along the index."""
    ranks = select(literal(URGENT, BigInteger).label("rank")).cte("ranks", recursive=True)
    ranks = ranks.union_all(select(ranks.c.rank - 1).where(ranks.c.rank > bindparam("least")))
    first = _next("project_id", ranks.c.rank).label("project_id")
    projects = select(ranks.c.rank, first).cte("owners", recursive=True)
    here = projects.c
    following = _next("project_id", here.rank, after=here.project_id)
    projects = projects.union_all(select(here.rank, following).where(here.project_id.is_not(None)))
    here = projects.c
    oldest = _next("job_id", here.rank, project=here.project_id).label("job_id")
    jobs = select(here.rank, here.project_id, oldest).where(here.project_id.is_not(None)).cte("heads", recursive=True)
    here = jobs.c
    younger = _next("job_id", here.rank, project=here.project_id, after=here.job_id)
    is_busy = here.job_id.in_(bindparam("busy", expanding=True))
    jobs = jobs.union_all(select(here.rank, here.project_id, younger).where(is_busy))
    return select(jobs).where(jobs.c.job_id.is_not(None))


HEADS = _heads()
FIRST = (
    select(Unit.id)
    .where(literal_column(WAITING), Unit.queue == bindparam("queue"), Unit.rank == bindparam("rank"))
    .where(Unit.project_id == bindparam("project"), Unit.job_id == bindparam("job"), Unit.available_at <= now())
    .order_by(Unit.index)
    .limit(1)
)
