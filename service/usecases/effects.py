"""What the result of a unit does to the dataset or model that the job was making, and what the job's result is."""

from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job, Model
from service.domain.states import DatasetStatus, JobKind, ModelStatus
from service.usecases import moves, payloads

Result = dict[str, Any]


def on_success(session: Session, job: Job, index: int, attempt: int, result: Result) -> Result | None:
    """Publish the unit's result; returns the job's result, None where the job is for finalize to end."""
    if job.kind == JobKind.INGEST:
        return _dataset_ready(session, job, attempt, result)
    if job.kind == JobKind.TRAIN:
        return _model_ready(session, job, attempt, result)
    if job.kind == JobKind.PREVIEW:
        return result
    for lost in range(1, attempt):
        moves.trash(session, payloads.shard_key(job, index, lost))
    return None


def _dataset_ready(session: Session, job: Job, attempt: int, result: Result) -> Result:
    session.execute(
        update(Dataset)
        .where(Dataset.id == job.dataset_id)
        .values(
            status=DatasetStatus.READY,
            **{name: result[name] for name in ("modality", "rows", "schema", "profile", "warnings", "parts")},
        )
    )
    for lost in range(1, attempt):
        moves.trash(session, payloads.parts_prefix(job, lost))
    return {"dataset_id": job.dataset_id}


def _model_ready(session: Session, job: Job, attempt: int, result: Result) -> Result:
    session.execute(
        update(Model)
        .where(Model.id == job.model_id)
        .values(
            status=ModelStatus.READY,
            prefix=payloads.model_prefix(job, attempt),
            files=result["files"],
            report=result["report"],
        )
    )
    for lost in range(1, attempt):
        moves.trash(session, payloads.model_prefix(job, lost))
    moves.trash(session, f"projects/{job.project_id}/jobs/{job.id}/")  # its checkpoints
    return {"model_id": job.model_id}
