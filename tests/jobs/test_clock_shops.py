"""What the clock does for shops: asks for polls and probes, and forgets what was only kept for a while."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from connector.bell import Bell
from connector.db import Database
from connector.models import HintRow, Install
from connector.services import inbox, syncing
from jobs.clock import INSTALLS_KEPT, Clock
from tests.servers import Valkey
from tests.services.acts import everything, work
from tests.world import START, World

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture
def ticking(database: Database, valkey_server: Valkey) -> Clock:
    return Clock(database, Bell(valkey_server.url), b"seal")


def test_w4_the_clock_asks_for_what_is_due_and_rings_for_it_the_next_time(ticking: Clock, world: World) -> None:
    with world.db.transaction() as session:
        syncing.begin(session, world.shop.id, now=START)
    world.clock.advance(DAY)

    ticking.tick()

    assert sorted(row.kind for row in work(world.db)) == ["import", "poll", "probe"]
    before = everything(world.db)
    ticking.tick()
    assert everything(world.db) == before


def test_a72_installations_and_poisoned_deliveries_are_forgotten_after_their_time(ticking: Clock, world: World) -> None:
    with world.db.transaction() as session:
        for name, at in (("old", START), ("new", START + 3 * DAY)):
            session.add(Install(state_digest=name, platform="x", address="a", begun_at=at, grant=b"keys"))
            session.add(
                HintRow(shop_id=world.shop.id, topic=name, digest=b"x" * 32, body=b"kim", received_at=at, taken_at=at, poisoned_at=at)
            )
    world.clock.now = START + INSTALLS_KEPT + SECOND
    ticking.tick()
    assert kept(world) == (["new"], ["new", "old"])

    world.clock.now = START + inbox.KEPT + SECOND
    ticking.tick()

    assert kept(world) == ([], ["new"])


def kept(world: World) -> tuple[list[str], list[str]]:
    with world.db.reading() as session:
        installs = session.execute(select(Install.state_digest).order_by(Install.state_digest)).scalars().all()
        hints = session.execute(select(HintRow.topic).order_by(HintRow.topic)).scalars().all()
    return list(installs), list(hints)
