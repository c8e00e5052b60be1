"""Takes an upload's bytes from the event loop to the bucket, a chunk at a time: memory does not grow with the file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request

from service.bootstrap import Context
from service.domain.views import DatasetView
from service.errors import BodyTooLarge, Unavailable, UploadIncomplete
from service.usecases import datasets

UPLOADS_AT_ONCE = 12  # through this process; each holds a thread and a few parts of a multipart upload
A_PROJECTS_UPLOADS = 4  # of those: one project's slow uploads leave room for the others
SLOT_SECONDS = 30.0  # an upload waits so long for its turn
SILENCE_SECONDS = 60.0  # a client that sends nothing for so long has lost its connection


class Slots:
    """Who may upload through this process now. Each upload has a thread of its own, beside those of other requests."""

    def __init__(self) -> None:
        self.threads = CapacityLimiter(UPLOADS_AT_ONCE)
        self._all = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._projects: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def one(self, project_id: str) -> AsyncIterator[None]:
        """Raises Unavailable where none gets free in time."""
        own = self._projects.setdefault(project_id, asyncio.Semaphore(A_PROJECTS_UPLOADS))
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(SLOT_SECONDS):
                    await held.enter_async_context(own)
                    await held.enter_async_context(self._all)
            except TimeoutError:
                raise Unavailable("Too many uploads arrive at the moment; try again soon.") from None
            yield


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
            async with asyncio.timeout(SILENCE_SECONDS):
                async for chunk in self._stream:
                    if chunk:
                        return chunk
        except ClientDisconnect:
            raise UploadIncomplete() from None
        except TimeoutError:
            raise UploadIncomplete(f"Nothing more arrived for {SILENCE_SECONDS:g} seconds; send it again.") from None
        return b""


async def receive(request: Request, context: Context, project_id: str, id: str, filename: str | None) -> DatasetView:
    """What PUT .../content does. An upload that is cut off or too large leaves nothing, and may be sent again."""
    slots: Slots = request.app.state.uploads
    length = request.headers.get("content-length", "")
    key = await to_thread.run_sync(
        datasets.begin_content, context, project_id, id, int(length) if length.isdigit() else None
    )
    body = Pulled(request.stream(), context.settings.max_upload_bytes)
    async with slots.one(project_id):
        await to_thread.run_sync(context.storage.put_stream, key, body, limiter=slots.threads)
    request.app.state.meters.uploaded(body.size)
    return await to_thread.run_sync(datasets.content_arrived, context, project_id, id, key, filename, body.size)
