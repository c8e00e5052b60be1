"""API keys: hashed, revocable, tied to one project; and every route refuses another project's ids as if absent."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from service import admin
from service.bootstrap import Context
from service.db.tables import ApiKey
from service.errors import NotFound, Unauthenticated
from service.usecases import keys
from tests.integration.api.conftest import Api, refused

OPEN = {"/healthz", "/readyz", "/metrics"}
METHODS = {"get", "post", "put", "patch", "delete"}


def routes(api: Api) -> list[tuple[str, str, dict[str, Any]]]:
    document = api.http.get("/openapi.json").json()
    return [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS and path not in OPEN
    ]


def body_of(operation: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """A body that would be right, so that only the id can be what is refused."""
    name = operation["operationId"]
    if name == "upload_content":
        return {"content": b"a\n1\n"}
    bodies: dict[str, Any] = {
        "create_upload": {"filename": "a.csv", "size_bytes": 4},
        "change_dataset": {"name": "mine now"},
        "create_job": {"kind": "train", "dataset_id": ids["dataset"]},
    }
    return {"json": bodies[name]} if name in bodies else {}


def test_every_route_answers_a_foreign_project_as_if_the_thing_were_absent(api: Api) -> None:
    job_id = api.output()
    dataset_id, empty = api.ready(), api.dataset()
    upload = api.http.post(f"/v1/datasets/{empty}/uploads", json={"filename": "a", "size_bytes": 4}).json()
    ids = {"dataset": dataset_id, "job": job_id, "model": api.get(f"/v1/jobs/{job_id}")["model_id"], "empty": empty}
    stranger, tried = api.stranger(), set()
    for method, path, operation in routes(api):
        kind = path.split("/")[2].removesuffix("s")
        if "{" not in path and operation["operationId"] != "create_job":
            continue
        own = ids["empty"] if "content" in path or "uploads" in path else ids.get(kind, "")
        url = path.replace("{id}", own).replace("{upload_id}", upload["id"]).replace("{step}", "1")
        refused(stranger.request(method, url, **body_of(operation, ids)), 404, "not_found")
        tried.add(operation["operationId"])
    assert len(tried) >= 18
    for path in ("/v1/datasets", "/v1/jobs", "/v1/models"):
        assert stranger.get(path).json() == {"data": [], "next_cursor": None}
        assert api.get(path)["data"]
    generate = {"kind": "generate", "model_id": ids["model"], "count": 5}
    refused(stranger.post("/v1/jobs", json=generate), 404, "not_found")


def test_every_route_of_v1_needs_a_key(lite: Api) -> None:
    nobody = lite.client(None)
    found = routes(lite)
    assert len(found) >= 20
    for method, path, _ in found:
        url = re.sub(r"{\w+}", "ds_01jv3q9m0e8z6t4w2y5x7c1b3a", path)
        answer = nobody.request(method, url)
        refused(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_that_is_none_is_refused(lite: Api) -> None:
    refused(httpx.get(f"{lite.url}/v1/jobs"), 401, "unauthenticated")
    for header in ("", "Bearer", "Basic abc", "Bearer mint_wrong", "Bearer a b", "Token x", f"Basic {lite.key}"):
        answer = httpx.get(f"{lite.url}/v1/jobs", headers={"Authorization": header})
        refused(answer, 401, "unauthenticated")


def test_a_revoked_key_opens_nothing_any_more(api: Api) -> None:
    second = keys.create_key(api.context, api.project, "laptop")
    with api.context.database.read() as session:
        [key_id] = session.scalars(select(ApiKey.id).where(ApiKey.name == "laptop"))
    client = api.client(second)
    assert client.get("/v1/jobs").status_code == 200
    keys.revoke_key(api.context, key_id)
    keys.revoke_key(api.context, key_id)
    refused(client.get("/v1/jobs"), 401, "unauthenticated")
    assert api.http.get("/v1/jobs").status_code == 200


def test_no_key_stands_in_the_database(context: Context) -> None:
    _, key = keys.create_project(context, "people")
    secret = key.split("_", 2)[2]
    assert re.fullmatch(r"mint_[a-z2-9]{8}_[A-Za-z0-9_-]{43}", key)
    with context.database.read() as session:
        rows = session.execute(text("SELECT * FROM api_keys")).all()
    assert len(rows) == 1
    assert secret not in str(rows)


def test_a_given_key_is_made_sure_of_once_however_many_ask(context: Context) -> None:
    key = "mint_bootstrap_" + "k" * 43
    with ThreadPoolExecutor(8) as pool:
        projects = set(pool.map(lambda _: keys.ensure_key(context, key), range(16)))
    assert len(projects) == 1
    assert keys.authenticate(context, key).project_id in projects
    other = keys.ensure_key(context, "mint_rotated_" + "r" * 43)
    assert other in projects
    assert keys.authenticate(context, key).project_id == other


def test_a_weak_key_is_not_made_sure_of(sqlite_context: Context) -> None:
    for key in ("", "short", "x" * 31, "with space " * 4, "ü" * 40):
        with pytest.raises(ValueError, match="at least 32"):
            keys.ensure_key(sqlite_context, key)
        with pytest.raises(Unauthenticated):
            keys.authenticate(sqlite_context, key)


def test_the_admin_command_makes_projects_and_keys(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def admin_says(*words: str) -> str:
        return admin.run(sqlite_context, admin.parser().parse_args(words))

    project, key_id, key = admin_says("create-project", "people").split()
    assert keys.authenticate(sqlite_context, key) == keys.Principal(project, key_id)
    another_id, another = admin_says("create-key", project, "ci").split()
    assert keys.authenticate(sqlite_context, another) == keys.Principal(project, another_id)
    (tmp_path / "key").write_text("b" * 40 + "\n")
    monkeypatch.setenv("MINTAGE_BOOTSTRAP_KEY_FILE", str(tmp_path / "key"))
    ensured = admin_says("ensure-key")
    assert keys.authenticate(sqlite_context, "b" * 40).project_id == ensured


def test_the_admin_command_lists_a_projects_keys_and_revokes_one_by_the_id_that_it_printed(context: Context) -> None:
    def admin_says(*words: str) -> str:
        return admin.run(context, admin.parser().parse_args(words))

    project, first, _ = admin_says("create-project", "people").split()
    admin_says("create-project", "strangers")
    lost, key = admin_says("create-key", project, "lost laptop").split()
    admin_says("revoke-key", lost)
    with pytest.raises(Unauthenticated):
        keys.authenticate(context, key)
    kept, revoked = admin_says("list-keys", project).splitlines()
    assert kept.startswith(f"{first}  made 20")
    assert "revoked" not in kept
    assert re.fullmatch(rf"{lost}  made 20\S+  revoked 20\S+  lost laptop", revoked)
    assert key not in revoked
    with pytest.raises(NotFound):
        admin_says("list-keys", "prj_nowhere")


def test_the_admin_command_refuses_with_a_sentence(sqlite_context: Context) -> None:
    settings = sqlite_context.settings
    environment = {
        "MINTAGE_DATABASE_URL": settings.database_url.get_secret_value(),
        "MINTAGE_REDIS_URL": settings.redis_url.get_secret_value(),
    }
    command = [sys.executable, "-m", "service.admin", "create-key", "prj_nowhere", "ci"]
    wrong = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "service.admin: There is no project 'prj_nowhere'.\n"
