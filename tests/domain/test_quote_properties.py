"""What holds for every order and every return, whatever the figures."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.domain.case_result import render
from connector.domain.money import parse
from connector.domain.orders import Charge, Order, OrderLine, OrderRef, Tender, TenderRef, Worth
from connector.domain.parts import PartKind, worth_of_charge_amount, worth_of_units
from connector.domain.quote import Quote, closes, price
from connector.domain.refundable import bounds, components, left, left_of, units_left
from connector.domain.refusals import Unpriceable
from connector.domain.tenders import room
from connector.domain.wanted import Payout, Wanted, WantedCharge, WantedLine
from tests.domain.at_random import CURRENCIES, after, charges, lines, orders, wishes, worths


@st.composite
def asked(draw: st.DrawFn, *, free: bool = False) -> tuple[Order, Wanted]:
    order = draw(orders())
    return order, draw(wishes(order, free=free))


@given(asked())
def test_a_quote_accounts_for_every_minor_unit(case: tuple[Order, Wanted]) -> None:
    order, wanted = case

    quote = price(order, wanted)

    if isinstance(quote, Unpriceable):
        assert quote.remaining == left(order)
        return
    withheld = sum(fee.minor for fee in quote.deductions)
    assert quote.total + withheld + quote.remaining == left(order)
    assert min(quote.total, quote.bonus, quote.remaining, quote.gross - quote.total - withheld) >= 0
    assert all(0 < fee.minor <= fee.asked for fee in quote.deductions)
    assert quote.total + withheld <= bounds(order, wanted.payout).least
    to_tenders = wanted.payout is Payout.ORIGINAL and order.tenders
    assert sum(part.minor for part in quote.tenders) == (quote.total if to_tenders else 0)
    rooms = {tender.id: room(tender) for tender in order.tenders}
    assert all(0 < part.minor <= rooms[part.tender] for part in quote.tenders)


@settings(max_examples=250)  # some four in ten are priced
@given(asked())
def test_every_part_gives_what_it_may_and_the_gross_is_their_sum(case: tuple[Order, Wanted]) -> None:
    order, wanted = case

    quote = price(order, wanted)

    if isinstance(quote, Unpriceable):
        return
    entries: dict[str, OrderLine | Charge] = {f"line:{line.id}": line for line in order.lines}
    entries |= {f"shipping:{charge.id}": charge for charge in order.shipping} | {f"fee:{charge.id}": charge for charge in order.fees}
    for part in quote.parts:
        assert_within_what_is_left(part.worth, entries[part.label])
        assert not part.explicit or part.worth.gross == part.asked
    summed = (wanted.amount or 0) + sum(part.worth.gross for part in quote.parts)
    explicit = wanted.amount is not None or any(part.explicit for part in quote.parts)
    if not explicit and closes(order, quote.parts) and abs(left(order) - summed) <= len(entries):
        assert quote.gross == left(order)
    else:
        assert quote.gross == summed


def assert_within_what_is_left(worth: Worth, part: OrderLine | Charge) -> None:
    assert [tax.rate for tax in worth.tax] == [tax.rate for tax in part.worth.tax]
    given_back = [worth.net, *(tax.minor for tax in worth.tax)]
    for minor, component in zip(given_back, components(part.worth, part.refunded), strict=True):
        assert min(0, component.left) <= minor <= max(0, component.left)


@given(asked())
def test_what_is_printed_reads_back_as_what_was_computed(case: tuple[Order, Wanted]) -> None:
    order, wanted = case
    places = CURRENCIES[order.currency]

    quote = price(order, wanted)
    assert quote == price(order, wanted)
    result = json.loads(json.dumps(render(quote, places)))

    assert parse(result["remaining"], places) == quote.remaining
    if isinstance(quote, Quote):
        assert [parse(result[key], places) for key in ("gross", "total", "bonus")] == [quote.gross, quote.total, quote.bonus]
        assert [parse(line["gross"], places) for line in result["lines"]] == [part.worth.gross for part in quote.lines]
        assert len(result["because"]) == len(quote.because)


@given(st.data())
def test_units_in_any_batches_add_up_to_the_line_in_every_component(data: st.DataObject) -> None:
    line = data.draw(lines("a"))
    line = replace(line, refunded_quantity=0, refunded=Worth(0))
    given_back = Worth(0, ())

    while line.refunded_quantity < line.quantity:
        part = worth_of_units(line, data.draw(st.integers(1, line.quantity - line.refunded_quantity)))
        assert not part.clamped
        given_back = given_back.plus(part.worth)
        line = replace(line, refunded_quantity=line.refunded_quantity + part.quantity, refunded=line.refunded.plus(part.worth))

    if line.quantity:
        assert given_back == line.worth


@given(st.data())
def test_explicit_amounts_in_any_pieces_add_up_to_the_part_in_every_rate(data: st.DataObject) -> None:
    charge = data.draw(charges("a", signed=True))
    charge = replace(charge, refunded=Worth(0))
    given_back = Worth(0, ())

    while rest := left_of(charge):
        piece = data.draw(st.integers(1, abs(rest))) * (1 if rest > 0 else -1)
        part = worth_of_charge_amount(PartKind.FEE, charge, piece)
        assert part.worth.gross == piece
        given_back = given_back.plus(part.worth)
        charge = replace(charge, refunded=charge.refunded.plus(part.worth))

    assert given_back.net == charge.worth.net
    assert all(given_back.of(tax.rate) == tax.minor for tax in charge.worth.tax)


@st.composite
def fresh_orders(draw: st.DrawFn) -> Order:
    """An order nothing of which went back, rounded by at most a minor unit per entry, with discounts smaller than any unit."""
    its_lines = []
    for place in range(draw(st.integers(1, 3))):
        quantity = draw(st.integers(1, 5))
        its_lines.append(replace(draw(lines(f"line{place}")), quantity=quantity, refunded_quantity=0, refunded=Worth(0)))
        its_lines[-1] = replace(its_lines[-1], worth=draw(worths(least=1_000 * quantity)))
    shipping = [replace(draw(charges("post", signed=False)), refunded=Worth(0)) for _ in range(draw(st.integers(0, 1)))]
    fees = [replace(draw(charges("promo", signed=False)), worth=draw(worths(sign=-1, most=300)), refunded=Worth(0))] * draw(
        st.integers(0, 1)
    )
    parts: tuple[OrderLine | Charge, ...] = (*its_lines, *shipping, *fees)
    total = sum(part.worth.gross for part in parts) + draw(st.integers(-len(parts), len(parts)))
    card = draw(st.integers(0, total))
    return Order(
        OrderRef("order"),
        draw(st.sampled_from(sorted(CURRENCIES))),
        total,
        prices_include_tax=draw(st.booleans()),
        lines=tuple(its_lines),
        shipping=tuple(shipping),
        fees=tuple(fees),
        tenders=(Tender(TenderRef("card"), card), Tender(TenderRef("gift"), total - card)),
    )


def batches(data: st.DataObject, order: Order) -> list[Wanted]:
    """Every unit of the order in a random order, cut into returns; shipping and fees in one of them."""
    units = data.draw(st.permutations([line.id for line in order.lines for _ in range(line.quantity)]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(units) - 1))) if len(units) > 1 else [])
    with_charges = data.draw(st.integers(0, len(cuts)))
    payout = data.draw(st.sampled_from(Payout))
    found = []
    for place, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(units)], strict=True)):
        mine = units[start:end]
        found.append(
            Wanted(
                lines=tuple(WantedLine(ref, mine.count(ref)) for ref in dict.fromkeys(mine)),
                shipping=tuple(WantedCharge(charge.id) for charge in order.shipping) if place == with_charges else (),
                fees=tuple(WantedCharge(charge.id) for charge in order.fees) if place == with_charges else (),
                payout=payout,
            )
        )
    return found


@given(st.data())
def test_partial_returns_in_any_order_add_up_to_what_was_paid(data: st.DataObject) -> None:
    first = order = data.draw(fresh_orders())
    moved = 0

    for wanted in batches(data, order):
        quote = price(order, wanted)
        assert isinstance(quote, Quote)
        moved += quote.total
        order = after(order, quote)

    assert moved == first.total
    assert left(order) == 0
    assert [line.refunded for line in order.lines] == [Worth(0).plus(line.worth) for line in first.lines]
    assert [charge.refunded.gross for charge in (*order.shipping, *order.fees)] == [
        charge.worth.gross for charge in (*first.shipping, *first.fees)
    ]


@given(st.data())
def test_with_deductions_returns_never_move_more_than_was_paid(data: st.DataObject) -> None:
    first = order = data.draw(fresh_orders())
    moved = kept = 0

    for wanted in batches(data, order):
        quote = price(order, replace(wanted, restocking_percent=Fraction(15), return_shipping_fee=490))
        assert isinstance(quote, Quote)
        moved += quote.total
        kept += sum(fee.minor for fee in quote.deductions)
        order = after(order, quote)

    assert moved + kept == first.total


@given(st.data())
def test_any_sequence_of_any_returns_stays_within_the_order_and_its_tenders(data: st.DataObject) -> None:
    order = data.draw(orders())
    rest = left(order)
    moved = 0

    for _ in range(5):
        quote = price(order, data.draw(wishes(order)))
        if isinstance(quote, Quote):
            moved += quote.total + sum(fee.minor for fee in quote.deductions)
            order = after(order, quote)

    assert moved <= max(0, rest)
    assert left(order) == rest - moved


@given(st.data())
def test_asking_for_fewer_units_never_gives_more(data: st.DataObject) -> None:
    order = data.draw(orders())
    line = data.draw(lines("one more"))
    order = replace(order, total=order.total + line.worth.gross, lines=(*order.lines, line))
    others = tuple(WantedLine(other.id, 1) for other in order.lines if other.id != line.id and data.draw(st.booleans()))
    more = data.draw(st.integers(1, max(1, units_left(line))))
    fewer = data.draw(st.integers(1, more))

    large = price(order, Wanted(lines=(WantedLine(line.id, more), *others)))
    small = price(order, Wanted(lines=(WantedLine(line.id, fewer), *others)))

    if isinstance(large, Quote):
        assert (small.total if isinstance(small, Quote) else 0) <= large.total


@given(asked(free=True))
def test_store_credit_is_never_less_than_the_original_tender_would_give(case: tuple[Order, Wanted]) -> None:
    order, wanted = case

    original = price(order, replace(wanted, payout=Payout.ORIGINAL))
    credit = price(order, replace(wanted, payout=Payout.STORE_CREDIT))

    if isinstance(original, Quote):
        assert isinstance(credit, Quote)
        assert (credit.lines, credit.shipping, credit.fees, credit.gross) == (
            original.lines,
            original.shipping,
            original.fees,
            original.gross,
        )
        assert credit.total >= original.total
        assert original.bonus == 0
