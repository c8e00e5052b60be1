"""Every way in which a request or a job can be refused, with its HTTP status, its stable code and its sentence."""

from typing import Any


class MintageError(Exception):
    """Something went wrong."""

    status = 500
    code = "internal_error"
    retry_after: int | None = None  # seconds, sent as Retry-After

    def __init__(self, detail: str | None = None, errors: list[dict[str, Any]] | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.errors = errors or []
        super().__init__(self.detail)


class Unauthenticated(MintageError):
    """Send a valid API key as 'Authorization: Bearer <key>'."""

    status, code = 401, "unauthenticated"


class NotFound(MintageError):
    """There is no such thing in this project."""

    status, code = 404, "not_found"


class InvalidRequest(MintageError):
    """The request does not have the form that this call takes."""

    status, code = 422, "invalid_request"


class InvalidCondition(MintageError):
    """A condition names a column or a value that the model does not know."""

    status, code = 422, "invalid_condition"


class Conflict(MintageError):
    """The thing is not in a state that allows this."""

    status, code = 409, "conflict"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used before with another request."""

    code = "idempotency_key_reused"


class DatasetNotReady(Conflict):
    """The dataset is not ready to be trained on."""

    code = "dataset_not_ready"


class ModelNotReady(Conflict):
    """The model is not ready."""

    code = "model_not_ready"


class InUse(Conflict):
    """A job that has not ended uses this; cancel the job or wait for it."""

    code = "in_use"


class JobNotSucceeded(Conflict):
    """The job has no output, because it has not succeeded."""

    code = "job_not_succeeded"


class GateFailed(Conflict):
    """The figures of the model's report are not what is required of them; 'override_gate' goes on all the same."""

    code = "gate_failed"


class NotRetryable(Conflict):
    """The job has not failed, or what it left in storage is not kept any more."""

    code = "not_retryable"


class BodyTooLarge(MintageError):
    """The body is larger than this server accepts."""

    status, code = 413, "body_too_large"


class UploadIncomplete(MintageError):
    """The upload ended before all of its bytes had arrived; send it again."""

    status, code = 400, "upload_incomplete"


class QuotaExceeded(MintageError):
    """The project has as much as it may have: wait for jobs to end, or delete what is not needed."""

    status, code, retry_after = 429, "quota_exceeded", 30


class Unavailable(MintageError):
    """The service cannot answer at the moment; try again soon."""

    status, code, retry_after = 503, "unavailable", 5


class DiskFull(MintageError):
    """The server's disk is full: nothing was changed, and its operator has to make room."""

    status, code = 507, "disk_full"


class Rejected(MintageError):
    """A job ends in failure for a reason that its user can act on; the code is the job's error code.

    Raised by a modality with a code of its own, such as `empty_file`, and a sentence that says what to do."""

    status = 422

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
