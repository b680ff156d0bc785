"""Hints: put once while they wait, taken by one, told, worked off, set aside. F34, F36, F39, A09, A15."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from connector.db import Database
from connector.domain.connecting import Hint
from connector.domain.orders import OrderRef
from connector.models import Alarm, AlarmKind, HintRow, Kind, OutboxRow, Shop
from connector.services import inbox, outbox, shops
from connector.services.inbox import Delivery, Taken
from tests.services.conftest import MakeWorld
from tests.world import Clock, World

SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Inbox:
    """A shop's inbox, and what a test does with it; each call is a transaction."""

    world: World

    @property
    def db(self) -> Database:
        return self.world.db

    @property
    def shop(self) -> uuid.UUID:
        return self.world.shop.id

    def delivery(self, body: str = "an order", *, topic: str = "order.updated", delivery: str | None = None) -> Delivery:
        row = uuid.uuid4()
        sealed = self.world.vault.encrypt("hint", row.hex, body)
        return Delivery(row, self.shop, topic, inbox.digest(body.encode()), sealed, delivery)

    def put(self, *deliveries: Delivery) -> None:
        with self.db.transaction() as session:
            inbox.put(session, deliveries, now=self.db.now(session))

    def take(self, limit: int = 100) -> Sequence[Taken]:
        with self.db.transaction() as session:
            return inbox.take(session, self.shop, limit=limit, now=self.db.now(session))

    def told(self, hints: dict[uuid.UUID, Hint]) -> None:
        with self.db.transaction() as session:
            inbox.told(session, self.shop, hints, now=self.db.now(session))

    def poison(self, hints: Collection[uuid.UUID]) -> None:
        with self.db.transaction() as session:
            inbox.poison(session, self.shop, hints, now=self.db.now(session))

    def next_run(self) -> timedelta | None:
        with self.db.reading() as session:
            return inbox.next_run(session, self.shop, now=self.db.now(session))

    def rows(self) -> list[HintRow]:
        with self.db.reading() as session:
            return list(session.execute(select(HintRow).order_by(HintRow.received_at)).scalars())

    def work(self, kind: Kind = Kind.REFRESH) -> list[OutboxRow]:
        with self.db.reading() as session:
            query = select(OutboxRow).where(OutboxRow.kind == kind.value, OutboxRow.shop_id == self.shop)
            return list(session.execute(query.order_by(OutboxRow.available_at)).scalars())

    def claim(self) -> bool:
        """A worker takes a refresh that is due."""
        with self.db.transaction() as session:
            return bool(outbox.claim(session, kinds=[Kind.REFRESH.value], limit=1, now=self.db.now(session)))

    def poll(self) -> int:
        """A worker does the polls that are due. How many."""
        with self.db.transaction() as session:
            now = self.db.now(session)
            rows = outbox.claim(session, kinds=[Kind.POLL.value], limit=10, now=now)
            return sum(outbox.done(session, row, now=now) for row in rows)

    def alarms(self) -> list[Alarm]:
        with self.db.reading() as session:
            return list(session.execute(select(Alarm)).scalars())

    def clear(self, clock: Clock) -> None:
        """A person has seen to the alarms."""
        with self.db.transaction() as session:
            session.execute(update(Alarm).values(cleared_at=clock.now, cleared_by="sam"))


@pytest.fixture
def box(world: World) -> Inbox:
    return Inbox(world)


# ── put ──


def test_a_delivery_waits_encrypted_until_it_is_taken(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery("kim@example.com"))

    (row,) = box.rows()
    assert row.body is not None
    assert b"kim@" not in row.body
    assert (row.received_at, row.taken_at, row.ref, row.poisoned_at) == (clock.now, None, None, None)
    (taken,) = box.take()
    assert taken.body is not None
    assert box.world.vault.decrypt("hint", taken.id.hex, taken.body) == "kim@example.com"


def test_f34_the_same_bytes_wait_once(box: Inbox) -> None:
    box.put(*(box.delivery("same") for _ in range(60)))
    box.put(*(box.delivery("same") for _ in range(40)), box.delivery("same", topic="order.created"), box.delivery("other"))

    assert len(box.rows()) == 3


def test_a09_the_same_bytes_are_a_new_hint_once_the_first_was_taken(box: Inbox) -> None:
    box.put(box.delivery("same"))
    box.take()
    box.put(box.delivery("same"))

    assert len(box.rows()) == 2
    assert len(box.take()) == 1


def test_a_delivery_id_that_can_be_trusted_is_kept_once_whatever_its_bytes(box: Inbox) -> None:
    box.put(box.delivery("one", delivery="d-1"), box.delivery("two", delivery="d-1"), box.delivery("three", delivery="d-2"))

    assert len(box.rows()) == 2


def test_two_shops_may_send_the_same_bytes_under_the_same_id(box: Inbox, make_world: MakeWorld) -> None:
    other = Inbox(make_world())
    box.put(box.delivery("same", delivery="d"), other.delivery("same", delivery="d"))

    assert {row.shop_id for row in box.rows()} == {box.shop, other.shop}


def test_f34_many_at_once_make_one_row(box: Inbox) -> None:
    ready = threading.Barrier(8)

    def put() -> None:
        ready.wait(20)
        box.put(box.delivery("same", delivery="d"))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(box.rows()) == 1


def test_two_processes_with_the_same_deliveries_in_another_order_do_not_stand_in_each_others_way(box: Inbox) -> None:
    ready, failed = threading.Barrier(2), []

    def put(bodies: Sequence[str]) -> None:
        ready.wait(20)
        try:
            for n in range(10):
                box.put(*(box.delivery(f"{body} {n}") for body in bodies))
        except Exception as error:  # noqa: BLE001 - the test judges it
            failed.append(error)

    bodies = [f"order {n}" for n in range(40)]
    threads = [threading.Thread(target=put, args=(each,)) for each in (bodies, bodies[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert len(box.rows()) == 400


def test_what_comes_for_a_shop_that_was_uninstalled_meanwhile_is_dropped(box: Inbox, make_world: MakeWorld, clock: Clock) -> None:
    other = Inbox(make_world())
    with box.db.transaction() as session:
        shops.uninstall(session, box.shop, who="sam", now=clock.now)
    box.put(box.delivery(), other.delivery())

    assert [row.shop_id for row in box.rows()] == [other.shop]
    assert box.work() == []


# ── a refresh will come ──


def test_f40_hints_that_come_close_together_share_one_refresh(box: Inbox, clock: Clock) -> None:
    for n in range(10):
        box.put(box.delivery(f"order {n}"))
        clock.advance(SECOND / 10)

    (row,) = box.work()
    assert row.available_at == clock.now + SECOND
    assert row.subject_id == box.shop


def test_a_refresh_that_is_due_is_not_counted_on_because_it_may_have_begun(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery("one"))
    clock.advance(3 * SECOND)
    box.put(box.delivery("two"))
    box.put(box.delivery("three"))

    assert [row.available_at - clock.now for row in box.work()] == [-SECOND, 2 * SECOND]


def test_a_hint_that_comes_while_a_refresh_is_under_way_gets_one_of_its_own(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery("one"))
    clock.advance(2 * SECOND)
    assert box.claim()
    box.put(box.delivery("two"))

    assert [row.leased_until is None for row in box.work()] == [False, True]


def test_refreshes_do_not_pile_up_while_no_worker_is_there(box: Inbox, clock: Clock) -> None:
    for n in range(100):
        box.put(box.delivery(f"order {n}"))
        clock.advance(SECOND)

    assert len(box.work()) <= 7


def test_a_refresh_that_comes_back_much_later_is_not_counted_on(box: Inbox, clock: Clock) -> None:
    with box.db.transaction() as session:
        outbox.put(session, Kind.REFRESH, box.shop, shop=box.shop, now=clock.now, delay=60 * SECOND)
    box.put(box.delivery())

    assert [row.available_at - clock.now for row in box.work()] == [2 * SECOND, 60 * SECOND]


def test_each_shop_of_a_batch_gets_its_refresh(box: Inbox, make_world: MakeWorld) -> None:
    other = Inbox(make_world())
    box.put(box.delivery("a"), other.delivery("b"), box.delivery("c"))

    assert len(box.work()) == len(other.work()) == 1


def test_a_refresh_begins_only_once_the_hints_that_count_on_it_can_be_seen(world: World, clock: Clock) -> None:
    box = Inbox(world)
    box.put(box.delivery("one"))
    counted, goes_on = threading.Event(), threading.Event()

    def put_slowly() -> None:
        with box.db.transaction() as session:
            inbox.put(session, [box.delivery("two")], now=clock.now)
            counted.set()
            goes_on.wait(20)

    slow = threading.Thread(target=put_slowly)
    slow.start()
    assert counted.wait(20)
    later = clock.now + 3 * SECOND
    claimed: list[int] = []

    def claim_and_take() -> None:
        with box.db.transaction() as session:
            rows = outbox.claim(session, kinds=[Kind.REFRESH.value], limit=5, now=later)
            claimed.append(len(inbox.take(session, box.shop, now=later)) if rows else 0)

    worker = threading.Thread(target=claim_and_take)
    worker.start()
    worker.join(0.2 if world.db.dialect == "sqlite" else 20)  # SQLite's writers take turns: it waits there
    goes_on.set()
    slow.join()
    worker.join()
    if claimed == [0]:  # it was locked: who comes after the commit finds both
        claimed.clear()
        claim_and_take()

    assert claimed == [2]


# ── take, tell, work off ──


def test_a_hint_is_in_one_hand_only(box: Inbox) -> None:
    box.put(*(box.delivery(f"order {n}") for n in range(30)))
    hands: list[uuid.UUID] = []
    ready = threading.Barrier(3)

    def take() -> None:
        ready.wait(20)
        while taken := box.take(7):
            hands.extend(hint.id for hint in taken)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(hands) == len(set(hands)) == 30


def test_at_most_a_hundred_are_taken_at_a_time(box: Inbox) -> None:
    for start in (0, 60):
        box.put(*(box.delivery(f"order {start + n}") for n in range(60)))

    assert [len(box.take(500)), len(box.take(500)), len(box.take(500))] == [100, 20, 0]


def test_a_hint_whose_run_died_is_taken_anew_and_never_put_back(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery("one"))
    (first,) = box.take()
    box.put(box.delivery("one"))  # the same bytes wait again
    clock.advance(inbox.TAKEN_FOR - SECOND)
    (second,) = box.take()
    assert first.id != second.id
    clock.advance(SECOND)

    (again,) = box.take()
    assert again.id == first.id
    assert box.take() == []


def test_telling_what_it_is_about_empties_the_body(box: Inbox) -> None:
    box.put(box.delivery("kim@example.com"))
    (hint,) = box.take()
    box.told({hint.id: Hint(OrderRef("1001"))})

    (row,) = box.rows()
    assert (row.body, row.ref) == (None, "1001")


def test_a_told_hint_that_is_taken_anew_says_what_it_is_about(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery())
    box.told({box.take()[0].id: Hint(OrderRef("1001"))})
    clock.advance(inbox.TAKEN_FOR)

    (again,) = box.take()
    assert (again.ref, again.body) == ("1001", None)


def test_a_hint_of_nothing_is_done_with(box: Inbox) -> None:
    box.put(box.delivery())
    box.told({box.take()[0].id: Hint()})

    assert box.rows() == []
    assert box.work(Kind.POLL) == []


def test_a_hint_at_everything_becomes_one_poll(box: Inbox) -> None:
    for n in range(3):
        box.put(box.delivery(f"refund {n}"))
        box.told({hint.id: Hint(sweep=True) for hint in box.take()})

    assert box.rows() == []
    (row,) = box.work(Kind.POLL)
    assert row.subject_id == box.shop


def test_w2_hints_at_everything_gather_for_half_a_minute_before_a_poll_is_made_of_them(box: Inbox, clock: Clock) -> None:
    first = clock.now
    polls = 0
    for n in range(60):
        box.put(box.delivery(f"refund {n}"))
        box.told({hint.id: Hint(sweep=True) for hint in box.take()})
        clock.advance(SECOND)
        polls += box.poll()

    assert polls == 2
    assert [row.available_at for row in box.work(Kind.POLL)] == [first + inbox.POLL_AFTER, first + 2 * inbox.POLL_AFTER]


def test_a_poll_that_waits_longer_is_not_put_off_and_serves(box: Inbox, clock: Clock) -> None:
    due = clock.now + 5 * inbox.POLL_AFTER
    with box.db.transaction() as session:
        outbox.put(session, Kind.POLL, box.shop, shop=box.shop, now=clock.now, delay=5 * inbox.POLL_AFTER)
    for n in range(3):
        clock.advance(SECOND)
        box.put(box.delivery(f"refund {n}"))
        box.told({hint.id: Hint(sweep=True) for hint in box.take()})

    assert [row.available_at for row in box.work(Kind.POLL)] == [due]


def test_a_poll_that_runs_already_is_not_counted_on(box: Inbox, clock: Clock) -> None:
    with box.db.transaction() as session:
        outbox.put(session, Kind.POLL, box.shop, shop=box.shop, now=clock.now)
        assert outbox.claim(session, kinds=[Kind.POLL.value], limit=1, now=clock.now)
    box.put(box.delivery())
    box.told({box.take()[0].id: Hint(sweep=True)})

    assert len(box.work(Kind.POLL)) == 2


def test_trouble_raises_one_alarm_until_a_person_has_cleared_it(box: Inbox, clock: Clock) -> None:
    def trouble() -> None:
        box.put(box.delivery())
        box.told({box.take()[0].id: Hint(sweep=True, trouble="woocommerce_rest_cannot_view")})

    trouble()
    trouble()
    (alarm,) = box.alarms()
    assert alarm.kind is AlarmKind.DELIVERIES_UNREADABLE
    assert json.loads(alarm.facts) == {"code": "woocommerce_rest_cannot_view"}

    box.clear(clock)
    clock.advance(SECOND)
    trouble()
    (alarm,) = box.alarms()
    assert (alarm.cleared_at, alarm.raised_at) == (None, clock.now)


# ── set aside ──


def test_f39_a_senseless_hint_is_set_aside_with_its_body_and_one_alarm(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery("one"), box.delivery("two"))
    box.poison({hint.id for hint in box.take(1)})
    box.poison({hint.id for hint in box.take(1)})
    clock.advance(10 * inbox.TAKEN_FOR)

    assert box.take() == []
    assert all(row.body for row in box.rows())
    assert [alarm.kind for alarm in box.alarms()] == [AlarmKind.POISONED]
    assert box.next_run() is None


def test_what_was_set_aside_is_forgotten_after_its_time(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery("old"))
    box.poison({hint.id for hint in box.take()})
    clock.advance(inbox.KEPT)
    box.put(box.delivery("new"), box.delivery("pending"))
    box.poison({hint.id for hint in box.take(1)})

    clock.advance(SECOND)
    with box.db.transaction() as session:
        assert inbox.forget_poisoned(session, before=clock.now - inbox.KEPT) == 1
    assert len(box.rows()) == 2


# ── when to look again ──


def test_an_empty_inbox_needs_no_other_run(box: Inbox) -> None:
    assert box.next_run() is None


def test_what_waits_is_looked_at_in_two_seconds(box: Inbox) -> None:
    box.put(box.delivery("one"))
    box.take()
    box.put(box.delivery("two"))

    assert box.next_run() == 2 * SECOND


def test_what_another_run_has_in_hand_is_looked_at_when_that_run_must_have_died(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery())
    box.take()
    clock.advance(30 * SECOND)

    assert box.next_run() == inbox.TAKEN_FOR - 30 * SECOND
    clock.advance(10 * inbox.TAKEN_FOR)
    assert box.next_run() == timedelta(0)


def test_what_was_laid_aside_can_be_taken_at_once(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery())
    (hint,) = box.take()
    with box.db.transaction() as session:
        inbox.lay_aside(session, [hint.id], now=clock.now)

    assert box.next_run() == timedelta(0)
    assert [again.id for again in box.take()] == [hint.id]


def test_a_run_does_the_work_of_the_other_rows_that_are_due(box: Inbox, clock: Clock) -> None:
    box.put(box.delivery("one"))
    clock.advance(3 * SECOND)
    box.put(box.delivery("two"))
    clock.advance(2 * SECOND)
    box.put(box.delivery("three"))  # due later
    assert box.claim()
    with box.db.transaction() as session:
        inbox.take_over(session, box.shop, now=clock.now)

    mine, other, later = box.work()
    assert (mine.done_at, mine.leased_until is not None) == (None, True)
    assert other.done_at == clock.now
    assert (later.done_at, later.available_at) == (None, clock.now + 2 * SECOND)


# ── for the doctor, and the door ──


def test_the_doctor_is_told_what_lies_there(box: Inbox, make_world: MakeWorld, clock: Clock) -> None:
    other, began = Inbox(make_world()), clock.now
    box.put(*(box.delivery(f"order {n}") for n in range(5)), other.delivery())
    other.take()
    clock.advance(SECOND)
    box.take(1)
    box.poison({hint.id for hint in box.take(1)})
    with box.db.reading() as session:
        lies = inbox.waiting(session)

    assert lies == {box.shop: inbox.Waiting(3, 1, 1, began), other.shop: inbox.Waiting(0, 1, 0, None)}


def test_a_door_leads_to_its_shop_and_to_no_other_platforms(box: Inbox) -> None:
    with box.db.transaction() as session:
        session.execute(update(Shop).where(Shop.id == box.shop).values(door="d" * 64))
    with box.db.reading() as session:
        found = inbox.behind(session, "toy", "d" * 64)
        assert found is not None
        assert found[0].id == box.shop
        assert inbox.behind(session, "woocommerce", "d" * 64) is None
        assert inbox.behind(session, "toy", "e" * 64) is None
