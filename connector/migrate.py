"""Bring the database to the version of this code, and back: Alembic, with our engine and no file of its own."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from connector.db import Database
from connector.models import Base


def to(database: Database, revision: str = "head") -> None:
    """Upgrade to `revision`, each step in a transaction of its own. Two at once wait for each other."""
    with database.migrating() as connection:
        command.upgrade(_config(connection), revision)


def back(database: Database, revision: str = "base") -> None:
    """Downgrade to `revision`."""
    with database.migrating() as connection:
        command.downgrade(_config(connection), revision)


def drift(database: Database) -> list[object]:
    """What the models have and the database lacks, or the other way about; empty: they agree."""
    with database.reading() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        found: list[object] = compare_metadata(context, Base.metadata)
        return found


def _config(connection: object) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("connector") / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
