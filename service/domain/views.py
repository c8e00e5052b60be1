"""What the API shows of each thing: the shapes of its answers, with an example of each. Knows no database."""

from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from service.domain.states import DatasetStatus, JobKind, ModelStatus, Priority, State

Item = TypeVar("Item")
AT = "2026-05-04T09:30:00.123456Z"
DATASET = "ds_01jv3q9m0e8z6t4w2y5x7c1b3a"
JOB = "job_01jv3qb5k1f7n2r8s4d6g9h0jk"
MODEL = "mdl_01jv3qb5k3m5p7q9t1v3w5x7y9"


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as the API shows them: RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class Page(View, Generic[Item]):
    """One page of a list, newest first."""

    data: list[Item]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null on the last.")


class ErrorView(View):
    code: str = Field(description="Stable; for programs.", examples=["empty_file"])
    message: str = Field(description="A sentence; for people.", examples=["The file has no rows."])


class StoppedEarlyView(View):
    """Why a training ended before its last step, with the best that it had by then."""

    reason: Literal["time_limit", "diverged"] | str = Field(
        description="`time_limit`: it had no more time; `diverged`: what came after could not be saved."
    )
    step: int = Field(description="At which it stopped.", examples=[400])
    steps: int = Field(description="That it was to take.", examples=[1000])
    message: str = Field(description="A sentence; for people.")


class DatasetView(View):
    """A dataset: an upload that was read, checked and split into parts; it does not change once ready."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": DATASET,
                "name": "adult",
                "status": "ready",
                "modality": "table",
                "options": {"types": {}},
                "filename": "adult.parquet",
                "bytes": 1_300_000,
                "rows": 48_842,
                "schema": {
                    "modality": "table",
                    "columns": [
                        {"name": "age", "type": "integer", "nullable": False, "reason": "whole numbers"},
                        {"name": "income", "type": "category", "nullable": False, "levels": ["<=50K", ">50K"]},
                    ],
                },
                "profile": {"columns": {"age": {"missing": 0.0}}},
                "warnings": [],
                "error": None,
                "job_id": JOB,
                "created_at": AT,
                "expires_at": None,
            }
        }
    )

    id: str
    name: str
    status: DatasetStatus
    modality: str | None = Field(description="As asked for; as found once the upload was read.")
    options: dict[str, Any]
    filename: str | None
    bytes: int = Field(description="Size of the upload.")
    rows: int | None = Field(description="Samples; null until ready.")
    schema_: dict[str, Any] | None = Field(alias="schema", description="Columns with types; or size and classes.")
    profile: dict[str, Any] | None = Field(description="Figures for people.")
    warnings: list[Any]
    error: ErrorView | None = Field(description="Why the upload was rejected.")
    job_id: str | None = Field(description="The ingest job that reads it.")
    created_at: datetime
    expires_at: datetime | None = Field(None, description="When it is deleted, or as soon as no job reads it any more.")


class PartView(View):
    number: int
    size_bytes: int = Field(description="PUT exactly so many bytes to `url`.")
    uploaded: bool = Field(description="Whether the part has arrived.")
    url: str


class UploadView(View):
    """An upload straight to the bucket: PUT each part to its URL, in any order, several at a time; then complete."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "up_01jv3qa0c2d4e6f8g0h1j3k5m7",
                "dataset_id": DATASET,
                "filename": "adult.parquet",
                "size_bytes": 1_300_000,
                "part_bytes": 16_777_216,
                "parts": [
                    {"number": 1, "size_bytes": 1_300_000, "uploaded": False, "url": "https://s3.example/mintage/..."}
                ],
                "expires_at": AT,
                "completed_at": None,
            }
        }
    )

    id: str
    dataset_id: str
    filename: str
    size_bytes: int
    part_bytes: int
    parts: list[PartView]
    expires_at: datetime = Field(description="The URLs' end; GET the upload for fresh ones.")
    completed_at: datetime | None


class ProgressView(View):
    fraction: float = Field(description="0 to 1.")
    step: int | None = Field(description="Training steps; samples of a generation.")
    steps: int | None
    eta_seconds: float | None
    stage: str | None = Field(
        None, description="What a running training is at: downloading, reading, fitting, training, reporting."
    )


class JobView(View):
    """A job: `queued`, `running`, then `succeeded`, `failed` or `cancelled`; a failed one may be retried."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": JOB,
                "kind": "train",
                "state": "running",
                "priority": "normal",
                "name": None,
                "dataset_id": DATASET,
                "model_id": MODEL,
                "spec": {"modality": "table", "config": {"preset": "draft", "steps": None, "seed": 0}},
                "attempt": 1,
                "progress": {"fraction": 0.42, "step": 420, "steps": 1000, "eta_seconds": 31.0, "stage": "training"},
                "error": None,
                "result": None,
                "created_at": AT,
                "started_at": AT,
                "finished_at": None,
                "cancel_requested_at": None,
                "stopped_early": None,
                "retry_until": None,
                "expires_at": None,
            }
        }
    )

    id: str
    kind: JobKind
    state: State
    priority: Priority
    name: str | None
    dataset_id: str | None
    model_id: str | None = Field(description="The model that the job makes or samples.")
    spec: dict[str, Any] = Field(description="The request with every default filled in.")
    attempt: int = Field(description="How often a worker began; above 1 after a lost worker or a restart.")
    progress: ProgressView
    error: ErrorView | None
    result: dict[str, Any] | None = Field(
        description="Once succeeded: `{model_id}`, or `{output: {files, rows, bytes}}`, or `{dataset_id}`; of an "
        "augmentation model_id, output, real_rows, synthetic_rows, flag, before, after, verdict and more; of a scoring "
        "model_id, output, counterfeit, roc_auc, histogram, planted, verdict and more."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    stopped_early: StoppedEarlyView | None = Field(None, description="Of a training that succeeded all the same.")
    retry_until: datetime | None = Field(None, description="Of a failed job: until when it can be retried.")
    expires_at: datetime | None = Field(None, description="When its output is deleted; null: never, or not known yet.")


class EventView(View):
    id: int = Field(description="Counts 1, 2, 3 ... within the job.")
    at: datetime
    type: str = Field(description="state, message or checkpoint.")
    level: Literal["info", "warning", "error"] | str
    message: str
    data: dict[str, Any]


class EventPage(View):
    """Events of a job, oldest first."""

    data: list[EventView]
    next_cursor: str | None = Field(description="Send it as `after` to get the next page; null on the last.")
    ended: bool = Field(description="Whether no further event can come, unless a failed job is retried.")


class MetricPoint(View):
    step: int
    at: datetime
    values: dict[str, Any]


class MetricsView(View):
    """Training curves, thinned to at most 1,000 points."""

    data: list[MetricPoint]


class Frame(View):
    step: int
    url: str = Field(description="Of a PNG; anyone who has it can download the picture until it expires.")


class FilmView(View):
    """Samples of a training from the same noise at several steps, in order of steps."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"data": [{"step": 400, "url": "https://s3.example/mintage/..."}]}}
    )

    data: list[Frame]


class OutputFile(View):
    name: str
    key: str
    bytes: int
    sha256: str
    rows: int
    url: str = Field(description="Anyone who has it can download the file until it expires.")


class CardFile(View):
    name: str = Field(examples=["card.md", "croissant.json"])
    key: str
    bytes: int
    sha256: str
    url: str = Field(description="As of a file.")


class OutputView(View):
    """A finished generation: the manifest, with a presigned URL for each file."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "job_id": JOB,
                "model_id": MODEL,
                "format": "parquet",
                "count": 10_000,
                "seed": 7,
                "conditions": {},
                "created_at": AT,
                "expires_at": AT,
                "files": [
                    {
                        "name": "part-00000.parquet",
                        "key": "projects/prj_.../outputs/job_.../part-00000-a1.parquet",
                        "bytes": 210_344,
                        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                        "rows": 10_000,
                        "url": "https://s3.example/mintage/...",
                    }
                ],
                "cards": [
                    {
                        "name": "croissant.json",
                        "key": "projects/prj_.../outputs/job_.../croissant.json",
                        "bytes": 5_120,
                        "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                        "url": "https://s3.example/mintage/...",
                    }
                ],
            }
        },
    )

    job_id: str
    model_id: str
    format: str
    count: int
    seed: int
    conditions: dict[str, Any]
    created_at: Any
    expires_at: datetime
    files: list[OutputFile]
    cards: list[CardFile] = Field(
        default_factory=list,
        description="What tells of the files: card.md for people, croissant.json for programs (Croissant 1.0).",
    )


class ModelFile(View):
    name: str
    bytes: int
    sha256: str
    url: str | None = Field(None, description="Presigned; absent in lists.")


class BeyondView(View):
    """A figure that is beyond a bound."""

    figure: str = Field(examples=["c2st_auc"])
    value: float
    min: float | None = Field(None, description="That was required, if the figure is below it.")
    max: float | None = Field(None, description="That was required, if the figure is above it.")


class GateView(View):
    """What was required of a model's figures, and how it stands against that."""

    require: dict[str, dict[str, float]]
    passed: bool | None = Field(description="Null until there is a report.")
    failed: list[BeyondView]
    missing: list[str] = Field(description="Required figures that the report does not have: the gate fails by them.")


class ModelView(View):
    """A trained generator and discriminator, with codec, config, report and samples."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": MODEL,
                "name": "adult",
                "status": "ready",
                "modality": "table",
                "dataset_id": DATASET,
                "job_id": JOB,
                "schema": {"modality": "table", "columns": [{"name": "age", "type": "integer", "nullable": False}]},
                "config": {"preset": "draft", "steps": None, "seed": 0},
                "created_at": AT,
                "stopped_early": None,
                "gate": {
                    "require": {"c2st_auc": {"max": 0.7}},
                    "passed": False,
                    "failed": [{"figure": "c2st_auc", "value": 0.83, "min": None, "max": 0.7}],
                    "missing": [],
                },
                "files": [{"name": "generator.safetensors", "bytes": 1_200_000, "sha256": "9f86d0818...", "url": None}],
            }
        }
    )

    id: str
    name: str
    status: ModelStatus
    modality: str
    dataset_id: str
    job_id: str = Field(description="The train job that made it.")
    schema_: dict[str, Any] = Field(alias="schema")
    config: dict[str, Any]
    created_at: datetime
    stopped_early: StoppedEarlyView | None = Field(None, description="Null where all steps were trained.")
    gate: GateView | None = Field(None, description="Null where nothing was required of the model's figures.")
    files: list[ModelFile]


class ModalityView(View):
    """What can be trained."""

    name: str
    title: str
    summary: str
    extensions: list[str]
    formats: list[str] = Field(description="Of outputs; the first is the default.")
    preview: Literal["rows", "picture"]
    augments: bool = Field(description="Whether its datasets can be augmented.")
    completes: bool = Field(description="Whether its models complete given rows.")
    scores: bool = Field(description="Whether its models judge uploaded samples.")
    figures: list[str] = Field(description="Of its reports, that `require` of a job can name.")
    config: dict[str, Any] = Field(description="JSON schema of a train job's `config`.")
    options: dict[str, Any] = Field(description="JSON schema of a dataset's `options`.")
    generate_options: dict[str, Any] = Field(description="JSON schema of a generation's `options`.")


class AmountView(View):
    used: int
    limit: int | None = Field(description="Null: as much as there is.")


class UsageView(View):
    """What a project has, and what it may have."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "jobs": {"used": 12, "limit": 10_000},
                "bytes": {"used": 5_368_709_120, "limit": 1_099_511_627_776},
                "gpu_units": {"used": 2, "limit": None},
            }
        }
    )

    jobs: AmountView = Field(description="That wait or run; above the limit, submissions and uploads are refused.")
    bytes: AmountView = Field(description="Of uploads, datasets, models and outputs; refused likewise.")
    gpu_units: AmountView = Field(description="That run in the queue gpu; above the limit, units wait.")


class Modalities(View):
    data: list[ModalityView]
