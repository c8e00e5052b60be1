"""/v1/models: looked at, listed, deleted; reports; samples while you wait."""

from time import monotonic
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse
from starlette.background import BackgroundTask

from service.api import report
from service.api.dependencies import Id, Page, Parts, Who
from service.api.problems import documented
from service.domain import views
from service.errors import InUse, ModelNotReady, NotFound, Unavailable
from service.usecases import models, previews

router = APIRouter(prefix="/v1/models", tags=["models"])
LOOK_SECONDS = 0.01, 0.1  # at first, when samples of a warm model come; and later
SOON_SECONDS = 0.5

SAMPLES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Rows as JSON, or a PNG of pictures, as the modality's `preview` says.",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["columns", "rows"]},
                "example": {"columns": ["age", "income"], "rows": [[39, "<=50K"]]},
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("", operation_id="list_models", summary="List models, newest first", responses=documented())
def list_models(parts: Parts, who: Who, page: Page) -> views.Page[views.ModelView]:
    return models.page(parts, who.project_id, page.limit, page.cursor)


@router.get("/{id}", operation_id="get_model", summary="Look at a model", responses=documented(NotFound))
def get_model(id: Id, parts: Parts, who: Who) -> views.ModelView:
    return models.get(parts, who.project_id, id)


@router.delete(
    "/{id}",
    operation_id="delete_model",
    summary="Delete a model; what was generated from it stays",
    status_code=204,
    responses=documented(NotFound, InUse),
)
def delete_model(id: Id, parts: Parts, who: Who) -> None:
    models.delete(parts, who.project_id, id)


@router.get(
    "/{id}/report",
    operation_id="get_report",
    summary="How good and how private the model is",
    responses=documented(NotFound, ModelNotReady),
)
def get_report(id: Id, parts: Parts, who: Who) -> dict[str, Any]:
    return dict(models.report(parts, who.project_id, id)[1])


@router.get(
    "/{id}/report.html",
    operation_id="get_report_page",
    summary="The same as a page",
    response_class=HTMLResponse,
    responses=documented(NotFound, ModelNotReady),
)
def get_report_page(id: Id, parts: Parts, who: Who) -> HTMLResponse:
    found = models.report(parts, who.project_id, id)
    pictures = models.pictures(parts, who.project_id, id, report.LARGEST_PICTURE)
    return HTMLResponse(report.render(*found, pictures), headers=report.HEADERS)


@router.get(
    "/{id}/samples",
    operation_id="get_samples",
    summary="A few fresh samples, while you wait",
    response_class=Response,
    responses={**documented(NotFound, ModelNotReady), **SAMPLES},
)
async def get_samples(
    id: Id,
    parts: Parts,
    who: Who,
    count: Annotated[int, Query(ge=1, le=256, description="Samples.")] = 16,
    seed: Annotated[int | None, Query(ge=0, lt=2**63, description="Without it, others each time.")] = None,
) -> Response:
    asked = await to_thread.run_sync(previews.ask, parts, who.project_id, id, count, seed)
    begun = monotonic()
    end = begun + parts.settings.preview_seconds
    while (body := await to_thread.run_sync(previews.look, parts, who.project_id, asked)) is None:
        if monotonic() > end:
            await to_thread.run_sync(previews.give_up, parts, who.project_id, asked)
            raise Unavailable("No worker was free to draw samples in time; try again soon.")
        await anyio.sleep(LOOK_SECONDS[monotonic() > begun + SOON_SECONDS])
    headers = {"Cache-Control": "no-store", "X-Seed": str(asked.seed)}
    after = BackgroundTask(previews.leave, parts, who.project_id, asked)
    return Response(body, media_type=asked.media_type, headers=headers, background=after)
