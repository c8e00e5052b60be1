"""The outermost layer of the API: request ids, the limit of JSON bodies, metrics, a log line a request."""

import logging
import re
import time
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics import Meters
from service.api.problems import from_error
from service.domain.ids import new_id
from service.errors import BodyTooLarge

GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,80}")
STREAMED = re.compile(r"/v1/datasets/[^/]+/content")  # counts its own bytes against its own limit
QUIET = {"/healthz", "/readyz", "/metrics"}


class Front:
    def __init__(self, app: ASGIApp, max_body_bytes: int, meters: Meters) -> None:
        self.app, self.limit, self.meters = app, max_body_bytes, meters
        # The standard library's logger, configured or not: what cannot be written there fails no request.
        self.log = structlog.wrap_logger(logging.getLogger("mintage.http"), wrapper_class=structlog.stdlib.BoundLogger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = asked if GIVEN_ID.fullmatch(asked) else new_id("req")
        answer = Answer(send, scope["request_id"])
        start = time.perf_counter()
        try:
            await self._limited(scope, receive, answer)
        finally:
            self._account(scope, answer.status or 500, time.perf_counter() - start)

    async def _limited(self, scope: Scope, receive: Receive, send: "Answer") -> None:
        if STREAMED.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > self.limit:
            error = BodyTooLarge(f"A body may have up to {self.limit} bytes here.")
            await from_error(Request(scope), error)(scope, receive, send)
            return
        await self.app(scope, Body(receive, self.limit), send)

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "none"  # the template: one series a route, not one an id
        self.meters.request(scope["method"], route, status, seconds)
        if scope["path"] in QUIET and status < 400:
            return
        line: dict[str, Any] = {"method": scope["method"], "route": route, "status": status}
        line |= {"ms": round(seconds * 1000, 1), "request_id": scope["request_id"]}
        if "mintage.cause" in scope:
            line["cause"] = scope["mintage.cause"]
        (self.log.warning if status >= 500 else self.log.info)("request", **line)


class Answer:
    """Sends on, with the request's id on it, and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send, self.request_id = send, request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            headers["X-Content-Type-Options"] = "nosniff"
        await self.send(message)


class Body:
    """Receives on, up to so many bytes."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive, self.left = receive, limit

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.left -= len(message.get("body", b""))
            if self.left < 0:
                raise HTTPException(413)  # the one exception that FastAPI lets pass while it reads a body
        return message
