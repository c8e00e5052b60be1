"""Uploads straight to the bucket, in parts with presigned URLs: opened, looked at, completed, aborted.

What arrived is asked of the bucket each time, so that an upload goes on where it was after any interruption."""

from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.database import Scope, now
from service.db.tables import Dataset, Upload
from service.domain.ids import new_id
from service.domain.views import DatasetView, PartView, UploadView, moment, moment_or_none
from service.errors import BodyTooLarge, Conflict, NotFound, UploadIncomplete
from service.storage.objects import Missing
from service.usecases import datasets
from service.usecases.idempotency import Answer, Once, answer, replay
from service.usecases.opening import ring

MEBIBYTE = 2**20
SMALLEST_PART = 16 * MEBIBYTE
MOST_PARTS = 1_000  # S3 allows 10,000; each is a URL of half a kilobyte in the answer


def part_bytes(size: int) -> int:
    """Bytes in each part but the last: 16 MiB, or as many MiB as keep the parts within MOST_PARTS."""
    return max(SMALLEST_PART, -(-size // (MOST_PARTS * MEBIBYTE)) * MEBIBYTE)


def sizes(size: int, part: int) -> list[int]:
    whole, rest = divmod(size, part)
    return [part] * whole + ([rest] if rest else [])


def create(context: Context, once: Once, dataset_id: str, filename: str, size_bytes: int) -> Answer:
    """Open an upload. Raises NotFound, BodyTooLarge, Conflict for a dataset that has its upload."""
    if size_bytes > context.settings.max_upload_bytes:
        raise BodyTooLarge(f"An upload may have up to {context.settings.max_upload_bytes} bytes.")
    if found := replay(context, once):
        return found
    key = datasets.begin_content(context, once.project_id, dataset_id, size_bytes)
    s3_upload_id = context.storage.start_multipart(key)  # before the transaction: no lock waits for the bucket

    def work(session: Session) -> UploadView:
        datasets.refuse_unless_empty(Scope(session, once.project_id).get(Dataset, dataset_id, lock=True))
        row = Upload(
            id=new_id("up"),
            project_id=once.project_id,
            created_at=session.scalar(select(now())),
            dataset_id=dataset_id,
            key=key,
            s3_upload_id=s3_upload_id,
            filename=datasets.clean_filename(filename) or "upload",
            size_bytes=size_bytes,
            part_bytes=part_bytes(size_bytes),
        )
        session.add(row)
        session.flush()
        return _view(context, session, row, {})

    kept = False
    try:
        given = answer(context, once, 201, work)
        kept = not given.replayed
        return given
    finally:
        if not kept:
            abort(context, key, s3_upload_id)


def get(context: Context, project_id: str, dataset_id: str, id: str) -> UploadView:
    """Which parts have arrived, and fresh URLs."""
    with context.database.read() as session:
        row = _find(session, project_id, dataset_id, id)
        done = row.completed_at is not None
        arrived = None if done else _arrived(context, row)
        return _view(context, session, row, arrived)


def complete(context: Context, project_id: str, dataset_id: str, id: str) -> DatasetView:
    """Put the parts together; the dataset is read from now on. To complete once more changes nothing.

    Raises UploadIncomplete where parts are missing or have another size, Conflict where the dataset got another one."""
    with context.database.read() as session:
        row = _find(session, project_id, dataset_id, id)
        dataset = Scope(session, project_id).get(Dataset, dataset_id)
    if row.completed_at is not None:
        return datasets.view(dataset)
    datasets.refuse_unless_empty(dataset)
    _put_together(context, row)
    with context.database.begin() as session:
        dataset = Scope(session, project_id).get(Dataset, dataset_id, lock=True)
        mine = _find(session, project_id, dataset_id, id)
        if mine.completed_at is not None:  # the same call at the same time was faster
            return datasets.view(dataset)
        mine.completed_at = session.scalar(select(now()))
        job_id = datasets.take_in(session, dataset, row.key, row.filename, row.size_bytes)
    ring(context, job_id)
    _abort_others(context, project_id, dataset_id)
    return datasets.get(context, project_id, dataset_id)


def delete(context: Context, project_id: str, dataset_id: str, id: str) -> None:
    """Give an upload up; its parts go. Raises Conflict once it is complete."""
    with context.database.begin() as session:
        Scope(session, project_id).get(Dataset, dataset_id, lock=True)
        row = _find(session, project_id, dataset_id, id)
        if row.completed_at is not None:
            raise Conflict("The upload is complete; delete the dataset instead.")
        session.delete(row)
    abort(context, row.key, row.s3_upload_id)


def abort(context: Context, key: str, s3_upload_id: str) -> None:
    """Best effort: what a bucket that does not answer keeps, its own rule for old multipart uploads clears."""
    with suppress(BotoCoreError, ClientError):
        context.storage.abort_multipart(key, s3_upload_id)


def _find(session: Session, project_id: str, dataset_id: str, id: str) -> Upload:
    row = Scope(session, project_id).get(Upload, id)
    if row.dataset_id != dataset_id:
        raise NotFound(f"There is no upload {id!r} of this dataset.")
    return row


def _arrived(context: Context, row: Upload) -> dict[int, int]:
    try:
        return {part["number"]: part["size"] for part in context.storage.parts(row.key, row.s3_upload_id)}
    except Missing:
        return {}


def _put_together(context: Context, row: Upload) -> None:
    try:
        parts: list[dict[str, Any]] = context.storage.parts(row.key, row.s3_upload_id)
    except Missing:
        if not _lies_there(context, row):  # else an earlier call came so far, and then was cut off
            raise UploadIncomplete("The bucket no longer knows this upload; open a new one.") from None
        return
    arrived = {part["number"]: part["size"] for part in parts}
    wanted = dict(enumerate(sizes(row.size_bytes, row.part_bytes), start=1))
    wrong = sorted(number for number, size in wanted.items() if arrived.get(number) != size)
    if wrong:
        raise UploadIncomplete(
            f"{len(wrong)} of {len(wanted)} parts have not arrived whole.",
            errors=[{"path": f"parts.{number}", "message": "This part has not arrived whole."} for number in wrong],
        )
    context.storage.complete_multipart(
        row.key, row.s3_upload_id, sorted((part for part in parts if part["number"] in wanted), key=_number)
    )
    if not _lies_there(context, row):
        raise UploadIncomplete()


def _lies_there(context: Context, row: Upload) -> bool:
    try:
        return context.storage.size(row.key) == row.size_bytes
    except Missing:
        return False


def _number(part: dict[str, Any]) -> int:
    return int(part["number"])


def _abort_others(context: Context, project_id: str, dataset_id: str) -> None:
    """The dataset has its upload: whatever else was begun for it goes."""
    with context.database.begin() as session:
        others = list(
            session.scalars(
                select(Upload).where(
                    Upload.project_id == project_id, Upload.dataset_id == dataset_id, Upload.completed_at.is_(None)
                )
            )
        )
        for other in others:
            session.delete(other)
    for other in others:
        abort(context, other.key, other.s3_upload_id)


def _view(context: Context, session: Session, row: Upload, arrived: dict[int, int] | None) -> UploadView:
    """`arrived` are the sizes of the parts that did; None says that all is complete."""
    seconds = context.settings.url_seconds
    parts = [
        PartView(
            number=number,
            size_bytes=size,
            uploaded=arrived is None or arrived.get(number) == size,
            url=context.storage.sign_part(row.key, row.s3_upload_id, number, size, seconds),
        )
        for number, size in enumerate(sizes(row.size_bytes, row.part_bytes), start=1)
    ]
    return UploadView(
        id=row.id,
        dataset_id=row.dataset_id,
        filename=row.filename,
        size_bytes=row.size_bytes,
        part_bytes=row.part_bytes,
        parts=parts,
        expires_at=moment((session.scalar(select(now())) or 0.0) + seconds),
        completed_at=moment_or_none(row.completed_at),
    )
