"""The OpenAPI document is what the golden file says, and it documents every call. UPDATE_GOLDEN=1 writes it anew."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from service.bootstrap import bootstrap
from service.main import create_app
from service.settings import Settings

GOLDEN = Path(__file__).parent / "openapi.json"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Of an application that is connected to nothing."""
    settings = Settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1")  # type: ignore[arg-type, call-arg]
    return create_app(bootstrap(settings)).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    paths = document["paths"].items()
    return [(path, found[method]) for path, found in paths for method in found if method in METHODS]


def test_the_openapi_document_is_the_golden_one(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "the API has changed: `make golden`, and read the diff"


def test_the_golden_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(json.loads(json.dumps(document)))


def test_every_golden_operation_has_a_name_a_summary_and_a_tag(document: dict[str, Any]) -> None:
    found = operations(document)
    names = [operation["operationId"] for _, operation in found]
    assert len(names) == len(set(names)) >= 24
    assert all(operation["summary"] and operation["tags"] for _, operation in found)


def test_every_golden_call_of_v1_documents_its_problems_and_its_key(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        if not path.startswith("/v1"):
            continue
        assert operation["security"] == [{"ApiKey": []}]
        assert {"401", "422", "503"} <= set(operation["responses"]), path
        assert "404" in operation["responses"] or "{" not in path
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"]
                assert answer["content"]["application/problem+json"]["examples"], (path, status)


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that this one may be."""
    if "$ref" in schema:
        return resolved(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    return (
        [found for option in schema["oneOf"] for found in resolved(document, option)] if "oneOf" in schema else [schema]
    )


def test_every_golden_body_has_an_example(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        for schema in resolved(document, content["schema"]) if content else []:
            assert "example" in schema or "examples" in schema, path
