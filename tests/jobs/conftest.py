"""The fixtures of the tests of jobs: those of the services, and a till."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.simulators.toy import Proof
from connector.domain.wanted import Payout
from tests.jobs.tills import Shop, Till, Time
from tests.services.conftest import Shelf, clock, database, database_url, make_world, shelf, world
from tests.world import Clock, World, an_order

__all__ = ["clock", "database", "database_url", "make_world", "shelf", "world"]


@pytest.fixture
def till(request: pytest.FixtureRequest, shelf: Shelf, clock: Clock) -> Iterator[Till]:
    """A return to be paid: how, in what kind of shop, on which database."""
    payout, proof, kind = request.param
    if kind == "postgresql":
        request.getfixturevalue("postgres_server")
    time = Time(clock)
    shop = Shop(":memory:", Proof(proof), clock=lambda: clock.now)
    yield Till(World(shelf.fresh(kind, time), shop, clock), shop, Payout(payout), time, an_order())
    shop.far.close()
