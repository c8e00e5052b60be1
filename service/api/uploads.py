"""/v1/datasets/{id}/uploads: straight to the bucket, in parts with presigned URLs."""

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from service.api.dependencies import Body, Id, OnlyOnce, Parts, Who, answered
from service.api.problems import documented
from service.domain import views
from service.errors import BodyTooLarge, Conflict, IdempotencyKeyReused, NotFound, QuotaExceeded, UploadIncomplete
from service.usecases import uploads

router = APIRouter(prefix="/v1/datasets/{id}/uploads", tags=["uploads"])


class NewUpload(Body):
    model_config = ConfigDict(json_schema_extra={"example": {"filename": "adult.parquet", "size_bytes": 1_300_000}})

    filename: str = Field(min_length=1, max_length=1024)
    size_bytes: int = Field(ge=1, le=2**63 - 1)


@router.post(
    "",
    operation_id="create_upload",
    summary="Open an upload: a URL for each part",
    status_code=201,
    response_model=views.UploadView,
    responses=documented(NotFound, Conflict, IdempotencyKeyReused, BodyTooLarge, QuotaExceeded),
)
def create_upload(id: Id, body: NewUpload, parts: Parts, once: OnlyOnce) -> Response:
    return answered(uploads.create(parts, once, id, body.filename, body.size_bytes))


@router.get(
    "/{upload_id}",
    operation_id="get_upload",
    summary="Which parts have arrived, and fresh URLs",
    responses=documented(NotFound),
)
def get_upload(id: Id, upload_id: Id, parts: Parts, who: Who) -> views.UploadView:
    return uploads.get(parts, who.project_id, id, upload_id)


@router.post(
    "/{upload_id}/complete",
    operation_id="complete_upload",
    summary="Put the parts together and read the dataset",
    description="Safe to send again: once complete, it answers the dataset and changes nothing.",
    status_code=202,
    responses=documented(NotFound, Conflict, UploadIncomplete),
)
def complete_upload(id: Id, upload_id: Id, parts: Parts, who: Who) -> views.DatasetView:
    return uploads.complete(parts, who.project_id, id, upload_id)


@router.delete(
    "/{upload_id}",
    operation_id="delete_upload",
    summary="Give an upload up",
    status_code=204,
    responses=documented(NotFound, Conflict),
)
def delete_upload(id: Id, upload_id: Id, parts: Parts, who: Who) -> None:
    uploads.delete(parts, who.project_id, id, upload_id)
