"""What the tests of services and jobs stand on: a migrated database of either kind, and shops in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from adapters.simulators.toy import Proof, ToyStore
from connector import migrate
from connector.db import Database
from tests.world import POLICY, Clock, World


class MakeWorld(Protocol):
    """One more shop in the test's database."""

    def __call__(self, *, policy: str = POLICY, proof: Proof = Proof.REPLAY) -> World: ...


@pytest.fixture
def clock() -> Clock:
    """The database's clock; the toy shops' too."""
    return Clock()


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    """A database at the newest version, whose clock is the test's."""
    database = Database(database_url, clock=lambda _session: clock.now)
    migrate.to(database)
    yield database
    database.dispose()


@pytest.fixture
def make_world(database: Database, clock: Clock) -> Iterator[MakeWorld]:
    toys: list[ToyStore] = []

    def make(*, policy: str = POLICY, proof: Proof = Proof.REPLAY) -> World:
        toys.append(ToyStore(":memory:", proof, clock=lambda: clock.now))
        return World(database, toys[-1], clock, policy)

    yield make
    for toy in toys:
        toy.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A shop that authorises by itself."""
    return make_world()
