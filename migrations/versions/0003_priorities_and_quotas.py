"""Priorities, quotas and what they count; indexes along which the unit that is due is found."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
QUOTAS = ("quota_jobs", "quota_bytes", "quota_gpu_units")
AT_ONCE = 1_000


def upgrade() -> None:
    for quota in QUOTAS:
        op.add_column("projects", sa.Column(quota, sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("priority", sa.String(length=8), server_default="normal", nullable=False))
    op.add_column("units", sa.Column("rank", sa.BigInteger(), server_default="2", nullable=False))
    for table in ("datasets", "models", "jobs"):
        op.add_column(table, sa.Column("stored_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE units SET rank = 4 WHERE kind = 'preview'")
    _fill("datasets", ("bytes", "parts"), lambda row: (row.bytes or 0) + _bytes(row.parts))
    _fill("models", ("files",), lambda row: _bytes(row.files))
    _fill("jobs", ("result",), lambda row: ((row.result or {}).get("output") or {}).get("bytes", 0))
    op.create_index("ix_jobs_project_state", "jobs", ["project_id", "state", "id", "kind"])
    op.create_index("ix_jobs_project_kind", "jobs", ["project_id", "kind", "id"])
    _create_index("ix_jobs_asked", "jobs", ["id"], "cancel_requested_at IS NOT NULL AND finished_at IS NULL")
    _create_index("ix_jobs_stored", "jobs", ["project_id", "stored_bytes"], "stored_bytes > 0")
    op.create_index("ix_datasets_stored", "datasets", ["project_id", "stored_bytes"])
    op.create_index("ix_models_stored", "models", ["project_id", "stored_bytes"])
    due = ["queue", "rank", "project_id", "job_id", "index", "available_at"]
    _create_index("ix_units_due", "units", due, "state = 'queued'")
    running = ["job_id", "project_id", "queue", "kind", "lease_until"]
    _create_index("ix_units_running", "units", running, "state = 'running'")
    _create_index("ix_units_ended", "units", ["finished_at", "project_id", "job_id", "kind"], "state = 'succeeded'")
    op.drop_index("ix_units_state", "units")


def _create_index(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def _fill(name: str, read: tuple[str, ...], stored: Callable[[Any], int]) -> None:
    """What is stored by now."""
    types = {"bytes": sa.BigInteger()}
    columns = [sa.column(column, types.get(column, JSON)) for column in read]
    table = sa.table(name, sa.column("id"), sa.column("stored_bytes"), *columns)
    page = sa.select(table).order_by(table.c.id).limit(AT_ONCE)
    change = table.update().where(table.c.id == sa.bindparam("row")).values(stored_bytes=sa.bindparam("stored"))
    last = ""
    while rows := op.get_bind().execute(page.where(table.c.id > last)).all():
        op.get_bind().execute(change, [{"row": row.id, "stored": stored(row)} for row in rows])
        last = rows[-1].id


def _bytes(files: list[dict[str, Any]] | None) -> int:
    return sum(file.get("bytes", 0) for file in files or [])


def downgrade() -> None:
    op.create_index("ix_units_state", "units", ["state", "available_at"])
    op.drop_index("ix_units_ended", "units")
    op.drop_index("ix_units_running", "units")
    op.drop_index("ix_units_due", "units")
    for name in ("stored", "asked", "project_kind", "project_state"):
        op.drop_index(f"ix_jobs_{name}", "jobs")
    op.drop_index("ix_datasets_stored", "datasets")
    op.drop_index("ix_models_stored", "models")
    with op.batch_alter_table("units") as batch_op:
        batch_op.drop_column("rank")
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.drop_column("priority")
    for table in ("datasets", "models", "jobs"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_column("stored_bytes")
    with op.batch_alter_table("projects") as batch_op:
        for quota in QUOTAS:
            batch_op.drop_column(quota)
