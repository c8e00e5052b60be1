"""Every way in which a call can fail, each with a sentence that says what to do."""

from typing import Any


class MintageError(Exception):
    """The root of all errors of this package; its message is a sentence for people."""

    code = "error"


class NoServer(MintageError):
    """No server is named and none runs here. Start one with 'mintage up', or set MINTAGE_URL and MINTAGE_API_KEY."""

    code = "no_server"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ServerUnreachable(MintageError):
    """The server did not answer, even after several tries."""

    code = "server_unreachable"


class ApiError(MintageError):
    """The server refused the request."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str | None = None,
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.errors = errors or []
        super().__init__(f"{detail} ({'; '.join(map(self._place, self.errors))})" if self.errors else detail)

    def _place(self, error: dict[str, Any]) -> str:
        """Where in the request, and what is wrong there unless that was said already."""
        path, message = str(error.get("path", "")), str(error.get("message", ""))
        return path if message in self.detail else f"{path}: {message}"


class JobFailed(MintageError):
    """A job ended otherwise than in success. `code` and the message are the server's own."""

    def __init__(self, job_id: str, state: str, code: str, detail: str) -> None:
        self.job_id = job_id
        self.state = state
        self.code = code
        self.detail = detail
        super().__init__(detail)


class WaitTimedOut(MintageError):
    """The wait was given a limit, and it passed; the job goes on."""

    code = "wait_timed_out"


class DownloadFailed(MintageError):
    """A file did not arrive as the manifest promises it."""

    code = "download_failed"


class StackError(MintageError):
    """The local stack cannot start or stop; the message says why and what to do."""

    code = "stack"
