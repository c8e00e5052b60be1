"""A full disk: refused with a sentence, nothing half done, and all well again once there is room."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import event, text

from service.bootstrap import Context
from tests.integration.api.conftest import Api, refused

Serve = Callable[[Context], AbstractContextManager[Api]]


@contextmanager
def full(context: Context) -> Iterator[None]:
    """The database's file cannot grow: SQLite says what it says on a full disk (SQLITE_FULL)."""
    engine = context.database.engine
    with context.database.read() as session:
        pages = int(session.execute(text("PRAGMA page_count")).scalar_one())

    def limit(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

    event.listen(engine, "connect", limit)
    engine.dispose()
    try:
        yield
    finally:
        event.remove(engine, "connect", limit)
        engine.dispose()


def test_a_full_disk_is_told_and_what_was_being_written_is_undone(sqlite_context: Context, serve: Serve) -> None:
    with serve(sqlite_context) as api:
        dataset = api.ready()
        with full(sqlite_context):
            refusals = 0
            for _ in range(300):  # until the free pages that the file has are used up
                body = {"kind": "train", "dataset_id": dataset, "config": {}}
                answer = api.http.post("/v1/jobs", json=body)
                if answer.status_code != 201:
                    refused(answer, 507, "disk_full")
                    refusals += 1
            assert refusals > 0
            taken = 300 - refusals
            assert api.http.get("/v1/jobs?limit=1").status_code == 200
        with sqlite_context.database.read() as session:
            counts = [session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in ("jobs", "units")]  # noqa: S608
            assert counts == [taken + 1, taken + 1]  # and the dataset's
            assert session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        assert api.submit(kind="train", dataset_id=dataset, config={})["state"] == "queued"
