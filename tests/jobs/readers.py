"""A shop that is read from end to end: for the tests of the poll, the probe and the import."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from adapters.simulators.toy import ToyStore
from connector.db import Database
from connector.domain.connecting import Facts, NotConnectable
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import ImportPage, Overdue, PlatformError, Reached, Unread, WebhookHealth
from connector.models import Alarm, AlarmKind, OrderRow, Sync
from connector.services import outbox, syncing
from connector.services.outbox import Claimed
from jobs import drain
from jobs.site import Site
from tests.world import START, World, an_order

T = TypeVar("T")
BASE = "https://retour.example"


class Died(BaseException):
    """The worker is killed: nothing after this line happens."""


class Mortal(Database):
    """The real database, at whose n-th write the worker is killed: before it is committed, or right after."""

    def __init__(self, url: str, world: World, strikes: int, *, after: bool) -> None:
        super().__init__(url, clock=lambda _session: world.clock.now)
        self._left, self._after = strikes, after

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        self._left -= 1
        with super().transaction() as session:
            yield session
            if self._left == 0 and not self._after:
                raise Died
        if self._left == 0:
            raise Died


@dataclass(slots=True)
class Shop(ToyStore):
    """A toy shop that lists its orders as real ones do, keeps count of what it is asked, and where something may happen meanwhile."""

    page: int = 100
    asked: list[str] = field(default_factory=list)
    after: Callable[[int], None] = lambda _count: None  # told how many orders a poll has been given
    health: list[WebhookHealth | Exception] = field(default_factory=list)
    busy: Exception | None = None
    most: int = 100  # that there is time for at once
    garbled: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)  # what lists name and cannot show
    numbers: dict[str, str] = field(default_factory=dict)  # those that were given another one
    reached: datetime | None = None  # how far a poll has come, told after the refunded ones
    finds: Facts | NotConnectable | Exception = field(default_factory=dict)

    def orders(self, refs: Sequence[OrderRef]) -> Sequence[Order]:
        self.asked.append(f"orders {' '.join(sorted(refs))}")
        if self.busy is not None:
            raise self.busy
        if len(refs) > self.most:
            raise Overdue(timedelta(0))
        if self.garbled & set(refs):
            raise PlatformError("words that make no order")
        return [self._numbered(order) for order in ToyStore.orders(self, refs)]

    def orders_changed(self, since: datetime) -> Iterator[Order | Unread | Reached]:  # type: ignore[override]  # a toy shows all it lists
        """Oldest change first; those refunded elsewhere before all others, with their old time."""
        self.asked.append(f"changed {since.isoformat()}")
        found = sorted(self.far.orders(), key=lambda order: order.changed_at or START)
        old = [order for order in found if order.channel == "refunded"]
        changed = [*old, *(order for order in found if order.changed_at and order.changed_at > since)]
        for count, order in enumerate(changed):
            self.after(count)
            yield Unread(order.ref) if order.ref in self.unread else self._numbered(order)
        if self.reached is not None:
            yield Reached(self.reached)
            self.after(len(changed))

    def ensure_webhooks(self, base_url: str) -> WebhookHealth:
        self.asked.append(f"webhooks {base_url}")
        return _given(self.health.pop(0) if self.health else WebhookHealth(active=True))

    def probe(self) -> Facts:
        self.asked.append("probe")
        return _given(self.finds)

    def import_orders(self, cursor: str | None) -> ImportPage:
        """Newest change first, so many on a page."""
        self.asked.append(f"import {cursor}")
        start = int(cursor or 0)
        found = sorted(self.far.orders(), key=lambda order: order.changed_at or START, reverse=True)
        end = start + self.page
        shown = tuple(self._numbered(order) for order in found[start:end] if order.ref not in self.unread)
        unread = tuple(Unread(order.ref) for order in found[start:end] if order.ref in self.unread)
        return ImportPage(shown, str(end) if end < len(found) else None, unread)

    def _numbered(self, order: Order) -> Order:
        return replace(order, number=self.numbers.get(order.ref, order.number))


def _given(what: T | Exception) -> T:
    if isinstance(what, Exception):
        raise what
    return what


def site_of(world: World, *, elapsed: Callable[[], timedelta] = timedelta) -> Site:
    """A workplace whose only shop is the world's."""
    return Site(world.db, lambda _keys: world.toy, stopwatch=elapsed, vault=world.vault, base_url=BASE)


def stocked(world: World, count: int, *, at: datetime = START, every: timedelta = timedelta(seconds=1), start: int = 1) -> list[Order]:
    """So many orders in the shop, each changed a little after the one before it."""
    found = [replace(an_order(f"{number:05}"), changed_at=at + (number - start) * every) for number in range(start, start + count)]
    for order in found:
        world.toy.place(order)
    return found


def begun(world: World) -> None:
    with world.db.transaction() as session:
        syncing.begin(session, world.shop.id, now=world.clock.now)


def sync(world: World) -> Sync:
    with world.db.reading() as session:
        return session.get_one(Sync, world.shop.id)


def known(world: World) -> int:
    """How many orders of the shop we have read."""
    query = select(func.count()).select_from(OrderRow).where(OrderRow.shop_id == world.shop.id, OrderRow.snapshot.is_not(None))
    with world.db.reading() as session:
        return session.execute(query).scalar_one()


def alarmed(world: World) -> list[dict[str, object]]:
    """What the alarms about orders say."""
    query = select(Alarm.facts).where(Alarm.kind == AlarmKind.POISONED, Alarm.subject == "orders")
    with world.db.reading() as session:
        return [json.loads(facts) for facts in session.execute(query).scalars()]


def claimed(world: World, kind: str) -> list[Claimed]:
    with world.db.transaction() as session:
        return list(outbox.claim(session, kinds=[kind], limit=9, now=world.clock.now))


def drained(world: World, kind: str, *, times: int = 50, **site: Any) -> int:
    """Work off the shop's rows of a kind as a drain does, each when its time comes; how many runs that took."""
    for runs in range(times):
        rows = claimed(world, kind)
        if not rows:
            world.clock.advance(timedelta(seconds=1))
            rows = claimed(world, kind)
        if not rows:
            return runs
        for row in rows:
            drain.work_one(site_of(world, **site), row)
    raise AssertionError("it goes round in circles")
