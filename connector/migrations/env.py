"""Alembic's entry: runs on the connection that `connector.migrate` hands over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

from connector.models import Base

connection = context.config.attributes["connection"]


def no_orphans(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]) -> None:
    """The last act in each step's transaction: SQLite does not check references while tables are made anew."""
    del ctx, heads, run_args
    if connection.dialect.name == "sqlite" and (found := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
        tables = ", ".join(sorted({row[0] for row in found}))
        raise RuntimeError(f"{step} leaves {len(found)} rows that refer to rows which are gone, in {tables}")


context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
    compare_type=True,
    on_version_apply=no_orphans,
)
with context.begin_transaction():
    context.run_migrations()
