"""/v1/jobs: submitted, looked at, listed, cancelled, retried, deleted; the output of those that make files."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field, Strict, WithJsonSchema, model_validator
from pydantic import Discriminator as By

from service.api.dependencies import Body, Id, Name, OnlyOnce, Paging, Parts, Reference, Who, answered
from service.api.problems import documented
from service.domain import views
from service.domain.modality import Method
from service.domain.states import JobKind, Priority, State
from service.errors import (
    BodyTooLarge,
    Conflict,
    DatasetNotReady,
    GateFailed,
    IdempotencyKeyReused,
    InvalidCondition,
    JobNotSucceeded,
    ModelNotReady,
    NotFound,
    NotRetryable,
    QuotaExceeded,
)
from service.usecases import augmenting, ended, generating, jobs, outputs, scoring
from service.usecases.gating import Demand

Rank = Annotated[Priority, Strict(False), Field(description="Whose units go first, over all projects.")]
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
CONDITION = {
    "description": "A value, null for missing, a set, a range with one end or two, or the shares of some values.",
    "anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "object", "properties": {"in": {"type": "array"}}, "required": ["in"], "additionalProperties": False},
        {
            "type": "object",
            "properties": {end: {"type": ["string", "number"]} for end in ("min", "max", "above", "below")},
            "minProperties": 1,
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "share": {
                    "type": ["object", "array"],
                    "description": '{"a value": 0.5, ...}; or pairs, as null is no key.',
                }
            },
            "required": ["share"],
            "additionalProperties": False,
        },
        {"type": "object", "additionalProperties": {"type": "number"}, "description": "Shares, for short."},
    ],
}
Retention = Annotated[
    int | None,
    Field(
        ge=60,
        le=100 * 366 * 86_400,
        description="How long the output is kept once it is there; the server's if absent.",
    ),
]


class Bound(Body):
    """Of a figure: at least `min`, at most `max`, or both."""

    min: float | None = Field(None, allow_inf_nan=False)
    max: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("A bound has a 'min', a 'max', or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("The 'min' is above the 'max'")
        return self


Require = Annotated[
    dict[str, Bound],
    Field(
        max_length=100,
        description='What figures of the model\'s report must be, such as `{"c2st_auc": {"max": 0.7}}`; '
        "see `figures` of /v1/modalities.",
    ),
]
Override = Annotated[
    bool, Field(description="Go on with a model whose figures are not what was required; the job's events tell it.")
]
Reason = Annotated[Name | None, Field(description="Why the gate is overridden; kept with the job and its output.")]
Condition = Annotated[Any, WithJsonSchema(CONDITION)]  # each modality reads them by what it knows of the column


class TrainJob(Body):
    """Train a generator and a discriminator on a dataset."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"kind": "train", "dataset_id": views.DATASET, "config": {"preset": "draft"}}}
    )

    kind: Literal["train"]
    dataset_id: Reference
    name: Name | None = Field(None, description="Also of the model; the dataset's name if absent.")
    config: dict[str, Any] = Field(default_factory=dict, description="See /v1/modalities.")
    require: Require = Field(default_factory=dict)
    priority: Rank = Priority.NORMAL


class GenerateJob(Body):
    """Generate samples from a model, in shards."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "kind": "generate",
                "model_id": views.MODEL,
                "count": 10_000,
                "seed": 7,
                "format": "csv",
                "conditions": {"income": {">50K": 0.5, "<=50K": 0.5}, "age": {"min": 18, "max": 65}},
            }
        }
    )

    kind: Literal["generate"]
    model_id: Reference
    count: int | None = Field(
        None, ge=1, description="Samples; required, unless rows are given (then all by default) or options say it."
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="The same seed gives the same samples; drawn if absent.")
    format: str | None = Field(None, max_length=32, description="One of the modality's; its first if absent.")
    conditions: dict[str, Condition] = Field(
        default_factory=dict, max_length=100, description="What samples must meet, by column; `label` of images."
    )
    given: Reference | None = Field(
        None, description="A dataset whose rows are completed: what is there is kept, what is missing is made."
    )
    copies: int | None = Field(None, ge=1, le=1_000_000, description="Completions of each given row; 1 if absent.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="The modality's own: see `generate_options` of /v1/modalities."
    )
    require: Require = Field(default_factory=dict)
    override_gate: Override = False
    reason: Reason = None
    retention_seconds: Retention = None
    name: Name | None = None
    priority: Rank = Priority.NORMAL


class AugmentJob(Body):
    """A dataset's own rows, and synthetic ones that fill its classes up or enlarge it."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"kind": "augment", "dataset_id": views.DATASET, "target": "income"}}
    )

    kind: Literal["augment"]
    dataset_id: Reference
    target: str | None = Field(
        None, max_length=1000, description="The column to balance, or whose classifier is scored before and after."
    )
    model_id: Reference | None = Field(None, description="Trained on this dataset; one is trained first if absent.")
    method: Method = Field("balance", description="Fill each class up to the largest, or enlarge as it is.")
    factor: float | None = Field(None, gt=1, le=10_000, description="Of enlarge: all rows to real ones; 2 if absent.")
    count: int | None = Field(None, ge=1, description="Synthetic rows in all, in place of what method and factor say.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="The same seed gives the same rows; drawn if absent.")
    format: str | None = Field(None, max_length=32, description="One of the modality's; its first if absent.")
    config: dict[str, Any] = Field(default_factory=dict, description="Of the training, where there is no model.")
    require: Require = Field(default_factory=dict)
    override_gate: Override = False
    reason: Reason = None
    retention_seconds: Retention = None
    name: Name | None = Field(None, description="Also of the model that is trained.")
    priority: Rank = Priority.NORMAL


class ScoreJob(Body):
    """Judge a dataset's samples one by one: real-looking or counterfeit, in a model's view."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"kind": "score", "model_id": views.MODEL, "dataset_id": views.DATASET}}
    )

    kind: Literal["score"]
    model_id: Reference
    dataset_id: Reference = Field(description="Of the model's modality: its columns, or pictures of any size.")
    retention_seconds: Retention = None
    name: Name | None = None
    priority: Rank = Priority.NORMAL


NewJob = Annotated[TrainJob | GenerateJob | AugmentJob | ScoreJob, By("kind")]


class JobFilter(Paging):
    kind: Literal[JobKind.INGEST, JobKind.TRAIN, JobKind.GENERATE, JobKind.AUGMENT, JobKind.SCORE] | None = Field(
        None, description="Only of this kind."
    )
    state: State | None = Field(None, description="Only in this state.")


@router.post(
    "",
    operation_id="create_job",
    summary="Submit a training, a generation, an augmentation or a scoring",
    status_code=201,
    response_model=views.JobView,
    responses=documented(
        NotFound,
        DatasetNotReady,
        ModelNotReady,
        GateFailed,
        InvalidCondition,
        IdempotencyKeyReused,
        BodyTooLarge,
        QuotaExceeded,
    ),
)
def create_job(body: NewJob, parts: Parts, once: OnlyOnce, who: Who) -> Response:
    if isinstance(body, TrainJob):
        require = _bounds(body.require)
        return answered(jobs.train(parts, once, body.dataset_id, body.config, body.name, body.priority, require))
    if isinstance(body, ScoreJob):
        return answered(scoring.score(parts, once, scoring.Wish(**body.model_dump(exclude={"kind"}))))
    demand = Demand(_bounds(body.require), body.override_gate, body.reason, who.key_id)
    wish = body.model_dump(exclude={"kind", "require", "override_gate", "reason"})
    if isinstance(body, AugmentJob):
        return answered(augmenting.augment(parts, once, augmenting.Wish(**wish, demand=demand)))
    return answered(generating.generate(parts, once, generating.Wish(**wish, demand=demand)))


def _bounds(require: dict[str, Bound]) -> dict[str, dict[str, float]]:
    return {name: bound.model_dump(exclude_none=True) for name, bound in require.items()}


@router.get("", operation_id="list_jobs", summary="List jobs, newest first", responses=documented())
def list_jobs(parts: Parts, who: Who, page: Annotated[JobFilter, Query()]) -> views.Page[views.JobView]:
    return jobs.page(parts, who.project_id, page.limit, page.cursor, page.kind, page.state)


@router.get("/{id}", operation_id="get_job", summary="Look at a job", responses=documented(NotFound))
def get_job(id: Id, parts: Parts, who: Who) -> views.JobView:
    return jobs.get(parts, who.project_id, id)


@router.post(
    "/{id}/cancel",
    operation_id="cancel_job",
    summary="Ask a job to end",
    description="What waits is cancelled at once, what runs within seconds. Asking again changes nothing.",
    status_code=202,
    responses=documented(NotFound, Conflict),
)
def cancel_job(id: Id, parts: Parts, who: Who) -> views.JobView:
    return jobs.cancel(parts, who.project_id, id)


@router.post(
    "/{id}/retry",
    operation_id="retry_job",
    summary="Have a failed job go on",
    description="A training goes on from its checkpoint, other work with what is missing; until `retry_until`.",
    status_code=202,
    response_model=views.JobView,
    responses=documented(NotFound, NotRetryable, IdempotencyKeyReused, QuotaExceeded),
)
def retry_job(id: Id, parts: Parts, once: OnlyOnce) -> Response:
    return answered(ended.retry(parts, once, id))


@router.delete(
    "/{id}",
    operation_id="delete_job",
    summary="Delete a job that has ended, and its output",
    description="A model that it made stays. Cancel a job first that has not ended.",
    status_code=204,
    responses=documented(NotFound, Conflict),
)
def delete_job(id: Id, parts: Parts, who: Who) -> None:
    ended.delete(parts, who.project_id, id)


@router.get(
    "/{id}/output",
    operation_id="get_output",
    summary="The files of a finished generation, augmentation or scoring, with presigned URLs",
    responses=documented(NotFound, JobNotSucceeded),
)
def get_output(id: Id, parts: Parts, who: Who) -> views.OutputView:
    return outputs.get(parts, who.project_id, id)
