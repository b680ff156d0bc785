"""Showing an RMA on its platform: convergent, whoever overtakes whom."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from adapters.simulators.toy import Fault, ToyStore
from connector.db import Database
from connector.domain.platform import ReturnRef, ReturnView, Throttled
from connector.domain.rma import MoneyState, Move
from connector.models import Rma
from connector.services import desk
from connector.services.outbox import Later
from jobs import mirror
from jobs.drain import Drain
from jobs.site import Site
from tests.services.acts import everything
from tests.world import START, Clock, World, an_order


@dataclass(slots=True)
class Shop(ToyStore):
    """A toy shop in which something may happen while a return is on its way there."""

    meanwhile: Callable[[], None] = lambda: None

    def mirror_return(self, view: ReturnView) -> ReturnRef:
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()
        return ToyStore.mirror_return(self, view)


@pytest.fixture
def shop(clock: Clock) -> Iterator[Shop]:
    shop = Shop(":memory:", clock=lambda: clock.now)
    yield shop
    shop.far.close()


@pytest.fixture
def world(database: Database, shop: Shop, clock: Clock) -> World:
    shop.place(an_order())
    return World(database, shop, clock)


def show(world: World, rma: uuid.UUID) -> None:
    mirror.show(Site(world.db, lambda _keys: world.toy), rma)


def cancel(world: World, rma: uuid.UUID) -> None:
    with world.db.transaction() as session:
        desk.close(session, rma, Move.CANCEL, who="sam", now=START)


def shown(world: World) -> list[str]:
    return [view.state for view in world.toy.returns().values()]


def test_the_platform_shows_the_case_and_its_name_for_it_is_kept(world: World) -> None:
    rma = world.requested(an_order(), {"line-1": 1})

    show(world, rma)

    ((marker, view),) = world.toy.returns().items()
    with world.db.reading() as session:
        found = session.get_one(Rma, rma)
        assert (marker, found.platform_return_ref) == (f"rma:{found.number}", f"return-{marker}")
    assert view.state == "authorised"


def test_showing_it_again_changes_nothing(world: World) -> None:
    rma = world.requested(an_order(), {"line-1": 1})
    show(world, rma)
    before = everything(world.db)

    show(world, rma)

    assert everything(world.db) == before
    assert shown(world) == ["authorised"]


def test_a_busy_shop_is_shown_it_later(world: World) -> None:
    rma = world.requested(an_order(), {"line-1": 1})
    world.toy.fail_next("mirror", Fault.THROTTLE, 60)

    with pytest.raises(Throttled) as busy:
        show(world, rma)

    assert busy.value.retry_after == timedelta(minutes=1)
    assert shown(world) == []


def test_who_is_overtaken_on_the_way_does_not_leave_the_older_case_there(world: World, shop: Shop) -> None:
    """Two rows of one RMA may be worked at once: the older view must not stay because it arrived last."""
    rma = world.requested(an_order(), {"line-1": 1})

    def overtaken() -> None:
        cancel(world, rma)
        show(world, rma)
        assert shown(world) == ["cancelled"]

    shop.meanwhile = overtaken

    with pytest.raises(Later) as again:
        show(world, rma)
    assert (shown(world), again.value.delay) == (["authorised"], timedelta(0))
    show(world, rma)

    assert shown(world) == ["cancelled"]


def test_f22_f24_a_platform_that_cannot_show_the_case_undoes_no_payment_and_is_shown_it_later(world: World) -> None:
    rma = world.received(an_order(), {"line-1": 1})
    world.resolve(rma)
    for _ in range(20):
        world.toy.fail_next("mirror", Fault.REFUSE)

    Drain(Site(world.db, lambda _keys: world.toy)).run()

    assert [(row.state, row.attempt) for row in world.rows(rma)] == [(MoneyState.SETTLED, 1)]
    assert shown(world) == []
    world.toy.heal()
    world.clock.advance(timedelta(minutes=10))
    Drain(Site(world.db, lambda _keys: world.toy)).run()

    assert (shown(world), len(world.toy.payments())) == (["resolved"], 1)
