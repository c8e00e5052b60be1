"""What Alembic runs: on the connection that migrations/__init__.py opened, in its transaction."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import JSON, Connection

from service.db.tables import Base


def _render(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    """Json columns by the name that script.py.mako gives them; all else as Alembic would."""
    return "JSON" if kind == "type" and isinstance(item, JSON) else False


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by copying it
        compare_type=True,
        render_item=_render,
    )
    context.run_migrations()


run(context.config.attributes["connection"])
