"""The tables. Times are seconds since 1970 in UTC, so that both databases compare and add them alike."""

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON().with_variant(JSONB(), "postgresql")
Id = String(40)


STORES = "stored_bytes > 0"
WAITING = "state = 'queued'"  # a query must say the same in as many words, or the database cannot use the index
RUNNING = "state = 'running'"
SUCCEEDED = "state = 'succeeded'"
CANCELLING = "cancel_requested_at IS NOT NULL AND finished_at IS NULL"


def where(name: str, *columns: str, condition: str) -> Index:
    """An index of those rows alone: small, however many have ended."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: Json,
        list[Any]: Json,
        float: Double,
        int: BigInteger,
        str: Text,
    }


class Project(Base):
    """The tenant: owns everything else."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str]
    created_at: Mapped[float]
    quota_jobs: Mapped[int | None]  # what this project may have of each; where null, the setting of that name holds
    quota_bytes: Mapped[int | None]
    quota_gpu_units: Mapped[int | None]


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of the whole key: it has 256 random bits
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class Owned:
    """What belongs to a project and is found only through it (service.db.database.Scope)."""

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"))
    created_at: Mapped[float]


class Dataset(Owned, Base):
    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_page", "project_id", "id"),
        Index("ix_datasets_stored", "project_id", "stored_bytes"),
    )
    name: Mapped[str]
    status: Mapped[str] = mapped_column(String(16))  # DatasetStatus
    modality: Mapped[str | None] = mapped_column(String(32))  # as asked for, then as found
    options: Mapped[dict[str, Any]]
    filename: Mapped[str | None]
    bytes: Mapped[int] = mapped_column(default=0)  # of the upload
    stored_bytes: Mapped[int] = mapped_column(default=0, server_default="0")  # of the upload and the parts
    rows: Mapped[int | None]
    schema: Mapped[dict[str, Any] | None]
    profile: Mapped[dict[str, Any] | None]
    warnings: Mapped[list[Any]] = mapped_column(default=list)
    parts: Mapped[list[Any]] = mapped_column(default=list)
    error: Mapped[dict[str, Any] | None]  # {"code", "message"} where rejected
    source_key: Mapped[str | None]
    job_id: Mapped[str | None] = mapped_column(Id)  # its ingest job
    expires_at: Mapped[float | None] = mapped_column(index=True)  # when it is deleted, unless a job reads it then


class Upload(Owned, Base):
    """A presigned multipart upload straight to the bucket."""

    __tablename__ = "uploads"
    dataset_id: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    key: Mapped[str]
    s3_upload_id: Mapped[str]
    filename: Mapped[str]
    size_bytes: Mapped[int]
    part_bytes: Mapped[int]
    completed_at: Mapped[float | None]


class Model(Owned, Base):
    __tablename__ = "models"
    __table_args__ = (
        Index("ix_models_page", "project_id", "id"),
        Index("ix_models_stored", "project_id", "stored_bytes"),
    )
    name: Mapped[str]
    status: Mapped[str] = mapped_column(String(16))  # ModelStatus
    modality: Mapped[str] = mapped_column(String(32))
    dataset_id: Mapped[str] = mapped_column(Id)  # no foreign key: a model outlives its dataset
    job_id: Mapped[str] = mapped_column(Id)
    schema: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    prefix: Mapped[str | None]  # storage keys of its files begin so; set when ready
    files: Mapped[list[Any]] = mapped_column(default=list)  # [{"key", "name", "bytes", "sha256"}]
    stored_bytes: Mapped[int] = mapped_column(default=0, server_default="0")  # of the files
    report: Mapped[dict[str, Any] | None]
    stopped_early: Mapped[dict[str, Any] | None]  # {"reason", "step", "steps", "message"}


class Job(Owned, Base):
    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_page", "project_id", "id"),
        Index("ix_jobs_state", "state"),
        Index("ix_jobs_project_state", "project_id", "state", "id", "kind"),
        Index("ix_jobs_project_kind", "project_id", "kind", "id"),
        where("ix_jobs_asked", "id", condition=CANCELLING),
        where("ix_jobs_stored", "project_id", "stored_bytes", condition=STORES),
    )
    kind: Mapped[str] = mapped_column(String(16))  # JobKind
    state: Mapped[str] = mapped_column(String(16))  # State
    priority: Mapped[str] = mapped_column(String(8), default="normal", server_default="normal")  # Priority
    name: Mapped[str | None]
    dataset_id: Mapped[str | None] = mapped_column(Id, index=True)
    model_id: Mapped[str | None] = mapped_column(Id, index=True)
    spec: Mapped[dict[str, Any]]  # the request with every default filled in
    units_total: Mapped[int] = mapped_column(default=1)
    units_done: Mapped[int] = mapped_column(default=0)
    stored_bytes: Mapped[int] = mapped_column(default=0, server_default="0")  # of its output, as far as it is there
    event_count: Mapped[int] = mapped_column(default=0)  # numbers its events without gaps
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]  # {"code", "message"}
    stopped_early: Mapped[dict[str, Any] | None]  # as of its model
    retry_until: Mapped[float | None]  # of a failed job: as long as what it left in storage is kept
    retention_seconds: Mapped[int | None]  # that its output is kept
    expires_at: Mapped[float | None] = mapped_column(index=True)  # when its output is deleted
    cancel_requested_at: Mapped[float | None]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Unit(Owned, Base):
    """What a worker claims. A train or ingest job has one, a generate job one a shard, an augment job
    one, and a training before it where it has no model."""

    __tablename__ = "units"
    __table_args__ = (
        UniqueConstraint("job_id", "index"),
        where("ix_units_ended", "finished_at", "project_id", "job_id", "kind", condition=SUCCEEDED),
        where("ix_units_running", "job_id", "project_id", "queue", "kind", "lease_until", condition=RUNNING),
        where("ix_units_due", "queue", "rank", "project_id", "job_id", "index", "available_at", condition=WAITING),
        CheckConstraint("state <> 'running' OR lease_until IS NOT NULL", name="running_has_lease"),
    )
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(16))
    rank: Mapped[int] = mapped_column(default=2, server_default="2")  # of its job's priority: RANKS
    index: Mapped[int]
    payload: Mapped[dict[str, Any]]  # what this unit has beside its job: {"start", "count"} of a shard
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)  # the fencing token
    failures: Mapped[int] = mapped_column(default=0)  # attempts that were lost; drains do not count
    worker_id: Mapped[str | None]
    lease_until: Mapped[float | None]
    available_at: Mapped[float]
    rung_at: Mapped[float | None]  # of older versions, which may still run beside this one
    progress: Mapped[dict[str, Any] | None]  # {"fraction", "step", "steps", "eta_seconds", "stage"}
    checkpoint: Mapped[dict[str, Any] | None]  # {"key", "step"}: where the next attempt goes on
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Event(Base):
    """What happened to a job, for people and for streams; numbered within the job."""

    __tablename__ = "events"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    type: Mapped[str] = mapped_column(String(16))  # state, message, checkpoint
    level: Mapped[str] = mapped_column(String(8))  # info, warning, error
    message: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Metric(Base):
    """Points of the training curves. A resumed attempt writes its steps over those of the lost one."""

    __tablename__ = "metrics"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    values: Mapped[dict[str, Any]]


class IdempotentAnswer(Base):
    """The answer that an Idempotency-Key got."""

    __tablename__ = "idempotent_answers"
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))  # SHA-256 of method, path and body
    status: Mapped[int]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class Trash(Base):
    """Storage that nothing points to any more; the sweep deletes what lies below the prefix."""

    __tablename__ = "trash"
    prefix: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[float] = mapped_column(index=True)
    again_at: Mapped[float | None]  # once more then: a frozen worker may still be writing there
