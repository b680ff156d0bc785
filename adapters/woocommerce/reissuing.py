"""The rest of a used code. A coupon (10.5) is spent whole by one order: what the order did not use is lost.

So the rest gets a code of its own, and because a cancelled order gives the use back, the old code is lowered to what was spent
before the new one is made. Each lowering leaves a mark on the old code: the codes made from it and what it still says never add
up to more than it was given for, whoever dies in between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from adapters.woocommerce import booking, crediting
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import DRAFT, Orders, number
from connector.domain import money
from connector.domain.connecting import CreditRest, CreditUse, UsedCredit
from connector.domain.money import Money
from connector.domain.platform import OutcomeUnknown, Rejected

_LOW: Final = "_rma_low_"
_MARK = re.compile(r"([0-9]{1,15})/([0-9]{1,15})(/made)?", re.ASCII)
_FINE: Final = 8  # decimals that a coupon's line is read with: it shows what is stored ("3.458334" and "0.691666", 10.5, verified)
# An order that was paid and is in none of these has the use of its codes for good. A draft takes no use (10.5).
_DEAD: Final = frozenset({"cancelled", "failed", "trash", DRAFT})
_UNDECIDED: Final = frozenset({"pending", "on-hold"})


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


@dataclass(frozen=True, slots=True)
class _Mark:
    """For a next code the old one was lowered from `whole` to `left`. `made`: that code is known to have been there."""

    left: int
    whole: int
    made: bool = False

    @property
    def rest(self) -> int:
        return self.whole - self.left

    def __str__(self) -> str:
        return f"{self.left}/{self.whole}{'/made' * self.made}"


def reissue(orders: Orders, used: UsedCredit) -> CreditRest:
    """Follow one code in one order, and give its rest a code of its own. Convergent. Raises as `Store.reissue_credit`."""
    try:
        return _follow(orders, used)
    except Untranslatable as error:
        raise OutcomeUnknown(f"cannot be read: {error.key}") from error


def _follow(orders: Orders, used: UsedCredit) -> CreditRest:
    new, old = _codes(orders, used)
    marks = _marks(old)
    mark = marks.get(used.next_code.lower())
    spent = _spent(orders, used, may_be_gone=mark is not None)
    if _is_spent_twice(spent, old, used):
        return _outcome(CreditUse.TWICE, used)
    if mark is not None and (new is not None or mark.made):
        return _outcome(CreditUse.REISSUED, used, _made(orders, used, old, mark, new))
    if new is not None:  # nothing was lowered for it
        return _outcome(CreditUse.TWICE, used)
    count = old.whole("usage_count", lowest=0)
    if mark is not None and _is_firm(mark, old, used):
        if not spent.is_live and count:  # it is used, and not by this order: nobody can tell whether before it was lowered
            return _outcome(CreditUse.TWICE, used)
        return _outcome(CreditUse.REISSUED, used, _made(orders, used, old, mark, None))
    if spent.used is None or not spent.is_live:
        return _outcome(CreditUse.WAITING if count or spent.status == DRAFT else CreditUse.GIVEN_BACK, used)
    if not spent.paid or spent.status in _UNDECIDED:
        return _outcome(CreditUse.WAITING, used)
    return _divide(orders, used, old, spent, spent.used)


def _divide(orders: Orders, used: UsedCredit, old: At, spent: _Spent, taken: int) -> CreditRest:
    """Lower the old code, look again, and make the next one."""
    step = orders.scale(_places(used)).step
    left = -(-taken // step) * step  # no more than the shop's decimals can say
    whole = min(spent.nominal, old.amount("amount", _places(used)))  # another order may have taken its part before
    if left >= whole:
        return _outcome(CreditUse.SPENT, used)
    mark = _Mark(left, whole)
    lowered = _lower(orders, used, old, mark)
    after = _spent(orders, used, may_be_gone=True)
    elsewhere = not after.is_live and lowered.whole("usage_count", lowest=0)
    if elsewhere or _others(lowered, used) != _others(old, used) or _is_spent_twice(after, lowered, used):
        return _outcome(CreditUse.TWICE, used)
    return _outcome(CreditUse.REISSUED, used, _made(orders, used, lowered, mark, None))


def _codes(orders: Orders, used: UsedCredit) -> tuple[At | None, At]:
    """The next code and the old one, in this order: who sees the next one then sees what was lowered for it."""
    new = crediting.by_code(orders.client, used.next_code)
    old = crediting.by_code(orders.client, used.code)
    if old is None or not booking.key_of_coupon(old):
        raise Rejected("the code is gone, or none of ours")
    if new is not None and booking.key_of_coupon(new) != booking.key_of_coupon(old):
        raise Rejected("the next code belongs to somebody else")
    return new, old


def _spent(orders: Orders, used: UsedCredit, *, may_be_gone: bool) -> _Spent:
    """What the order took of the code. Where prices include the tax, a coupon's amount does too (10.5, verified)."""
    try:
        body = At(orders.client.read(f"orders/{number(used.order)}"))
    except Rejected:
        if not may_be_gone:
            raise
        return _Spent("gone", paid=False, used=None, nominal=used.worth.minor)
    places, status, paid = _places(used), body.text("status"), body.instant("date_paid_gmt") is not None
    for line in body.key("coupon_lines").items():
        if line.text("code").lower() == used.code.lower():
            fine = line.rounded("discount", _FINE)
            fine += line.rounded("discount_tax", _FINE) if body.truth("prices_include_tax") else 0
            nominal = line.rounded("nominal_amount", places) if line.has("nominal_amount") else used.worth.minor
            return _Spent(status, paid, min(money.half_up(fine, 10 ** (_FINE - places)), nominal), nominal)
    return _Spent(status, paid, None, used.worth.minor)


def _is_spent_twice(spent: _Spent, old: At, used: UsedCredit) -> bool:
    """A code for one use that is in use twice, an order that took more of it than it is worth by now, or marks that overlap.

    All after an order came back to life whose use had been given back.
    """
    more = spent.is_live and spent.used is not None and spent.used > old.amount("amount", _places(used))
    firm = sorted((mark for mark in _marks(old).values() if _is_firm(mark, old, used)), key=lambda mark: mark.whole, reverse=True)
    overlap = any(lower.whole > higher.left for higher, lower in pairwise(firm))
    return more or overlap or old.whole("usage_count", lowest=0) > 1


def _lower(orders: Orders, used: UsedCredit, old: At, mark: _Mark) -> At:
    """The old code says what was spent, and for which code it was lowered: the rest may then be made at any time."""
    amount = orders.scale(_places(used)).write(mark.left)
    lowered = _write(orders, used, old, mark, amount=amount, usage_limit=max(1, old.whole("usage_count", lowest=0)))
    if lowered.amount("amount", _places(used)) != mark.left:
        raise OutcomeUnknown("the code was to be lowered, and the answer does not say so")
    return lowered


def _write(orders: Orders, used: UsedCredit, old: At, mark: _Mark, **more: object) -> At:
    entry = {"key": f"{_LOW}{used.next_code.lower()}", "value": str(mark)}
    return orders.client.write("PUT", f"coupons/{old.whole('id', lowest=1)}", {**more, "meta_data": [entry]})


def _marks(old: At) -> Mapping[str, _Mark]:
    """For each code that the old one was lowered for."""
    marks: dict[str, _Mark] = {}
    for meta in old.key("meta_data").items():
        name, value = meta.key("key").value, meta.key("value").value
        if isinstance(name, str) and name.startswith(_LOW) and isinstance(value, str) and (found := _MARK.fullmatch(value)):
            marks[name.removeprefix(_LOW)] = _Mark(int(found[1]), int(found[2]), found[3] is not None)
    return marks


def _others(old: At, used: UsedCredit) -> dict[str, tuple[int, int]]:
    """What it was lowered for besides."""
    return {code: (mark.left, mark.whole) for code, mark in _marks(old).items() if code != used.next_code.lower()}


def _is_firm(mark: _Mark, old: At, used: UsedCredit) -> bool:
    """WooCommerce saves the mark before the amount: the amount has to show it too, or that a later use began with it."""
    shown = old.amount("amount", _places(used)) == mark.left
    return mark.made or shown or any(other.whole == mark.left for other in _marks(old).values())


def _made(orders: Orders, used: UsedCredit, old: At, mark: _Mark, new: At | None) -> int:
    """The rest has its own code, for the same shopper, and the old one says so: if it is deleted later, it is not made again."""
    if new is None and not mark.made:
        key, scale = booking.key_of_coupon(old), orders.scale(_places(used))
        emails = [email.value for email in old.key("email_restrictions").items() if isinstance(email.value, str)]
        body = booking.coupon_body(used.next_code, mark.rest, scale, key=key, emails=emails, about=old.text_or_nothing("description"))
        try:
            new = crediting.make(orders.client, body)
        except Rejected as no:
            raise OutcomeUnknown("the old code is lowered, and the next one was refused") from no
        if not booking.is_ours(new, key):
            raise OutcomeUnknown("the old code is lowered, and the next one belongs to somebody else")
    if not mark.made:
        _write(orders, used, old, _Mark(mark.left, mark.whole, made=True))
    return mark.rest


def _outcome(use: CreditUse, used: UsedCredit, rest: int = 0) -> CreditRest:
    return CreditRest(use, Money(rest, used.worth.currency))


def _places(used: UsedCredit) -> int:
    return money.decimals(used.worth.currency)
