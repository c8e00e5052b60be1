"""The API as an ASGI application: `uvicorn service.main:app` takes its settings from the environment."""

import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI

from service.api import datasets, events, film, health, jobs, modalities, models, problems, uploads, usage
from service.api.front import Front
from service.api.metrics import Meters
from service.api.openapi import describe
from service.api.streaming import Slots
from service.bootstrap import Context, bootstrap
from service.logs import configure
from service.pages import landing, reference
from service.usecases import sweep

THREADS = 64  # requests in work at one time; more wait


def create_app(context: Context, sweeping: bool = False) -> FastAPI:
    """The application on these parts. `sweeping`: also reconcile in the background, as every process may."""
    meters = Meters(context)
    app = FastAPI(
        lifespan=_lifespan(context, sweeping),
        redirect_slashes=False,
        docs_url=None,  # service.pages.reference
        redoc_url=None,
    )
    app.state.context, app.state.meters, app.state.stopping = context, meters, threading.Event()
    app.add_middleware(Front, max_body_bytes=context.settings.max_body_bytes, meters=meters)
    problems.install(app)
    for part in (datasets, uploads, jobs, events, film, models, modalities, usage, health, landing, reference):
        app.include_router(part.router)
    describe(app)
    return app


def _lifespan(context: Context, sweeping: bool) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        app.state.uploads = Slots()
        stopping: threading.Event = app.state.stopping
        _set_when_told_to_stop(stopping)
        if sweeping:
            sweep.loop(context, stopping)
        yield
        stopping.set()

    return lifespan


def _set_when_told_to_stop(stopping: threading.Event) -> None:
    """Event streams end when the process is told to stop: the server waits for open answers before it does."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def told(number: int, frame: Any, before: Any = before) -> None:
            stopping.set()
            if callable(before):
                before(number, frame)

        if callable(before):
            signal.signal(number, told)


def __getattr__(name: str) -> FastAPI:
    """`app` is made when it is asked for: to import this file needs no settings."""
    if name != "app":
        raise AttributeError(name)
    context = bootstrap()
    configure(context.settings.log_format)
    app = create_app(context, sweeping=True)
    globals()["app"] = app
    return app
