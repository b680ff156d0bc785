"""Lists by time: what changed since, refunds that change no order, and the history; nothing lost where orders tie or change meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import pytest

from adapters.simulators.woocommerce import Fault, Kind, ShopSettings
from adapters.woocommerce import sweeps
from adapters.woocommerce.answers import Broken
from adapters.woocommerce.fields import Untranslatable
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import Reached, Revoked, Throttled, Unread
from tests.adapters.woo_reading import Read, reading

SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)


@pytest.fixture
def read() -> Iterator[Read]:
    with reading() as found:
        yield found


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of five."""
    monkeypatch.setattr(sweeps, "PAGE", 5)


def ago(read: Read, span: timedelta) -> datetime:
    return read.clock.now - span


def refs(orders: Any) -> list[OrderRef]:
    return [order.ref for order in orders]


def changed(read: Read, since: datetime) -> list[OrderRef]:
    return refs(each for each in read.store().orders_changed(since) if isinstance(each, Order))


def unread(found: Iterable[Order | Unread | Reached]) -> list[OrderRef | None]:
    return [each.ref for each in found if isinstance(each, Unread)]


def touch(read: Read, ref: OrderRef, status: str = "completed") -> None:
    read.shop.set_status(int(ref), status)


# ── What changed ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_w4_the_oldest_change_comes_first_and_what_changed_before_is_left_out(read: Read) -> None:
    old = read.place(at=ago(read, DAY))
    second, first = read.place(at=ago(read, 5 * SECOND)), read.place(at=ago(read, 9 * SECOND))

    assert changed(read, ago(read, 10 * SECOND)) == [*first, *second]
    assert changed(read, ago(read, 9 * SECOND)) == second  # `modified_after` is exclusive
    assert changed(read, ago(read, 2 * DAY)) == [*old, *first, *second]


def test_w4_the_time_is_utc_whatever_zone_it_is_told_in(read: Read) -> None:
    made = read.place(at=ago(read, 5 * SECOND))
    since = ago(read, 6 * SECOND).astimezone(datetime.now().astimezone().tzinfo)

    assert changed(read, since + timedelta(microseconds=7)) == made
    assert {params["dates_are_gmt"] for params in read.asked("/orders")} == {"true"}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("count", [0, 4, 5, 6, 10, 11, 23])
def test_w4_more_orders_of_one_second_than_fill_a_page_are_all_found_once(read: Read, count: int) -> None:
    before, tied = read.place(2, at=ago(read, 9 * SECOND)), read.place(count, at=ago(read, 5 * SECOND))
    after = read.place(3, at=ago(read, 3 * SECOND))

    found = changed(read, ago(read, 60 * SECOND))

    assert sorted(found) == sorted([*before, *tied, *after])
    assert found[:2] == before
    assert set(found[-3:]) == set(after)


@pytest.mark.usefixtures("short")
def test_w4_no_more_is_asked_than_pages_are_needed(read: Read) -> None:
    for number in range(23):
        read.place(at=ago(read, (60 - number) * SECOND))

    assert len(changed(read, ago(read, 90 * SECOND))) == 23
    assert len(read.asked("/orders")) <= 7
    assert {params["page"] for params in read.asked("/orders")} == {"1"}


@pytest.mark.usefixtures("short")
def test_w4_what_changes_while_it_is_read_is_read_again_and_nothing_else_is_lost(read: Read) -> None:
    made = [ref for number in range(20) for ref in read.place(at=ago(read, (60 - number) * SECOND))]
    found: list[Order] = []
    for place, order in enumerate(read.store().orders_changed(ago(read, 90 * SECOND))):
        assert isinstance(order, Order)
        found.append(order)
        if place in (1, 6, 12):
            for ref in made[place : place + 4]:
                touch(read, ref)

    assert set(refs(found)) == set(made)
    assert all(order.ref in refs(found[15:]) for order in found if order.ref in (*made[1:5], *made[6:10], *made[12:16]))
    times = [order.changed_at for order in found if order.changed_at is not None]
    assert times == sorted(times)


def test_w4_a_full_page_of_a_hundred_is_gone_beyond(read: Read) -> None:
    made = read.place(205, at=ago(read, 5 * SECOND))

    assert sorted(changed(read, ago(read, 9 * SECOND))) == sorted(made)


def test_checkouts_that_were_left_are_no_orders(read: Read) -> None:
    (left,) = read.place(at=ago(read, 5 * SECOND))
    read.shop.set_status(int(left), "checkout-draft")
    made = read.place()

    assert changed(read, ago(read, 60 * SECOND)) == made
    assert refs(read.store().import_orders(None).orders) == made


def test_an_order_that_nobody_can_read_holds_up_no_other(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    made = read.place(3)
    bodies: list[Any] = [read.shop.order(int(ref)) for ref in made]
    bodies[1] |= {"currency": "EURO", "billing": {"email": "secret@example.com"}}
    read.shop.fail_next("orders", Fault(Kind.ANSWER, words=json.dumps(bodies), content_type="application/json"))

    found = list(read.store().orders_changed(ago(read, 60 * SECOND)))

    assert (refs(found), unread(found)) == (made, [made[1]])
    assert [(each.message, each.__dict__["order"]) for each in caplog.records] == [("order.untranslatable", int(made[1]))]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("odd", ["x", None, 1.5, True])
def test_an_order_without_an_id_is_noticed_and_the_history_goes_on(read: Read, odd: object) -> None:
    (ref,) = read.place()
    body: Any = read.shop.order(int(ref))
    read.shop.fail_next("orders", Fault(Kind.ANSWER, words=json.dumps([{**body, "id": odd}, body]), content_type="application/json"))

    assert refs(read.store().import_orders(None).orders) == [ref]


# ── What is ignored is noticed ──────────────────────────────────────────────────────────────────────────────────────


def test_a_shop_that_ignores_the_time_is_noticed() -> None:
    with reading(old=True) as read:
        read.place(at=ago(read, DAY))

        with pytest.raises(Untranslatable) as noticed:
            changed(read, ago(read, 60 * SECOND))

    assert noticed.value.key.endswith("date_modified_gmt")


def test_a_shop_that_ignores_the_time_is_noticed_while_its_history_is_read() -> None:
    with reading(old=True) as read:
        read.place(at=ago(read, 500 * DAY))

        with pytest.raises(Untranslatable):
            read.store().import_orders(None)


def test_a_shop_that_ignores_the_time_of_refunds_is_noticed(read: Read) -> None:
    read.clock.now -= DAY
    (ref,) = read.place()
    read.shop.refund_in_admin(int(ref), "1.00")
    refund = {**read.shop.refunds(int(ref))[0], "parent_id": int(ref)}
    read.clock.now += DAY
    read.shop.fail_next("all_refunds", Fault(Kind.ANSWER, words=json.dumps([refund]), content_type="application/json"))

    with pytest.raises(Untranslatable) as noticed:
        changed(read, ago(read, 60 * SECOND))

    assert noticed.value.key.endswith("date_created_gmt")


@pytest.mark.usefixtures("short")
def test_a_shop_that_ignores_the_page_is_noticed_and_not_asked_for_ever(read: Read) -> None:
    made = read.place(5, at=ago(read, 5 * SECOND))
    page = json.dumps([read.shop.order(int(ref)) for ref in made])
    read.shop.fail_next("orders", Fault(Kind.ANSWER, words=page, content_type="application/json"), times=None)

    with pytest.raises(Untranslatable, match="the same page again"):
        changed(read, ago(read, 6 * SECOND))

    assert len(read.asked("/orders")) <= 4


@pytest.mark.parametrize("words", ["{}", "[5]", '[{"id": 1}]', '[{"id": 1, "date_modified_gmt": null}]', '[{"date_modified_gmt": "soon"}]'])
def test_a36_a_list_that_is_none_is_noticed(read: Read, words: str) -> None:
    read.shop.fail_next("orders", Fault(Kind.ANSWER, words=words, content_type="application/json"), times=None)

    with pytest.raises(Untranslatable):
        changed(read, ago(read, 60 * SECOND))
    with pytest.raises(Untranslatable):
        read.store().import_orders(None)


# ── Refunds that change no order ────────────────────────────────────────────────────────────────────────────────────


def unseen_refund(read: Read, ref: OrderRef) -> None:
    """A refund whose order keeps its date, as older versions and some gateways leave it."""
    kept = read.shop.site.shelves.get("order", int(ref))
    read.shop.refund_in_admin(int(ref), "1.00")
    assert kept is not None
    read.shop.site.shelves.put("order", kept, name=kept["number"])


def test_w4_a_refund_that_changed_no_date_is_found_first(read: Read) -> None:
    (quiet,), (other,) = read.place(at=ago(read, DAY)), read.place()
    unseen_refund(read, quiet)

    found = list(read.store().orders_changed(ago(read, 60 * SECOND)))

    assert refs(found) == [quiet, other]
    assert isinstance(found[0], Order)
    assert found[0].refunded == 100


def test_w4_a_refunded_order_that_changed_too_comes_once_in_its_place(read: Read) -> None:
    (refunded,) = read.place(at=ago(read, DAY))
    (between,) = read.place(at=ago(read, 9 * SECOND))
    read.shop.refund_in_admin(int(refunded), "1.00")

    assert changed(read, ago(read, 60 * SECOND)) == [between, refunded]


def test_w4_an_order_that_was_refunded_and_binned_since_is_found_last(read: Read) -> None:
    (binned,) = read.place(at=ago(read, DAY))
    (between,) = read.place(at=ago(read, 9 * SECOND))
    read.shop.refund_in_admin(int(binned), "1.00")
    read.shop.trash(int(binned))

    found = list(read.store().orders_changed(ago(read, 60 * SECOND)))

    assert refs(found) == [between, binned]
    assert isinstance(found[1], Order)
    assert (found[1].cancelled, found[1].refunded) == (True, 100)


def test_w4_more_refunds_than_fill_a_page_are_found_and_their_orders_are_asked_for_together(read: Read) -> None:
    made = read.place(105, at=ago(read, DAY))
    for ref in made:
        unseen_refund(read, ref)
    read.shop.requests.clear()

    assert sorted(changed(read, ago(read, 60 * SECOND))) == sorted(made)
    assert len(read.asked("/refunds")) == 3  # the second in which the first page ends is asked for again
    assert len([params for params in read.asked("/orders") if "include" in params]) == 2


def test_a_refund_whose_order_is_gone_holds_up_nothing(read: Read) -> None:
    made = read.place()
    when = read.clock.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    orphans = [{"id": 900, "parent_id": 0, "date_created_gmt": when}, {"id": 901, "parent_id": 999, "date_created_gmt": when}]
    read.shop.fail_next("all_refunds", Fault(Kind.ANSWER, words=json.dumps(orphans), content_type="application/json"))

    assert changed(read, ago(read, 60 * SECOND)) == made


@pytest.mark.parametrize("where", ["orders", "all_refunds"])
def test_f27_f28_who_was_shut_out_hears_so_and_nothing_is_taken_for_all(read: Read, where: str) -> None:
    read.place()
    refused = '{"code":"woocommerce_rest_cannot_view","message":"x","data":{"status":401}}'
    read.shop.fail_next(where, Fault(Kind.ANSWER, words=refused, status=401, content_type="application/json"), times=None)

    with pytest.raises(Revoked):
        changed(read, ago(read, 60 * SECOND))


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(Kind.PAGE, status=status) for status in (500, 502, 504, 429)),
        Fault(Kind.MAINTENANCE),
        Fault(Kind.WAF),
        Fault(Kind.LOGIN_WALL),
        Fault(Kind.DROP),
        Fault(Kind.TRUNCATE),
        Fault(Kind.ANSWER, words='{"code":"rest_no_route","message":""}', status=404, content_type="application/json"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
@pytest.mark.parametrize("where", ["orders", "all_refunds"])
def test_f10_a_store_that_does_not_answer_is_asked_again_later(read: Read, where: str, fault: Fault) -> None:
    read.place()
    read.shop.fail_next(where, fault, times=None)

    with pytest.raises(Throttled):
        changed(read, ago(read, 60 * SECOND))


# ── Orders that break their page, and long outages ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("altogether", [False, True], ids=["named", "unnamed"])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_f39_an_order_that_kills_php_is_stepped_past_and_named_if_it_can_be(read: Read, place: int, altogether: bool) -> None:
    made = [ref for number in range(7) for ref in read.place(at=ago(read, (60 - number) * SECOND))]
    read.shop.site.switches.deadly[int(made[place])] = altogether
    others = [ref for ref in made if ref != made[place]]
    name = None if altogether else made[place]

    found = list(read.store().orders_changed(ago(read, 90 * SECOND)))
    page = read.store().import_orders(None)

    assert (refs(each for each in found if isinstance(each, Order)), unread(found)) == (others, [name])
    assert (refs(page.orders), [each.ref for each in page.unread], page.cursor) == (others[::-1], [name], None)
    assert len(read.asked("/orders")) <= 2 * 18


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("count", [1, 5, 6])
def test_f39_a_list_goes_on_behind_pages_of_orders_that_kill_php(read: Read, count: int) -> None:
    made = [ref for number in range(18) for ref in read.place(at=ago(read, (60 - number) * SECOND))]
    deadly = made[5 : 5 + count]
    read.shop.site.switches.deadly.update({int(ref): False for ref in deadly})

    found = list(read.store().orders_changed(ago(read, 90 * SECOND)))
    shown, _ = history(read)

    assert set(refs(each for each in found if isinstance(each, Order))) == set(shown) == set(made) - set(deadly)
    assert set(unread(found)) == set(deadly)


def test_f39_a_shop_that_fails_over_every_order_is_not_asked_for_each(read: Read) -> None:
    made = read.place(60, at=ago(read, 5 * SECOND))
    read.shop.site.switches.deadly.update({int(ref): False for ref in made})

    for ask in (lambda: changed(read, ago(read, 60 * SECOND)), lambda: read.store().import_orders(None)):
        with pytest.raises(Broken):
            ask()

    assert len(read.asked("/orders")) < 2 * 60


def test_f39_what_changes_while_a_page_is_read_in_parts_hides_nothing_else(read: Read) -> None:
    made = [ref for number in range(60) for ref in read.place(at=ago(read, (90 - number) * SECOND))]
    read.shop.site.switches.deadly[int(made[55])] = False
    moved: list[OrderRef] = []

    def meanwhile(order: int) -> None:
        if order == int(made[57]) and not moved:
            moved.append(made[2])
            touch(read, made[2])

    found: list[OrderRef] = []
    with shown_to(read, meanwhile):
        found += changed(read, ago(read, 200 * SECOND))

    assert moved == [made[2]]
    assert set(made) - set(found) == {made[55], *moved}
    assert changed(read, ago(read, SECOND)) == moved  # it lies behind all that was read, where the next poll begins


@contextmanager
def shown_to(read: Read, watcher: Callable[[int], None]) -> Iterator[None]:
    """Something happens once a page was read in part."""

    class Watched(dict[int, bool]):
        def __contains__(self, order: object) -> bool:
            watcher(order if isinstance(order, int) else 0)
            return super().__contains__(order)

    switches = read.shop.site.switches
    switches.deadly, kept = Watched(switches.deadly), switches.deadly
    yield
    switches.deadly = kept


def test_f39_a_refunded_order_that_kills_php_is_stepped_past(read: Read) -> None:
    quiet = read.place(5, at=ago(read, DAY))
    for ref in quiet:
        unseen_refund(read, ref)
    (other,) = read.place()
    read.shop.site.switches.deadly[int(quiet[3])] = False

    found = list(read.store().orders_changed(ago(read, 60 * SECOND)))

    assert sorted(refs(found)) == sorted([*quiet, other])
    assert unread(found) == [quiet[3]]


def test_f39_refunds_that_nobody_can_list_hold_up_no_order(read: Read) -> None:
    made = read.place()
    words = '{"code":"internal_server_error","message":"x","data":{"status":500}}'
    read.shop.fail_next("all_refunds", Fault(Kind.ANSWER, words=words, status=500, content_type="application/json"), times=None)

    assert changed(read, ago(read, 60 * SECOND)) == made


@pytest.mark.usefixtures("short")
def test_w4_after_a_long_outage_something_comes_forward_before_all_refunds_are_read(read: Read) -> None:
    """Whoever stops after a few orders goes on from the last one's time: in the end all are told, and no refund is lost."""
    quiet, made = read.place(20, at=ago(read, DAY)), []
    for number, ref in enumerate(quiet):
        read.clock.now += 3 * SECOND
        made += read.place()
        if number % 2:
            unseen_refund(read, ref)
        else:
            read.shop.refund_in_admin(int(ref), "1.00")
    since, found, runs = ago(read, 61 * SECOND), set[OrderRef](), 0
    read.shop.requests.clear()
    while True:
        runs += 1
        told = (each for each in read.store().orders_changed(since) if isinstance(each, Order))
        some = list(islice(told, 9))
        assert len(read.asked("/refunds")) <= 2 * runs
        found |= set(refs(some))
        newest = max(each.changed_at for each in some if each.changed_at is not None)
        if len(some) < 9:
            break
        assert newest - SECOND > since
        since = newest - SECOND

    assert found == {*quiet, *made}


# ── History ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def history(read: Read, cursor: str | None = None) -> tuple[list[OrderRef], list[str]]:
    """All of it, each page by a store object of its own, and the cursors on the way."""
    found: list[OrderRef] = []
    cursors: list[str] = []
    for _ in range(50):
        page = read.store().import_orders(cursor)
        found += refs(page.orders)
        if page.cursor is None:
            return found, cursors
        cursor = page.cursor
        cursors.append(cursor)
    raise AssertionError("it never ends")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("tied", [0, 5, 12])
def test_w7_the_history_is_read_newest_first_and_none_is_lost(read: Read, tied: int) -> None:
    made = [ref for number in range(12) for ref in read.place(at=ago(read, (400 - number) * SECOND))]
    made += read.place(tied, at=ago(read, 99 * SECOND))
    too_old = read.place(at=ago(read, 401 * DAY))

    found, cursors = history(read)

    assert set(found) == set(made)
    assert not set(too_old) & set(found)
    assert len(set(cursors)) == len(cursors)
    assert found[-1] == made[0]


@pytest.mark.usefixtures("short")
def test_w7_a_cursor_goes_on_where_it_stopped_and_may_be_used_twice(read: Read) -> None:
    made = [ref for number in range(12) for ref in read.place(at=ago(read, (400 - number) * SECOND))]
    first = read.store().import_orders(None)
    assert first.cursor is not None

    again, twice = read.store().import_orders(first.cursor), read.store().import_orders(first.cursor)

    assert again == twice
    assert refs(first.orders) == made[:-6:-1]
    assert refs(again.orders) == made[7:2:-1]  # the last second of the page before is asked for again


@pytest.mark.usefixtures("short")
def test_w7_what_changes_while_the_history_is_read_hides_nothing_else(read: Read) -> None:
    made = [ref for number in range(20) for ref in read.place(at=ago(read, (400 - number) * SECOND))]
    found: set[OrderRef] = set()
    cursor, moved = None, set(made[5:7])
    for step in range(50):
        page = read.store().import_orders(cursor)
        found |= set(refs(page.orders))
        cursor = page.cursor
        if step == 1:
            for ref in moved:
                touch(read, ref)
        if cursor is None:
            break

    assert set(made) - found <= moved  # those are at the front now: the poll finds them
    assert set(changed(read, ago(read, 60 * SECOND))) == moved


@pytest.mark.parametrize(
    "cursor",
    [
        *(
            "",
            "end",
            "1001",
            "2026-11-21",
            "2026-13-01T00:00:00/1",
            "2026-02-30T00:00:00/1",
            "0000-01-01T00:00:00/1",
            "2026-11-21T00:00:00/0",
        ),
        *("2026-11-21T00:00:00/-1", "2026-11-21T00:00:00/1\n", "２０２６-11-21T00:00:00/1", "2026-11-21T00:00:00/99999999", "x" * 10_000),  # noqa: RUF001 - full width, as nobody of ours writes it
        *('{"a":1}', "2026-11-21T00:00:00Z/1", "2026-11-21T00:00:00/1&status=trash"),
    ],
)
def test_a68_a_cursor_that_is_none_of_ours_begins_anew(read: Read, cursor: str) -> None:
    made = read.place(at=ago(read, DAY))

    assert refs(read.store().import_orders(cursor).orders) == made
    assert {params["page"] for params in read.asked("/orders")} == {"1"}


@pytest.mark.parametrize("cursor", ["0001-01-01T00:00:00/1", "9999-12-31T23:59:59/1", "1999-01-01T00:00:00/7"])
def test_a68_a_cursor_of_another_time_is_a_question_like_any_other(read: Read, cursor: str) -> None:
    read.place(at=ago(read, DAY))

    assert read.store().import_orders(cursor).cursor is None


def test_w7_an_empty_shop_has_no_history(read: Read) -> None:
    page = read.store().import_orders(None)

    assert (page.orders, page.cursor) == ((), None)


def test_w7_a_shop_whose_clock_is_ahead_is_read_whole(read: Read) -> None:
    made = read.place(at=read.clock.now + timedelta(hours=2))

    assert refs(read.store().import_orders(None).orders) == made


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("hpos", [True, False])
def test_both_storages_end_a_list_alike(hpos: bool) -> None:
    with reading(ShopSettings(hpos=hpos)) as read:
        made = read.place(10, at=ago(read, 5 * SECOND))  # just two pages
        assert sorted(changed(read, ago(read, 60 * SECOND))) == sorted(made)
        assert set(history(read)[0]) == set(made)
