"""Money back through a gateway: asked once, looked for ever after.

WooCommerce (10.5) knows no idempotency key and no lock. It saves the refund with its `reason`, calls the gateway, and saves
`refunded_payment` and the meta; a gateway that refuses, and one that paid and failed afterwards, both leave no refund behind.
So a refund that is not listed proves nothing, and one that is listed is paid only where it says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adapters.woocommerce import answers, booking
from adapters.woocommerce.answers import Broken
from adapters.woocommerce.booking import Booked
from adapters.woocommerce.client import Client
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import Fresh, Orders, number
from connector.domain import money
from connector.domain.money import Money
from connector.domain.platform import (
    Attempt,
    CreditOrder,
    OutcomeUnknown,
    Receipt,
    RefundOrder,
    Rejected,
    Sighting,
    SightingKind,
    Throttled,
)  # fmt: skip

_UNSURE = "the refund is listed, and its gateway has not said that it paid"
_UNLISTED = "the refund is not listed, which proves nothing"


def refund(orders: Orders, told: RefundOrder, attempt: Attempt) -> Receipt:
    """Send the money back, unless it was sent already. Raises as `Store.refund`."""
    with nothing_written():
        seen = orders.fresh(told.order)
        earlier = booking.found(seen.refunds, told.key, seen.places)
    if earlier:
        return _receipt(earlier, told)
    fits(seen, told)
    if not seen.order.paid:
        raise Rejected("the order was never paid")  # the shop would ask the gateway all the same (10.5, verified)
    if not all(tender.pays_back for tender in seen.order.tenders):
        raise Rejected("the order was paid through a gateway that cannot send money back")
    body = booking.refund_body(told, orders.scale(seen.places))
    made = book(orders.client, told, body, attempt)
    return _receipt(booked(made, seen.places), told)


def find(orders: Orders, told: RefundOrder) -> Sighting:
    """Look for it in the shop's list. Never ABSENT. Raises `Throttled`, `Revoked`, `Broken`."""
    try:
        earlier = booking.found(listed(orders.client, told), told.key, money.decimals(told.amount.currency))
    except Broken:  # nobody was told anything: a further look may be
        raise
    except Untranslatable as error:
        return Sighting(SightingKind.IN_DOUBT, words=f"the list of refunds cannot be read: {error.key}")
    if earlier is None:
        return Sighting(SightingKind.IN_DOUBT, words=_UNLISTED)
    if earlier.minor is None or not earlier.paid:
        return Sighting(SightingKind.IN_DOUBT, words=_UNSURE)
    return Sighting(SightingKind.SETTLED, Receipt(earlier.ref, Money(earlier.minor, told.amount.currency)))


def listed(client: Client, told: RefundOrder | CreditOrder) -> tuple[At, ...]:
    """The refunds of the order, none where it is gone: they went with it. Raises `Throttled`, `Revoked`, `Untranslatable`."""
    try:
        return tuple(client.pages(f"orders/{number(told.order)}/refunds"))
    except Rejected:
        return ()


@contextmanager
def nothing_written() -> Iterator[None]:
    """What cannot be read before anything is written may be read better the next time. Raises `Throttled`."""
    try:
        yield
    except Untranslatable as error:
        raise Throttled(answers.SOON, f"cannot be read: {error.key}") from error


def fits(seen: Fresh, told: RefundOrder | CreditOrder) -> None:
    """What the order shows just before the request. The shop itself checks nothing but its rest. Raises `Rejected`."""
    order, left = seen.order, seen.order.total - seen.order.refunded
    if order.currency != told.amount.currency:
        raise Rejected(f"the order is in {order.currency}")
    if told.amount.minor > left:
        raise Rejected(f"the order has {money.show(left, seen.places)} {order.currency} left")


def book(client: Client, told: RefundOrder | CreditOrder, body: dict[str, object], attempt: Attempt) -> At:
    """Write the refund: the one request that moves money. Raises as `Client.write`."""
    return client.write("POST", f"orders/{number(told.order)}/refunds", body, still_mine=attempt.still_mine)


def booked(made: At, places: int) -> Booked:
    """What a confirmed request made. Raises `OutcomeUnknown` where the answer cannot be read."""
    try:
        return booking.booked(made, places)
    except Untranslatable as error:
        raise OutcomeUnknown(f"the answer cannot be read: {error.key}") from error


def _receipt(made: Booked, told: RefundOrder) -> Receipt:
    if not made.paid:
        raise OutcomeUnknown(_UNSURE)
    if made.minor != told.amount.minor:
        raise OutcomeUnknown(f"refund {made.ref} is of another amount")
    return Receipt(made.ref, told.amount)
