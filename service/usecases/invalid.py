"""Turns what pydantic finds wrong into the errors that the API answers."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from service.errors import InvalidRequest

SENTENCES = {
    "extra_forbidden": "There is no field of this name.",
    "missing": "This field is required.",
}


def refuse(path: str, message: str) -> InvalidRequest:
    """One thing is wrong, at `path`."""
    return InvalidRequest(message, errors=[{"path": path, "message": message}])


def refuse_all(findings: Sequence[Any], prefix: str = "") -> InvalidRequest:
    """What pydantic found, as paths and sentences; what was sent is not repeated."""
    errors = [
        {"path": ".".join(str(part) for part in (prefix, *found["loc"]) if part != ""), "message": sentence(found)}
        for found in findings
    ]
    first = errors[0]
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidRequest(f"{first['path'] or 'body'}: {first['message']}{more}", errors=errors)


def from_validation(error: ValidationError, prefix: str) -> InvalidRequest:
    return refuse_all(error.errors(include_input=False, include_url=False, include_context=False), prefix)


def sentence(found: Any) -> str:
    text = SENTENCES.get(found["type"]) or str(found["msg"]).removeprefix("Value error, ")
    return text if text.endswith(".") else f"{text}."
