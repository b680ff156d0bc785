"""Store credit: a refund record that moves no money, then a coupon. No gateway is asked, so both steps can be made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from adapters.woocommerce import answers, booking, paying
from adapters.woocommerce.answers import Broken
from adapters.woocommerce.booking import Booked, Scale
from adapters.woocommerce.client import Client
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import DEADLINE, LONGEST_RUN, QUIET, Fresh, Orders
from connector.domain import money
from connector.domain.money import Money
from connector.domain.orders import RefundRef
from connector.domain.platform import (
    Attempt,
    CreditOrder,
    OutcomeUnknown,
    PlatformError,
    Receipt,
    Rejected,
    Sighting,
    SightingKind,
    Throttled,
)  # fmt: skip

_TAKEN: Final = "woocommerce_rest_coupon_code_already_exists"
_MODE: Final = "settings/tax/woocommerce_prices_include_tax"
# The second request of a run begins so soon that nothing comes of it once the shop is quiet, whoever sleeps in between.
_SECOND: Final = QUIET - LONGEST_RUN - DEADLINE - timedelta(seconds=60)


def issue(orders: Orders, told: CreditOrder, attempt: Attempt) -> Receipt:
    """Book the record if its marker is missing, then make the coupon if its code is. Raises as `Store.issue_credit`."""
    began = _stopwatch()
    with paying.nothing_written():
        seen = orders.fresh(told.order)
        records = booking.carrying(seen.refunds, told.key, seen.places)
        scale = orders.scale(seen.places)
    if records:
        with _something_happened():
            return _with_coupon(orders, seen, told, _the_one(records, told), attempt.still_mine)
    if not orders.capabilities().store_credit:
        raise Rejected("coupons are switched off in the shop: nobody could use a code")
    paying.fits(seen, told)
    if not told.code:
        raise Rejected("store credit without a code")
    if orders.facts.get("currency", told.amount.currency) != told.amount.currency:
        raise Rejected("the order is not in the shop's currency, and coupons know no other")
    body = booking.refund_body(told, scale)
    with paying.nothing_written():
        if _worth(orders, seen, told, scale) <= 0:
            raise Rejected("nothing to give a code for")
        coupon = by_code(orders.client, told.code)
        if coupon is not None and not booking.is_ours(coupon, told.key):
            raise Rejected("the code belongs to somebody else")
    made = paying.book(orders.client, told, body, attempt)
    with _something_happened():
        records = _with_others(orders, told, paying.booked(made, seen.places))
        return _with_coupon(orders, seen, told, _the_one(records, told), lambda: _stopwatch() - began < _SECOND)


def find(orders: Orders, told: CreditOrder, attempt: Attempt) -> Sighting:
    """Both there, or nothing can come any more: then a further run finishes what there is. Raises `Throttled`, `Revoked`."""
    places = money.decimals(told.amount.currency)
    try:
        records = booking.carrying(paying.listed(orders.client, told), told.key, places)
        record = _the_one(records, told) if records else None
        coupon = _own_coupon(orders.client, told)
        if record and coupon:
            return Sighting(SightingKind.SETTLED, _receipt(told, record, coupon, places))
    except Broken:  # it may be read the next time
        raise
    except (OutcomeUnknown, Rejected, Untranslatable) as odd:
        return Sighting(SightingKind.IN_DOUBT, words=str(odd))
    if attempt.looked_at - attempt.marked_at < QUIET:
        return Sighting(SightingKind.IN_DOUBT, words="the credit is not complete")
    return Sighting(SightingKind.ABSENT)


def _own_coupon(client: Client, told: CreditOrder) -> At | None:
    """The coupon of the credit, if it is there. Raises `OutcomeUnknown` where the code is somebody else's: a run could not finish it."""
    coupon = by_code(client, told.code) if told.code else None
    if coupon is not None and not booking.is_ours(coupon, told.key):
        raise OutcomeUnknown("the code belongs to somebody else")
    return coupon


def _the_one(records: Sequence[Booked], told: CreditOrder) -> RefundRef:
    """The record of the credit. Raises `OutcomeUnknown` where it is not what was asked for: a person has to put it right."""
    record = records[0]
    if len(records) > 1:
        raise OutcomeUnknown(f"booked more than once: {', '.join(sorted(each.ref for each in records))}")
    if record.paid:
        raise OutcomeUnknown(f"refund {record.ref} was to book store credit, and a gateway paid it")
    if record.minor != told.amount.minor:
        raise OutcomeUnknown(f"refund {record.ref} is of another amount")
    return record.ref


def _with_others(orders: Orders, told: CreditOrder, made: Booked) -> tuple[Booked, ...]:
    """What was booked just now, and what somebody else booked for the same key while we did: the shop itself refuses no double."""
    places = money.decimals(told.amount.currency)
    others = booking.carrying(paying.listed(orders.client, told), told.key, places)
    return (made, *(each for each in others if each.ref != made.ref))


def _with_coupon(orders: Orders, seen: Fresh, told: CreditOrder, record: RefundRef, still_mine: Callable[[], bool]) -> Receipt:
    """The second step."""
    scale = orders.scale(seen.places)
    coupon = by_code(orders.client, told.code)
    if coupon is None:
        email = seen.body.key("billing").text_or_nothing("email")
        body = booking.coupon_body(
            told.code,
            _worth(orders, seen, told, scale),
            scale,
            key=told.key,
            emails=[email] if email else [],
            about=f"Store credit for {told.rma}",
        )
        coupon = make(orders.client, body, still_mine)
    if not booking.is_ours(coupon, told.key):
        raise OutcomeUnknown("the record is booked, and the code belongs to somebody else")
    return _receipt(told, record, coupon, seen.places)


def _receipt(told: CreditOrder, record: RefundRef, coupon: At, places: int) -> Receipt:
    return Receipt(record, told.amount, worth=Money(coupon.amount("amount", places), told.amount.currency))


def _worth(orders: Orders, seen: Fresh, told: CreditOrder, scale: Scale) -> int:
    net = seen.order.total - seen.body.amount("total_tax", seen.places)
    return booking.coupon_worth(told, seen.order, net, scale, inclusive=_prices_include_tax(orders.client))


def _prices_include_tax(client: Client) -> bool:
    """The shop's own mode, now: that is how it counts a coupon, whatever it was at the last probe and when the order was placed.

    Raises: `Throttled`, `Revoked`, `Untranslatable`.
    """
    try:
        option = At(client.read(_MODE))
    except Rejected as no:  # it is asked again: a credit is not refused over a setting
        raise Throttled(answers.SOON, str(no)) from no
    mode = option.text("value")
    return mode == "yes" if mode in ("yes", "no") else option.key("value").refuse("neither yes nor no")


def by_code(client: Client, code: str) -> At | None:
    """The coupon of a code, however it is written: WooCommerce lowers codes."""
    for coupon in At(client.read("coupons", {"code": code.lower()})).items():
        if coupon.text("code").lower() == code.lower():
            return coupon
    return None


def make(client: Client, body: dict[str, object], still_mine: Callable[[], bool] | None = None) -> At:
    """A coupon. A code is unique, so one that is there already is returned as it is: its maker may be we."""
    try:
        return client.write("POST", "coupons", body, still_mine=still_mine)
    except Rejected as no:
        if _TAKEN not in str(no):
            raise
    there = by_code(client, str(body["code"]))
    if there is None:
        raise OutcomeUnknown("the code is said to exist, and is not found")
    return there


@contextmanager
def _something_happened() -> Iterator[None]:
    """The record is booked: whatever fails from here on, it may not be said that nothing happened."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except PlatformError as error:
        raise OutcomeUnknown(f"the record is booked, its code is not made yet: {type(error).__name__}") from error


def _stopwatch() -> timedelta:
    """It goes on while this machine sleeps."""
    return timedelta(seconds=time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)))
