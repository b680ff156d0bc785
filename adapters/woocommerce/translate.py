"""WooCommerce's JSON (REST v3) to domain values and back; pure. What is read was seen on WooCommerce 10.5.

Facts that shape it: lines never change after a refund, so refunded units and amounts come from the refunds alone, joined
by `_refunded_item_id`; `price` is a float and never used; lines need not add up to `total`, which rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from adapters.woocommerce.fields import At, Untranslatable
from connector.domain import money
from connector.domain.orders import (
    NOTHING,
    Buyer,
    Charge,
    ChargeRef,
    CustomerRef,
    LineRef,
    Order,
    OrderLine,
    OrderRef,
    Product,
    RateRef,
    RefundRecord,
    RefundRef,
    Tax,
    Tender,
    TenderKind,
    TenderRef,
    Worth,
)

__all__ = ["Untranslatable", "key_of", "marker", "order"]

# Gateways through which nothing can be sent back, and orders that were paid past any gateway ("" and "other").
MANUAL: Final = frozenset({"", "bacs", "cheque", "cod", "other"})
_CANCELLED: Final = frozenset({"cancelled", "trash"})
_MARKER = re.compile(r"\[rma:([0-9A-Za-z_-]{1,64})\]", re.ASCII)
_ID = re.compile(r"[0-9]{1,18}", re.ASCII)
_LONGEST_TITLE: Final = 500


def marker(key: str) -> str:
    """What marks a refund as ours: at the end of `reason`, which WooCommerce saves before it calls the gateway (meta only after)."""
    return f"[rma:{key}]"


def order(body: object, refunds: object | None, *, decimals: int | None = None, gateways: frozenset[str] | None = None) -> Order:
    """An order of `GET /orders/{id}` with its `GET /orders/{id}/refunds`.

    `refunds` None makes a brief order: what moved is taken from the order's own short list, which knows no lines.
    `decimals` is for shops that count the currency otherwise than ISO 4217 does. `gateways` are those that can send money
    back, None where the shop did not say.

    Raises:
        Untranslatable: a key is missing or not what it should be, or the list of refunds lacks one that the order names.
    """
    at = At(body)
    currency, places = _currency(at, decimals)
    total = at.amount("total", places)
    if total < 0:
        at.key("total").refuse("less than nothing")
    ref = at.whole("id", lowest=1)
    found = _short_list(at, places) if refunds is None else _refunds(at, ref, refunds, places)
    records = _records(found, total)
    moved = sum(record.moved for record in records)
    paid = at.instant("date_paid_gmt") is not None
    fulfilled = at.day("date_completed") if at.has("date_completed") else None
    return Order(
        ref=OrderRef(str(ref)),
        currency=currency,
        total=total,
        number=at.text("number"),
        prices_include_tax=at.truth("prices_include_tax"),
        refunded=moved,
        kept=sum(max(0, record.booked - record.moved) for record in records),
        lines=tuple(_line(line, found, places, fulfilled) for line in _items(at, "line_items")),
        shipping=tuple(_charge(line, "method_title", found, places) for line in _items(at, "shipping_lines")),
        fees=tuple(_charge(line, "name", found, places) for line in _items(at, "fee_lines")),
        tenders=(_tender(at, total if paid else 0, moved, gateways),),
        paid=paid,
        cancelled=at.text("status") in _CANCELLED,
        placed_at=at.instant("date_created_gmt"),
        changed_at=at.instant("date_modified_gmt"),
        refunds=records,
        discount_codes=tuple(coupon.text("code") for coupon in at.key("coupon_lines").items()),
        channel=at.text_or_nothing("created_via"),
        buyer=_buyer(at),
    )


def _currency(at: At, decimals: int | None) -> tuple[str, int]:
    currency = at.text("currency")
    try:
        places = money.decimals(currency)
    except money.MalformedAmount:
        at.key("currency").refuse("a text where a currency code was expected")
    return currency, places if decimals is None else decimals


def _buyer(at: At) -> Buyer:
    billing, customer = at.key("billing"), at.whole("customer_id", lowest=0)
    reference = CustomerRef(str(customer)) if customer else None  # 0 is a guest
    return Buyer(billing.text("email"), billing.text("postcode"), billing.text("country"), reference)


def _tender(at: At, captured: int, refunded: int, gateways: frozenset[str] | None) -> Tender:
    """WooCommerce knows one payment per order."""
    method, transaction = at.text("payment_method"), at.text("transaction_id")
    manual = method in MANUAL
    return Tender(
        id=TenderRef(transaction or method or "manual"),
        captured=captured,
        refunded=refunded,
        kind=TenderKind.MANUAL if manual else TenderKind.OTHER,
        title=at.text("payment_method_title")[:_LONGEST_TITLE],
        pays_back=not manual and (gateways is None or method in gateways),
    )


# ── Lines ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _items(at: At, name: str) -> tuple[At, ...]:
    found = tuple(at.key(name).items())
    if len({item.whole("id", lowest=1) for item in found}) < len(found):
        at.key(name).refuse("an id that is listed twice")
    return found


def _line(at: At, refunds: Iterable[_Refund], places: int, fulfilled: date | None) -> OrderLine:
    item = at.whole("id", lowest=1)
    back = [refund.items[item] for refund in refunds if item in refund.items]
    return OrderLine(
        id=LineRef(str(item)),
        quantity=at.whole("quantity", lowest=0),
        worth=_one_sign(at, _worth(at, places)),
        # More than were bought may stand here: WooCommerce stores whatever quantity a refund names (99 of 3, verified).
        refunded_quantity=sum(units for units, _ in back),
        refunded=_sum(worth for _, worth in back),
        product=_product(at),
        fulfilled_on=fulfilled,
    )


def _charge(at: At, title: str, refunds: Iterable[_Refund], places: int) -> Charge:
    item = at.whole("id", lowest=1)
    back = _sum(refund.items[item][1] for refund in refunds if item in refund.items)
    return Charge(ChargeRef(str(item)), _one_sign(at, _worth(at, places)), back, at.text(title)[:_LONGEST_TITLE])


def _product(at: At) -> Product:
    """Facts about the article. Attributes stand in the name of a variation; other meta of a line may hold what a shopper wrote."""
    name, parent = at.text("name")[:_LONGEST_TITLE], at.text_or_nothing("parent_name")[:_LONGEST_TITLE]
    variation = at.whole("variation_id", lowest=0)
    return Product(
        title=parent or name,
        variant=name.removeprefix(f"{parent} - ") if parent and name.startswith(f"{parent} - ") else "",
        sku=at.text_or_nothing("sku"),  # null once the product is deleted
        image=at.key("image").text_or_nothing("src") if at.has("image") else "",
        product_ref=str(at.whole("product_id", lowest=0) or ""),
        variant_ref=str(variation or ""),
    )


def _worth(at: At, places: int) -> Worth:
    """Net and the tax of each rate, as stored."""
    taxes = tuple(_tax(tax, places) for tax in at.key("taxes").items())
    if len({tax.rate for tax in taxes}) < len(taxes):
        at.key("taxes").refuse("a rate that is listed twice")
    if at.amount("total_tax", places) and not taxes:
        at.key("taxes").refuse("empty, where total_tax is not")  # tax of no rate could be neither split nor booked back
    return Worth(at.amount("total", places), taxes)


def _tax(at: At, places: int) -> Tax:
    """Before 10 WooCommerce shows the tax of a rate with all digits that it stores, beside a rounded `total_tax` (9.4, verified)."""
    rate = RateRef(str(at.whole("id", lowest=0)))
    return Tax(rate, 0 if at.key("total").value == "" else at.rounded("total", places))  # "" where nobody entered a tax


def _one_sign(at: At, worth: Worth) -> Worth:
    parts = (worth.net, *(tax.minor for tax in worth.tax))
    return worth if min(parts) >= 0 or max(parts) <= 0 else at.refuse("net and tax of different signs")


def _sum(worths: Iterable[Worth]) -> Worth:
    found = NOTHING
    for worth in worths:
        found = found.plus(worth)
    return found


# ── Refunds ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Refund:
    """One refund. `moved` is None where WooCommerce itself cannot say; `items`: units and worth by the order's own item."""

    id: int
    moved: int | None
    booked: int = 0
    items: Mapping[int, tuple[int, Worth]] = field(default_factory=dict)
    made_at: datetime | None = None
    key: str = ""


def _refunds(at: At, ref: int, refunds: object, places: int) -> tuple[_Refund, ...]:
    """The refunds of the order, each once (pages shift while they are read), oldest first."""
    found: dict[int, _Refund] = {}
    for refund in At(refunds, "refunds").items():
        one = _refund(refund, places)
        if refund.has("parent_id") and refund.whole("parent_id") != ref:
            refund.key("parent_id").refuse("another order's id")
        found.setdefault(one.id, one)
    # Two reads may disagree. One refund too many was made between them; one too few would give its money back again.
    missing = {named.whole("id", lowest=1) for named in at.key("refunds").items()} - found.keys()
    if missing:
        raise Untranslatable("refunds", f"not refund {min(missing)}, which the order names")
    return tuple(found[ref] for ref in sorted(found))


def _refund(at: At, places: int) -> _Refund:
    items: dict[int, tuple[int, Worth]] = {}
    booked = 0
    for name in ("line_items", "shipping_lines", "fee_lines"):
        for line in at.key(name).items():
            worth = _negative(_worth(line, places))
            units = -line.whole("quantity") if name == "line_items" else 0
            if units < 0:
                line.key("quantity").refuse("a positive number, in a refund")
            booked += worth.gross
            item = _refunded_item(line)
            if item is not None:
                before = items.get(item, (0, NOTHING))
                items[item] = (before[0] + units, before[1].plus(worth))
    # `refunded_payment` is not asked. False means that a person gave the money back by hand, or that PHP died between the
    # gateway and our answer (verified: the record stays, with reason, without meta): then the money may have moved.
    # WooCommerce counts both against the order, and so do we: nothing is paid twice, and who looks for a refund of ours
    # reads that flag on the record itself.
    return _Refund(at.whole("id", lowest=1), _moved(at, "amount", places), booked, items, at.instant("date_created_gmt"), key_of(at))


def _short_list(at: At, places: int) -> tuple[_Refund, ...]:
    """The order's own list: id, reason and a negative total, in no order (verified)."""
    found = {}
    for refund in at.key("refunds").items():
        moved = _moved(refund, "total", places, sign=-1)
        found[refund.whole("id", lowest=1)] = _Refund(refund.whole("id", lowest=1), moved, moved or 0, key=key_of(refund))
    return tuple(found[ref] for ref in sorted(found))


def _moved(at: At, name: str, places: int, *, sign: int = 1) -> int | None:
    """What a refund gave back; None where that is malformed.

    A refund made without amount and without priced lines is stored with amount "" (in the order's list: "-"), and its
    gateway was called with an empty amount, "which some gateways read as everything" (verified up to the gateway call).
    """
    if at.key(name).value in ("", "-"):
        return None
    minor = sign * at.amount(name, places)
    return minor if minor >= 0 else at.key(name).refuse("the wrong sign, in a refund")


def _records(refunds: Iterable[_Refund], total: int) -> tuple[RefundRecord, ...]:
    """Where nobody can say what moved, all that the others left may have: a person has to look before more goes out."""
    known = tuple(refunds)
    rest = max(0, total - sum(refund.moved or 0 for refund in known))
    records: list[RefundRecord] = []
    for refund in known:
        moved, doubtful = (rest, True) if refund.moved is None else (refund.moved, False)
        rest -= moved if doubtful else 0
        units = tuple((LineRef(str(item)), count) for item, (count, _) in refund.items.items() if count)
        records.append(RefundRecord(RefundRef(str(refund.id)), moved, refund.booked, units, refund.made_at, refund.key, doubtful))
    return tuple(records)


def _refunded_item(line: At) -> int | None:
    """The order's item that a refund's line stands for; None for records of other systems that lack the join."""
    for meta in line.key("meta_data").items():
        if meta.key("key").value == "_refunded_item_id":
            value = meta.key("value").value
            if type(value) is int:
                return value
            if isinstance(value, str) and _ID.fullmatch(value):
                return int(value)
            meta.key("value").refuse("no item id")
    return None


def key_of(at: At) -> str:
    """The key of the money row that made the refund, or an empty text. The last marker counts: ours stands at the end."""
    return next(iter(_MARKER.findall(at.text_or_nothing("reason"))[::-1]), "")


def _negative(worth: Worth) -> Worth:
    return Worth(-worth.net, tuple(Tax(tax.rate, -tax.minor) for tax in worth.tax))
