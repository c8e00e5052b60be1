"""Trained models as their users see them: looked at, listed, deleted; their reports."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import select

from service.bootstrap import Context
from service.db.database import Scope
from service.db.tables import Job, Model
from service.domain.schemas import LEVELS_LISTED, LEVELS_SHOWN, shown
from service.domain.states import ENDED, JobKind, ModelStatus
from service.domain.views import GateView, ModelFile, ModelView, Page, StoppedEarlyView, moment
from service.errors import InUse, ModelNotReady
from service.storage.objects import Missing
from service.usecases import gating, moves, payloads
from service.usecases.jobs import refuse_unless_ready


def get(context: Context, project_id: str, id: str) -> ModelView:
    """One model, with a presigned URL for each of its files."""
    with context.database.read() as session:
        return _view(context, Scope(session, project_id).get(Model, id), urls=True)


def page(context: Context, project_id: str, limit: int, before: str | None) -> Page[ModelView]:
    with context.database.read() as session:
        rows, cursor = Scope(session, project_id).page(Model, limit=limit, before=before)
        return Page[ModelView](data=[_view(context, row, urls=False) for row in rows], next_cursor=cursor)


def report(context: Context, project_id: str, id: str) -> tuple[ModelView, Mapping[str, Any]]:
    """How good and how private it is. Raises ModelNotReady."""
    with context.database.read() as session:
        row = Scope(session, project_id).get(Model, id)
        refuse_unless_ready(row)
        if row.report is None:
            raise ModelNotReady("The model has no report.")
        return _view(context, row, urls=False), row.report


def pictures(context: Context, project_id: str, id: str, limit: int) -> list[tuple[str, bytes | None]]:
    """(name, PNG or WebP) of each picture among the model's files; None in the place of one of more than `limit`
    bytes."""
    with context.database.read() as session:
        row = Scope(session, project_id).get(Model, id)
        refuse_unless_ready(row)
        files = [(str(file["name"]), str(file["key"]), int(file["bytes"])) for file in row.files]
    found: list[tuple[str, bytes | None]] = []
    for name, key, size in files:
        if name.endswith((".png", ".webp")):
            with suppress(Missing):  # deleted while we look
                found.append((name, context.storage.get(key, limit) if size <= limit else None))
    return found


def delete(context: Context, project_id: str, id: str) -> None:
    """The row at once, its objects soon after; what was generated from it stays. Raises InUse while a job that has
    not ended makes it or samples it."""
    with context.database.begin() as session:
        scope = Scope(session, project_id)
        row = scope.get(Model, id, lock=True)
        if scope.exists(Job, Job.model_id == id, Job.state.not_in(ENDED)):
            raise InUse("A job that has not ended uses this model; cancel the job or wait for it.")
        moves.trash(session, f"projects/{project_id}/models/{id}/", 0.0, again=True)
        moves.trash(session, payloads.film_prefix(project_id, row.job_id), 0.0, again=True)
        previews = session.scalars(
            delete_rows(Job).where(Job.model_id == id, Job.kind == JobKind.PREVIEW).returning(Job.id)
        )
        for job_id in previews.all():  # samples that were drawn and not fetched
            moves.trash(session, f"projects/{project_id}/jobs/{job_id}/", 0.0, again=True)
        session.delete(row)


def deleted(context: Context, prefixes: Collection[str]) -> set[str]:
    """Those storage prefixes of models that are no model's any more."""
    if not prefixes:
        return set()
    with context.database.read() as session:
        return set(prefixes) - set(session.scalars(select(Model.prefix).where(Model.prefix.in_(prefixes))))


def _view(context: Context, row: Model, urls: bool) -> ModelView:
    return ModelView(
        id=row.id,
        name=row.name,
        status=ModelStatus(row.status),
        modality=row.modality,
        dataset_id=row.dataset_id,
        job_id=row.job_id,
        schema=shown(row.schema, LEVELS_SHOWN if urls else LEVELS_LISTED),
        config=gating.without_gate(row.config),
        gate=_gate(row),
        created_at=moment(row.created_at),
        stopped_early=StoppedEarlyView(**row.stopped_early) if row.stopped_early else None,
        files=[_file(context, file, urls) for file in row.files],
    )


def _gate(row: Model) -> GateView | None:
    found = gating.shown(row)
    return GateView(**found) if found else None


def _file(context: Context, file: Mapping[str, Any], urls: bool) -> ModelFile:
    name = str(file["name"])
    url = context.storage.sign_get(file["key"], context.settings.url_seconds, name) if urls else None
    return ModelFile(name=name, bytes=file["bytes"], sha256=file["sha256"], url=url)
