"""Every setting, typed: from MINTAGE_* in the environment, also from the file that MINTAGE_*_FILE names."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """docs/operations.md lists these; a test holds the two together."""

    model_config = SettingsConfigDict(env_prefix="MINTAGE_", extra="ignore", frozen=True)

    database_url: SecretStr = Field(description="postgresql+psycopg://... or sqlite:///file")
    redis_url: SecretStr = Field(description="The broker: redis://... or rediss://...")
    s3_endpoint_url: str | None = Field(None, description="Where the service reaches the bucket; absent: AWS.")
    s3_public_endpoint_url: str | None = Field(
        None, description="Where clients reach it: presigned URLs name this address."
    )
    s3_region: str = Field("us-east-1", description="The bucket's region.")
    s3_bucket: str = Field("mintage", description="One bucket holds everything.")
    s3_access_key: SecretStr | None = Field(None, description="Absent: boto3's own ways of finding credentials.")
    s3_secret_key: SecretStr | None = Field(None, description="Goes with the access key.")
    s3_checksums: Literal["when_required", "when_supported"] = Field(
        "when_required", description="Extra checksums of boto3; some S3-compatible servers refuse them."
    )

    max_upload_bytes: int = Field(50 * 2**30, ge=1, description="Largest dataset upload in bytes.")
    max_body_bytes: int = Field(2**20, ge=1, description="Largest JSON body in bytes.")
    max_count: int = Field(10**9, ge=1, description="Most samples that one job makes.")
    url_seconds: int = Field(3600, ge=60, le=7 * 86_400, description="Life of presigned URLs in seconds.")
    preview_seconds: float = Field(30.0, gt=0, description="How long a request for samples waits for a worker.")
    database_pool: int = Field(20, ge=1, description="Connections to PostgreSQL held by one process.")

    lease_seconds: float = Field(20.0, gt=0, description="A worker that is silent for so long has lost its unit.")
    heartbeat_seconds: float = Field(
        0.8, gt=0, description="How often a worker renews its lease and looks for a cancel."
    )
    sweep_seconds: float = Field(2.0, gt=0, description="How often each process reconciles.")
    max_attempts: int = Field(3, ge=1, description="Lost workers after which a unit fails with worker_lost.")
    checkpoint_seconds: float = Field(60.0, gt=0, description="Time between two training checkpoints.")
    shards_in_flight: int = Field(64, ge=1, description="Units of one job that run at one time; the others wait.")
    quota_jobs: int = Field(
        10_000,
        ge=0,
        description="Jobs of one project that wait or run; more are refused. As the next two, also by project.",
    )
    quota_bytes: int = Field(
        2**40, ge=0, description="Bytes that one project keeps: uploads, datasets, models, outputs; more are refused."
    )
    quota_gpu_units: int | None = Field(
        None, ge=0, description="Units of one project that run in the queue gpu at one time; the others wait."
    )

    failed_seconds: int = Field(
        7 * 86_400,
        ge=0,
        description="How long a failed job can be retried; what it left in the bucket is kept so long.",
    )
    upload_seconds: int = Field(
        2 * 86_400, ge=60, description="An upload in parts that is not complete after so long is aborted."
    )
    retention_seconds: int | None = Field(
        None, ge=1, description="How long outputs are kept, where their jobs do not say it; absent: until deleted."
    )
    dataset_retention_seconds: int | None = Field(
        None, ge=1, description="The same of datasets, from their making; one that a job reads is deleted after that."
    )

    device: str = Field("auto", description="auto, cpu, cuda or cuda:0: where workers train and sample.")
    work_dir: Path = Field(Path("/tmp/mintage"), description="Scratch space of workers.")  # noqa: S108
    ingest_seconds: int = Field(3600, ge=1, description="Wall time that reading one upload may take.")
    ingest_memory_bytes: int = Field(8 * 2**30, ge=2**28, description="Address space that reading one upload may take.")
    idle_sampler_seconds: float = Field(
        300.0, ge=0, description="How long a sampler keeps its model after the last use."
    )
    inception_weights: Path | None = Field(
        None, description="A safetensors file of Inception-v3 on the workers, for FID in reports: docs/images.md."
    )
    log_format: Literal["json", "console"] = Field("json", description="How processes log.")

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        """MINTAGE_S3_SECRET_KEY_FILE=/run/secrets/x gives s3_secret_key, as container secrets want it."""
        for name in cls.model_fields:
            path = os.environ.get(f"MINTAGE_{name.upper()}_FILE")
            if path and name not in values:
                values[name] = Path(path).read_text().strip()
        return values
