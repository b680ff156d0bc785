"""What the tests of services and jobs stand on: a fresh database of either kind, and shops in it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from adapters.simulators.toy import Proof, ToyStore
from connector import migrate
from connector.db import Database
from connector.models import Base
from tests.world import POLICY, Clock, World


@dataclass(slots=True)
class Shelf:
    """One database of each kind, migrated once and emptied for each test: what is compiled for one test serves the next."""

    directory: Path
    postgresql: Callable[[], str]
    _kept: dict[str, Database] = field(default_factory=dict)
    _tell: Callable[[Session], datetime] | None = None

    def fresh(self, kind: str, tell: Callable[[Session], datetime]) -> Database:
        """An empty database whose clock is `tell`."""
        database = self._kept.get(kind) or self._new(kind)
        self._tell = tell
        if kind == "sqlite":
            self._empty_sqlite(database)
        else:
            with database.engine.begin() as connection:
                connection.execute(text("SET LOCAL session_replication_role = replica"))  # past the triggers
                connection.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)}"))
        return database

    def close(self) -> None:
        for database in self._kept.values():
            database.dispose()

    def _new(self, kind: str) -> Database:
        url = f"sqlite:///{self.directory / 'retour.db'}" if kind == "sqlite" else self.postgresql()
        database = self._kept[kind] = Database(url, clock=self._now)
        migrate.to(database)
        if kind == "sqlite":
            database.dispose()
            shutil.copyfile(self.directory / "retour.db", self.directory / "empty.db")
        return database

    def _empty_sqlite(self, database: Database) -> None:
        database.dispose()
        for end in ("-wal", "-shm"):
            (self.directory / f"retour.db{end}").unlink(missing_ok=True)
        shutil.copyfile(self.directory / "empty.db", self.directory / "retour.db")

    def _now(self, session: Session) -> datetime:
        assert self._tell is not None
        return self._tell(session)


class MakeWorld(Protocol):
    """One more shop in the test's database."""

    def __call__(self, *, policy: str = POLICY, proof: Proof = Proof.REPLAY) -> World: ...


@pytest.fixture(scope="session")
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    def postgresql() -> str:
        url: str = request.getfixturevalue("_postgres").create_database(f"shelf_{uuid.uuid4().hex}")
        return url

    shelf = Shelf(tmp_path_factory.mktemp("shelf"), postgresql)
    yield shelf
    shelf.close()


@pytest.fixture
def clock() -> Clock:
    """The database's clock; the toy shops' too."""
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, shelf: Shelf, clock: Clock) -> Database:
    """An empty database at the newest version, whose clock is the test's: the test runs once on either kind."""
    if request.param == "postgresql":
        request.getfixturevalue("postgres_server")  # running, whatever another test did to it
    return shelf.fresh(request.param, lambda _session: clock.now)


@pytest.fixture
def database_url(database: Database) -> str:
    """Where the test's database is, for whoever opens it once more."""
    return database.url.render_as_string(hide_password=False)


@pytest.fixture
def make_world(database: Database, clock: Clock) -> Iterator[MakeWorld]:
    toys: list[ToyStore] = []

    def make(*, policy: str = POLICY, proof: Proof = Proof.REPLAY) -> World:
        toys.append(ToyStore(":memory:", proof, clock=lambda: clock.now))
        return World(database, toys[-1], clock, policy)

    yield make
    for toy in toys:
        toy.far.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A shop that authorises by itself."""
    return make_world()
