"""The states of jobs, units, datasets and models; service.domain.machine has the moves. Pure Python."""

from enum import StrEnum


class JobKind(StrEnum):
    INGEST = "ingest"
    TRAIN = "train"
    GENERATE = "generate"
    AUGMENT = "augment"
    SCORE = "score"
    PREVIEW = "preview"  # a few samples for GET /models/{id}/samples; never listed


class State(StrEnum):
    """Of a job and of a unit alike."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """Whose units go first, over all projects."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class DatasetStatus(StrEnum):
    EMPTY = "empty"
    INGESTING = "ingesting"
    READY = "ready"
    REJECTED = "rejected"


class ModelStatus(StrEnum):
    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

QUEUES = dict.fromkeys(JobKind, "gpu") | {JobKind.INGEST: "cpu"}
RANKS = {Priority.LOW: 1, Priority.NORMAL: 2, Priority.HIGH: 3}  # of units: the highest first
URGENT = 4  # a preview: somebody waits for it
WITH_OUTPUT = (JobKind.GENERATE, JobKind.AUGMENT, JobKind.SCORE)  # jobs that end with a manifest of files
