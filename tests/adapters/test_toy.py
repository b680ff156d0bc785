"""The toy shop keeps its promises: what it proves, what goes wrong on order, and books that never pay over the rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapters.simulators import toy
from adapters.simulators.toy import Fault, Proof, ToyStore
from connector.domain.money import Money
from connector.domain.orders import CustomerRef, LineRef, Order, OrderRef, TenderRef, Worth
from connector.domain.platform import (
    Attempt,
    Contact,
    CreditOrder,
    OutcomeUnknown,
    Receipt,
    RefundOrder,
    Rejected,
    ReturnedLine,
    ReturnView,
    Revoked,
    ShopDomain,
    SightingKind,
    TenderPart,
    Throttled,
    Voided,
)  # fmt: skip
from tests.world import START, Clock, an_order

REF = OrderRef("1001")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=Proof)
def proof(request: pytest.FixtureRequest) -> Proof:
    return Proof(request.param)


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Callable[[Proof], ToyStore]]:
    """Open the same books once more."""
    stores: list[ToyStore] = []

    def open_(proof: Proof) -> ToyStore:
        stores.append(ToyStore(tmp_path / "books.db", proof, clock=lambda: clock.now))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def shop(opened: Callable[[Proof], ToyStore], proof: Proof) -> ToyStore:
    """A shop of each kind, with one order of 36.00."""
    store = opened(proof)
    store.place(an_order())
    return store


def refund(minor: int = 1200, key: str = "row-1", units: int = 1, order: OrderRef = REF) -> RefundOrder:
    lines = (ReturnedLine(LineRef("line-1"), units, Worth(1200 * units)),)
    return RefundOrder(key, order, "2222222X", Money(minor, "EUR"), (TenderPart(TenderRef("card"), minor),), lines)


def credit(minor: int = 1200, key: str = "row-1") -> CreditOrder:
    return CreditOrder(key, REF, "2222222X", Money(minor, "EUR"), Money(100, "EUR"), (ReturnedLine(LineRef("line-1"), 1, Worth(1200)),))


def attempt(number: int = 1, key: str = "row-1", *, mine: bool = True, first: datetime = START, looked: datetime = START) -> Attempt:
    return Attempt(number, key, START, START + timedelta(seconds=10), first, looked, still_mine=lambda: mine)


# ── Paying ──


def test_a_refund_is_paid_and_shown_on_the_order_with_lines_tenders_and_key(shop: ToyStore) -> None:
    receipt = shop.refund(refund(1100), attempt())

    order = shop.order(REF)
    (record,) = order.refunds
    (paid,) = shop.payments()
    assert receipt == Receipt(paid.reference, Money(1100, "EUR"))
    assert (order.refunded, order.kept) == (1100, 100)
    assert (order.lines[0].refunded_quantity, order.lines[0].refunded.gross, order.tenders[0].refunded) == (1, 1200, 1100)
    assert (record.ref, record.moved, record.booked, record.units, record.key) == (paid.reference, 1100, 1200, (("line-1", 1),), "row-1")


def test_store_credit_is_given_up_value_and_goes_to_no_tender(shop: ToyStore) -> None:
    shop.issue_credit(credit(), attempt())

    order = shop.order(REF)
    assert [(paid.kind, paid.told) for paid in shop.payments()] == [("credit", credit())]
    assert (order.refunded, order.tenders[0].refunded) == (1200, 0)


def test_the_shop_never_pays_over_the_rest(shop: ToyStore) -> None:
    shop.refund(refund(3000, "row-1"), attempt())

    with pytest.raises(Rejected, match="600 left"):
        shop.refund(refund(601, "row-2"), attempt(key="row-2"))
    shop.refund(refund(600, "row-3"), attempt(key="row-3"))

    assert [paid.told.amount.minor for paid in shop.payments()] == [3000, 600]


def test_f25_an_order_that_is_not_there_is_refused_also_later_and_breaks_nothing(shop: ToyStore, clock: Clock) -> None:
    gone = refund(order=OrderRef("gone"))

    with pytest.raises(Rejected, match="no order"):
        shop.order(OrderRef("gone"))
    with pytest.raises(Rejected, match="no order"):
        shop.refund(gone, attempt())
    shop.fail_next("refund", Fault.LATE)
    with pytest.raises(OutcomeUnknown):
        shop.refund(gone, attempt())

    clock.advance(MINUTE)
    assert shop.payments() == []


def test_f57_an_attempt_that_is_no_longer_ours_is_not_written(shop: ToyStore) -> None:
    with pytest.raises(Voided):
        shop.refund(refund(), attempt(mine=False))

    assert shop.payments() == []


def test_a_request_is_checked_claimed_and_paid_before_it_is_answered(shop: ToyStore) -> None:
    seen: list[tuple[str, int]] = []
    shop.step = lambda name: seen.append((name, len(shop.payments())))

    shop.refund(refund(), attempt())

    assert seen == [("before the check", 0), ("before the payment", 0), ("after the payment", 1)]


def test_a_caller_that_dies_after_the_payment_was_paid_all_the_same(shop: ToyStore) -> None:
    def die(name: str) -> None:
        if name == "after the payment":
            raise KeyboardInterrupt

    shop.step = die

    with pytest.raises(KeyboardInterrupt):
        shop.refund(refund(), attempt())
    assert len(shop.payments()) == 1


# ── The books ──


def test_the_books_survive_whoever_had_them_open(shop: ToyStore, opened: Callable[[Proof], ToyStore]) -> None:
    receipt = shop.refund(refund(), attempt())
    shop.fail_next("refund", Fault.THROTTLE)
    shop.far.close()

    again = opened(shop.proof)

    assert again.order(REF).refunded == 1200
    assert again.find_refund(refund(), attempt()).receipt == receipt
    with pytest.raises(Throttled):
        again.refund(refund(key="row-2"), attempt(key="row-2"))


def test_two_who_have_the_books_open_see_the_same(shop: ToyStore, opened: Callable[[Proof], ToyStore]) -> None:
    other = opened(shop.proof)

    other.refund(refund(), attempt())

    assert shop.payments() == other.payments()
    assert shop.payments(REF) == other.payments(REF)
    assert shop.payments(OrderRef("other")) == []


def test_whatever_fails_in_the_middle_of_an_entry_leaves_the_books_as_they_were(shop: ToyStore) -> None:
    with pytest.raises(sqlite3.OperationalError), shop.far.open() as books:
        books.execute("DELETE FROM orders").execute("nonsense")

    assert shop.order(REF) == an_order()


def test_the_wiring_opens_a_shop_by_its_credentials(shop: ToyStore) -> None:
    found = toy.connect(ShopDomain("toy.example"), {"books": str(shop.books), "proof": "fence"}, {})

    assert (found.proof, found.order(REF).ref) == (Proof.FENCE, REF)
    found.far.close()


# ── What it can prove ──


def test_a_payment_is_always_found_by_its_key(shop: ToyStore) -> None:
    receipt = shop.refund(refund(), attempt())

    found = shop.find_refund(refund(), attempt(looked=START + timedelta(days=400)))

    assert (found.kind, found.receipt) == (SightingKind.SETTLED, receipt)


@pytest.mark.parametrize(
    ("proof", "kind", "burned"),
    [(Proof.REPLAY, SightingKind.ABSENT, False), (Proof.FENCE, SightingKind.ABSENT, True), (Proof.NONE, SightingKind.IN_DOUBT, False)],
    indirect=["proof"],
)
def test_a_request_that_never_arrived_is_absent_only_where_the_shop_can_prove_it(shop: ToyStore, kind: SightingKind, burned: bool) -> None:
    shop.fail_next("refund", Fault.LOSE_REQUEST)
    with pytest.raises(OutcomeUnknown):
        shop.refund(refund(), attempt())

    found = shop.find_refund(refund(), attempt())

    assert (found.kind, found.burned, found.receipt) == (kind, burned, None)


@pytest.mark.parametrize("proof", [Proof.REPLAY], indirect=True)
def test_f20_a_shop_that_keeps_keys_forgets_them_after_twenty_three_hours(shop: ToyStore) -> None:
    until = START + timedelta(hours=23)

    assert shop.find_refund(refund(), attempt(looked=until - timedelta(seconds=1))).kind is SightingKind.ABSENT
    assert shop.find_refund(refund(), attempt(looked=until)).kind is SightingKind.IN_DOUBT


@pytest.mark.parametrize("proof", [Proof.REPLAY, Proof.FENCE], indirect=True)
def test_f02_the_same_key_again_is_answered_with_the_first_result(shop: ToyStore) -> None:
    first = shop.refund(refund(), attempt())

    assert shop.refund(refund(), attempt(2)) == first
    assert len(shop.payments()) == 1


@pytest.mark.parametrize("proof", [Proof.REPLAY, Proof.FENCE], indirect=True)
def test_f19_the_same_key_for_something_else_is_refused(shop: ToyStore) -> None:
    shop.refund(refund(1200), attempt())

    with pytest.raises(Rejected, match="something else"):
        shop.refund(refund(1100), attempt(2))
    assert [paid.told.amount.minor for paid in shop.payments()] == [1200]


@pytest.mark.parametrize("proof", [Proof.NONE], indirect=True)
def test_f03_a_shop_without_keys_pays_whoever_asks_twice(shop: ToyStore) -> None:
    shop.refund(refund(), attempt())
    shop.refund(refund(), attempt(2))

    assert [paid.key for paid in shop.payments()] == ["row-1", "row-1"]


# ── The fence ──


@pytest.mark.parametrize("proof", [Proof.FENCE], indirect=True)
def test_a_look_burns_the_attempt_and_only_that_one(shop: ToyStore) -> None:
    assert shop.find_refund(refund(), attempt(1)).burned

    with pytest.raises(Voided, match="dead"):
        shop.refund(refund(), attempt(1))
    shop.refund(refund(), attempt(2))

    assert len(shop.payments()) == 1


@pytest.mark.parametrize("proof", [Proof.FENCE], indirect=True)
def test_a_burned_request_that_arrives_late_does_nothing(shop: ToyStore, clock: Clock) -> None:
    shop.fail_next("refund", Fault.LATE, 30)
    with pytest.raises(OutcomeUnknown):
        shop.refund(refund(), attempt())
    shop.find_refund(refund(), attempt())
    clock.advance(MINUTE)

    assert shop.payments() == []


@pytest.mark.parametrize("proof", [Proof.FENCE], indirect=True)
def test_what_the_shop_has_claimed_is_in_doubt_until_it_has_paid(shop: ToyStore, clock: Clock) -> None:
    shop.fail_next("refund", Fault.SLOW, 20)
    with pytest.raises(OutcomeUnknown):
        shop.refund(refund(), attempt())

    clock.advance(timedelta(seconds=19))
    running = shop.find_refund(refund(), attempt())
    clock.advance(timedelta(seconds=1))
    paid = shop.find_refund(refund(), attempt())

    assert [(running.kind, running.burned), (paid.kind, paid.burned)] == [(SightingKind.IN_DOUBT, False), (SightingKind.SETTLED, False)]


@pytest.mark.parametrize("proof", [Proof.FENCE], indirect=True)
@pytest.mark.parametrize(("minutes", "paid"), [(15, 1), (16, 0)])
def test_f42_a_request_is_too_late_by_the_shops_clock_only_beyond_any_skew(shop: ToyStore, clock: Clock, minutes: int, paid: int) -> None:
    clock.now = START + timedelta(seconds=10) + timedelta(minutes=minutes)

    for what in (Fault.SLOW, None):
        if what is not None:
            shop.fail_next("refund", what)
        try:
            shop.refund(refund(key=f"row-{what}"), attempt(key=f"row-{what}"))
        except Voided:
            assert not paid
        except OutcomeUnknown:
            assert paid

    assert len(shop.payments()) == 2 * paid


# ── What goes wrong on order ──


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.REFUSE, Rejected), (Fault.THROTTLE, Throttled), (Fault.REVOKE, Revoked), (Fault.LOSE_REQUEST, OutcomeUnknown)],
)
def test_a_fault_before_the_effect_happens_once_and_has_none(shop: ToyStore, fault: Fault, error: type[Exception]) -> None:
    shop.fail_next("refund", fault)

    with pytest.raises(error):
        shop.refund(refund(), attempt())
    assert shop.payments() == []
    shop.refund(refund(), attempt(2))
    shop.fail_next("refund", fault)
    shop.heal()
    shop.refund(refund(key="row-2"), attempt(key="row-2"))

    assert len(shop.payments()) == 2


def test_a_busy_shop_says_for_how_long(shop: ToyStore) -> None:
    shop.fail_next("credit", Fault.THROTTLE, 600)

    with pytest.raises(Throttled) as busy:
        shop.issue_credit(credit(), attempt())

    assert busy.value.retry_after == timedelta(minutes=10)


def test_f04_an_answer_that_is_lost_was_paid(shop: ToyStore) -> None:
    shop.fail_next("refund", Fault.LOSE_ANSWER)

    with pytest.raises(OutcomeUnknown):
        shop.refund(refund(), attempt())

    assert shop.find_refund(refund(), attempt()).kind is SightingKind.SETTLED


def test_an_answer_that_takes_its_time_comes(shop: ToyStore) -> None:
    shop.fail_next("refund", Fault.HANG, 0.01)

    assert shop.refund(refund(), attempt()).reference == shop.payments()[0].reference


@pytest.mark.parametrize("fault", [Fault.LATE, Fault.SLOW])
def test_f05_a_request_that_was_given_up_pays_when_its_time_comes(shop: ToyStore, clock: Clock, fault: Fault) -> None:
    shop.fail_next("refund", fault, 25)
    with pytest.raises(OutcomeUnknown):
        shop.refund(refund(), attempt())

    clock.advance(timedelta(seconds=24))
    assert shop.payments() == []
    clock.advance(timedelta(seconds=1))
    assert len(shop.payments()) == 1


def test_a_late_request_that_no_longer_fits_is_refused_and_nobody_hears_of_it(shop: ToyStore, clock: Clock) -> None:
    shop.fail_next("refund", Fault.LATE, 25)
    with pytest.raises(OutcomeUnknown):
        shop.refund(refund(3600, "row-1", 3), attempt())
    shop.refund(refund(1, "row-2", 0), attempt(key="row-2"))

    clock.advance(MINUTE)

    assert [paid.key for paid in shop.payments()] == ["row-2"]


@pytest.mark.parametrize("proof", [Proof.REPLAY], indirect=True)
def test_f21_a_request_that_is_still_at_work_and_the_same_key_again_pay_once(shop: ToyStore, clock: Clock) -> None:
    shop.fail_next("refund", Fault.SLOW, 20)
    with pytest.raises(OutcomeUnknown):
        shop.refund(refund(), attempt())

    receipt = shop.refund(refund(), attempt(2))
    clock.advance(MINUTE)

    assert [paid.reference for paid in shop.payments()] == [receipt.reference]


@pytest.mark.parametrize("step", ["order", "look", "mirror"])
def test_reads_and_records_may_fail_too(shop: ToyStore, step: str) -> None:
    view = ReturnView("rma:2222222X", "2222222X", REF, "requested", ())
    acts: dict[str, Callable[[], object]] = {
        "order": lambda: shop.order(REF),
        "look": lambda: shop.find_credit(credit(), attempt()),
        "mirror": lambda: shop.mirror_return(view),
    }
    shop.fail_next(step, Fault.THROTTLE)

    with pytest.raises(Throttled):
        acts[step]()
    acts[step]()


# ── Everything else that a store does ──


def test_mirroring_converges(shop: ToyStore) -> None:
    view = ReturnView("rma:2222222X", "2222222X", REF, "requested", ())

    names = {shop.mirror_return(replace(view, state=state)) for state in ("requested", "received", "received")}

    assert names == {"return-rma:2222222X"}
    assert shop.returns() == {"rma:2222222X": replace(view, state="received")}


def test_orders_are_found_as_a_shop_finds_them(shop: ToyStore) -> None:
    known = replace(an_order("1002"), changed_at=START, buyer=replace(an_order().buyer, customer=CustomerRef("kim")))
    shop.place(known)

    def refs(orders: Iterable[Order]) -> set[str]:
        return {order.ref for order in orders}

    assert refs(shop.orders([REF, OrderRef("none")])) == {"1001"}
    assert refs(shop.orders_changed(START - MINUTE)) == {"1001", "1002"}
    assert refs(shop.orders_changed(START)) == {"1001"}  # nobody knows when that one changed
    assert (refs(shop.import_orders(None).orders), shop.import_orders("end").orders) == ({"1001", "1002"}, ())
    assert shop.find_order("1002", "KIM@example.com") == known
    assert shop.find_order("1002", "bob@example.com") is None
    assert shop.orders_of(CustomerRef("kim")) == [known]
    assert (refs(shop.search_orders("1002")), refs(shop.search_orders(""))) == ({"1002"}, set())


def test_what_a_toy_shop_has_and_lacks(shop: ToyStore) -> None:
    assert shop.contact(REF) == Contact("kim@example.com")
    assert (shop.renew(), shop.return_reasons(), shop.suggested_refund(REF, ())) == (None, (), None)
    assert not shop.ensure_webhooks("https://retour.example").active
    assert shop.capabilities().store_credit
