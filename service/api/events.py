"""/v1/jobs/{id}/events and /metrics: what happened, as pages or as a stream that goes on where it was cut off."""

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from service.api.dependencies import Id, Parts, Who
from service.api.problems import documented
from service.bootstrap import Context
from service.domain import views
from service.errors import NotFound
from service.usecases import events

router = APIRouter(prefix="/v1/jobs/{id}", tags=["jobs"])
LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
AT_ONCE = 200  # events read in one go

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page, or with `Accept: text/event-stream` a stream whose ids are the events' own.",
        "model": views.EventPage,
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 2\nevent: state\ndata: {"id": 2, "type": "state", "message": "The job runs."}\n\n',
            }
        },
    }
}


@router.get(
    "/events",
    operation_id="list_events",
    summary="What happened to a job, oldest first; as a stream if asked for",
    description=(
        "With `Accept: text/event-stream` the answer stays open: each event as it comes, comments as heartbeats, and "
        "`event: done` once the job has ended. A client that was cut off sends the last id as `Last-Event-ID`."
    ),
    response_model=None,
    responses={**documented(NotFound), **STREAM},
)
async def list_events(
    id: Id,
    request: Request,
    parts: Parts,
    who: Who,
    after: Annotated[int, Query(ge=0, le=2**53, description="Events that follow this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    last_event_id: Annotated[int, Header(ge=0, le=2**53)] = 0,
) -> Response:
    wants_stream = "text/event-stream" in request.headers.get("accept", "")
    start = max(after, last_event_id)
    first = await to_thread.run_sync(events.page, parts, who.project_id, id, start, AT_ONCE if wants_stream else limit)
    if not wants_stream:
        return JSONResponse(first.model_dump(mode="json"))
    body = _stream(request, parts, who.project_id, id, first, start)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # nginx would hold it back
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="The training curves of a job",
    responses=documented(NotFound),
)
def get_metrics(id: Id, parts: Parts, who: Who) -> views.MetricsView:
    return events.metrics(parts, who.project_id, id)


async def _stream(
    request: Request, context: Context, project_id: str, id: str, page: views.EventPage, last: int
) -> AsyncIterator[bytes]:
    """Events as they come, until the job has ended, is deleted, or this process is told to stop."""
    sent = time.monotonic()
    while True:
        for event in page.data:
            yield format_sse_event(data_str=event.model_dump_json(), event=event.type, id=str(event.id))
            last, sent = event.id, time.monotonic()
        if page.ended:
            yield format_sse_event(data_str=json.dumps({"last": last}), event="done")
            return
        if request.app.state.stopping.is_set():
            return
        if time.monotonic() - sent > HEARTBEAT_SECONDS:
            yield KEEPALIVE_COMMENT
            sent = time.monotonic()
        if page.next_cursor is None:
            await anyio.sleep(LOOK_SECONDS)
        try:
            page = await to_thread.run_sync(events.page, context, project_id, id, last, AT_ONCE)
        except NotFound:
            return
