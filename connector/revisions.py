"""At which version the tables are, and which this code wants. Alembic is not loaded for that: each web process asks."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Final

from sqlalchemy import inspect, text

from connector.db import Database

_TABLE: Final = "alembic_version"


def current(database: Database) -> str | None:
    """The revision that the database is at; None: it is empty."""
    with database.reading() as session:
        if not inspect(session.connection()).has_table(_TABLE):
            return None
        found: str | None = session.execute(text(f"SELECT version_num FROM {_TABLE}")).scalar_one_or_none()  # noqa: S608 - a constant
        return found


def newest() -> str:
    """The revision that this code wants."""
    return max(_known())


def knows(revision: str | None) -> bool:
    """Whether this code has such a revision; none at all is known too."""
    return revision is None or revision in _known()


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """Each migration lies in a file that begins with its revision, one after the other: `0001_the_ground.py`."""
    lying = (files("connector") / "migrations" / "versions").iterdir()
    return frozenset(each.name.partition("_")[0] for each in lying if each.name.endswith(".py") and each.name[:1].isdigit())
