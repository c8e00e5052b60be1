"""Takes an upload's bytes from the event loop to the bucket, a chunk at a time: memory does not grow with the file."""

import asyncio
from collections.abc import AsyncIterator

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request

from service.bootstrap import Context
from service.domain.views import DatasetView
from service.errors import BodyTooLarge, UploadIncomplete
from service.usecases import datasets

UPLOADS_AT_ONCE = 8  # through this process; each holds a thread and a few parts of a multipart upload


class Pulled:
    """An async stream as a file that another thread reads: each read asks the event loop for the next chunk, so a
    slow bucket slows the client down. Raises BodyTooLarge, UploadIncomplete."""

    def __init__(self, stream: AsyncIterator[bytes], limit: int) -> None:
        self.size = 0
        self._stream, self._limit = stream, limit
        self._loop = asyncio.get_running_loop()
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        chunks: list[memoryview] = []
        while size > 0:
            if not self._left and not self._pull():
                break
            chunks.append(self._left[:size])
            self._left = self._left[size:]
            size -= len(chunks[-1])
        return b"".join(chunks)

    def _pull(self) -> bool:
        self._left = memoryview(asyncio.run_coroutine_threadsafe(self._next(), self._loop).result())
        self.size += len(self._left)
        if self.size > self._limit:
            raise BodyTooLarge(f"An upload may have up to {self._limit} bytes.")
        return bool(self._left)

    async def _next(self) -> bytes:
        try:
            async for chunk in self._stream:
                if chunk:
                    return chunk
        except ClientDisconnect:
            raise UploadIncomplete() from None
        return b""


async def receive(request: Request, context: Context, project_id: str, id: str, filename: str | None) -> DatasetView:
    """What PUT .../content does. An upload that is cut off or too large leaves nothing, and may be sent again."""
    limiter: CapacityLimiter = request.app.state.uploads
    length = request.headers.get("content-length", "")
    key = await to_thread.run_sync(
        datasets.begin_content, context, project_id, id, int(length) if length.isdigit() else None
    )
    body = Pulled(request.stream(), context.settings.max_upload_bytes)
    await to_thread.run_sync(context.storage.put_stream, key, body, limiter=limiter)
    request.app.state.meters.uploaded(body.size)
    return await to_thread.run_sync(datasets.content_arrived, context, project_id, id, key, filename, body.size)
