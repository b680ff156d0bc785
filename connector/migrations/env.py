"""Alembic's entry: runs on the connection that `connector.migrate` hands over."""

from __future__ import annotations

from alembic import context

from connector.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
