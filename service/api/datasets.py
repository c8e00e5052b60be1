"""/v1/datasets: made, filled, looked at, changed, deleted."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field

from service.api.dependencies import Body, Id, Name, OnlyOnce, Page, Parts, Who, answered
from service.api.problems import documented
from service.api.streaming import receive
from service.domain import views
from service.errors import (
    BodyTooLarge,
    Conflict,
    IdempotencyKeyReused,
    InUse,
    NotFound,
    QuotaExceeded,
    UploadIncomplete,
)
from service.usecases import datasets

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
RAW = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class NewDataset(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "adult"}, {"name": "m", "modality": "images"}]})

    name: Name
    modality: str | None = Field(None, description="Found by looking at the upload, if absent.", max_length=32)
    options: dict[str, Any] = Field(default_factory=dict, description="How to read the upload; see /v1/modalities.")
    retention_seconds: int | None = Field(
        None,
        ge=60,
        le=100 * 366 * 86_400,
        description="How long after its making it is deleted, once no job reads it; the server's if absent.",
    )


class ColumnOverride(Body):
    type: str = Field(max_length=32, description="Such as category, integer or text.")


class SchemaOverride(Body):
    columns: dict[str, ColumnOverride]


class DatasetChange(Body):
    """What is left out stays. Options or column types read the upload again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "adult 1994"}, {"schema": {"columns": {"zip": {"type": "category"}}}}]}
    )

    name: Name | None = None
    options: dict[str, Any] | None = None
    schema_: SchemaOverride | None = Field(None, alias="schema")


@router.post(
    "",
    operation_id="create_dataset",
    summary="Make an empty dataset",
    status_code=201,
    response_model=views.DatasetView,
    responses=documented(IdempotencyKeyReused, BodyTooLarge),
)
def create_dataset(body: NewDataset, parts: Parts, once: OnlyOnce) -> Response:
    return answered(datasets.create(parts, once, body.name, body.modality, body.options, body.retention_seconds))


@router.get("", operation_id="list_datasets", summary="List datasets, newest first", responses=documented())
def list_datasets(parts: Parts, who: Who, page: Page) -> views.Page[views.DatasetView]:
    return datasets.page(parts, who.project_id, page.limit, page.cursor)


@router.get("/{id}", operation_id="get_dataset", summary="Look at a dataset", responses=documented(NotFound))
def get_dataset(id: Id, parts: Parts, who: Who) -> views.DatasetView:
    return datasets.get(parts, who.project_id, id)


@router.patch(
    "/{id}",
    operation_id="change_dataset",
    summary="Rename, or read the upload again with other options or column types",
    responses=documented(NotFound, Conflict, InUse, BodyTooLarge),
)
def change_dataset(id: Id, body: DatasetChange, parts: Parts, who: Who) -> views.DatasetView:
    types = None if body.schema_ is None else {name: column.type for name, column in body.schema_.columns.items()}
    return datasets.change(parts, who.project_id, id, name=body.name, options=body.options, types=types)


@router.delete(
    "/{id}",
    operation_id="delete_dataset",
    summary="Delete a dataset and its upload",
    status_code=204,
    responses=documented(NotFound, InUse),
)
def delete_dataset(id: Id, parts: Parts, who: Who) -> None:
    datasets.delete(parts, who.project_id, id)


@router.put(
    "/{id}/content",
    operation_id="upload_content",
    summary="Upload the file through the API, streamed",
    status_code=202,
    responses=documented(NotFound, Conflict, BodyTooLarge, UploadIncomplete, QuotaExceeded),
    openapi_extra={"requestBody": {"required": True, "description": "The file's bytes.", "content": RAW}},
)
async def upload_content(
    id: Id,
    request: Request,
    parts: Parts,
    who: Who,
    filename: Annotated[
        str | None, Query(max_length=1024, description="For people, and a hint at the format.", examples=["adult.csv"])
    ] = None,
) -> views.DatasetView:
    return await receive(request, parts, who.project_id, id, filename)
