"""Projects and their API keys: made, checked, revoked. A key is shown once; only its SHA-256 is kept."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import ApiKey, Project
from service.domain.ids import new_id
from service.domain.views import moment, moment_or_none
from service.errors import NotFound, Unauthenticated

ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that people confuse
SHORTEST_KEY = 32  # characters of a key that somebody else made up


@dataclass(frozen=True)
class Principal:
    """Who asks: every query of the request goes through service.db.database.Scope of this project."""

    project_id: str
    key_id: str


def new_key() -> str:
    """`mint_`, eight characters to know it by, and 256 random bits: so many that a fast hash is enough."""
    name = "".join(secrets.choice(ID_LETTERS) for _ in range(8))
    return f"mint_{name}_{secrets.token_urlsafe(32)}"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def create_project(context: Context, name: str) -> tuple[str, str]:
    """A new project and its first key: (project id, key)."""
    with context.database.begin() as session:
        project = _add_project(session, name)
        return project.id, _add_key(session, project.id, "first", new_key())


def create_key(context: Context, project_id: str, name: str) -> str:
    """One more key of a project. Raises NotFound."""
    with context.database.begin() as session:
        if session.get(Project, project_id) is None:
            raise NotFound(f"There is no project {project_id!r}.")
        return _add_key(session, project_id, name, new_key())


def ensure_key(context: Context, key: str) -> str:
    """Make sure that exactly this key opens the project `default`; returns the project's id. Safe to run again,
    and by several processes at once. A key that was revoked stays so."""
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"a key has at least {SHORTEST_KEY} printable ASCII characters and no space")
    try:
        with context.database.begin() as session:
            return _project_of(session, key) or _default_with(session, key)
    except IntegrityError:  # another process was faster
        with context.database.read() as session:
            return _project_of(session, key) or ""


@dataclass(frozen=True)
class KeyView:
    """What may be known of a key once it was shown."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


def list_keys(context: Context, project_id: str) -> list[KeyView]:
    """The project's keys, oldest first. Raises NotFound."""
    with context.database.read() as session:
        if session.get(Project, project_id) is None:
            raise NotFound(f"There is no project {project_id!r}.")
        rows = session.scalars(select(ApiKey).where(ApiKey.project_id == project_id).order_by(ApiKey.id))
        return [KeyView(row.id, row.name, moment(row.created_at), moment_or_none(row.revoked_at)) for row in rows]


def revoke_key(context: Context, key_id: str) -> None:
    """The key opens nothing any more. Raises NotFound."""
    with context.database.begin() as session:
        found = session.get(ApiKey, key_id)
        if found is None:
            raise NotFound(f"There is no key {key_id!r}.")
        if found.revoked_at is None:
            found.revoked_at = session.scalar(select(now()))


def authenticate(context: Context, key: str) -> Principal:
    """Whose key it is. Raises Unauthenticated for an unknown or revoked one."""
    query = select(ApiKey.id, ApiKey.project_id).where(ApiKey.hash == digest(key), ApiKey.revoked_at.is_(None))
    with context.database.read() as session:
        found = session.execute(query).one_or_none()
    if found is None:
        raise Unauthenticated()
    return Principal(project_id=found.project_id, key_id=found.id)


def _project_of(session: Session, key: str) -> str | None:
    return session.scalar(select(ApiKey.project_id).where(ApiKey.hash == digest(key)))


def _default_with(session: Session, key: str) -> str:
    oldest = select(Project.id).where(Project.name == "default").order_by(Project.id).limit(1)
    project_id = session.scalar(oldest) or _add_project(session, "default").id
    _add_key(session, project_id, "bootstrap", key)
    return project_id


def _add_project(session: Session, name: str) -> Project:
    project = Project(id=new_id("prj"), name=name, created_at=session.scalar(select(now())))
    session.add(project)
    session.flush()
    return project


def _add_key(session: Session, project_id: str, name: str, key: str) -> str:
    at = session.scalar(select(now()))
    session.add(ApiKey(id=new_id("key"), project_id=project_id, name=name, hash=digest(key), created_at=at))
    session.flush()
    return key
