"""What the result of a unit does to the dataset or model that the job was making, and what the job's result is."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import null, update
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job, Model, Unit
from service.domain.states import DatasetStatus, JobKind, ModelStatus
from service.usecases import gating, moves, payloads
from service.usecases.opening import open_unit

Result = dict[str, Any]


def on_success(session: Session, job: Job, unit: Unit, attempt: int, result: Result) -> Result | None:
    """Publish the unit's result; returns the job's result, None where the job goes on or is for finalize to end."""
    if unit.kind == JobKind.INGEST:
        return _dataset_ready(session, job, attempt, result)
    if unit.kind == JobKind.TRAIN:
        made = _model_ready(session, job, attempt, result)
        going_on = gating.trained(session, job)
        if job.kind == JobKind.TRAIN:
            return made
        if going_on:
            open_unit(session, job, JobKind(job.kind), unit.index + 1)  # the model is there: what it is for comes next
        return None
    if unit.kind == JobKind.PREVIEW:
        return result
    shards = enumerate(result["files"]) if "files" in result else ((unit.index, result),)
    for index, file in shards:
        for lost in range(1, attempt):
            key = payloads.shard_key(job, index, lost)
            if key != file["key"]:  # an augmentation goes on from files that a lost attempt has written
                moves.trash(session, key)
    if unit.kind == JobKind.AUGMENT:
        moves.trash(session, payloads.written_prefix(job))
    return None


def written(files: Iterable[Mapping[str, Any]]) -> int:
    """How many bytes these files have."""
    return sum(file["bytes"] for file in files)


def _dataset_ready(session: Session, job: Job, attempt: int, result: Result) -> Result:
    session.execute(
        update(Dataset)
        .where(Dataset.id == job.dataset_id, Dataset.job_id == job.id)
        .values(
            status=DatasetStatus.READY,
            stored_bytes=Dataset.bytes + written(result["parts"]),
            **{name: result[name] for name in ("modality", "rows", "schema", "profile", "warnings", "parts")},
        )
    )
    for lost in range(1, attempt):
        moves.trash(session, payloads.parts_prefix(job, lost))
    return {"dataset_id": job.dataset_id}


def _model_ready(session: Session, job: Job, attempt: int, result: Result) -> Result:
    stopped = result.get("stopped_early") or null()
    told = update(Job).where(Job.id == job.id).values(stopped_early=stopped)
    session.execute(told.execution_options(synchronize_session=False))
    session.execute(
        update(Model)
        .where(Model.id == job.model_id)
        .values(
            status=ModelStatus.READY,
            stored_bytes=written(result["files"]),
            prefix=payloads.model_prefix(job, attempt),
            files=result["files"],
            report=result["report"],
            stopped_early=stopped,
        )
    )
    for lost in range(1, attempt):
        moves.trash(session, payloads.model_prefix(job, lost))
    moves.trash(session, payloads.checkpoints_prefix(job))
    return {"model_id": job.model_id}
