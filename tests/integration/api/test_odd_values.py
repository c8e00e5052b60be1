"""Odd values in every place of every route: never a 500, never a stack trace, always a problem or an answer."""

import itertools
import json
from typing import Any

from tests.integration.api.conftest import Api

ODD: list[Any] = [
    None, True, 0, -1, 1.5, 2**63, 2**64, -(2**70), 1e308, "", " ", "a" * 5_000, "\x00", "\u202e", "😀", "'; --",
    "${x}", "../..", [], {}, [[]], {"": None}, {"a": {"b": {}}}, ["x"] * 50,
]  # fmt: skip
TEXT = [
    "%00",
    "%ff",
    "a" * 3_000,
    "%F0%9F%98%80",
    "-1",
    "0",
    "9" * 30,
    "1e9",
    "NaN",
    "%2e%2e%2f",
    "a%0d%0ab",
    "null",
    "[]",
]


def calls(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def sound(api: Api, method: str, url: str, **given: Any) -> None:
    answer = api.http.request(method, url, **given)
    assert answer.status_code != 500, (method, url[:80], str(given)[:200], answer.text)
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]


def bodies(document: dict[str, Any], operation: dict[str, Any], ids: dict[str, str]) -> list[Any]:
    """Each field of each body in turn with each odd value, beside fields that are right."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return []
    refs = [option["$ref"] for option in content["schema"].get("oneOf", [content["schema"]])]
    found: list[Any] = list(ODD)
    for ref in refs:
        schema = document["components"]["schemas"][ref.rsplit("/", 1)[1]]
        right = {**schema.get("example", schema.get("examples", [{}])[0])}
        right |= {name: id for name, id in ids.items() if name in right}
        found += [right | {name: odd} for name, odd in itertools.product(schema["properties"], ODD)]
        found += [right | {"config": {name: odd}} for name, odd in itertools.product(("steps", "seed", "x"), ODD)]
    return found


def test_odd_bodies_are_answered(api: Api) -> None:
    document = api.http.get("/openapi.json").json()
    ids, sent = {"model_id": api.model(), "dataset_id": api.ready()}, 0
    for method, path, operation in calls(document):
        url = path.replace("{id}", ids["dataset_id"])
        for body in bodies(document, operation, ids):
            content = json.dumps(body).encode()
            sound(api, method, url, content=content, headers={"Content-Type": "application/json"})
            sent += 1
    assert sent > 400


def test_odd_ids_and_queries_are_answered(api: Api) -> None:
    for method, path, operation in calls(api.http.get("/openapi.json").json()):
        if "{" in path:
            for text in TEXT:
                sound(api, method, path.replace("{id}", text).replace("{upload_id}", text))
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                url = path.replace("{id}", "job_01jv3q9m0e8z6t4w2y5x7c1b3a")
                for text in TEXT:
                    sound(api, method, f"{url}?{parameter['name']}={text}")
