"""What a child process is told of its unit, from the rows of dataset, model and job; and the keys that it writes to."""

from typing import Any, TypeVar

from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job, Model, Unit
from service.domain.states import DatasetStatus, JobKind

Row = TypeVar("Row")
SUFFIXES = {"webdataset": "tar"}  # of output files; other formats are their own suffix


class Gone(Exception):
    """What the unit needs is not there any more."""


def payload(session: Session, job: Job, unit: Unit) -> dict[str, Any]:
    """The payload of the unit's current attempt, as docs/architecture.md lists it. Raises Gone."""
    return BUILDERS[JobKind(unit.kind)](session, job, unit)


def model_prefix(job: Job, attempt: int) -> str:
    """Where this attempt puts the model's files. Why each attempt has its own: docs/decisions/0003-model-prefix.md."""
    return f"projects/{job.project_id}/models/{job.model_id}/a{attempt}/"


def parts_prefix(job: Job, attempt: int) -> str:
    """Where this attempt puts the dataset's parts; a dataset may be uploaded again after a failed ingest."""
    return f"projects/{job.project_id}/datasets/{job.dataset_id}/parts/{job.id}-a{attempt}/"


def shard_name(index: int, format: str) -> str:
    """The name of a shard's file for users: no attempt in it."""
    return f"part-{index:05d}.{SUFFIXES.get(format, format)}"


def shard_key(job: Job, index: int, attempt: int) -> str:
    return shard_keys(job, attempt).format(index=index)


def shard_keys(job: Job, attempt: int) -> str:
    """The keys of all shards that an attempt may write, for format(index=...)."""
    suffix = SUFFIXES.get(job.spec["format"], job.spec["format"])
    return f"projects/{job.project_id}/outputs/{job.id}/part-{{index:05d}}-a{attempt}.{suffix}"


def checkpoints_prefix(job: Job) -> str:
    return f"projects/{job.project_id}/jobs/{job.id}/checkpoints/"


def film_prefix(project_id: str, job_id: str) -> str:
    """Where a training puts the pictures of its film; the attempt is a part of their names."""
    return f"projects/{project_id}/jobs/{job_id}/film/"


def written_prefix(job: Job) -> str:
    """Where an augmentation notes which of its files are written."""
    return f"projects/{job.project_id}/jobs/{job.id}/written/"


def _ingest(session: Session, job: Job, unit: Unit) -> dict[str, Any]:
    dataset = _found(session.get(Dataset, job.dataset_id), "dataset")
    return {
        "dataset_id": dataset.id,
        "modality": dataset.modality,
        "options": dataset.options,
        "source": {
            "key": dataset.source_key,
            "filename": dataset.filename or "upload",
            "size_bytes": dataset.bytes,
        },
        "prefix": parts_prefix(job, unit.attempt),
    }


def _train(session: Session, job: Job, unit: Unit) -> dict[str, Any]:
    model = _found(session.get(Model, job.model_id), "model")
    checkpoint = unit.checkpoint or {}
    return {
        "modality": model.modality,
        "dataset": _dataset(session, job),
        "named": _named(session, job),
        "config": job.spec["config"],
        "model_id": model.id,
        "prefix": model_prefix(job, unit.attempt),
        "film_prefix": film_prefix(job.project_id, job.id),
        "checkpoint_prefix": checkpoints_prefix(job),
        "checkpoint": checkpoint.get("key"),
        "checkpoint_before": checkpoint.get("before"),  # in case that one is torn
        "spent_seconds": checkpoint.get("seconds", 0.0),  # on training, by the attempts until then
    }


def _generate(session: Session, job: Job, unit: Unit) -> dict[str, Any]:
    return {
        **_model(session, job),
        "format": job.spec["format"],
        "seed": job.spec["seed"],
        "start": unit.payload["start"],
        "count": unit.payload["count"],
        "conditions": job.spec.get("conditions") or {},
        "given": _given(session, job),
        "options": job.spec.get("options") or {},
        "key": shard_key(job, unit.index, unit.attempt),
    }


def _given(session: Session, job: Job) -> dict[str, Any] | None:
    """The upload whose rows are completed: as it was sent, for the model's own columns say how it is read."""
    if "given" not in job.spec:
        return None
    dataset = _found(session.get(Dataset, job.dataset_id), "dataset of given rows")
    return {"key": dataset.source_key, "options": dataset.options, "copies": job.spec["copies"]}


def _augment(session: Session, job: Job, unit: Unit) -> dict[str, Any]:
    return {
        **_model(session, job),
        "dataset": _dataset(session, job),
        "wish": {name: job.spec[name] for name in ("target", "method", "count", "seed", "max_count")},
        "format": job.spec["format"],
        "keys": shard_keys(job, unit.attempt),
        "checkpoint_prefix": written_prefix(job),
        "checkpoint": (unit.checkpoint or {}).get("key"),
    }


def _score(session: Session, job: Job, unit: Unit) -> dict[str, Any]:
    """The upload is read as it was sent, so that each sample keeps its place and name."""
    dataset = _found(session.get(Dataset, job.dataset_id), "dataset")
    source = {"key": dataset.source_key, "options": dataset.options, "schema": dataset.schema, "rows": dataset.rows}
    return {
        **_model(session, job),
        "source": source,
        "reference": _reference(session, job),
        "seed": job.spec["seed"],
        "key": shard_key(job, unit.index, unit.attempt),
    }


def _reference(session: Session, job: Job) -> dict[str, Any] | None:
    """The dataset that the model was trained on, if the job may look at it and it is as it was then."""
    model = _found(session.get(Model, job.model_id), "model")
    own = session.get(Dataset, model.dataset_id)
    if job.spec["calibration"] != "held_out" or own is None or own.schema != model.schema:
        return None
    return _told(own) if own.status == DatasetStatus.READY else None


def _preview(session: Session, job: Job, unit: Unit) -> dict[str, Any]:
    return {
        **_model(session, job),
        "count": job.spec["count"],
        "seed": job.spec["seed"],
        "key": f"projects/{job.project_id}/jobs/{job.id}/preview-a{unit.attempt}",
    }


def _dataset(session: Session, job: Job) -> dict[str, Any]:
    return _told(_found(session.get(Dataset, job.dataset_id), "dataset"))


def _named(session: Session, job: Job) -> dict[str, Any]:
    """What people have said of the dataset, for the model's card."""
    dataset = _found(session.get(Dataset, job.dataset_id), "dataset")
    return {"name": dataset.name, "license": dataset.options.get("license")}


def _told(dataset: Dataset) -> dict[str, Any]:
    return {
        "schema": dataset.schema,
        "rows": dataset.rows,
        "parts": [{name: part[name] for name in ("key", "rows", "split", "sha256")} for part in dataset.parts],
    }


def _model(session: Session, job: Job) -> dict[str, Any]:
    model = _found(session.get(Model, job.model_id), "model")
    if not model.prefix:
        raise Gone("The model is not there any more.")
    return {"modality": model.modality, "model": {"id": model.id, "prefix": model.prefix}}


def _found(row: Row | None, what: str) -> Row:
    if row is None:
        raise Gone(f"The {what} is not there any more.")
    return row


BUILDERS = {
    JobKind.INGEST: _ingest,
    JobKind.TRAIN: _train,
    JobKind.GENERATE: _generate,
    JobKind.AUGMENT: _augment,
    JobKind.SCORE: _score,
    JobKind.PREVIEW: _preview,
}
