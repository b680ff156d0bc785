"""From a delivery of the simulated WooCommerce shop to what we know: over HTTP both ways. W2, W3, A09, A11, A15, F34-F36, F39-F41."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select

from adapters.simulators.woocommerce import WooShop
from adapters.woocommerce.deliveries import TOPICS
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.store import WooStore
from connector.db import Database
from connector.domain.orders import Order, OrderRef
from connector.models import Alarm, AlarmKind, Kind, OrderRow
from connector.secrets import Vault
from connector.services import orders
from connector.services.outbox import Later
from connector.services.shops import ShopKeys, keys_of, unseal
from jobs.inbox import refresh
from jobs.site import Site
from tests.services.acts import work
from tests.web.postbox import DOOR, SECRET, House, at_once, connected, genuine, house, signed
from tests.world import Clock

PERSONAL: Final = (b"zoe@example.com", b"Zo\xc3\xab", rb"Zo\u00eb", b"Test St", b"555-0100", b"H2X 1Y4")


@dataclass(slots=True)
class Street:
    """A shop, our door, and the way between them."""

    shop: WooShop
    home: House
    site: Site
    store: WooStore
    keys: ShopKeys
    clock: Clock

    def delivers(self) -> int:
        """WooCommerce sends what it has queued. How many."""
        self.clock.advance(timedelta(seconds=1))
        return self.shop.scheduler_tick()

    def refresh(self) -> timedelta | None:
        """One run. How long until the next; None: nothing is left to do."""
        self.clock.advance(timedelta(seconds=2))
        try:
            refresh(self.site, self.keys.id)
        except Later as later:
            return later.delay
        return None

    def orders(self) -> dict[str, bool]:
        """The orders that were read and kept, and whether the shop still has them."""
        with self.home.db.reading() as session:
            rows = session.execute(select(OrderRow.ref, OrderRow.gone_at).where(OrderRow.snapshot.is_not(None)))
            return {ref: gone_at is None for ref, gone_at in rows}

    def snapshot(self, ref: int) -> Order:
        with self.home.db.reading() as session:
            found = orders.snapshot(session, self.keys.id, OrderRef(str(ref)))
        assert found is not None
        return found

    def reads(self) -> int:
        """The requests for orders that the shop has seen."""
        return sum(asked.method == "GET" and "/orders" in asked.path for asked in self.shop.requests)

    def failures(self) -> int:
        return sum(hook["failures"] for hook in self.shop.webhooks())


@pytest.fixture
def street(database: Database, clock: Clock, vault: Vault) -> Iterator[Street]:
    shop = WooShop(":memory:")  # its clock is the true one, by which requests are signed
    platform = WooPlatform(dev=True)
    with shop.serving() as url, house(database, vault) as home:
        key, secret = shop.add_key()
        ours = connected(database, vault, url=url, consumer_key=key, consumer_secret=secret, key_id="1", permissions="read_write")
        with database.reading() as session:
            keys = keys_of(session, ours)
        store = platform.connect(keys.domain, unseal(vault, keys), {"url": url})
        facts = {name: str(value) for name, value in store.probe().items()}
        store = platform.connect(keys.domain, unseal(vault, keys), facts)
        assert store.ensure_webhooks(home.url).active
        shop.requests.clear()
        yield Street(shop, home, Site(database, lambda _keys: store, platforms={platform.name: platform}, vault=vault), store, keys, clock)
    shop.close()


def test_w3_the_greetings_of_new_webhooks_are_no_hints_and_no_failures(street: Street) -> None:
    assert len(street.shop.webhooks()) == len(TOPICS)
    assert street.failures() == 0
    assert street.home.hints() == []


def test_w2_what_happens_to_an_order_in_the_shop_is_read_again_and_kept(street: Street) -> None:
    ref = street.shop.place()
    assert street.delivers() >= 1
    assert street.refresh() is None
    assert street.orders() == {str(ref): True}

    street.shop.refund_in_admin(ref, "1.00")
    assert street.delivers() >= 2  # the order, and the refund, which does not say to what order it belongs
    assert street.refresh() is None
    assert [row.subject_id for row in work(street.home.db, Kind.POLL.value)] == [street.keys.id]
    assert street.home.hints() == []
    assert street.failures() == 0


def test_w2_a_hundred_deliveries_about_ten_orders_are_few_reads(street: Street) -> None:
    refs = [street.shop.place() for _ in range(10)]
    for seen in range(10):
        at_once([lambda ref=ref, seen=seen: street.home.posted(signed(b'{"id":%d,"seen":%d}' % (ref, seen))) for ref in refs])  # type: ignore[misc]
    assert len(street.home.hints()) == 100

    assert street.refresh() is None
    assert set(street.orders()) == {str(ref) for ref in refs}
    assert street.reads() == 1


def test_an_order_that_goes_to_the_bin_is_cancelled_and_one_that_comes_back_is_not(street: Street) -> None:
    ref = street.shop.place()
    street.delivers()
    street.refresh()
    street.shop.trash(ref)
    assert street.delivers() == 1
    street.refresh()
    assert street.snapshot(ref).cancelled

    street.shop.untrash(ref)
    assert street.home.posted(signed(b'{"id":%d}' % ref, topic="order.restored")) == 200
    street.refresh()
    assert not street.snapshot(ref).cancelled


def test_an_order_that_was_deleted_for_good_is_gone(street: Street) -> None:
    """Of that WooCommerce says nothing (10.5, verified): what is on its way shows it, or a poll."""
    ref = street.shop.place()
    street.delivers()
    street.refresh()
    street.shop.delete(ref)
    assert street.home.posted(signed(b'{"id":%d}' % ref)) == 200
    street.refresh()
    assert street.orders() == {str(ref): False}


def test_a11_a_delivery_under_another_topic_destroys_nothing(street: Street) -> None:
    ref = street.shop.place()
    street.delivers()
    street.refresh()
    assert street.home.posted(signed(b'{"id":%d}' % ref, topic="order.deleted")) == 200

    assert street.refresh() is None
    assert street.orders() == {str(ref): True}


def test_an_order_that_was_deleted_before_its_delivery_is_a_signed_error_and_an_alarm(street: Street) -> None:
    street.shop.delete(street.shop.place())
    street.delivers()

    assert street.refresh() is None
    with street.home.db.reading() as session:
        assert [alarm.kind for alarm in session.execute(select(Alarm)).scalars()] == [AlarmKind.DELIVERIES_UNREADABLE]
    assert street.orders() == {}
    assert street.home.hints() == []


def test_a_checkout_that_was_left_is_no_order(street: Street) -> None:
    ref = street.shop.place()
    street.shop.set_status(ref, "checkout-draft")
    street.delivers()

    assert street.refresh() is None
    assert street.orders() == {}
    assert street.reads() == 0


def test_f35_the_refund_and_the_change_that_come_before_the_order_do_no_harm(street: Street) -> None:
    ref = street.shop.place()
    body = b'{"id":%d}' % ref
    for sent in (genuine("action-refund-created"), signed(body), signed(body, topic="order.created")):
        assert street.home.posted(sent) == 200

    assert street.refresh() is None
    assert street.orders() == {str(ref): True}


def test_f36_a_delivery_that_is_a_day_late_shows_the_order_as_it_is_now(street: Street) -> None:
    ref = street.shop.place()
    late = signed(b'{"id":%d,"status":"pending","total":"0.00","refunds":[]}' % ref)
    street.shop.refund_in_admin(ref, "1.00")
    street.shop.set_status(ref, "cancelled")
    street.clock.advance(timedelta(days=1))
    assert street.home.posted(late) == 200
    street.refresh()

    shown, there = street.snapshot(ref), street.store.order(OrderRef(str(ref)))
    assert (shown.cancelled, shown.refunded) == (True, 100)
    assert (shown.total, shown.changed_at) == (there.total, there.changed_at)
    with street.home.db.reading() as session:
        assert session.get_one(OrderRow, (street.keys.id, str(ref))).read_began_at == street.clock.now


def test_a09_a_replay_costs_one_read_and_changes_nothing(street: Street) -> None:
    ref = street.shop.place()
    sent = signed(b'{"id":%d}' % ref)
    read = []
    for _ in range(3):
        assert street.home.posted(sent) == 200
        assert street.refresh() is None
        read.append((street.reads(), street.snapshot(ref)))
    assert [count for count, _ in read] == [1, 2, 3]
    assert {order for _, order in read} == {read[0][1]}
    assert street.orders() == {str(ref): True}


def test_f39_a15_poison_holds_up_nobody(street: Street) -> None:
    bad = [b"[" * 100_000, b'{"id":NaN}', b"", b'{"id":-1}', rb'{"id":"\u0000"}']
    for body in bad:
        assert street.home.posted(signed(body)) == 200
    ref = street.shop.place()
    street.delivers()

    assert street.refresh() is None
    assert street.orders() == {str(ref): True}
    assert [hint.poisoned_at for hint in street.home.hints()] == [street.clock.now] * len(bad)


def test_w3_a_delivery_about_an_order_of_nobody_leaves_no_trace(street: Street) -> None:
    assert street.home.posted(genuine("order-created")) == 200
    assert street.refresh() is None
    assert street.orders() == {}
    assert street.home.hints() == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_personal_of_a_delivery_stands_in_the_file_of_the_database(street: Street, database_url: str) -> None:
    assert {word for word in PERSONAL if word in genuine("order-created").body} == set(PERSONAL) - {"Zoë".encode()}
    for name in ("order-created", "order-updated-after-refund", "action-refund-created"):
        assert street.home.posted(genuine(name)) == 200
    waiting = bytes_of(street.home.db)
    street.refresh()
    worked = bytes_of(street.home.db)

    assert street.home.hints() == []
    for bytes_ in (waiting, worked):
        assert b"order.updated" in bytes_  # this is where they were
        assert not [word for word in (*PERSONAL, SECRET.encode(), DOOR.encode()) if word in bytes_]


def bytes_of(db: Database) -> bytes:
    """All that lies on the disk, freed pages and the log of writes as well."""
    assert db.url.database
    return b"".join(path.read_bytes() for path in sorted(Path(db.url.database).parent.glob("retour.db*")))
