"""The poll, the probe and the import against a simulated WooCommerce shop, with the real adapter, over HTTP (W4, W5, W7, F25, F37, F38)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from adapters.simulators.woocommerce import Bought, Fault, WooShop
from adapters.simulators.woocommerce import Kind as FaultKind
from adapters.woocommerce.deliveries import TOPICS
from adapters.woocommerce.platform import WooPlatform
from connector.db import Database
from connector.domain.orders import OrderRef
from connector.domain.platform import Contact, PlatformError, Rejected, Revoked, Store, Throttled
from connector.domain.policy import Claim
from connector.models import Alarm, OrderRow, Sync
from connector.models import Shop as ShopRow
from connector.secrets import Vault, new_key
from connector.services import inbox, installs, orders, outbox, policies, shopper, shops, syncing
from connector.services.inbox import Delivery
from connector.services.shops import ShopKeys
from jobs import drain
from jobs import shops as work
from jobs.site import Site
from tests.services.acts import told
from tests.world import POLICY, Clock

_NOBODY = "http://127.0.0.1:9"  # what is delivered there is lost
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(slots=True)
class Kept:
    """A connected store, and all that keeps it."""

    db: Database
    woo: WooShop
    clock: Clock
    site: Site
    id: uuid.UUID

    def poll(self) -> None:
        work.poll(self.site, self.id)

    def keys(self) -> ShopKeys:
        with self.db.reading() as session:
            return shops.keys_of(session, self.id)

    def sync(self) -> Sync:
        with self.db.reading() as session:
            return session.get_one(Sync, self.id)

    def status(self) -> tuple[str, str | None]:
        with self.db.reading() as session:
            row = session.get_one(ShopRow, self.id)
            return row.status.value, row.trouble

    def rma(self, order: int) -> uuid.UUID:
        """A shopper asks for the return of one unit of its first line."""
        found = self.site.open_store(self.keys()).order(OrderRef(str(order)))
        now = self.clock.now
        with self.db.transaction() as session:
            made = shopper.request_return(
                session,
                self.keys(),
                found,
                [Claim(found.lines[0].id, 1)],
                read_began=now,
                contact=Contact("kim@example.com"),
                form_token=uuid.uuid4().hex,
                vault=self.site.need_vault(),
                now=now,
            )
        return made.id

    def news(self) -> list[str]:
        return [what for what, who, _ in told(self.db) if who == "platform"]

    def known(self) -> int:
        with self.db.reading() as session:
            return session.execute(select(func.count()).select_from(OrderRow).where(OrderRow.snapshot.is_not(None))).scalar_one()

    def drained(self, kind: str) -> int:
        """Work off its rows of one kind, as a drain does; how many runs that took."""
        for runs in range(60):
            with self.db.transaction() as session:
                claimed = outbox.claim(session, kinds=[kind], limit=9, now=self.clock.now)
            if not claimed and runs:
                return runs
            for row in claimed:
                drain.work_one(self.site, row)
            self.clock.advance(SECOND)
        raise AssertionError("it goes round in circles")


@pytest.fixture
def kept(database: Database, clock: Clock) -> Iterator[Kept]:
    clock.now = datetime.now(UTC)  # the store's clock is a real one: who signs must not be fifteen minutes off
    woo = WooShop(":memory:")
    vault, platform = Vault.of([new_key()], new_key()), WooPlatform(dev=True)

    def store_for(keys: ShopKeys) -> Store:
        return platform.connect(keys.domain, shops.unseal(vault, keys), keys.facts)

    with woo.serving() as url:
        key, secret = woo.add_key()
        credentials = {"consumer_key": key, "consumer_secret": secret}
        domain = platform.shop_at(url)
        facts = platform.connect(domain, credentials, {}).probe()
        with database.transaction() as session:
            shop = installs.connect(session, "woocommerce", domain, credentials, facts, vault=vault, who="merchant", now=clock.now)
            policies.publish(session, shop, POLICY, effective_from=clock.now.date(), who="merchant", now=clock.now)
        site = Site(database, store_for, platforms={"woocommerce": platform}, vault=vault, base_url=_NOBODY)
        yield Kept(database, woo, clock, site, shop)
    woo.close()


def test_w7_the_history_of_a_store_is_read_to_its_end(kept: Kept) -> None:
    """Some two hundred orders of one or two seconds: more than a page, and a cursor is a time."""
    for _ in range(205):
        kept.woo.place()

    kept.drained("import")

    assert (kept.known(), kept.sync().imported) == (205, 205)
    assert kept.sync().import_done_at is not None


def test_w4_the_poll_finds_what_no_delivery_told(kept: Kept) -> None:
    order = kept.woo.place([Bought("Shirt", 2)])
    kept.woo.complete(order)
    kept.poll()
    kept.rma(order)
    kept.clock.advance(MINUTE)
    kept.woo.refund_in_admin(order, "1.00")
    kept.clock.advance(MINUTE)
    kept.poll()
    kept.woo.cancel(order)
    kept.clock.advance(MINUTE)
    kept.poll()

    assert kept.news() == ["order.refunded_elsewhere", "order.cancelled"]


def test_f25_a_line_that_the_merchant_took_out_is_told(kept: Kept) -> None:
    order = kept.woo.place([Bought("Shirt", 2), Bought("Socks")])
    kept.woo.complete(order)
    kept.rma(order)
    kept.clock.advance(MINUTE)
    kept.woo.edit_line(order, kept.woo.order(order)["line_items"][0]["id"], quantity=0)
    kept.poll()

    assert kept.news() == ["order.changed"]


def test_w5_a_refund_that_was_deleted_in_the_admin_is_found_within_a_day(kept: Kept) -> None:
    """No webhook, no new date (verified on the real thing): only reading it again tells."""
    order = kept.woo.place([Bought("Shirt", 2)])
    kept.woo.complete(order)
    refund = kept.woo.refund_in_admin(order, "1.00")
    kept.rma(order)
    kept.clock.advance(MINUTE)
    kept.woo.delete_refund(order, refund)
    kept.poll()
    kept.clock.advance(DAY)
    kept.poll()

    assert kept.news() == ["order.refund_deleted"]


def test_an_order_that_was_deleted_for_good_is_found_within_a_day_and_one_in_the_bin_is_cancelled(kept: Kept) -> None:
    gone, binned = (kept.woo.place([Bought("Shirt", 2)]) for _ in range(2))
    for order in (gone, binned):
        kept.woo.complete(order)
        kept.rma(order)
    kept.woo.delete(gone)
    kept.woo.trash(binned)
    kept.clock.advance(DAY + MINUTE)

    kept.poll()

    assert sorted(kept.news()) == ["order.cancelled", "order.gone"]


def switched_on(kept: Kept) -> list[bool]:
    return [webhook["status"] == "active" for webhook in kept.woo.webhooks()]


def test_f38_webhooks_that_the_store_switched_off_are_on_again_and_the_gap_is_read(kept: Kept) -> None:
    """Nobody listens where it delivers: the seventh failure in a row switches a webhook off."""
    kept.poll()
    assert switched_on(kept) == [True] * len(TOPICS)
    assert (kept.sync().deliveries_ok, kept.sync().deliveries_mended) == (True, 0)
    for _ in range(7):
        kept.woo.place()
        kept.woo.scheduler_tick()
    off = switched_on(kept).count(False)
    assert off > 0
    kept.clock.advance(HOUR)
    kept.poll()

    assert switched_on(kept) == [True] * len(TOPICS)
    assert (kept.sync().deliveries_ok, kept.sync().deliveries_mended, kept.known()) == (True, off, 7)
    assert kept.sync().poll_at == kept.clock.now
    assert [what for what, _, _ in told(kept.db)][-1] == "alarm.deliveries_off"


def test_f27_a_key_that_the_merchant_took_back_stops_the_shop_with_its_reason(kept: Kept) -> None:
    with kept.db.reading() as session:
        keys = shops.keys_of(session, kept.id)
    kept.woo.revoke(shops.unseal(kept.site.need_vault(), keys)["consumer_key"])
    kept.drained("poll")
    assert kept.status() == ("revoked", None)

    with kept.db.transaction() as session:
        syncing.due(session, now=kept.clock.now)
    kept.drained("probe")

    assert kept.status() == ("revoked", "wrong_keys")
    assert kept.sync().probe_at > kept.clock.now


@pytest.fixture
def poisoned(kept: Kept) -> tuple[list[int], int]:
    """Six orders, the third of which kills PHP where it is shown."""
    placed = [kept.woo.place() for _ in range(6)]
    kept.woo.site.switches.deadly[placed[2]] = False
    kept.clock.advance(MINUTE)
    return placed, placed[2]


def names(kept: Kept) -> set[str]:
    with kept.db.reading() as session:
        return set(session.execute(select(OrderRow.ref).where(OrderRow.snapshot.is_not(None))).scalars())


def is_paused(kept: Kept) -> bool:
    with kept.db.reading() as session:
        return session.get_one(ShopRow, kept.id).paused_until is not None


def alarms(kept: Kept) -> list[tuple[str, str]]:
    with kept.db.reading() as session:
        return [(alarm.kind.value, alarm.subject) for alarm in session.execute(select(Alarm)).scalars()]


@pytest.mark.parametrize("kind", ["poll", "import"])
def test_f39_an_order_that_kills_php_holds_up_neither_poll_nor_import(kept: Kept, poisoned: tuple[list[int], int], kind: str) -> None:
    placed, deadly = poisoned

    kept.drained(kind)

    assert names(kept) == {str(order) for order in placed if order != deadly}
    assert alarms(kept) == [("poisoned", "orders")]
    assert [facts["orders"] for what, _, facts in told(kept.db) if what == "alarm.poisoned"] == [[str(deadly)]]
    assert not is_paused(kept)
    assert (kept.sync().polled_at if kind == "poll" else kept.sync().import_done_at) is not None


def test_f39_an_order_that_kills_php_holds_up_no_other_that_was_hinted_at(kept: Kept, poisoned: tuple[list[int], int]) -> None:
    placed, deadly = poisoned
    with kept.db.transaction() as session:
        for order in placed:
            body = b'{"id":%d}' % order
            id_ = uuid.uuid4()
            row = Delivery(id_, kept.id, "order.updated", inbox.digest(body), kept.site.need_vault().encrypt("hint", id_.hex, body))
            inbox.put(session, [row], now=kept.clock.now)
    kept.clock.advance(MINUTE)
    for _ in range(30):
        kept.drained("refresh")
        kept.clock.advance(3 * MINUTE)

    assert names(kept) == {str(order) for order in placed if order != deadly}
    assert alarms(kept) == [("poisoned", "deliveries")]
    assert not is_paused(kept)


def test_f39_money_of_an_order_that_cannot_be_read_is_not_refused(kept: Kept) -> None:
    order = kept.woo.place([Bought("Shirt", 2)])
    kept.woo.site.switches.deadly[order] = True
    store = kept.site.open_store(kept.keys())

    with pytest.raises(PlatformError) as trouble:
        store.order(OrderRef(str(order)))

    assert not isinstance(trouble.value, Rejected | Throttled | Revoked)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.WAF),
        Fault(FaultKind.ANSWER, words='{"code":"rest_forbidden","message":"no"}', status=403, content_type="application/json"),
        Fault(FaultKind.PAGE, status=504),
        Fault(FaultKind.ANSWER, words='{"a":"list?"}', content_type="application/json"),
    ],
    ids=["firewall", "rest_forbidden", "504", "odd"],
)
def test_f30_a_store_that_keeps_its_webhooks_to_itself_is_polled_all_the_same(kept: Kept, fault: Fault) -> None:
    kept.woo.place()
    kept.woo.fail_next("webhooks", fault, times=None)

    kept.drained("poll")

    assert (kept.known(), kept.sync().deliveries_ok) == (1, False)
    assert kept.sync().polled_at is not None
    assert not is_paused(kept)


def test_the_daily_probe_finds_a_new_time_zone_and_version(kept: Kept) -> None:
    with kept.db.transaction() as session:
        row = session.get_one(ShopRow, kept.id)
        row.facts, row.time_zone = {**kept.keys().facts, "version": "9.0.0"}, "UTC"
    work.probe(kept.site, kept.id)

    assert kept.keys().facts["version"] == "10.5.0"
    assert kept.keys().time_zone == "Europe/Amsterdam"


def test_polling_a_quiet_store_is_cheap(kept: Kept) -> None:
    for _ in range(40):
        kept.woo.place()
    kept.poll()
    kept.clock.advance(15 * MINUTE)
    kept.poll()
    before = len(kept.woo.requests)
    kept.clock.advance(5 * MINUTE)
    kept.poll()

    assert len(kept.woo.requests) - before <= 3
    with kept.db.reading() as session:
        found = syncing.to_poll(session, kept.id, now=kept.clock.now)
        assert found is not None
        assert orders.snapshot(session, kept.id, OrderRef(str(kept.woo.orders()[0]))) is not None
