"""A store that answers each question, and slowly: what asks many ends in time, and has what it was given (F04, A60)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import pytest

from adapters.simulators.woocommerce import Fault, Kind
from adapters.woocommerce import probing, sweeps
from adapters.woocommerce.guard import Guard
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.store import WooStore
from adapters.woocommerce.wire import Wire, boot_clock
from connector.domain.connecting import Misfortune, NotConnectable
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import OutcomeUnknown, Overdue, Reached, Unread
from tests.adapters import far
from tests.adapters.far import http
from tests.adapters.woo_reading import Read, reading

SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)
JUST_IN_TIME: Final = timedelta(seconds=28)  # of the 30 that an answer may take


@pytest.fixture
def read() -> Iterator[Read]:
    with reading() as found:
        yield found


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of five."""
    monkeypatch.setattr(sweeps, "PAGE", 5)


def slow(read: Read, takes: timedelta = JUST_IN_TIME) -> WooStore:
    """The store, each of whose answers takes so long by the stopwatch, and no time at all."""
    return timed(read, lambda: takes * len(read.shop.requests))


def timed(read: Read, stopwatch: Callable[[], timedelta]) -> WooStore:
    platform = WooPlatform(dev=True, stopwatch=stopwatch)
    credentials = {"url": read.url, "consumer_key": read.keys[0], "consumer_secret": read.keys[1]}
    return platform.connect(platform.shop_at(read.url), {**credentials, "door": "the-door", "delivery_secret": "secret"}, {})


def ago(read: Read, span: timedelta) -> datetime:
    return read.clock.now - span


def until_overdue(told: Iterator[Order | Unread | Reached]) -> tuple[list[Order | Unread | Reached], bool]:
    """What came, and whether its time was over before its end."""
    found: list[Order | Unread | Reached] = []
    try:
        found.extend(told)
    except Overdue:
        return found, True
    return found, False


# ── A probe ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_probe_of_a_store_that_answers_in_the_last_moment_each_time_ends_in_a_minute(read: Read) -> None:
    with pytest.raises(NotConnectable) as met:
        slow(read).probe()

    assert met.value.why is Misfortune.SLOW
    assert len(read.shop.requests) == 3  # at 0, 28 and 56 s


def test_the_whole_of_a_probe_that_is_quick_enough_comes_through_and_its_store_goes_on(read: Read) -> None:
    (ref,) = read.place()
    store = slow(read, timedelta(seconds=8))

    facts = store.probe()

    assert facts["currency"] == "EUR"
    for _ in range(9):  # long past the probe's minute
        assert store.order(ref).ref == ref


def test_a60_redirects_do_not_add_up(trust: far.Trust) -> None:
    with far.serving(*[http(status="302 Found", location=f"/wp-json/?hop={hop}") for hop in range(9)], tls=trust.server) as there:
        url = f"https://127.0.0.1:{there.port}"
        platform = WooPlatform(dev=True, roots=trust.roots, stopwatch=lambda: JUST_IN_TIME * len(there.requests))
        with pytest.raises(NotConnectable) as met:
            platform.connect(platform.shop_at(url), {"url": url}, {}).probe()

    assert (met.value.why, len(there.requests)) == (Misfortune.SLOW, 3)


def test_an_answer_that_is_cut_off_by_the_end_of_the_probe_is_slow(read: Read) -> None:
    """Its own deadline is 30 s."""
    read.shop.fail_next("system_status", Fault(Kind.SLOW, seconds=20))
    began = boot_clock()

    with pytest.raises(NotConnectable) as met:
        timed(read, lambda: boot_clock() + timedelta(seconds=59.5) * bool(read.shop.requests)).probe()

    assert met.value.why is Misfortune.SLOW
    assert boot_clock() - began < timedelta(seconds=10)


def test_the_one_write_of_a_probe_is_as_impatient_as_a_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "READ", timedelta(milliseconds=300))
    read.shop.fail_next("PUT webhook", Fault(Kind.SLOW, seconds=20))
    began = boot_clock()

    with pytest.raises(NotConnectable) as met:
        read.store().probe()

    assert met.value.why is Misfortune.SLOW
    assert boot_clock() - began < timedelta(seconds=10)


# ── What changed ────────────────────────────────────────────────────────────────────────────────────────────────────


def quietly_refunded(read: Read, ref: OrderRef) -> None:
    """Its order keeps its date."""
    kept = read.shop.site.shelves.get("order", int(ref))
    assert kept is not None
    read.shop.refund_in_admin(int(ref), "1.00")
    read.shop.site.shelves.put("order", kept, name=kept["number"])


@pytest.mark.usefixtures("short")
def test_w4_refunds_that_take_longer_than_a_sweep_and_change_no_order_are_all_told_over_several(read: Read) -> None:
    """Nothing else changes meanwhile: how far it came is told by itself."""
    quiet = read.place(40, at=ago(read, DAY))
    for ref in quiet:
        read.clock.now += 3 * SECOND
        quietly_refunded(read, ref)
    since, found, is_cut, runs = ago(read, 200 * SECOND), set[OrderRef](), True, 0
    while is_cut:
        told, is_cut = until_overdue(slow(read).orders_changed(since))
        found |= {each.ref for each in told if isinstance(each, Order)}
        reached = max((each.at for each in told if isinstance(each, Reached)), default=since)
        assert reached > since or not is_cut
        since, runs = reached, runs + 1
        assert runs < 40

    assert found == set(quiet)
    assert runs > 3


@pytest.mark.usefixtures("short")
def test_w4_a_sweep_that_is_given_nothing_ends_all_the_same(read: Read) -> None:
    """The orders of its refunds are gone, which is asked for each."""
    for _ in range(60):
        read.clock.now += 2 * SECOND
        (ref,) = read.place()
        read.shop.refund_in_admin(int(ref), "1.00")
    since = ago(read, 200 * SECOND)
    read.shop.fail_next("orders", Fault(Kind.ANSWER, words="[]", content_type="application/json"), times=None)
    read.shop.fail_next(
        "order",
        Fault(Kind.ANSWER, words='{"code":"woocommerce_rest_shop_order_invalid_id"}', status=404, content_type="application/json"),
        times=None,
    )
    read.shop.requests.clear()

    told, is_cut = until_overdue(slow(read).orders_changed(since))

    assert is_cut
    assert not [each for each in told if isinstance(each, Order)]
    assert len(read.shop.requests) == 4  # at 0, 28, 56 and 84 s


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("stop", range(1, 14))
def test_w4_whoever_stops_anywhere_and_goes_on_from_the_last_change_loses_none_that_was_binned(read: Read, stop: int) -> None:
    """An order that was refunded and binned is shown by no list: once what changed later has come, it has come too."""
    made: list[OrderRef] = []
    for number in range(12):
        read.clock.now += 5 * SECOND
        made += read.place()
        if number in (2, 5, 9):
            read.shop.refund_in_admin(int(made[-1]), "1.00")
            read.shop.trash(int(made[-1]))
    told = [each for each in read.store().orders_changed(ago(read, 90 * SECOND)) if isinstance(each, Order)]
    times = {each.ref: each.changed_at for each in told}

    before = told[:stop]

    newest = max(each.changed_at for each in before if each.changed_at is not None)
    assert set(times) == set(made)
    assert {ref for ref, at in times.items() if at is not None and at < newest} <= {each.ref for each in before}


def test_w7_a_page_of_the_history_that_takes_too_long_says_so(read: Read) -> None:
    made = read.place(60, at=ago(read, 5 * SECOND))
    read.shop.site.switches.deadly[int(made[20])] = False

    with pytest.raises(Overdue):
        slow(read).import_orders(None)

    assert len(read.shop.requests) == 4
    assert len(read.store().import_orders(None).orders) == 59


# ── What else asks many questions ───────────────────────────────────────────────────────────────────────────────────


def test_many_orders_of_the_bin_are_not_asked_for_without_end(read: Read) -> None:
    made = read.place(9)
    for ref in made:
        read.shop.trash(int(ref))

    with pytest.raises(Overdue):
        slow(read).orders(made)

    assert len(read.shop.requests) == 2
    assert [order.ref for order in slow(read, SECOND).orders(made)] == made


def test_deliveries_are_not_mended_without_end(read: Read) -> None:
    with pytest.raises(Overdue):
        slow(read).ensure_webhooks("http://127.0.0.1:9")

    assert len(read.shop.requests) == 4
    assert len(read.shop.webhooks()) == 3


def test_a_write_that_may_have_left_before_the_end_is_not_called_undone(read: Read) -> None:
    read.shop.fail_next("POST webhooks", Fault(Kind.SLOW_ANSWER, seconds=20))

    with pytest.raises(OutcomeUnknown):
        timed(read, lambda: boot_clock() + timedelta(seconds=99) * bool(read.shop.requests)).ensure_webhooks("http://127.0.0.1:9")

    assert len(read.shop.webhooks()) == 1


def test_time_within_time_ends_with_the_shorter() -> None:
    passed = [timedelta(0)]
    whole = Wire(Guard(dev=True), stopwatch=lambda: passed[0]).within(10 * SECOND)

    assert (whole.within(DAY).left, whole.within(SECOND).left, whole.left) == (10 * SECOND, SECOND, 10 * SECOND)
