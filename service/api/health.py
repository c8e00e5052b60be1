"""/healthz, /readyz, /metrics: for what watches over this process. No key is asked for, no name is told."""

from collections.abc import Callable
from functools import cache
from threading import Thread
from time import monotonic
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy import text

import migrations
from service.api.dependencies import Parts
from service.api.problems import MEDIA_TYPE, Problem
from service.bootstrap import Context
from service.errors import Unavailable

router = APIRouter(tags=["health"])
CHECK_SECONDS = 3.0


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    """`degraded`: the broker does not answer. Requests are taken all the same; jobs start once it is back."""

    status: Literal["ready", "degraded"]
    checks: dict[str, str]


@router.get("/healthz", operation_id="healthz", summary="Is the process alive?")
def healthz() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Can it answer? Database and its migrations, bucket, broker",
    responses={503: {"description": "It cannot.", "model": Problem, "content": {MEDIA_TYPE: {}}}},
)
def readyz(parts: Parts) -> Readiness:
    found = _outcomes(parts)
    errors = [{"path": name, "message": found[name]} for name in ("database", "bucket") if found[name] != "ok"]
    if errors:
        raise Unavailable(" ".join(error["message"] for error in errors), errors=errors)
    return Readiness(status="ready" if found["broker"] == "ok" else "degraded", checks=found)


@router.get("/metrics", operation_id="metrics", summary="For Prometheus", response_class=Response)
def metrics(request: Request) -> Response:
    return Response(request.app.state.meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _outcomes(context: Context) -> dict[str, str]:
    """All checks at one time, each in a thread of its own that neither the answer nor the process's end waits for."""
    found = dict.fromkeys(CHECKS, "It does not answer.")

    def run(name: str) -> None:
        found[name] = _outcome(CHECKS[name], context)

    threads = [Thread(target=run, args=(name,), daemon=True) for name in CHECKS]
    for thread in threads:
        thread.start()
    end = monotonic() + CHECK_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - monotonic()))
    return dict(found)


def _outcome(check: Callable[[Context], None], context: Context) -> str:
    try:
        check(context)
    except Unavailable as error:
        return error.detail
    except Exception:  # noqa: BLE001  # whatever a driver raises, it means no; details are no business of the asker
        return "It cannot be reached."
    return "ok"


serves = cache(migrations.serves)


def _database(context: Context) -> None:
    with context.database.read() as session:
        at = session.scalar(text("SELECT version_num FROM alembic_version"))
    if not serves(at):
        raise Unavailable("The database's migrations are not those of this version.")


def _bucket(context: Context) -> None:
    context.storage.reachable()


def _broker(context: Context) -> None:
    if not context.doorbell.reachable():
        raise Unavailable("The broker cannot be reached.")


CHECKS: dict[str, Callable[[Context], None]] = {"database": _database, "bucket": _bucket, "broker": _broker}
