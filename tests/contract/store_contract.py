"""The contract of a store, as behaviours with names. A subject is a store and somebody who keeps its shop.

Nothing here knows a platform: what a subject cannot do is read from its capabilities, and said in the skip. Amounts are
minor units and come from the order itself, because each shop has taxes of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import pytest

from connector.domain.connecting import CreditUse, UsedCredit
from connector.domain.money import Money
from connector.domain.orders import LineRef, Order, OrderRef
from connector.domain.platform import (
    Attempt,
    CreditOrder,
    OutcomeUnknown,
    Receipt,
    RefundOrder,
    Rejected,
    ReturnedLine,
    ReturnView,
    Sighting,
    SightingKind,
    Store,
    TenderPart,
    Voided,
)  # fmt: skip
from connector.domain.quote import Quote, price
from connector.domain.rma import Disposition
from connector.domain.wanted import Payout, Wanted, WantedLine

BASE_URL = "https://127.0.0.1:9"  # nobody listens there, and nobody has to look up a name


@dataclass(frozen=True)
class Article:
    """What is put into a basket: its price for one, as the shop shows prices."""

    title: str = "Shirt"
    quantity: int = 1
    price: int = 1000


class Shopkeeper(Protocol):
    """Who works in the shop, past Retour."""

    def place(self, articles: Sequence[Article], *, email: str = "kim@example.com", code: str = "", pays: bool = True) -> OrderRef:
        """An order, paid where `pays` through a means that can pay back."""

    def cancel(self, ref: OrderRef) -> None:
        """Call the order off."""

    def restore(self, ref: OrderRef) -> None:
        """Bring a cancelled order back to life, as paid as it was."""

    def bin(self, ref: OrderRef) -> None:
        """Put the order into the bin."""

    def delete(self, ref: OrderRef) -> None:
        """Delete it for good."""

    def refund(self, ref: OrderRef, minor: int) -> None:
        """Give money back in the platform's own admin."""

    def paid_back(self, ref: OrderRef) -> list[int]:
        """What the means of payment really sent back, one amount a time."""


@dataclass(eq=False)
class Subject:
    """A store under contract. `lose_next_answer` is None where nobody can make the shop lose one."""

    store: Store
    keeper: Shopkeeper
    gone: OrderRef
    lose_next_answer: object = field(default=None)

    def lose(self) -> None:
        """The next refund is paid, and nobody hears of it."""
        if not callable(self.lose_next_answer):
            pytest.skip("nobody can make this shop lose an answer")
        self.lose_next_answer()


def attempt(key: str, *, number: int = 1, mine: bool = True, age: timedelta = timedelta(0)) -> Attempt:
    """A fresh mark, or one of some age."""
    now = datetime.now(UTC)
    return Attempt(number, key, now - age, now - age + timedelta(seconds=10), now - age, now, {}, still_mine=lambda: mine)


def quoted(order: Order, units: dict[LineRef, int]) -> Quote:
    """What so many units are worth."""
    quote = price(order, Wanted(lines=tuple(WantedLine(ref, count) for ref, count in units.items())))
    assert isinstance(quote, Quote)
    return quote


def returned(quote: Quote, disposition: Disposition = Disposition.RESTOCK) -> tuple[ReturnedLine, ...]:
    return tuple(ReturnedLine(part.id, part.quantity, part.worth, ((disposition, part.quantity),)) for part in quote.lines)


def a_refund(order: Order, units: int = 1, *, key: str = "", minor: int | None = None) -> RefundOrder:
    """So many units of the first line, or another amount for them."""
    quote = quoted(order, {order.lines[0].id: units})
    amount = quote.total if minor is None else minor
    return RefundOrder(
        key=key or uuid.uuid4().hex,
        order=order.ref,
        rma="2222222X",
        amount=Money(amount, order.currency),
        parts=(TenderPart(order.tenders[0].id, amount),),
        lines=returned(quote),
    )


def a_credit(order: Order, units: int = 1, *, bonus: int = 0) -> CreditOrder:
    """So many units of the first line as store credit."""
    quote = price(order, Wanted(lines=(WantedLine(order.lines[0].id, units),), payout=Payout.STORE_CREDIT))
    assert isinstance(quote, Quote)
    key = uuid.uuid4().hex
    code = f"2222222X-{key[:12].upper()}"
    return CreditOrder(
        key, order.ref, "2222222X", Money(quote.total, order.currency), Money(bonus, order.currency), returned(quote), code=code
    )


class StoreContract:
    """Each behaviour on its own orders, so that a store in use may be asked too."""

    # ── orders ──

    def test_an_order_adds_up_and_knows_who_bought(self, subject: Subject) -> None:
        ref = subject.keeper.place([Article("Shirt", 3, 999), Article("Mug", 1, 450)], email="ann@example.com")

        order = subject.store.order(ref)

        assert [line.quantity for line in order.lines] == [3, 1]
        assert [line.product.title for line in order.lines] == ["Shirt", "Mug"]
        charges = (*order.shipping, *order.fees)
        parts = sum(line.worth.gross for line in order.lines) + sum(charge.worth.gross for charge in charges)
        assert abs(parts - order.total) <= len(order.lines) + len(order.shipping)
        assert (order.paid, order.cancelled, order.refunded, order.kept) == (True, False, 0, 0)
        assert (sum(tender.captured for tender in order.tenders), order.buyer.email) == (order.total, "ann@example.com")
        assert order.number
        assert order.changed_at is not None

    def test_an_unpaid_order_has_captured_nothing(self, subject: Subject) -> None:
        order = subject.store.order(subject.keeper.place([Article()], pays=False))

        assert not order.paid
        assert sum(tender.captured for tender in order.tenders) == 0

    def test_orders_are_read_together_those_in_the_bin_too_and_unknown_ones_are_left_out(self, subject: Subject) -> None:
        kept, binned, deleted = (subject.keeper.place([Article(title)]) for title in ("Kept", "Binned", "Deleted"))
        subject.keeper.bin(binned)
        subject.keeper.delete(deleted)

        found = {order.ref: order for order in subject.store.orders([kept, binned, deleted, subject.gone])}

        assert set(found) == {kept, binned}
        assert (found[kept].cancelled, found[binned].cancelled) == (False, True)

    def test_f25_an_order_that_is_gone_is_a_refusal_and_not_a_failure(self, subject: Subject) -> None:
        with pytest.raises(Rejected):
            subject.store.order(subject.gone)

    def test_an_order_is_found_by_exactly_its_number_and_its_e_mail(self, subject: Subject) -> None:
        order = subject.store.order(subject.keeper.place([Article()], email="find.me@example.com"))

        found = subject.store.find_order(order.number, "Find.Me@example.com")

        assert found is not None
        assert found.ref == order.ref
        assert subject.store.find_order(order.number, "other@example.com") is None
        assert subject.store.find_order(f"{order.number}9", "find.me@example.com") is None
        assert subject.store.find_order("", "find.me@example.com") is None

    def test_the_contact_is_who_bought(self, subject: Subject) -> None:
        ref = subject.keeper.place([Article()], email="who@example.com")

        assert subject.store.contact(ref).email == "who@example.com"

    def test_w4_what_changed_since_is_found_by_change_and_by_refund(self, subject: Subject) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        refs = {subject.keeper.place([Article(f"Changed {n}")]) for n in range(3)}
        subject.keeper.refund(min(refs), 100)

        found = [order for order in subject.store.orders_changed(before) if isinstance(order, Order)]

        assert refs <= {order.ref for order in found}
        assert next(order for order in found[::-1] if order.ref == min(refs)).refunded == 100

    def test_w7_the_history_is_read_page_by_page_and_a_page_may_be_read_again(self, subject: Subject) -> None:
        refs = {subject.keeper.place([Article(f"Old {n}")]) for n in range(3)}
        found: set[OrderRef] = set()
        cursor: str | None = None
        for _ in range(1000):
            page = subject.store.import_orders(cursor)
            again = subject.store.import_orders(cursor)
            assert {order.ref for order in page.orders} <= {order.ref for order in again.orders} | found | refs
            found |= {order.ref for order in page.orders}
            cursor = page.cursor
            if cursor is None:
                break

        assert cursor is None
        assert refs <= found

    # ── refunds ──

    def test_m6_a_refund_moves_its_amount_once_and_stands_on_the_order_with_our_key(self, subject: Subject) -> None:
        order = self._paid_order(subject, 3)
        told = a_refund(order)

        receipt = subject.store.refund(told, attempt(told.key))

        after = subject.store.order(order.ref)
        assert subject.keeper.paid_back(order.ref) == [told.amount.minor]
        assert (receipt.amount, after.refunded) == (told.amount, told.amount.minor)
        assert [(record.ref, record.key, record.moved) for record in after.refunds] == [(receipt.reference, told.key, told.amount.minor)]
        assert (after.lines[0].refunded_quantity, after.lines[0].refunded) == (1, told.lines[0].worth)

    def test_m1_units_one_by_one_add_up_to_the_whole_line(self, subject: Subject) -> None:
        order = self._paid_order(subject, 3, 999)
        whole = order.lines[0].worth.gross

        for _ in range(3):
            told = a_refund(subject.store.order(order.ref))
            subject.store.refund(told, attempt(told.key))

        after = subject.store.order(order.ref)
        assert after.lines[0].refunded.gross == whole
        assert sum(subject.keeper.paid_back(order.ref)) == after.refunded
        assert after.refunded in (whole, order.total)  # the last one closes the order where nothing else was sold

    def test_what_a_deduction_withholds_is_booked_in_full_and_not_paid(self, subject: Subject) -> None:
        order = self._paid_order(subject, 2)
        told = a_refund(order)
        less = replace(
            told, amount=Money(told.amount.minor - 150, order.currency), parts=(TenderPart(order.tenders[0].id, told.amount.minor - 150),)
        )

        subject.store.refund(less, attempt(less.key))

        after = subject.store.order(order.ref)
        assert subject.keeper.paid_back(order.ref) == [told.amount.minor - 150]
        assert (after.lines[0].refunded, after.kept) == (told.lines[0].worth, 150)

    def test_f01_a_refund_that_is_not_ours_any_more_is_never_written(self, subject: Subject) -> None:
        order = self._paid_order(subject)
        told = a_refund(order)

        with pytest.raises(Voided):
            subject.store.refund(told, attempt(told.key, mine=False))

        assert subject.keeper.paid_back(order.ref) == []
        assert subject.store.order(order.ref).refunds == ()

    def test_a22_a_refund_beyond_the_rest_is_refused_and_moves_nothing(self, subject: Subject) -> None:
        order = self._paid_order(subject, 2)
        told = a_refund(order, minor=order.total + 1)

        with pytest.raises(Rejected):
            subject.store.refund(told, attempt(told.key))

        assert subject.keeper.paid_back(order.ref) == []

    def test_f25_a_refund_of_an_order_that_is_gone_is_refused(self, subject: Subject) -> None:
        order = self._paid_order(subject)
        told = replace(a_refund(order), order=subject.gone)

        with pytest.raises(Rejected):
            subject.store.refund(told, attempt(told.key))

    def test_f15_a_refund_after_the_merchant_gave_everything_back_is_refused(self, subject: Subject) -> None:
        order = self._paid_order(subject)
        told = a_refund(order)
        subject.keeper.refund(order.ref, order.total)

        with pytest.raises(Rejected):
            subject.store.refund(told, attempt(told.key))

        assert len(subject.keeper.paid_back(order.ref)) <= 1

    def test_f02_a_refund_is_found_by_its_key(self, subject: Subject) -> None:
        order = self._paid_order(subject)
        told = a_refund(order)
        receipt = subject.store.refund(told, attempt(told.key))

        sighting = subject.store.find_refund(told, attempt(told.key, age=timedelta(seconds=5)))

        assert sighting.kind is SightingKind.SETTLED
        assert sighting.receipt == receipt

    def test_a_refund_that_nobody_asked_for_is_never_found(self, subject: Subject) -> None:
        order = self._paid_order(subject, 3)
        other, told = a_refund(order), a_refund(order)
        subject.store.refund(other, attempt(other.key))
        subject.keeper.refund(order.ref, told.amount.minor)

        sighting = subject.store.find_refund(told, attempt(told.key))

        assert told.amount == other.amount
        assert (sighting.kind is SightingKind.SETTLED, sighting.receipt) == (False, None)

    @pytest.mark.may_skip
    def test_f04_a_refund_whose_answer_was_lost_is_found_by_its_key_and_never_proven_absent(self, subject: Subject) -> None:
        order = self._paid_order(subject, 3)
        told = a_refund(order)
        subject.lose()

        with pytest.raises(OutcomeUnknown):
            subject.store.refund(told, attempt(told.key))

        later = subject.store.capabilities().quiet_period + timedelta(seconds=1)
        (record,) = subject.store.order(order.ref).refunds
        for age in (timedelta(0), later):
            sighting = subject.store.find_refund(told, attempt(told.key, age=age))
            assert (sighting.kind, sighting.receipt) == (SightingKind.SETTLED, Receipt(record.ref, told.amount))
        assert subject.keeper.paid_back(order.ref) == [told.amount.minor]

    # ── store credit ──

    @pytest.mark.may_skip
    def test_m7_store_credit_gives_up_the_value_and_sends_no_money(self, subject: Subject) -> None:
        order = self._credit_order(subject, 3)
        told = a_credit(order)

        receipt = subject.store.issue_credit(told, attempt(told.key))

        after = subject.store.order(order.ref)
        assert subject.keeper.paid_back(order.ref) == []
        assert (receipt.amount, after.refunded) == (told.amount, told.amount.minor)
        assert [(record.ref, record.key) for record in after.refunds] == [(receipt.reference, told.key)]

    @pytest.mark.may_skip
    def test_m7_store_credit_that_is_asked_for_again_is_the_same_credit(self, subject: Subject) -> None:
        order = self._credit_order(subject, 2)
        told = a_credit(order)
        first = subject.store.issue_credit(told, attempt(told.key))

        again = subject.store.issue_credit(told, attempt(told.key, number=2))

        assert again == first
        assert subject.store.order(order.ref).refunded == told.amount.minor
        assert _found(subject, told).receipt == first

    @pytest.mark.may_skip
    def test_m6_store_credit_that_is_not_ours_any_more_is_never_written(self, subject: Subject) -> None:
        order = self._credit_order(subject, 2)
        told = a_credit(order)

        with pytest.raises(Voided):
            subject.store.issue_credit(told, attempt(told.key, mine=False))

        assert subject.store.order(order.ref).refunded == 0
        assert _found(subject, told).kind is not SightingKind.SETTLED

    @pytest.mark.may_skip
    def test_m7_a_shop_that_gives_no_store_credit_refuses_it_and_books_nothing(self, subject: Subject) -> None:
        if subject.store.capabilities().store_credit:
            pytest.skip("this shop gives store credit")
        order = self._paid_order(subject, 2)
        told = a_credit(order)

        with pytest.raises(Rejected):
            subject.store.issue_credit(told, attempt(told.key))

        assert subject.store.order(order.ref).refunds == ()

    @pytest.mark.may_skip
    def test_m7_what_an_order_leaves_of_a_credit_gets_a_code_of_its_own_and_a_cancelled_order_does_not_double_it(
        self, subject: Subject
    ) -> None:
        order = self._credit_order(subject, 1, 4000)
        told = a_credit(order)
        worth = self._worth(subject, told)
        spent_in = subject.keeper.place([Article("Socks", 1, 1000)], code=told.code)
        used = UsedCredit(told.code, spent_in, f"{told.code}-2", worth)

        first = subject.store.reissue_credit(used)
        subject.keeper.cancel(spent_in)
        cancelled = subject.store.reissue_credit(used)
        subject.keeper.restore(spent_in)
        restored = subject.store.reissue_credit(used)

        assert first.use is CreditUse.REISSUED
        assert 0 < first.rest.minor < worth.minor
        assert cancelled == restored == first

    def _worth(self, subject: Subject, told: CreditOrder) -> Money:
        receipt = subject.store.issue_credit(told, attempt(told.key))
        if receipt.worth is None:
            pytest.skip("what this shop gives as credit keeps its rest by itself")
        return receipt.worth

    # ── the rest ──

    def test_an_rma_is_shown_as_often_as_one_likes(self, subject: Subject) -> None:
        ref = subject.keeper.place([Article()])
        view = ReturnView("rma:2222222X", "2222222X", ref, "authorised", ())

        first = subject.store.mirror_return(view)
        again = subject.store.mirror_return(replace(view, state="received"))

        assert first == again

    def test_a_probe_says_what_the_shop_can_do(self, subject: Subject) -> None:
        order = self._paid_order(subject)

        facts, can = subject.store.probe(), subject.store.capabilities()

        assert {type(value) for value in facts.values()} <= {str}
        assert can.quiet_period > can.request_deadline + can.longest_run
        assert can.currency in {"", order.currency}
        assert ZoneInfo(can.time_zone).key == can.time_zone
        assert abs(can.clock_offset) < timedelta(minutes=1)
        assert (order.tenders[0].pays_back, can.refund_gateways != frozenset()) == (True, True)

    def test_deliveries_are_set_up_once(self, subject: Subject) -> None:
        first = subject.store.ensure_webhooks(BASE_URL)
        again = subject.store.ensure_webhooks(BASE_URL)
        subject.store.leave()

        assert (again.active, again.mended) == (first.active, ())

    def _paid_order(self, subject: Subject, units: int = 1, price: int = 1000) -> Order:
        return subject.store.order(subject.keeper.place([Article("Shirt", units, price)]))

    def _credit_order(self, subject: Subject, units: int, price: int = 1000) -> Order:
        if not subject.store.capabilities().store_credit:
            pytest.skip("this shop cannot give store credit")
        return self._paid_order(subject, units, price)


def _found(subject: Subject, told: CreditOrder) -> Sighting:
    return subject.store.find_credit(told, attempt(told.key))
