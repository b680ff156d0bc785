"""The fixtures of the tests of jobs: those of the services, and a till."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.simulators.toy import Proof
from connector import migrate
from connector.db import Database
from connector.domain.wanted import Payout
from tests.jobs.tills import Shop, Till, Time
from tests.services.conftest import clock, database, make_world, world
from tests.world import Clock, World, an_order

__all__ = ["clock", "database", "make_world", "world"]


@pytest.fixture
def till(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Till]:
    """A return to be paid: how, in what kind of shop, on which database."""
    payout, proof, backend = request.param
    url = f"sqlite:///{tmp_path / 'retour.db'}" if backend == "sqlite" else request.getfixturevalue("postgres_url")
    time = Time(clock)
    database = Database(url, clock=time)
    migrate.to(database)
    shop = Shop(":memory:", Proof(proof), clock=lambda: clock.now)
    yield Till(World(database, shop, clock), shop, Payout(payout), time, an_order())
    database.dispose()
    shop.far.close()
