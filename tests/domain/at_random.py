"""Well-formed orders and returns at random, and an order as it stands after a quote was carried out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import strategies as st

from connector.domain.money import portion
from connector.domain.orders import NOTHING, Charge, ChargeRef, LineRef, Order, OrderLine, OrderRef, RateRef, Tax, Tender, TenderRef, Worth
from connector.domain.quote import Quote
from connector.domain.refundable import left, left_of, units_left
from connector.domain.tenders import TenderOrder
from connector.domain.wanted import Payout, Wanted, WantedCharge, WantedLine

CURRENCIES = {"JPY": 0, "EUR": 2, "KWD": 3}
RATES = ("vat", "gst", "pst")


@st.composite
def worths(draw: st.DrawFn, *, sign: int = 1, least: int = 0, most: int = 20_000) -> Worth:
    """Net and up to three rates, whose amounts need not be any percentage of net: some are compound, some are odd."""
    rates = draw(st.lists(st.sampled_from(RATES), unique=True))
    taxes = [draw(st.integers(0, most // 3)) for _ in rates]
    return Worth(
        sign * draw(st.integers(least, most)), tuple(Tax(RateRef(rate), sign * tax) for rate, tax in zip(rates, taxes, strict=True))
    )


def scaled(worth: Worth, taken: int, of: int) -> Worth:
    """The portion of `taken` of `of` units, which may be all that a shop's own rounding would have given."""
    return Worth(portion(worth.net, 0, taken, of), tuple(Tax(tax.rate, portion(tax.minor, 0, taken, of)) for tax in worth.tax))


@st.composite
def refunds_of(draw: st.DrawFn, worth: Worth) -> Worth:
    """What went back elsewhere by amount: any part of any component, sometimes more than there was."""
    sign = -1 if worth.gross < 0 else 1
    net = sign * draw(st.integers(0, abs(worth.net) + 50))
    return Worth(net, tuple(Tax(tax.rate, sign * draw(st.integers(0, abs(tax.minor) + 20))) for tax in worth.tax))


@st.composite
def lines(draw: st.DrawFn, ref: str) -> OrderLine:
    """A line, fresh or with refunds by quantity (to the cent or with another rounding), by amount, or beyond what it was."""
    quantity, worth = draw(st.integers(0, 6)), draw(worths())
    line = OrderLine(LineRef(ref), quantity, worth)
    match draw(st.sampled_from(["fresh", "units", "rounded", "amount", "over"])):
        case "units" if quantity:
            taken = draw(st.integers(0, quantity))
            return replace(line, refunded_quantity=taken, refunded=scaled(worth, taken, quantity))
        case "rounded" if quantity:
            taken = draw(st.integers(0, quantity))
            fair = scaled(worth, taken, quantity)
            return replace(line, refunded_quantity=taken, refunded=replace(fair, net=max(0, fair.net + draw(st.integers(-4, 4)))))
        case "amount":
            return replace(line, refunded=draw(refunds_of(worth)))
        case "over":
            return replace(line, refunded_quantity=draw(st.integers(0, quantity + 2)), refunded=draw(refunds_of(worth)))
        case _:
            return line


@st.composite
def charges(draw: st.DrawFn, ref: str, *, signed: bool) -> Charge:
    """Shipping or a fee, which may be negative; sometimes with refunds."""
    worth = draw(worths(sign=draw(st.sampled_from([1, -1])) if signed else 1, most=3_000))
    return Charge(ChargeRef(ref), worth, draw(st.one_of(st.just(NOTHING), refunds_of(worth))))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """An order in any state that platforms can bring it into."""
    its_lines = tuple(draw(lines(f"line{place}")) for place in range(draw(st.sampled_from([0, 1, 1, 2, 2, 3]))))
    shipping = tuple(draw(charges(f"ship{place}", signed=False)) for place in range(draw(st.integers(0, 2))))
    fees = tuple(draw(charges(f"fee{place}", signed=True)) for place in range(draw(st.integers(0, 2))))
    parts: tuple[OrderLine | Charge, ...] = (*its_lines, *shipping, *fees)
    gone = sum(part.refunded.gross for part in parts)
    total = max(0, sum(part.worth.gross for part in parts) + draw(st.sampled_from([0, 0, 1, -1, 2, -3, 30, -30])))
    refunded = draw(st.sampled_from([max(0, gone), max(0, gone), 0, total // 2]))
    kept = draw(st.sampled_from([0, 0, total // 10]))
    tenders = []
    for place in range(draw(st.integers(0, 3))):
        captured = draw(st.integers(total // 3, total + 10))
        tenders.append(Tender(TenderRef(f"tender{place}"), captured, draw(st.sampled_from([0, 0, captured // 2, captured + 5]))))
    return Order(
        OrderRef("order"),
        draw(st.sampled_from(sorted(CURRENCIES))),
        total,
        prices_include_tax=draw(st.booleans()),
        refunded=refunded,
        kept=kept,
        lines=its_lines,
        shipping=shipping,
        fees=fees,
        tenders=tuple(tenders),
    )


percents = st.builds(Fraction, st.integers(0, 40_000), st.sampled_from([1, 10, 100, 7]))


@st.composite
def amounts_of(draw: st.DrawFn, part: OrderLine | Charge) -> int:
    """An explicit amount: mostly one that is there, sometimes nonsense."""
    rest = left_of(part)
    if rest == 0 or draw(st.integers(0, 9)) == 0:
        return draw(st.integers(-200, 3_000))
    return draw(st.integers(min(1, rest), max(-1, rest)).filter(bool))


@st.composite
def wanted_lines(draw: st.DrawFn, line: OrderLine) -> WantedLine:
    """Units, an amount or both of `line`: mostly what is there."""
    units = draw(st.integers(1, max(1, units_left(line)))) if draw(st.integers(0, 9)) else draw(st.integers(-1, 7))
    match draw(st.sampled_from(["units", "units", "amount", "both"])):
        case "units":
            return WantedLine(line.id, units)
        case "amount":
            return WantedLine(line.id, None, draw(amounts_of(line)))
        case _:
            return WantedLine(line.id, units, draw(amounts_of(line)))


@st.composite
def wishes(draw: st.DrawFn, order: Order, *, free: bool = False) -> Wanted:
    """Anything that may be asked of `order`, mostly sensible; `free`: without deductions."""
    asked = [line for line in order.lines if draw(st.integers(0, 3)) and (units_left(line) or left_of(line))]
    shipping = [charge for charge in order.shipping if draw(st.booleans())]
    fees = [charge for charge in order.fees if draw(st.integers(0, 2)) == 0]
    plain = None if asked or shipping or fees else draw(st.none() | st.integers(0, max(1, left(order))))
    percent = draw(percents)
    by_percent = draw(st.booleans())
    tenders = [tender.id for tender in order.tenders]
    return Wanted(
        lines=tuple(draw(wanted_lines(line)) for line in asked),
        shipping=tuple(WantedCharge(charge.id, draw(st.none() | amounts_of(charge))) for charge in shipping),
        fees=tuple(WantedCharge(charge.id, draw(st.none() | amounts_of(charge))) for charge in fees),
        amount=plain,
        restocking_percent=percent if by_percent and not free else Fraction(0),
        restocking_fee=0 if by_percent or free else draw(st.integers(0, 500)),
        return_shipping_fee=0 if free else draw(st.sampled_from([0, 490])),
        no_rma_fee=0 if free else draw(st.sampled_from([0, 1_000])),
        payout=draw(st.sampled_from(Payout)),
        bonus_percent=draw(percents),
        tender_order=TenderOrder(
            first=tuple(draw(st.lists(st.sampled_from(tenders), unique=True))) if tenders else (),
            oldest_first=draw(st.booleans()),
        ),
    )


def after(order: Order, quote: Quote) -> Order:
    """`order` once `quote` was carried out, as a platform would show it."""
    booked = {part.label: part for part in quote.parts}
    sent = {part.tender: part.minor for part in quote.tenders}

    def charge(kind: str, one: Charge) -> Charge:
        part = booked.get(f"{kind}:{one.id}")
        return replace(one, refunded=one.refunded.plus(part.worth)) if part else one

    def line(one: OrderLine) -> OrderLine:
        part = booked.get(f"line:{one.id}")
        if part is None:
            return one
        return replace(one, refunded_quantity=one.refunded_quantity + part.quantity, refunded=one.refunded.plus(part.worth))

    return replace(
        order,
        refunded=order.refunded + quote.total,
        kept=order.kept + sum(fee.minor for fee in quote.deductions),
        lines=tuple(line(one) for one in order.lines),
        shipping=tuple(charge("shipping", one) for one in order.shipping),
        fees=tuple(charge("fee", one) for one in order.fees),
        tenders=tuple(replace(one, refunded=one.refunded + sent.get(one.id, 0)) for one in order.tenders),
    )
