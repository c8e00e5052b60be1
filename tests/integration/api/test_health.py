"""Health, readiness and metrics; and what users see while database, bucket or broker are down."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

import migrations
from service.bootstrap import Context, bootstrap
from service.errors import MintageError
from service.settings import Settings
from service.usecases import jobs
from tests import servers
from tests.integration.api.conftest import Api, refused

Serve = Callable[[Context], AbstractContextManager[Api]]


@contextmanager
def without(context: Context, **settings: Any) -> Iterator[Context]:
    """The same, but for some settings that lead nowhere."""
    other = bootstrap(context.settings.model_copy(update=settings))
    yield other
    other.doorbell.app.close()
    other.database.dispose()


def nowhere() -> str:
    return f"127.0.0.1:{servers.free_ports(1)[0]}"


def test_a_healthy_server_says_so_without_a_key(api: Api) -> None:
    nobody = api.client(None)
    assert nobody.get("/healthz").json() == {"status": "ok"}
    ready = {"status": "ready", "checks": {"database": "ok", "bucket": "ok", "broker": "ok"}}
    assert nobody.get("/readyz").json() == ready
    assert nobody.get("/").status_code == 200
    assert "/docs" in nobody.get("/").text


def test_the_reference_needs_nothing_but_this_server(lite: Api) -> None:
    nobody = lite.client(None)
    page = nobody.get("/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert {name.rpartition(".")[2] for name in loaded} == {"js", "css", "png"}
    for name in loaded:
        answer = nobody.get(name)
        assert (answer.status_code, len(answer.content) > 1_000) == (200, True), name
    assert "https://" not in page.text
    assert "/openapi.json" in page.text
    refused(nobody.get("/docs/redoc.standalone.js"), 404, "not_found")


def test_without_the_broker_jobs_are_taken_and_wait(sqlite_context: Context, serve: Serve) -> None:
    lost = SecretStr(f"redis://{nowhere()}/0")
    with without(sqlite_context, redis_url=lost) as context, serve(context) as api:
        ready = api.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        job_id = api.uploaded()["job_id"]
        assert api.get(f"/v1/jobs/{job_id}")["state"] == "queued"
        assert context.doorbell.waiting("cpu") is None  # the sweep rings once it is there


def test_without_the_bucket_what_needs_it_is_refused_for_now(sqlite_context: Context, serve: Serve) -> None:
    with without(sqlite_context, s3_endpoint_url=f"http://{nowhere()}") as context:
        options = {**context.storage._options}
        options["config"] = options["config"].merge(type(options["config"])(retries={"total_max_attempts": 1}))
        context.storage._options = options
        with serve(context) as api:
            problem = refused(api.http.get("/readyz"), 503, "unavailable")
            assert [error["path"] for error in problem["errors"]] == ["bucket"]
            answer = api.http.put(f"/v1/datasets/{api.dataset()}/content", content=b"a\n1\n")
            refused(answer, 503, "unavailable")
            assert answer.headers["retry-after"]
            assert api.http.get("/healthz").status_code == 200


def test_without_the_database_everything_is_refused_for_now(
    s3: dict[str, str], valkey_url: str, server_folder: Path, serve: Serve
) -> None:
    folder = server_folder / "doomed"
    folder.mkdir(mode=0o755)
    with servers.postgresql(folder) as url:
        migrations.upgrade(url)
        context = bootstrap(Settings(database_url=url, redis_url=valkey_url, **s3))  # type: ignore[arg-type]
        running = serve(context)
        api = running.__enter__()
        assert api.http.get("/readyz").status_code == 200
    try:
        refused(api.http.get("/v1/jobs"), 503, "unavailable")
        refused(api.http.post("/v1/datasets", json={"name": "a"}), 503, "unavailable")
        refused(api.http.get("/readyz"), 503, "unavailable")
        assert api.http.get("/healthz").status_code == 200
    finally:
        running.__exit__(None, None, None)
        context.database.dispose()


def test_a_database_that_a_newer_version_has_migrated_is_ready(api: Api) -> None:
    """A rolling upgrade migrates first: the old processes go on meanwhile."""
    with api.context.database.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
    assert api.http.get("/readyz").status_code == 200


def test_a_database_without_its_migrations_is_not_ready(api: Api) -> None:
    with api.context.database.begin() as session:
        session.execute(text("DELETE FROM alembic_version"))
    problem = refused(api.http.get("/readyz"), 503, "unavailable")
    assert "migrations" in problem["detail"]


def test_an_error_of_ours_shows_its_id_and_nothing_else(lite: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("secret path /srv/x.py")

    monkeypatch.setattr(jobs, "get", broken)
    job_id = lite.uploaded()["job_id"]
    answer = lite.http.get(f"/v1/jobs/{job_id}")
    refused(answer, 500, MintageError.code)
    assert "secret" not in answer.text


def test_metrics_count_requests_by_route_and_jobs_by_state(api: Api) -> None:
    api.output()
    api.uploaded(b"a,b\n1,2\n")
    found = api.client(None).get("/metrics").text
    assert 'mintage_http_requests_total{method="PUT",route="/v1/datasets/{id}/content",status="202"} 2.0' in found
    assert 'mintage_jobs{kind="train",state="succeeded"} 1.0' in found
    assert 'mintage_jobs{kind="ingest",state="queued"} 1.0' in found
    assert 'mintage_units_waiting{queue="cpu"} 1.0' in found
    age = next(line for line in found.splitlines() if line.startswith('mintage_oldest_queued_unit_seconds{queue="cpu"'))
    assert 0 < float(age.split()[-1]) < 60
    assert "mintage_uploaded_bytes_total 28.0" in found
    assert api.project not in found


def test_an_unknown_path_makes_no_series_of_its_own(lite: Api) -> None:
    for number in range(3):
        lite.http.get(f"/v1/nothing/{number}")
    assert "nothing" not in lite.http.get("/metrics").text


def test_every_setting_of_the_limits_is_applied(sqlite_context: Context, serve: Serve) -> None:
    settings = sqlite_context.settings.model_copy(update={"max_body_bytes": 200, "max_count": 10})
    with serve(replace(sqlite_context, settings=settings)) as api:
        refused(api.http.post("/v1/datasets", json={"name": "x" * 200}), 413, "body_too_large")
        body = {"kind": "generate", "model_id": api.model(), "count": 11}
        refused(api.http.post("/v1/jobs", json=body), 422, "invalid_request")
