"""What routes ask for: who calls, the parts of this process, paging, ids, the Idempotency-Key."""

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.bootstrap import Context
from service.errors import NotFound, Unauthenticated
from service.usecases import keys
from service.usecases.idempotency import Answer, Once, fingerprint
from service.usecases.keys import Principal

ID = re.compile(r"[a-z]{2,4}_[0-9a-z]{26}")
DEEPEST = 20  # levels of a JSON body

bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="`Authorization: Bearer <API key>`")


def context(request: Request) -> Context:
    found: Context = request.app.state.context
    return found


def principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """Whose key came with the request. Raises Unauthenticated."""
    if credentials is None:
        raise Unauthenticated()
    return keys.authenticate(context(request), credentials.credentials)


def _known_form(id: str) -> str:
    if not ID.fullmatch(id):
        raise NotFound()
    return id


def _storable(value: Any, depth: int = 0) -> Any:
    """A body as JSON means it, and as a database can keep it. Raises ValueError."""
    if depth > DEEPEST:
        raise ValueError(f"A body has up to {DEEPEST} levels")
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise ValueError("Text must not hold NUL characters or lone surrogates")
    if isinstance(value, float) and value - value != 0:
        raise ValueError("Numbers must be finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("Whole numbers have up to 64 bits")
    for item in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _storable(item, depth + 1)
    return value


async def once(
    request: Request,
    who: Annotated[Principal, Depends(principal)],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Any text of your own: a request that is repeated with it creates once.",
            examples=["6f1c2a34-5b8e-4b0f-9a57-0f2b7f0f2d11"],
        ),
    ] = None,
) -> Once:
    """Names the request, so that it is done once."""
    return Once(who.project_id, idempotency_key, fingerprint(request.method, request.url.path, await request.body()))


def answered(answer: Answer) -> Response:
    """What a creating call answers, the first time and each time after."""
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else None
    return JSONResponse(answer.body, answer.status, headers)


class Body(BaseModel):
    """A JSON body: no field that we do not know, no type that has to be guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        return _storable(value)


class Paging(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100, description="Things on a page.")
    cursor: str | None = Field(None, pattern=ID.pattern, max_length=31, description="`next_cursor` of the page before.")


Parts = Annotated[Context, Depends(context)]
Who = Annotated[Principal, Depends(principal)]
OnlyOnce = Annotated[Once, Depends(once)]
Id = Annotated[str, AfterValidator(_known_form)]  # in a path: what cannot be an id is absent
Reference = Annotated[str, Field(max_length=64)]  # in a body: looked up once the body is right
Name = Annotated[
    str,
    BeforeValidator(lambda value: value.strip() if isinstance(value, str) else value),
    Field(min_length=1, max_length=200),
]
Page = Annotated[Paging, Query()]
