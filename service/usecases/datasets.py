"""Datasets: made empty, filled by one upload, read by an ingest job; renamed, read again, deleted."""

import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from service import modalities
from service.bootstrap import Context
from service.db.database import Scope, now
from service.db.tables import Dataset, Job, Upload
from service.domain.ids import new_id
from service.domain.modality import ModalitySpec
from service.domain.schemas import LEVELS_LISTED, LEVELS_SHOWN, shown
from service.domain.states import ENDED, DatasetStatus, JobKind
from service.domain.views import DatasetView, ErrorView, Page, moment, moment_or_none
from service.errors import BodyTooLarge, Conflict, InUse, NotFound, Rejected
from service.usecases import moves, quotas
from service.usecases.idempotency import Answer, Once, answer
from service.usecases.invalid import from_validation, refuse
from service.usecases.opening import open_job, ring

LONGEST_NAME = 200


def create(
    context: Context,
    once: Once,
    name: str,
    modality: str | None,
    options: Mapping[str, Any],
    retention_seconds: int | None = None,
) -> Answer:
    """An empty dataset, kept for so long from now. Raises InvalidRequest for an unknown modality or options that it
    does not take."""
    resolved = resolve_options(modality, options)
    kept = retention_seconds or context.settings.dataset_retention_seconds

    def work(session: Session) -> DatasetView:
        at = session.scalar(select(now())) or 0.0
        row = Dataset(
            id=new_id("ds"),
            project_id=once.project_id,
            created_at=at,
            expires_at=at + kept if kept else None,
            name=name,
            status=DatasetStatus.EMPTY,
            modality=modality,
            options=resolved,
            bytes=0,
            warnings=[],
            parts=[],
        )
        session.add(row)
        session.flush()
        return view(row)

    return answer(context, once, 201, work)


def get(context: Context, project_id: str, id: str) -> DatasetView:
    with context.database.read() as session:
        return view(Scope(session, project_id).get(Dataset, id))


def page(context: Context, project_id: str, limit: int, before: str | None) -> Page[DatasetView]:
    with context.database.read() as session:
        rows, cursor = Scope(session, project_id).page(Dataset, limit=limit, before=before)
        return Page[DatasetView](data=[view(row, LEVELS_LISTED) for row in rows], next_cursor=cursor)


def change(
    context: Context,
    project_id: str,
    id: str,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    types: Mapping[str, str] | None = None,
) -> DatasetView:
    """Rename, or read the upload again with other options or column types. Raises Conflict before there is an upload
    or while one is read, InUse while a training reads the parts."""
    with context.database.begin() as session:
        row = Scope(session, project_id).get(Dataset, id, lock=True)
        if name is not None:
            row.name = name
        job = None
        if options is not None or types is not None:
            row.options = _changed_options(row, options, types)
            job = _read_again(session, row)
    if job is not None:
        ring(context, job.id)
    return get(context, project_id, id)


def delete(context: Context, project_id: str, id: str) -> None:
    """The row at once, its objects soon after. Raises InUse while a job that has not ended reads it."""
    with context.database.begin() as session:
        scope = Scope(session, project_id)
        row = scope.get(Dataset, id, lock=True)
        _refuse_if_used(scope, row)
        uploads = list(session.scalars(select(Upload).where(Upload.dataset_id == id, Upload.completed_at.is_(None))))
        moves.trash(session, f"projects/{project_id}/datasets/{id}/", 0.0, again=True)
        session.delete(row)
    for upload in uploads:
        with suppress(BotoCoreError, ClientError):  # the bucket's own rule clears what was begun and left
            context.storage.abort_multipart(upload.key, upload.s3_upload_id)


def begin_content(context: Context, project_id: str, id: str, length: int | None) -> str:
    """Before an upload is taken in: where it goes. Raises NotFound, Conflict for a dataset that has its upload,
    BodyTooLarge, QuotaExceeded, and Rejected for a body that is known to be empty."""
    if length is not None and length > context.settings.max_upload_bytes:
        raise BodyTooLarge(f"An upload may have up to {context.settings.max_upload_bytes} bytes.")
    if length == 0:
        raise Rejected("empty_file", "The file is empty.")
    with context.database.read() as session:
        refuse_unless_empty(Scope(session, project_id).get(Dataset, id))
        quotas.admit_upload(session, context.settings, project_id, length)
    return source_key(project_id, id)


def source_key(project_id: str, id: str) -> str:
    """A key that no upload had before; a user's file name is never part of one."""
    return f"projects/{project_id}/datasets/{id}/source/{new_id('up')}"


def content_arrived(
    context: Context, project_id: str, id: str, key: str, filename: str | None, size: int
) -> DatasetView:
    """The whole upload lies under `key`: the dataset is read from now on. If it got another upload meanwhile, or was
    deleted, the object goes and Conflict or NotFound is raised."""
    try:
        if size == 0:
            raise Rejected("empty_file", "The file is empty.")
        with context.database.begin() as session:
            row = Scope(session, project_id).get(Dataset, id, lock=True)
            job_id = take_in(session, row, key, clean_filename(filename) or row.name, size)
    except (NotFound, Conflict, Rejected):
        context.storage.delete(key)
        raise
    ring(context, job_id)
    return get(context, project_id, id)


def take_in(session: Session, row: Dataset, key: str, filename: str, size: int) -> str:
    """Within a transaction that holds the dataset: it is being read from now on. Returns the ingest job's id."""
    refuse_unless_empty(row)
    row.source_key, row.filename, row.bytes, row.stored_bytes = key, filename, size, size
    return _open_ingest(session, row).id


def refuse_unless_empty(row: Dataset) -> None:
    """Raises Conflict for a dataset that has its upload."""
    if row.status != DatasetStatus.EMPTY:
        raise Conflict("The dataset has its upload already, and does not change; make a new dataset for a new upload.")


def resolve_options(modality: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with every default filled in, where the modality is known. Raises InvalidRequest."""
    if modality is None:
        return _options_for_whichever(options)
    try:
        spec = modalities.spec(modality)
    except KeyError:
        known = ", ".join(modalities.MODALITIES)
        raise refuse("modality", f"There is no modality {modality!r}; there are {known}.") from None
    return _options_of(spec, options)


def clean_filename(filename: str | None) -> str | None:
    """A file name as people may see it: no folders, nothing that is not printable, not too long."""
    if filename is None:
        return None
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    name = "".join(letter for letter in name if letter.isprintable()).strip(" .")
    if len(name) > LONGEST_NAME:
        stem, dot, suffix = name.rpartition(".")
        name = f"{stem[: LONGEST_NAME - len(suffix) - 1]}{dot}{suffix}" if len(suffix) < 20 else name[:LONGEST_NAME]
    return name or None


def view(row: Dataset, levels: int = LEVELS_SHOWN) -> DatasetView:
    return DatasetView(
        id=row.id,
        name=row.name,
        status=DatasetStatus(row.status),
        modality=row.modality,
        options=row.options,
        filename=row.filename,
        bytes=row.bytes,
        rows=row.rows,
        schema=None if row.schema is None else shown(row.schema, levels),
        profile=row.profile,
        warnings=row.warnings,
        error=ErrorView(**row.error) if row.error else None,
        job_id=row.job_id,
        created_at=moment(row.created_at),
        expires_at=moment_or_none(row.expires_at),
    )


def _options_of(spec: ModalitySpec, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return spec.dataset_options.model_validate(dict(options), strict=True).model_dump(mode="json")
    except ValidationError as error:
        raise from_validation(error, "options") from None


def _options_for_whichever(options: Mapping[str, Any]) -> dict[str, Any]:
    """The modality is found by looking at the upload: options are kept as they are if any modality takes them."""
    for spec in modalities.specs():
        try:
            spec.dataset_options.model_validate(dict(options), strict=True)
        except ValidationError:
            continue
        return dict(options)
    raise refuse("options", "No modality takes these options; name the modality to see what is wrong with them.")


def _changed_options(
    row: Dataset, options: Mapping[str, Any] | None, types: Mapping[str, str] | None
) -> dict[str, Any]:
    changed = dict(row.options if options is None else options)
    if types is not None:
        spec = modalities.spec(row.modality) if row.modality else None
        if spec is None or "types" not in spec.dataset_options.model_fields:
            raise refuse("schema", "Only the columns of a table have types that can be overridden.")
        _refuse_unknown(row, types if options is None else {})
        changed["types"] = {**changed.get("types", {}), **types}
    return resolve_options(row.modality, changed)


def _refuse_unknown(row: Dataset, types: Mapping[str, str]) -> None:
    """Raises InvalidRequest for columns that the dataset, as it was read, does not have."""
    known = {column["name"] for column in (row.schema or {}).get("columns", [])}
    unknown = [name for name in types if known and name not in known]
    if unknown:
        raise refuse(f"schema.columns.{unknown[0]}", f"The dataset has no column {unknown[0]!r}.")


def _read_again(session: Session, row: Dataset) -> Job:
    if row.status not in (DatasetStatus.READY, DatasetStatus.REJECTED) or row.source_key is None:
        raise Conflict(f"The dataset is {row.status}; options can change once its upload was read.")
    _refuse_if_used(Scope(session, row.project_id), row)
    if row.parts:  # of the reading before: nobody reads them now
        moves.trash(session, f"projects/{row.project_id}/datasets/{row.id}/parts/{row.job_id}-")
    row.rows = row.schema = row.profile = row.error = None
    row.warnings, row.parts, row.stored_bytes = [], [], row.bytes
    return _open_ingest(session, row)


def _open_ingest(session: Session, row: Dataset) -> Job:
    spec = {
        "modality": row.modality,
        "options": row.options,
        "source": {"key": row.source_key, "filename": row.filename, "size_bytes": row.bytes},
    }
    job = open_job(session, row.project_id, JobKind.INGEST, spec, dataset_id=row.id)
    row.status, row.job_id = DatasetStatus.INGESTING, job.id
    return job


def _refuse_if_used(scope: Scope, row: Dataset) -> None:
    if scope.exists(Job, Job.dataset_id == row.id, Job.state.not_in(ENDED)):
        raise InUse("A job that has not ended reads this dataset; cancel the job or wait for it.")
