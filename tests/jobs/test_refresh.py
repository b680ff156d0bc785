"""Hints become reads: coalesced, batched, fair, and none is lost. W2, W3, F36, F39, F40, F41, A15, A16, and crashes anywhere."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from adapters.simulators.toy import ToyStore
from adapters.woocommerce.platform import WooPlatform
from connector.db import Database
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import PlatformError, Revoked, Throttled
from connector.models import Alarm, AlarmKind, HintRow, Kind, OrderRow, OutboxRow
from connector.services import inbox, orders, outbox
from connector.services.inbox import Delivery
from connector.services.outbox import Later
from jobs.drain import Drain
from jobs.inbox import refresh
from jobs.site import Site
from tests.jobs.tills import Time
from tests.services.acts import everything, work
from tests.services.conftest import Shelf
from tests.world import Clock, World, an_order

SAMPLES: Final = Path(__file__).parent.parent / "data" / "woocommerce"
SECOND: Final = timedelta(seconds=1)
GENUINE: Final = json.loads((SAMPLES / "webhook-order-updated-after-refund.json").read_text(encoding="utf-8"))["body_raw"].encode()


def body_of(ref: str, seen: int = 0) -> bytes:
    """A genuine delivery about this order; `seen` tells one state of it from another."""
    head, rest = GENUINE.split(b",", 1)
    assert head.startswith(b'{"id":')
    return b'{"id":%s,"version":"%d",%s' % (ref.encode(), seen, rest)


class Untranslatable(PlatformError):
    """What an adapter says of an answer that it cannot read."""


@dataclass(slots=True)
class Shelves(ToyStore):
    """A shop that notes what is read, cannot show some orders, and where something may happen while it is read."""

    reads: list[Sequence[OrderRef]] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    complaint: type[Exception] = Untranslatable
    trouble: list[Exception] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    numbers: dict[str, str] = field(default_factory=dict)  # those that were given another one
    meanwhile: Callable[[], None] = lambda: None

    def orders(self, refs: Sequence[OrderRef]) -> Sequence[Order]:
        self.reads.append(tuple(refs))
        self.meanwhile()
        if self.trouble:
            raise self.trouble.pop(0)
        if self.unreadable & set(refs):
            raise self.complaint
        found = [order for order in ToyStore.orders(self, refs) if order.ref not in self.gone]
        return [replace(order, number=self.numbers.get(order.ref, order.number)) for order in found]


@dataclass(slots=True)
class Mail:
    """A shop whose deliveries come in."""

    world: World
    shop: Shelves
    elapsed: timedelta = timedelta(0)

    @property
    def db(self) -> Database:
        return self.world.db

    @property
    def site(self) -> Site:
        return Site(
            self.db,
            lambda _keys: self.shop,
            stopwatch=lambda: self.elapsed,
            platforms={"toy": WooPlatform(dev=True)},  # a toy shop whose deliveries are genuine
            vault=self.world.vault,
        )

    def placed(self, *refs: str) -> None:
        for ref in refs:
            self.shop.place(an_order(ref))

    def comes(self, *bodies: bytes, topic: str = "order.updated") -> None:
        """Deliveries, as the web keeps them."""
        for start in range(0, len(bodies), 100):
            rows = []
            for body in bodies[start : start + 100]:
                row = uuid.uuid4()
                rows.append(Delivery(row, self.world.shop.id, topic, inbox.digest(body), self.world.vault.encrypt("hint", row.hex, body)))
            with self.db.transaction() as session:
                inbox.put(session, rows, now=self.db.now(session))

    def refresh(self) -> Exception | None:
        """One run: what it raised, or None where nothing is left to do."""
        try:
            refresh(self.site, self.world.shop.id)
        except Exception as error:  # noqa: BLE001 - the test judges it
            return error
        return None

    def comes_back_in(self) -> timedelta:
        outcome = self.refresh()
        assert isinstance(outcome, Later), outcome
        return outcome.delay

    def hints(self) -> list[HintRow]:
        with self.db.reading() as session:
            return list(session.execute(select(HintRow).order_by(HintRow.received_at)).scalars())

    def known(self) -> set[str]:
        """The orders that were read and kept."""
        with self.db.reading() as session:
            return set(session.execute(select(OrderRow.ref).where(OrderRow.snapshot.is_not(None))).scalars())

    def alarms(self) -> list[AlarmKind]:
        with self.db.reading() as session:
            return list(session.execute(select(Alarm.kind)).scalars())


@pytest.fixture(params=["sqlite", "postgresql"])
def mail(request: pytest.FixtureRequest, shelf: Shelf, clock: Clock) -> Iterator[Mail]:
    if request.param == "postgresql":
        request.getfixturevalue("postgres_server")
    shop = Shelves(":memory:", clock=lambda: clock.now)
    yield Mail(World(shelf.fresh(request.param, Time(clock)), shop, clock), shop)
    shop.far.close()


# ── few reads ──


def test_an_order_that_was_hinted_at_is_read_and_kept_and_the_hint_is_gone(mail: Mail) -> None:
    mail.placed("1001")
    mail.comes(body_of("1001"))

    assert mail.refresh() is None
    assert mail.shop.reads == [("1001",)]
    assert mail.hints() == []
    with mail.db.reading() as session:
        kept = orders.snapshot(session, mail.world.shop.id, OrderRef("1001"))
    assert kept is not None
    assert kept.total == an_order("1001").total


def test_w2_many_deliveries_of_one_order_are_one_read(mail: Mail) -> None:
    mail.placed("1001")
    mail.comes(*(body_of("1001", seen) for seen in range(150)))

    assert mail.refresh() is None
    assert mail.shop.reads == [("1001",)]
    assert mail.hints() == []


def test_f40_orders_are_read_a_hundred_at_a_time(mail: Mail) -> None:
    refs = [str(n) for n in range(1001, 1251)]
    mail.placed(*refs)
    mail.comes(*(body_of(ref, seen) for seen in range(2) for ref in refs))

    assert mail.refresh() is None
    assert [len(read) for read in mail.shop.reads] == [100, 100, 50]
    assert mail.known() == set(refs)


def test_f40_orders_are_written_down_fifty_at_a_time(mail: Mail) -> None:
    refs = [str(n) for n in range(1001, 1101)]
    mail.placed(*refs)
    mail.comes(*map(body_of, refs))
    commits: list[object] = []

    def count(connection: object) -> None:
        commits.append(connection)

    event.listen(mail.db.engine, "commit", count)
    try:
        assert mail.refresh() is None
    finally:
        event.remove(mail.db.engine, "commit", count)

    assert mail.known() == set(refs)
    assert 0 < len(commits) <= 12  # and not one for each order


def test_orders_that_are_gone_and_orders_that_are_there_may_come_together(mail: Mail, clock: Clock) -> None:
    mail.placed("1001", "1002", "1003")
    mail.comes(*map(body_of, ("1001", "1002", "1003")))
    mail.refresh()
    clock.advance(SECOND)
    mail.shop.gone = {"1002"}
    mail.comes(*(body_of(ref, 1) for ref in ("1001", "1002", "1003", "1004")))

    assert mail.refresh() is None
    with mail.db.reading() as session:
        rows = session.execute(select(OrderRow.ref, OrderRow.gone_at)).all()
    assert {row.ref: row.gone_at for row in rows} == {"1001": None, "1002": clock.now, "1003": None}


def test_nothing_of_a_delivery_is_left_behind(mail: Mail) -> None:
    mail.placed("1001")
    mail.comes(body_of("1001"), b'{"action":"woocommerce_refund_created","arg":219}')
    mail.refresh()

    assert mail.hints() == []
    left = repr(everything(mail.db))
    assert "zoe@example.com" in GENUINE.decode()
    assert all(word not in left for word in ("zoe@example.com", "Test St", "555-0100"))


def test_an_order_that_the_platform_does_not_know_any_more_is_marked_as_gone(mail: Mail, clock: Clock) -> None:
    mail.placed("1001")
    mail.comes(body_of("1001"))
    mail.refresh()
    clock.advance(SECOND)
    mail.shop.gone = {"1001"}
    mail.comes(b'{"id":1001}', topic="order.deleted")

    assert mail.refresh() is None
    with mail.db.reading() as session:
        assert session.get_one(OrderRow, (mail.world.shop.id, "1001")).gone_at == clock.now


def test_f36_a_hint_that_waited_for_a_day_is_read_like_any_other(mail: Mail, clock: Clock) -> None:
    mail.placed("1001")
    mail.comes(body_of("1001"))
    clock.advance(timedelta(days=1))

    assert mail.refresh() is None
    assert mail.known() == {"1001"}


def test_a_draft_of_a_checkout_is_no_order_to_read(mail: Mail) -> None:
    mail.comes(b'{"id":1001,"status":"checkout-draft"}')

    assert mail.refresh() is None
    assert mail.shop.reads == []
    assert mail.hints() == []


def test_a_refund_of_which_it_is_not_said_to_what_order_becomes_a_poll(mail: Mail) -> None:
    mail.comes(b'{"action":"woocommerce_refund_created","arg":219}', topic="action.woocommerce_refund_created")

    assert mail.refresh() is None
    assert [row.subject_id for row in work(mail.db, Kind.POLL.value)] == [mail.world.shop.id]
    assert mail.hints() == []


def test_w3_a_signed_error_in_place_of_an_order_is_an_alarm_and_a_poll(mail: Mail) -> None:
    sample = json.loads((SAMPLES / "webhook-error-payload.json").read_text(encoding="utf-8"))
    bodies = [each["body_raw"].encode() for each in ([sample] if "body_raw" in sample else sample.values()) if isinstance(each, dict)]
    assert bodies
    mail.comes(*bodies)

    assert mail.refresh() is None
    assert mail.alarms() == [AlarmKind.DELIVERIES_UNREADABLE]
    assert len(work(mail.db, Kind.POLL.value)) == 1
    assert mail.hints() == []


# ── poison ──


SENSELESS: Final = (
    b"",
    b"[" * 100_000,
    b'{"id":' + b"9" * 5000 + b"}",
    b'{"id":1001.5}',
    b'{"id":"1001"}',
    b'{"id":true}',
    b'{"id":-1}',
    b'{"id":null}',
    b'["an", "order"]',
    b'{"id":NaN}',
    b"\xff\xfe{\x00}\x00",
    b"\x1f\x8b\x08\x00gzip",
    b"<html>503</html>",
    b'{"id":1001,"status":["processing"]}',
)


def test_f39_a15_a16_what_nobody_can_make_sense_of_is_set_aside_and_holds_up_nothing(mail: Mail) -> None:
    mail.placed("1001", "1002")
    mail.comes(body_of("1001"), *SENSELESS, body_of("1002"))

    assert mail.refresh() is None
    assert mail.known() == {"1001", "1002"}
    assert len(mail.hints()) == len(SENSELESS)
    assert all(hint.poisoned_at and hint.body for hint in mail.hints())
    assert mail.alarms() == [AlarmKind.POISONED]


def test_f39_a_body_that_no_key_opens_is_set_aside(mail: Mail) -> None:
    mail.placed("1002")
    mail.comes(body_of("1001"))
    with mail.db.transaction() as session:
        session.execute(update(HintRow).values(body=b"gAAAAAsomebody else's"))
    mail.comes(body_of("1002"))

    assert mail.refresh() is None
    assert mail.known() == {"1002"}
    assert [hint.poisoned_at is not None for hint in mail.hints()] == [True]


@pytest.mark.parametrize("complaint", [Untranslatable, ValueError, KeyError, RecursionError])
def test_f39_one_order_that_cannot_be_read_holds_up_no_other(mail: Mail, complaint: type[Exception]) -> None:
    refs = [str(n) for n in range(1001, 1101)]
    mail.placed(*refs)
    mail.shop.complaint = complaint
    mail.shop.unreadable = {"1042"}
    mail.comes(*map(body_of, refs))

    assert mail.comes_back_in() == inbox.TAKEN_FOR
    assert mail.known() == set(refs) - {"1042"}
    assert [hint.ref for hint in mail.hints()] == ["1042"]
    assert len(mail.shop.reads) <= 16


def test_f39_an_order_that_cannot_be_read_is_tried_for_an_hour_and_then_set_aside(mail: Mail, clock: Clock) -> None:
    mail.shop.unreadable = {"1042"}
    mail.comes(body_of("1042"))
    waited = timedelta(0)
    while (outcome := mail.refresh()) is not None:
        assert isinstance(outcome, Later)
        assert mail.alarms() == []
        clock.advance(outcome.delay)
        waited += outcome.delay

    assert timedelta(hours=1) < waited < timedelta(hours=2)
    assert mail.alarms() == [AlarmKind.POISONED]
    assert [(hint.ref, hint.poisoned_at, hint.body) for hint in mail.hints()] == [("1042", clock.now, None)]


def test_a_shop_that_fails_altogether_is_not_asked_for_each_order(mail: Mail, clock: Clock) -> None:
    refs = [str(n) for n in range(1001, 1301)]
    mail.placed(*refs)
    mail.shop.unreadable = set(refs)
    mail.comes(*map(body_of, refs))

    assert mail.comes_back_in() == inbox.TAKEN_FOR
    assert len(mail.shop.reads) == 16
    assert mail.alarms() == []

    mail.shop.unreadable = set()
    clock.advance(inbox.TAKEN_FOR)
    assert mail.refresh() is None
    assert mail.known() == set(refs)


def test_f39_orders_that_were_never_asked_for_alone_are_not_given_up(mail: Mail, clock: Clock) -> None:
    deadly, well = [str(n) for n in range(1001, 1033)], [str(n) for n in range(1033, 1065)]
    mail.placed(*deadly, *well)
    mail.shop.unreadable = set(deadly)
    mail.comes(*map(body_of, (*deadly, *well)))
    for _ in range(30):
        clock.advance(timedelta(minutes=10))
        if mail.refresh() is None:
            break

    assert mail.known() == set(well)
    assert {hint.ref for hint in mail.hints() if hint.poisoned_at} == set(deadly)


def test_f39_an_order_that_the_database_cannot_take_holds_up_no_other(mail: Mail) -> None:
    mail.placed("1001", "1002", "1003")
    mail.shop.numbers = {"1002": "10\x0002"}  # A15: PostgreSQL takes no NUL in a text
    mail.comes(*(body_of(ref) for ref in ("1001", "1002", "1003")))
    outcome = mail.refresh()

    if mail.db.dialect == "postgresql":
        assert isinstance(outcome, Later)
        assert mail.known() == {"1001", "1003"}
        assert [hint.ref for hint in mail.hints()] == ["1002"]
    else:
        assert outcome is None
        assert mail.known() == {"1001", "1002", "1003"}


def test_f39_an_order_that_our_own_rules_cannot_take_holds_up_no_other(mail: Mail) -> None:
    mail.placed("1001", "1002", "1003")
    mail.shop.numbers = {"1002": "10\ud80002"}  # half a character: no encoding has it
    mail.comes(*(body_of(ref) for ref in ("1001", "1002", "1003")))

    assert mail.comes_back_in() == inbox.TAKEN_FOR
    assert mail.known() == {"1001", "1003"}
    assert [hint.ref for hint in mail.hints()] == ["1002"]


# ── troubles of the shop ──


def test_a_busy_shop_is_read_later_and_at_once_then(mail: Mail) -> None:
    mail.placed("1001")
    mail.comes(body_of("1001"))
    mail.shop.trouble = [Throttled(30 * SECOND)]

    assert isinstance(mail.refresh(), Throttled)
    assert mail.known() == set()
    assert mail.refresh() is None
    assert mail.known() == {"1001"}


def test_a_shop_that_refuses_our_keys_keeps_its_hints(mail: Mail) -> None:
    mail.placed("1001")
    mail.comes(body_of("1001"))
    mail.shop.trouble = [Revoked()]

    assert isinstance(mail.refresh(), Revoked)
    assert [hint.ref for hint in mail.hints()] == ["1001"]


# ── crashes, and two at once ──


def test_a_run_that_died_after_it_took_its_hints_loses_none(mail: Mail, clock: Clock) -> None:
    mail.placed("1001", "1002")
    mail.comes(body_of("1001"))
    with mail.db.transaction() as session:
        assert len(inbox.take(session, mail.world.shop.id, now=clock.now)) == 1  # and here it died
    clock.advance(20 * SECOND)  # the lease of its row ran out

    mail.comes(body_of("1002"))
    assert mail.comes_back_in() == inbox.TAKEN_FOR - 20 * SECOND
    assert mail.known() == {"1002"}
    clock.advance(inbox.TAKEN_FOR - 20 * SECOND)
    assert mail.refresh() is None
    assert mail.known() == {"1001", "1002"}


@pytest.mark.parametrize("dies", range(1, 8))
def test_a_run_may_die_after_any_transaction(mail: Mail, clock: Clock, dies: int) -> None:
    class Dead(BaseException):
        pass

    refs = [str(n) for n in range(1001, 1061)]
    mail.placed(*refs)
    mail.comes(*map(body_of, refs), b'{"action":"woocommerce_refund_created","arg":219}')
    database, ends = mail.db, iter(range(1, 99))

    class Dying(Database):
        @contextmanager
        def transaction(self) -> Iterator[Session]:
            with database.transaction() as session:
                yield session
            if next(ends) == dies:
                raise Dead

    mortal = Dying(database.url.render_as_string(hide_password=False), clock=lambda _session: clock.now)
    site = Site(mortal, lambda _keys: mail.shop, platforms=mail.site.platforms, vault=mail.world.vault)
    try:
        refresh(site, mail.world.shop.id)
    except Dead:
        pass
    finally:
        mortal.dispose()
    while (outcome := mail.refresh()) is not None:
        assert isinstance(outcome, Later)
        clock.advance(outcome.delay)

    assert mail.known() == set(refs)
    assert mail.hints() == []
    assert len(work(mail.db, Kind.POLL.value)) == 1


def test_two_runs_at_once_come_to_the_same(mail: Mail, clock: Clock) -> None:
    refs = [str(n) for n in range(1001, 1301)]
    mail.placed(*refs)
    mail.comes(*map(body_of, refs))
    ready = threading.Barrier(2)
    outcomes: list[Exception | None] = []

    def run() -> None:
        ready.wait(20)
        outcomes.append(mail.refresh())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(outcome is None or isinstance(outcome, Later) for outcome in outcomes)
    assert mail.known() == set(refs)
    assert mail.hints() == []
    assert sum(len(read) for read in mail.shop.reads) == 300


def test_what_came_while_it_read_is_read_two_seconds_later(mail: Mail) -> None:
    mail.placed("1001", "1002")
    mail.comes(body_of("1001"))
    mail.shop.meanwhile = lambda: mail.comes(body_of("1002"))

    assert mail.comes_back_in() == 2 * SECOND
    mail.shop.meanwhile = lambda: None
    assert mail.refresh() is None
    assert mail.known() == {"1001", "1002"}


# ── turns ──


def test_f41_a_run_reads_five_hundred_orders_and_lets_others_go_first(mail: Mail) -> None:
    refs = [str(n) for n in range(1001, 1601)]
    mail.placed(*refs)
    mail.comes(*map(body_of, refs))

    assert mail.comes_back_in() <= 2 * SECOND
    assert len(mail.known()) == 500
    assert mail.refresh() is None
    assert mail.known() == set(refs)


def test_f41_a_slow_shop_is_left_after_a_while_and_what_it_owes_is_not_held_back(mail: Mail) -> None:
    refs = [str(n) for n in range(1001, 1301)]
    mail.placed(*refs)
    mail.comes(*map(body_of, refs))

    def slowly() -> None:
        mail.elapsed += 30 * SECOND

    mail.shop.meanwhile = slowly

    assert mail.comes_back_in() == timedelta(0)
    assert len(mail.known()) == 200
    assert mail.refresh() is None
    assert mail.known() == set(refs)


def test_f41_the_flood_of_one_shop_does_not_keep_another_waiting(mail: Mail, clock: Clock) -> None:
    other = Mail(World(mail.db, Shelves(":memory:", clock=lambda: clock.now), clock, vault=mail.world.vault), Shelves(":memory:"))
    flood = [str(n) for n in range(1001, 1701)]
    mail.placed(*flood)
    mail.comes(*map(body_of, flood))
    other.placed("5001")
    clock.advance(SECOND / 10)
    other.comes(body_of("5001"))
    clock.advance(3 * SECOND)
    before: list[int] = []
    other.shop.meanwhile = lambda: before.append(len(mail.known()))
    stores = {mail.world.shop.id: mail.shop, other.world.shop.id: other.shop}
    site = Site(mail.db, lambda keys: stores[keys.id], platforms=mail.site.platforms, vault=mail.world.vault)

    Drain(site, threads=2, kinds=[Kind.REFRESH.value, Kind.MIRROR.value]).run()  # one thread for each kind

    assert before == [500]
    for store in (other.shop, other.world.toy):
        store.far.close()


def test_the_row_is_done_once_nothing_waits(mail: Mail, clock: Clock) -> None:
    mail.placed("1001")
    mail.comes(body_of("1001"))
    clock.advance(2 * SECOND)

    assert Drain(mail.site, threads=2, kinds=[Kind.REFRESH.value]).run() == 1
    assert [row.done_at for row in work(mail.db, Kind.REFRESH.value)] == [clock.now]
    assert mail.known() == {"1001"}


def test_a_run_that_comes_back_is_the_one_that_new_hints_count_on(mail: Mail, clock: Clock) -> None:
    mail.placed("1001", "1002", "1003")
    mail.comes(body_of("1001"))
    mail.shop.meanwhile = lambda: mail.comes(body_of("1002"))
    clock.advance(2 * SECOND)
    Drain(mail.site, threads=2, kinds=[Kind.REFRESH.value]).run()
    mail.shop.meanwhile = lambda: None
    mail.comes(body_of("1003"))

    with mail.db.reading() as session:
        waiting = session.execute(select(OutboxRow).where(OutboxRow.kind == "refresh", OutboxRow.done_at.is_(None))).scalars().all()
    assert {row.available_at for row in waiting} == {clock.now + 2 * SECOND}
    assert len(waiting) <= 2
    clock.advance(2 * SECOND)
    Drain(mail.site, threads=2, kinds=[Kind.REFRESH.value]).run()
    assert mail.known() == {"1001", "1002", "1003"}
    with mail.db.transaction() as session:
        assert not outbox.anything_due(session, kinds=["refresh"], now=clock.now + 60 * SECOND)
