"""Every refusal as application/problem+json (RFC 9457), whoever raised it; no stack trace, no input repeated."""

import re
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from service import errors
from service.db.database import disk_is_full
from service.domain.states import JobKind
from service.usecases.invalid import refuse_all

MEDIA_TYPE = "application/problem+json"
CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
SENTENCES = {404: "There is nothing at this address.", 405: "This address does not take this method."}
SENTENCES[413] = errors.BodyTooLarge.__doc__ or ""


class FieldProblem(BaseModel):
    path: str = Field(examples=["config.steps"])
    message: str = Field(examples=["Input should be greater than or equal to 1."])


class Problem(BaseModel):
    """What every refusal looks like (RFC 9457)."""

    type: str = Field(examples=["/problems/invalid_request"])
    title: str = Field(examples=["Invalid request"])
    status: int = Field(examples=[422])
    detail: str = Field(description="A sentence for people.", examples=["config.steps: Input should be at least 1."])
    code: str = Field(description="Stable; for programs.", examples=["invalid_request"])
    request_id: str = Field(description="Also in X-Request-Id and in the server's log.")
    errors: list[FieldProblem] = Field(description="What is wrong where, for a bad body or parameter.")


def response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    found: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    body = {
        "type": f"/problems/{code}",
        "title": title(code),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request.scope.get("request_id", ""),
        "errors": found or [],
    }
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def title(code: str) -> str:
    return code.replace("_", " ").capitalize()


def from_error(request: Request, error: errors.MintageError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return response(request, error.status, error.code, error.detail, error.errors, headers)


def install(app: FastAPI) -> None:
    """Answer for everything that FastAPI, Starlette or our own code raises."""
    app.add_exception_handler(errors.MintageError, _mintage)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    for unreachable in (PoolTimeout, BotoCoreError, ClientError):
        app.add_exception_handler(unreachable, _unavailable)
    app.add_exception_handler(Exception, _unexpected)


async def _mintage(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.MintageError)  # noqa: S101  # for the type checker
    return from_error(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return from_error(request, refuse_all([{**found, "loc": _path(found["loc"])} for found in error.errors()]))


def _path(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without where it was read from, and without the kind of job that the body was told apart by."""
    if loc[:1] == ("body",) and len(loc) > 1 and loc[1] in set(JobKind):
        return loc[2:]
    return () if loc[:1] == ("body",) and len(loc) == 2 and isinstance(loc[1], int) else loc[1:]


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = error.status_code
    code = CODES.get(status) or re.sub(r"\W+", "_", HTTPStatus(status).phrase.lower())
    detail = SENTENCES.get(status) or f"{HTTPStatus(status).description or HTTPStatus(status).phrase}."
    headers = {"Allow": _allowed(request)} if status == 405 else dict(error.headers or {})
    return response(request, status, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method that the address takes; Starlette names only those of the first route that fits."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    fit = [path for path in paths if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), request.url.path)]
    return ", ".join(sorted({method.upper() for path in fit for method in paths[path]})) or "GET"


async def _database(request: Request, error: Exception) -> Response:
    if isinstance(error, DataError):  # a value that the database cannot hold slipped through
        return from_error(request, errors.InvalidRequest())
    if disk_is_full(error):
        return from_error(request, errors.DiskFull())
    return await _unavailable(request, error)


async def _unavailable(request: Request, error: Exception) -> Response:
    request.scope["mintage.cause"] = f"{type(error).__name__}: {error}"  # for the log, not for the answer
    return from_error(request, errors.Unavailable())


async def _unexpected(request: Request, error: Exception) -> Response:
    """Starlette raises the error again after this answer, so that the server logs it."""
    answer = from_error(request, errors.MintageError("Something went wrong here; the request's id helps to find it."))
    answer.headers["X-Request-Id"] = request.scope.get("request_id", "")
    return answer


def documented(*kinds: type[errors.MintageError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can be refused so, beside what every route can answer."""
    by_status: dict[int | str, list[type[errors.MintageError]]] = {}
    every: list[type[errors.MintageError]] = [errors.Unauthenticated, *kinds]
    every += [errors.InvalidRequest, errors.Unavailable, errors.DiskFull]
    for kind in every:
        if kind not in by_status.setdefault(kind.status, []):
            by_status[kind.status].append(kind)
    return {status: _described(kinds) for status, kinds in by_status.items()}


def _described(kinds: list[type[errors.MintageError]]) -> dict[str, Any]:
    examples = {kind.code: {"value": _example(kind)} for kind in kinds}
    sentences = " ".join((kind.__doc__ or "").split("\n")[0].strip() for kind in kinds)
    return {"description": sentences, "model": Problem, "content": {MEDIA_TYPE: {"examples": examples}}}


def _example(kind: type[errors.MintageError]) -> dict[str, Any]:
    invalid = [{"path": "limit", "message": "Input should be less than or equal to 100."}]
    return {
        "type": f"/problems/{kind.code}",
        "title": title(kind.code),
        "status": kind.status,
        "detail": (kind.__doc__ or "").split("\n")[0].strip(),
        "code": kind.code,
        "request_id": "req_01jv3qb5k1f7n2r8s4d6g9h0jk",
        "errors": invalid if kind is errors.InvalidRequest else [],
    }
