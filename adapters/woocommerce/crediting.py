"""Store credit: a refund record that moves no money, then a coupon. No gateway is asked, so both steps can be made again.

A coupon (10.5) is spent whole by one order: what the order did not use is lost. So its rest gets a code of its own, and because
a cancelled order gives the use back, the old code is lowered to what was spent before the new one is made. What can be spent
never exceeds what was given, whoever dies in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from adapters.woocommerce import booking, paying
from adapters.woocommerce.booking import Scale
from adapters.woocommerce.client import Client
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import QUIET, Fresh, Orders, number
from connector.domain import money
from connector.domain.connecting import CreditRest, CreditUse, UsedCredit
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
)  # fmt: skip

_TAKEN: Final = "woocommerce_rest_coupon_code_already_exists"


def issue(orders: Orders, told: CreditOrder, attempt: Attempt) -> Receipt:
    """Book the record if its marker is missing, then make the coupon if its code is. Raises as `Store.issue_credit`."""
    seen = orders.fresh(told.order)
    record = booking.found(seen.refunds, told.key, seen.places)
    if record is not None:
        with _something_happened():
            return _with_coupon(orders, seen, told, record.ref, attempt)
    paying.fits(seen, told)
    if not told.code:
        raise Rejected("store credit without a code")
    if orders.facts.get("currency", told.amount.currency) != told.amount.currency:
        raise Rejected("the order is not in the shop's currency, and coupons know no other")
    scale = orders.scale(seen.places)
    body = booking.refund_body(told, scale)
    if _worth(orders, seen, told, scale) <= 0:
        raise Rejected("nothing to give a code for")
    coupon = by_code(orders.client, told.code)
    if coupon is not None and not booking.is_ours(coupon, told.key):
        raise Rejected("the code belongs to somebody else")
    made = paying.book(orders.client, told, body, attempt)
    with _something_happened():
        record = paying.booked(made, seen.places)
        if record.minor != told.amount.minor:
            raise OutcomeUnknown(f"refund {record.ref} is of another amount")
        return _with_coupon(orders, seen, told, record.ref, None)


def find(orders: Orders, told: CreditOrder, attempt: Attempt) -> Sighting:
    """Both there, or nothing can come any more: then a further run finishes what there is. Raises `Throttled`, `Revoked`."""
    places = money.decimals(told.amount.currency)
    try:
        record = booking.found(orders.client.pages(f"orders/{number(told.order)}/refunds"), told.key, places)
    except Rejected:
        record = None
    coupon = by_code(orders.client, told.code) if record and told.code else None
    if record and coupon and booking.is_ours(coupon, told.key):
        return Sighting(SightingKind.SETTLED, _receipt(told, record.ref, coupon, places))
    if attempt.looked_at - attempt.marked_at < QUIET:
        return Sighting(SightingKind.IN_DOUBT, words="the credit is not complete")
    return Sighting(SightingKind.ABSENT)


def _with_coupon(orders: Orders, seen: Fresh, told: CreditOrder, record: RefundRef, attempt: Attempt | None) -> Receipt:
    """The second step. `attempt` is asked where this is the first write of its run."""
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
        coupon = make(orders.client, body, attempt)
    if not booking.is_ours(coupon, told.key):
        raise OutcomeUnknown("the record is booked, and the code belongs to somebody else")
    return _receipt(told, record, coupon, seen.places)


def _receipt(told: CreditOrder, record: RefundRef, coupon: At, places: int) -> Receipt:
    return Receipt(record, told.amount, worth=Money(coupon.amount("amount", places), told.amount.currency))


def _worth(orders: Orders, seen: Fresh, told: CreditOrder, scale: Scale) -> int:
    mode = orders.facts.get("prices_include_tax")  # the shop's own, today: that is how it will count the coupon
    inclusive = seen.order.prices_include_tax if mode is None else mode == "yes"
    net = seen.order.total - seen.body.amount("total_tax", seen.places)
    return booking.coupon_worth(told, seen.order, net, scale, inclusive=inclusive)


def by_code(client: Client, code: str) -> At | None:
    """The coupon of a code, however it is written: WooCommerce lowers codes."""
    for coupon in At(client.read("coupons", {"code": code.lower()})).items():
        if coupon.text("code").lower() == code.lower():
            return coupon
    return None


def make(client: Client, body: dict[str, object], attempt: Attempt | None = None) -> At:
    """A coupon. A code is unique, so one that is there already is returned as it is: its maker may be we."""
    try:
        return client.write("POST", "coupons", body, still_mine=attempt.still_mine if attempt else None)
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


# ── The rest of a used code ─────────────────────────────────────────────────────────────────────────────────────────

_LOW: Final = "_rma_low_"
_SPENT_OF = re.compile(r"([0-9]{1,15})/([0-9]{1,15})", re.ASCII)
# An order that was paid and is in none of these has the use of its codes for good.
_DEAD: Final = frozenset({"cancelled", "failed", "trash"})
_UNDECIDED: Final = frozenset({"pending", "on-hold", "checkout-draft"})


@dataclass(frozen=True, slots=True)
class _Spent:
    """What an order shows of a code: minor units, as the coupon counts."""

    status: str
    paid: bool
    used: int | None  # None: the code is not in it any more
    nominal: int

    @property
    def is_live(self) -> bool:
        return self.used is not None and self.status not in _DEAD


def reissue(orders: Orders, used: UsedCredit) -> CreditRest:
    """Follow one code in one order, and give its rest a code of its own. Convergent. Raises as `Store.reissue_credit`."""
    spent, old, new = _look(orders, used)
    if _is_spent_twice(spent, old, used):
        return _outcome(CreditUse.TWICE, used)
    mark = _marks(old).get(used.next_code.lower())
    if new is not None:
        return _outcome(CreditUse.REISSUED, used, mark[1] - mark[0] if mark else new.amount("amount", _places(used)))
    count = old.whole("usage_count", lowest=0)
    if mark is not None and _was_lowered(old, mark, used):
        if not spent.is_live and count:  # it is used, and not by this order: nobody can tell whether before it was lowered
            return _outcome(CreditUse.TWICE, used)
        return _made(orders, used, old, mark[1] - mark[0])
    if not spent.is_live:
        return _outcome(CreditUse.WAITING if count else CreditUse.GIVEN_BACK, used)
    if not spent.paid or spent.status in _UNDECIDED or spent.used is None:
        return _outcome(CreditUse.WAITING, used)
    if spent.used >= spent.nominal:
        return _outcome(CreditUse.SPENT, used)
    old = _lower(orders, used, old, spent.used, spent.nominal)
    after = _spent(orders, used)
    if _is_spent_twice(after, old, used) or (not after.is_live and old.whole("usage_count", lowest=0)):
        return _outcome(CreditUse.TWICE, used)
    return _made(orders, used, old, spent.nominal - spent.used)


def _look(orders: Orders, used: UsedCredit) -> tuple[_Spent, At, At | None]:
    old, new = by_code(orders.client, used.code), by_code(orders.client, used.next_code)
    if old is None or not booking.key_of_coupon(old):
        raise Rejected("the code is gone, or none of ours")
    if new is not None and booking.key_of_coupon(new) != booking.key_of_coupon(old):
        raise Rejected("the next code belongs to somebody else")
    return _spent(orders, used), old, new


def _spent(orders: Orders, used: UsedCredit) -> _Spent:
    """What the order took of the code. Where prices include the tax, a coupon's amount does too (10.5, verified)."""
    body, places = At(orders.client.read(f"orders/{number(used.order)}")), _places(used)
    status, paid = body.text("status"), body.instant("date_paid_gmt") is not None
    for line in body.key("coupon_lines").items():
        if line.text("code").lower() == used.code.lower():
            taken = line.amount("discount", places)
            taken += line.amount("discount_tax", places) if body.truth("prices_include_tax") else 0
            nominal = line.amount("nominal_amount", places) if line.has("nominal_amount") else used.worth.minor
            return _Spent(status, paid, min(taken, nominal), nominal)
    return _Spent(status, paid, None, used.worth.minor)


def _is_spent_twice(spent: _Spent, old: At, used: UsedCredit) -> bool:
    """A code for one use that is in use twice, or an order that took more of it than it is worth by now: both after a restore."""
    more = spent.is_live and spent.used is not None and spent.used > old.amount("amount", _places(used))
    return more or old.whole("usage_count", lowest=0) > 1


def _lower(orders: Orders, used: UsedCredit, old: At, spent: int, nominal: int) -> At:
    """The old code says what was spent, and for which code it was lowered: the rest may then be made at any time."""
    ref, scale = old.whole("id", lowest=1), orders.scale(_places(used))
    body = {
        "amount": scale.write(spent),
        "usage_limit": max(1, old.whole("usage_count", lowest=0)),
        "meta_data": [{"key": f"{_LOW}{used.next_code.lower()}", "value": f"{spent}/{nominal}"}],
    }
    lowered = orders.client.write("PUT", f"coupons/{ref}", body)
    try:
        done = lowered.amount("amount", _places(used)) == spent
    except Untranslatable:
        done = False
    if not done:
        raise OutcomeUnknown("the code was to be lowered, and the answer does not say so")
    return lowered


def _marks(old: At) -> dict[str, tuple[int, int]]:
    """For each code that the old one was lowered for: what was spent, and of what."""
    marks: dict[str, tuple[int, int]] = {}
    for meta in old.key("meta_data").items():
        name, value = meta.key("key").value, meta.key("value").value
        if isinstance(name, str) and name.startswith(_LOW) and isinstance(value, str) and (found := _SPENT_OF.fullmatch(value)):
            marks[name.removeprefix(_LOW)] = (int(found[1]), int(found[2]))
    return marks


def _was_lowered(old: At, mark: tuple[int, int], used: UsedCredit) -> bool:
    """WooCommerce saves the mark before the amount: the amount has to show it too, or that a later use began with it."""
    return old.amount("amount", _places(used)) == mark[0] or any(of == mark[0] for _, of in _marks(old).values())


def _made(orders: Orders, used: UsedCredit, old: At, rest: int) -> CreditRest:
    """The rest's own code, for the same shopper."""
    key = booking.key_of_coupon(old)
    emails = [email for email in old.table().get("email_restrictions") or () if isinstance(email, str)]  # type: ignore[attr-defined]
    scale = orders.scale(_places(used))
    body = booking.coupon_body(used.next_code, rest, scale, key=key, emails=emails, about=old.text_or_nothing("description"))
    try:
        new = make(orders.client, body)
    except Rejected as no:
        raise OutcomeUnknown("the old code is lowered, and the next one was refused") from no
    if not booking.is_ours(new, key):
        raise OutcomeUnknown("the old code is lowered, and the next one belongs to somebody else")
    return _outcome(CreditUse.REISSUED, used, rest)


def _outcome(use: CreditUse, used: UsedCredit, rest: int = 0) -> CreditRest:
    return CreditRest(use, Money(rest, used.worth.currency))


def _places(used: UsedCredit) -> int:
    return money.decimals(used.worth.currency)
