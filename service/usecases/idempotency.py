"""Idempotency keys: a request that is sent twice creates once, and is answered alike both times."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import IdempotentAnswer
from service.errors import IdempotencyKeyReused


@dataclass(frozen=True)
class Once:
    """What names a request: its project, its Idempotency-Key if it has one, and what it asks for."""

    project_id: str
    key: str | None
    fingerprint: str


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    replayed: bool = False


def fingerprint(method: str, path: str, body: bytes) -> str:
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).hexdigest()


def replay(context: Context, once: Once) -> Answer | None:
    """The answer that this request got before, if any. Raises IdempotencyKeyReused."""
    if once.key is None:
        return None
    with context.database.read() as session:
        return _found(session, once)


def answer(context: Context, once: Once, status: int, work: Callable[[Session], BaseModel]) -> Answer:
    """Do `work` in one transaction, at most once for each key, and keep its answer in the same transaction.

    Where two such requests meet, the second waits for the first and gets its answer. What `work` raises undoes all:
    a refused request leaves nothing, and may be corrected under the same key."""
    try:
        with context.database.begin() as session:
            return _first(session, once, status, work)
    except IntegrityError:
        found = replay(context, once)
        if found is None:  # some other constraint: no business of ours
            raise
        return found


def _first(session: Session, once: Once, status: int, work: Callable[[Session], BaseModel]) -> Answer:
    if once.key is None:
        return Answer(status, work(session).model_dump(mode="json", by_alias=True))
    if found := _found(session, once):
        return found
    at = session.scalar(select(now()))
    kept = IdempotentAnswer(
        project_id=once.project_id,
        key=once.key,
        fingerprint=once.fingerprint,
        status=status,
        body={},
        created_at=at,
    )
    session.add(kept)
    session.flush()  # here a second request of this key waits for the first one's end
    kept.body = work(session).model_dump(mode="json", by_alias=True)
    return Answer(status, kept.body)


def _found(session: Session, once: Once) -> Answer | None:
    kept = session.get(IdempotentAnswer, (once.project_id, once.key))
    if kept is None:
        return None
    if kept.fingerprint != once.fingerprint:
        raise IdempotencyKeyReused()
    return Answer(kept.status, kept.body, replayed=True)
