"""The OpenAPI document: what FastAPI derives from the routes, with title, tags and problems as they really are."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.problems import MEDIA_TYPE

DESCRIPTION = """
Upload a dataset, train a GAN on it, generate samples from the model, download them.

Every call to `/v1` needs `Authorization: Bearer <API key>`. Times are RFC 3339 in UTC. Lists are newest first, with
`limit` and `cursor`. Refusals are `application/problem+json` with a stable `code`. A `POST` that creates honours
`Idempotency-Key`: repeated with the same body it creates once and gives the same answer.
"""
TAGS = [
    {"name": "datasets", "description": "What is uploaded; it does not change once ready."},
    {"name": "uploads", "description": "Straight to the bucket, in parts, restartable."},
    {"name": "jobs", "description": "Ingestion, training, generation; their events, curves and outputs."},
    {"name": "models", "description": "Trained generators with their reports."},
    {"name": "modalities", "description": "What can be trained."},
    {"name": "usage", "description": "What the project has and may have."},
    {"name": "health", "description": "For what watches over the process; without a key."},
]


def describe(app: FastAPI) -> None:
    """Have `app.openapi()` give the document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="Mintage",
        version="1",
        description=DESCRIPTION.strip(),
        routes=app.routes,
        tags=TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            _say_problems(operation["responses"])
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _say_problems(responses: dict[str, Any]) -> None:
    """Refusals have one media type, and none of FastAPI's own shape."""
    for status, response in responses.items():
        if int(status) < 400:
            continue
        found = response.pop("content", {}).get(MEDIA_TYPE, {})
        response["content"] = {MEDIA_TYPE: found | {"schema": {"$ref": "#/components/schemas/Problem"}}}
