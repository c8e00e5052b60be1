"""/v1/jobs/{id}/film: how the samples of a training have become what they are."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from service.api.dependencies import Id, Parts, Who
from service.api.problems import documented
from service.domain import views
from service.errors import NotFound
from service.usecases import film

router = APIRouter(prefix="/v1/jobs/{id}/film", tags=["jobs"])

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A PNG of samples.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "",
    operation_id="get_film",
    summary="Pictures of a training's samples from the same noise, by step",
    description="Some five over a run, each there as soon as it is drawn; none where samples are rows of a table.",
    responses=documented(NotFound),
)
def get_film(id: Id, parts: Parts, who: Who) -> views.FilmView:
    return film.get(parts, who.project_id, id)


@router.get(
    "/{step}",
    operation_id="get_frame",
    summary="One picture of the film",
    response_class=Response,
    responses={**documented(NotFound), **PICTURE},
)
def get_frame(id: Id, parts: Parts, who: Who, step: Annotated[int, Path(ge=0, le=2**53)]) -> Response:
    body = film.frame(parts, who.project_id, id, step)
    return Response(body, media_type="image/png", headers={"Cache-Control": "no-store"})
