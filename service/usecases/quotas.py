"""How much of the service a project may have: jobs that wait or run, bytes that are kept, units on GPUs.

Too many jobs or bytes are refused when they are asked for; units that would be too many on GPUs wait
(service.usecases.due). The settings say how much, unless the operator has said otherwise for the project."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.tables import RUNNING, STORES, Dataset, Job, Model, Project, Unit
from service.domain.states import ENDED, JobKind, State
from service.domain.views import AmountView, UsageView
from service.errors import NotFound, QuotaExceeded
from service.settings import Settings

QUOTAS = ("quota_jobs", "quota_bytes", "quota_gpu_units")
NEAR = 100  # jobs below the quota from which on submissions of a project go one by one, so that none slips through
FULL_SECONDS = 3600  # Retry-After where somebody has to delete something first
UNFINISHED = sorted(set(State) - ENDED)


def usage(context: Context, project_id: str) -> UsageView:
    """What the project has, and what it may have."""
    with context.database.read() as session:
        limits = _limits(session, context.settings, project_id)
        running = select(func.count()).where(literal_column(RUNNING), Unit.project_id == project_id)
        on_gpus = session.scalar(running.where(Unit.queue == "gpu", Unit.kind != JobKind.PREVIEW)) or 0
        return UsageView(
            jobs=AmountView(used=_jobs(session, project_id), limit=limits["quota_jobs"]),
            bytes=AmountView(used=_bytes(session, project_id), limit=limits["quota_bytes"]),
            gpu_units=AmountView(used=on_gpus, limit=limits["quota_gpu_units"]),
        )


def admit(session: Session, settings: Settings, project_id: str) -> None:
    """Before the transaction that opens a job locks anything else. Raises QuotaExceeded."""
    limits = _limits(session, settings, project_id)
    most = limits["quota_jobs"]
    used = _jobs(session, project_id)
    if most is not None and used >= most - NEAR:
        session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
        used = _jobs(session, project_id)
        if used >= most:
            raise QuotaExceeded(
                f"{used:,} jobs of this project wait or run, and it may have {most:,}. Wait for one to end."
            )
    _refuse_bytes(session, limits, project_id, 0)


def admit_upload(session: Session, settings: Settings, project_id: str, size: int | None) -> None:
    """Raises QuotaExceeded for an upload that would not fit, or whose reading would be a job too many."""
    limits = _limits(session, settings, project_id)
    used, most = _jobs(session, project_id), limits["quota_jobs"]
    if most is not None and used >= most:
        raise QuotaExceeded(
            f"{used:,} jobs of this project wait or run, and it may have {most:,}. Wait for one to end."
        )
    _refuse_bytes(session, limits, project_id, size or 0)


def change(context: Context, project_id: str, quotas: Mapping[str, int | None]) -> None:
    """What the project may have of each that is named; None: what the settings say. Raises NotFound."""
    with context.database.begin() as session:
        project = session.get(Project, project_id)
        if project is None:
            raise NotFound(f"There is no project {project_id!r}.")
        for quota in QUOTAS:
            if quota in quotas:
                setattr(project, quota, quotas[quota])


def _refuse_bytes(session: Session, limits: Mapping[str, int | None], project_id: str, more: int) -> None:
    most = limits["quota_bytes"]
    if most is None:
        return
    used = _bytes(session, project_id)
    if used + more > most or used >= most:
        asked = f", this upload has {more:,}" if more else ""
        error = QuotaExceeded(
            f"This project keeps {used:,} bytes{asked}, and it may keep {most:,}. Delete datasets, models or jobs."
        )
        error.retry_after = FULL_SECONDS
        raise error


def _limits(session: Session, settings: Settings, project_id: str) -> dict[str, int | None]:
    own: Any = session.execute(
        select(Project.quota_jobs, Project.quota_bytes, Project.quota_gpu_units).where(Project.id == project_id)
    ).one_or_none() or (None, None, None)
    return {name: getattr(settings, name) if value is None else value for name, value in zip(QUOTAS, own, strict=True)}


def _jobs(session: Session, project_id: str) -> int:
    here = Job.project_id == project_id, Job.state.in_(UNFINISHED), Job.kind != JobKind.PREVIEW
    return session.scalar(select(func.count()).select_from(Job).where(*here)) or 0


def _bytes(session: Session, project_id: str) -> int:
    """From what each row says, so that what is deleted is not counted any more, whoever deleted it."""
    outputs = select(func.sum(Job.stored_bytes)).where(literal_column(STORES), Job.project_id == project_id)
    others = [select(func.sum(table.stored_bytes)).where(table.project_id == project_id) for table in (Dataset, Model)]
    return sum(int(session.scalar(query) or 0) for query in (outputs, *others))
