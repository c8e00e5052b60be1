"""HTTP with patience: one connection pool, retries that cannot do a thing twice, and refusals as typed errors."""

import contextlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from mintage.errors import ApiError, ServerUnreachable

TRIES = 6
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 20.0  # seconds; doubled each time, with jitter so that clients do not march in step
PATIENCE = 120.0  # seconds; a server that asks for more, such as over a full quota, has refused
BUSY = frozenset({429, 502, 503, 504})  # the request was not carried out, or is safe to send again
TIMEOUT = httpx.Timeout(60.0, connect=5.0)  # /samples may take half a minute

Body = Callable[[], Iterator[bytes]]


class Transport:
    """Requests to one server. Every method here may be sent twice without harm: a POST carries an Idempotency-Key."""

    def __init__(self, url: str, api_key: str, tries: int = TRIES, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = url
        self._tries = tries
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "mintage-client"},
            timeout=TIMEOUT,
        )
        self.storage = httpx.Client(timeout=TIMEOUT)  # presigned URLs: the API key never goes there

    def close(self) -> None:
        self._http.close()
        self.storage.close()

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        return parsed(self.send("GET", path, params=params))

    def read(self, path: str, params: dict[str, Any] | None = None, accept: str | None = None) -> httpx.Response:
        return self.send("GET", path, params=params, headers={"Accept": accept} if accept else None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """A POST with a key of its own, so that a repeat after a lost answer makes nothing twice."""
        answer = self.send("POST", path, json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
        return parsed(answer) if answer.content else {}

    def delete(self, path: str) -> None:
        try:
            self.send("DELETE", path)
        except Repeated as done:
            if done.status != 404:  # gone since the first try: that is what was asked for
                raise

    def pages(
        self, path: str, params: dict[str, Any] | None = None, limit: int | None = None, cursor_name: str = "cursor"
    ) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page as they are wanted; `limit` stops early."""
        asked = {key: value for key, value in (params or {}).items() if value is not None}
        left = limit if limit is not None else float("inf")
        while left > 0:
            page = self.get(path, {**asked, "limit": int(min(left, 100))})
            yield from page["data"][: int(min(left, 100))]
            left -= len(page["data"])
            if not page.get("next_cursor"):
                return
            asked[cursor_name] = page["next_cursor"]

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request, repeated while the server is busy or away. Raises ApiError, ServerUnreachable."""
        answer = retrying(lambda: self._http.request(method, path, **request), self._tries, self._sleep, self.url)
        return checked(answer.response, answer.tries)

    def put_stream(self, path: str, params: dict[str, Any], body: Body, size: int) -> Any:
        """A PUT whose body is read anew for each try, never held whole."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        timeout = httpx.Timeout(600.0, connect=5.0)  # storing a large body takes the server its time

        def put() -> httpx.Response:
            return self._http.put(path, params=params, content=body(), headers=headers, timeout=timeout)

        answer = retrying(put, self._tries, self._sleep, self.url)
        return parsed(checked(answer.response, answer.tries))

    @contextlib.contextmanager
    def stream(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        with self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(60.0, connect=5.0)) as response:
            if not response.is_success:
                response.read()
            yield checked(response, 1)


class Answer:
    """A response, and how many tries it took."""

    def __init__(self, response: httpx.Response, tries: int) -> None:
        self.response = response
        self.tries = tries


class Repeated(ApiError):
    """A refusal that came after a repeat: an earlier try may have been carried out."""


def retrying(request: Callable[[], httpx.Response], tries: int, sleep: Callable[[float], None], where: str) -> Answer:
    """The first answer that is not a plea for patience. Raises ServerUnreachable when none came at all."""
    for number in range(1, tries + 1):
        try:
            response = request()
        except httpx.TransportError as error:
            if number == tries:
                raise ServerUnreachable(f"{where} does not answer: {_reason(error)}.") from error
            sleep(pause(number))
            continue
        asked = response.headers.get("Retry-After")
        if response.status_code not in BUSY or number == tries or (_seconds(asked) or 0.0) > PATIENCE:
            return Answer(response, number)
        sleep(pause(number, asked))
    raise AssertionError("the loop returns or raises")


def pause(number: int, retry_after: str | None = None) -> float:
    """Seconds to wait after try `number`: what the server asks for, else twice as long each time, give or take."""
    asked = _seconds(retry_after)
    if asked is not None:
        return min(asked, PATIENCE)
    longest = min(FIRST_PAUSE * 2.0 ** (number - 1), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret


def _seconds(header: str | None) -> float | None:
    """Retry-After, in either of its two forms (RFC 9110, 10.2.3)."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
        except ValueError:
            return None


def checked(response: httpx.Response, tries: int = 1) -> httpx.Response:
    """The response, if it is a good one. Raises ApiError with what the server says."""
    if response.is_success:
        return response
    if response.has_redirect_location:
        to = response.headers["Location"]
        raise ApiError(response.status_code, "redirected", f"The server points to {to}; use its address itself.")
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    error = Repeated if tries > 1 else ApiError
    raise error(
        response.status_code,
        str(problem.get("code") or f"http_{response.status_code}"),
        str(problem.get("detail") or problem.get("title") or f"The server answered {response.status_code}."),
        problem.get("request_id") or response.headers.get("X-Request-Id"),
        problem.get("errors") if isinstance(problem.get("errors"), list) else None,
    )


def parsed(response: httpx.Response) -> dict[str, Any]:
    """The object in the answer. Raises ApiError where something else answers than Mintage, such as a proxy's page."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        text = f"{response.url} answers with something else than a JSON object; is it the address of a Mintage server?"
        raise ApiError(response.status_code, "not_json", text)
    return body


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError):
        return "the connection was refused" if "refused" in str(error).lower() else "no connection could be made"
    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    return "the connection broke"
