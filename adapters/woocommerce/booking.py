"""What is written into a shop for a refund or a credit, and how it is recognised afterwards; pure. Amounts are minor units.

What a refund moves is its `amount`; its lines only book (10.5: they are neither checked against it nor against the order).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.woocommerce import translate
from adapters.woocommerce.fields import At
from connector.domain import money
from connector.domain.orders import Order, RefundRef, Worth
from connector.domain.platform import CreditOrder, RefundOrder, Rejected, ReturnedLine
from connector.domain.rma import Disposition

META: Final = "_rma_ref"
_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_RATE = re.compile(r"[0-9]{1,18}", re.ASCII)  # 0 is the rate of tax services that keep none in the shop
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_LONGEST_NOTE: Final = 100


@dataclass(frozen=True, slots=True)
class Scale:
    """How a shop writes amounts: the currency's own decimals, and those of the shop's settings (None: not known)."""

    places: int
    shown: int | None = None

    @property
    def step(self) -> int:
        """The smallest amount that the shop can write, minor units: it rounds what is finer (10.5: wc_format_decimal)."""
        return 1 if self.shown is None else 10 ** max(0, self.places - self.shown)

    def write(self, minor: int) -> str:
        """A plain decimal, the only form that is safe: "1,50" was read as 150.00 (10.5, verified).

        Raises:
            Rejected: the shop's decimals cannot say it.
        """
        if minor % self.step:
            raise Rejected(f"the shop counts with {self.shown} decimals, which cannot say this amount")
        return money.show(minor, self.places)


@dataclass(frozen=True, slots=True)
class Booked:
    """A refund of a shop that carries a key of ours. `minor` is None where the shop itself cannot say what moved."""

    ref: RefundRef
    minor: int | None
    paid: bool  # its gateway said that the money went back


def carrying(refunds: Iterable[At], key: str, places: int) -> tuple[Booked, ...]:
    """The refunds of this key, those that paid first: one, unless something went wrong.

    The marker stands in `reason` before the gateway is asked, in the meta only after (10.5, verified).
    """
    mine = [booked(refund, places) for refund in refunds if translate.key_of(refund) == key or _meta(refund, META) == key]
    return tuple(sorted(mine, key=lambda each: not each.paid))


def found(refunds: Iterable[At], key: str, places: int) -> Booked | None:
    """The refund of this key, the one that paid where there are several."""
    return next(iter(carrying(refunds, key, places)), None)


def booked(refund: At, places: int) -> Booked:
    """A refund as its number, its amount, and whether its gateway paid."""
    known = refund.key("amount").value not in ("", "-")
    minor = refund.amount("amount", places) if known else None
    return Booked(RefundRef(str(refund.whole("id", lowest=1))), minor, refund.truth("refunded_payment"))


def _meta(at: At, name: str) -> object:
    return next((meta.key("value").value for meta in at.key("meta_data").items() if meta.key("key").value == name), None)


def is_ours(coupon: At, key: str) -> bool:
    """Whether a coupon was made for this key."""
    return _meta(coupon, META) == key


def key_of_coupon(coupon: At) -> str:
    """The key that a coupon was made for, empty where it is none of ours."""
    value = _meta(coupon, META)
    return value if isinstance(value, str) else ""


# ── Refund records ──────────────────────────────────────────────────────────────────────────────────────────────────


def refund_body(told: RefundOrder | CreditOrder, scale: Scale) -> dict[str, object]:
    """The body of `POST /orders/{id}/refunds`. Both switches are always sent: left out, they are true (10.5, verified).

    Raises:
        Rejected: the shop cannot be told this.
    """
    amount = scale.write(told.amount.minor)
    if told.amount.minor <= 0 or not _PLAIN.fullmatch(amount):
        raise Rejected("not an amount to give back")
    return {
        "amount": amount,
        "reason": reason(told),
        "line_items": [_item(line, scale) for line in _merged((*told.lines, *told.charges))],
        "api_refund": isinstance(told, RefundOrder),
        "api_restock": restocks(told.lines),
        "meta_data": [{"key": META, "value": told.key}],
    }


def reason(told: RefundOrder | CreditOrder) -> str:
    """What the shopper reads under the refund in mails and in the account: plain, short, our marker last."""
    note = " ".join(re.sub(r"[^\w .,:;!?#&()/+-]", " ", told.note).split())[:_LONGEST_NOTE]
    return " ".join(part for part in (told.rma, note, translate.marker(told.key)) if part)


def restocks(lines: Sequence[ReturnedLine]) -> bool:
    """WooCommerce puts all units of a refund back into stock or none: only where every one of them is to be sold again."""
    units = [line for line in lines if line.quantity]
    return bool(units) and all(
        sum(count for kind, count in line.dispositions if kind is Disposition.RESTOCK) == line.quantity for line in units
    )


def _merged(lines: Iterable[ReturnedLine]) -> Iterable[tuple[str, int, Worth]]:
    """Each item once: of two entries for one item WooCommerce keeps the last."""
    items: dict[str, tuple[int, Worth]] = {}
    for line in lines:
        units, worth = items.get(line.line, (0, Worth(0)))
        items[line.line] = (units + line.quantity, worth.plus(line.worth))
    return [(item, units, worth) for item, (units, worth) in items.items()]


def _item(line: tuple[str, int, Worth], scale: Scale) -> dict[str, object]:
    """Always net, also where prices include the tax, with the tax of each rate beside it; of a discount both are negative."""
    item, units, worth = line
    taxes = [{"id": _number(tax.rate, _RATE), "refund_total": money.show(tax.minor, scale.places)} for tax in worth.tax if tax.minor]
    return {"id": _number(item), "quantity": units, "refund_total": money.show(worth.net, scale.places), "refund_tax": taxes}


def _number(ref: str, form: re.Pattern[str] = _ID) -> int:
    if not form.fullmatch(ref):
        raise Rejected("a reference that is none of WooCommerce's")
    return int(ref)


# ── Coupons ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def coupon_worth(credit: CreditOrder, order: Order, net_total: int, scale: Scale, *, inclusive: bool) -> int:
    """What the code has to say so that it buys what was given up, and the bonus.

    Where prices exclude the tax, a coupon's amount is net and it takes the tax off as well (10.5, verified): the same ratio
    of net to gross as what came back, half up. `net_total` is the order's, for a credit that books no line.
    """
    promised = credit.amount.minor + credit.bonus.minor
    worths = [line.worth for line in (*credit.lines, *credit.charges)]
    net, gross = sum(worth.net for worth in worths), sum(worth.gross for worth in worths)
    if gross <= 0 or not 0 <= net <= gross:
        net, gross = net_total, order.total
    if inclusive or gross <= 0 or not 0 <= net <= gross:
        net = gross = 1
    return money.half_up(promised * net, gross * scale.step) * scale.step


def coupon_body(
    code: str, minor: int, scale: Scale, *, key: str, emails: Sequence[str], about: str, more: Mapping[str, str] | None = None
) -> dict[str, object]:
    """The body of `POST /coupons`: one use, for its shopper."""
    return {
        "code": code,
        "amount": scale.write(minor),
        "discount_type": "fixed_cart",
        "usage_limit": 1,
        "individual_use": False,
        "email_restrictions": list(emails),
        "description": about,
        "meta_data": [{"key": name, "value": value} for name, value in {META: key, **(more or {})}.items()],
    }
