"""Retry, retention, models that stopped early, a second look at the trash."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("expires_at", sa.Double(), nullable=True))
        batch_op.create_index(batch_op.f("ix_datasets_expires_at"), ["expires_at"], unique=False)

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stopped_early", JSON, nullable=True))
        batch_op.add_column(sa.Column("retry_until", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("retention_seconds", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("expires_at", sa.Double(), nullable=True))
        batch_op.create_index(batch_op.f("ix_jobs_expires_at"), ["expires_at"], unique=False)

    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stopped_early", JSON, nullable=True))

    with op.batch_alter_table("trash", schema=None) as batch_op:
        batch_op.add_column(sa.Column("again_at", sa.Double(), nullable=True))
        batch_op.create_index(batch_op.f("ix_trash_due_at"), ["due_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("trash", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trash_due_at"))
        batch_op.drop_column("again_at")

    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_column("stopped_early")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_expires_at"))
        batch_op.drop_column("expires_at")
        batch_op.drop_column("retention_seconds")
        batch_op.drop_column("retry_until")
        batch_op.drop_column("stopped_early")

    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_datasets_expires_at"))
        batch_op.drop_column("expires_at")
