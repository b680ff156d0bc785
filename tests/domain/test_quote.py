"""What the casebook cannot ask: wishes and orders that the case format does not let through, and the quote's own values."""

from __future__ import annotations

from fractions import Fraction

import pytest

from connector.domain.narrate import SENTENCES, sentence
from connector.domain.orders import ChargeRef, LineRef, Order, OrderLine, OrderRef, RateRef, Tax, Tender, TenderRef, Worth
from connector.domain.platform import TenderPart
from connector.domain.quote import Clamp, Deduction, DeductionKind, Quote, percentage, price
from connector.domain.refusals import CHECKS, Refusal, Unpriceable
from connector.domain.steps import Step, StepCode, step
from connector.domain.wanted import ImpossibleWish, Payout, Wanted, WantedCharge, WantedLine

SHIRT = LineRef("shirt")
VAT = RateRef("vat")
ORDER = Order(
    OrderRef("1"),
    "EUR",
    4440,
    refunded=1080,
    lines=(OrderLine(SHIRT, 3, Worth(2700, (Tax(VAT, 540),)), 1, Worth(900, (Tax(VAT, 180),))),),
    tenders=(Tender(TenderRef("card"), 4440, 1080),),
)


def quoted(order: Order, wanted: Wanted) -> Quote:
    quote = price(order, wanted)
    assert isinstance(quote, Quote), quote
    return quote


def test_a_quote_is_itemised() -> None:
    quote = quoted(ORDER, Wanted(lines=(WantedLine(SHIRT, 1),), restocking_percent=Fraction(10), return_shipping_fee=490))

    (line,) = quote.lines
    assert (line.id, line.label, line.quantity, line.worth, line.asked) == (SHIRT, "line:shirt", 1, Worth(900, (Tax(VAT, 180),)), 1080)
    assert quote.deductions == (Deduction(DeductionKind.RESTOCKING, 108, 108), Deduction(DeductionKind.RETURN_SHIPPING, 490, 490))
    assert (quote.gross, quote.total, quote.bonus, quote.remaining) == (1080, 482, 0, 2280)
    assert quote.tenders == (TenderPart(TenderRef("card"), 482),)
    assert (quote.currency, quote.payout, quote.clamped) == ("EUR", Payout.ORIGINAL, ())


def test_steps_are_codes_with_values() -> None:
    quote = quoted(ORDER, Wanted(lines=(WantedLine(SHIRT, 1),)))

    assert quote.because[0] == Step(
        StepCode.UNITS,
        money=(("whole", 2700), ("upto", 1800), ("sofar", 900), ("portion", 900)),
        facts=(("part", "line:shirt"), ("component", "net"), ("first", 2), ("before", 1), ("after", 2), ("of", 3)),
    )


def test_a_refusal_tells_what_was_asked_and_what_there_is() -> None:
    answer = price(ORDER, Wanted(lines=(WantedLine(SHIRT, 3),)))

    assert answer == Unpriceable(
        Refusal.QUANTITY_EXCEEDED, Step(StepCode.TOO_MANY_UNITS, facts=(("part", "line:shirt"), ("asked", 3), ("left", 2))), 3360
    )


def test_a_clamp_has_its_figures() -> None:
    quote = quoted(ORDER, Wanted(lines=(WantedLine(SHIRT, 1),), restocking_fee=2000))

    assert quote.clamped == (Clamp("deduction:restocking", 2000, 1080),)


def test_a_quote_may_leave_the_currency_unsaid() -> None:
    assert quoted(ORDER, Wanted(amount=1)).currency == "EUR"
    assert quoted(ORDER, Wanted(amount=1, currency="EUR")).currency == "EUR"


@pytest.mark.parametrize(
    ("minor", "percent", "share"),
    [
        (1080, Fraction(10), 108),
        (5, Fraction(10), 1),
        (4, Fraction(10), 0),
        (100, Fraction(1, 3), 0),
        (150, Fraction(1, 3), 1),
        (7, Fraction(250), 18),
    ],
)
def test_a_percentage_is_exact_and_halves_go_up(minor: int, percent: Fraction, share: int) -> None:
    assert percentage(minor, percent) == share


def test_checks_stand_in_the_order_of_their_codes() -> None:
    assert [check.__name__ for check in CHECKS] == [code.value for code in Refusal if code is not Refusal.MORE_THAN_PAID]


def test_a_line_asks_for_something() -> None:
    with pytest.raises(ImpossibleWish, match="'shirt' has neither quantity nor amount"):
        WantedLine(SHIRT)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"lines": (WantedLine(SHIRT, 1), WantedLine(SHIRT, 2))}, "lines: 'shirt' is listed twice"),
        ({"shipping": (WantedCharge(ChargeRef("post")),) * 2}, "shipping: 'post' is listed twice"),
        ({"fees": (WantedCharge(ChargeRef("wrap")),) * 2}, "order_fees: 'wrap' is listed twice"),
        ({"amount": 100, "lines": (WantedLine(SHIRT, 1),)}, "amount: stands alone"),
        ({"restocking_percent": Fraction(10), "restocking_fee": 5}, "restocking_fee: a percent or an amount, not both"),
        ({"no_rma_fee": -1}, "no_rma_fee: must not be negative"),
        ({"bonus_percent": Fraction(-1)}, "bonus.percent: must not be negative"),
    ],
)
def test_a_wish_that_contradicts_itself_cannot_be_made(wish: dict[str, object], says: str) -> None:
    with pytest.raises(ImpossibleWish, match=says):
        Wanted(**wish)  # type: ignore[arg-type]


def test_a_platform_that_refunded_a_rate_the_line_never_had_is_believed_about_the_money() -> None:
    order = Order(OrderRef("1"), "EUR", 1000, refunded=300, lines=(OrderLine(SHIRT, 1, Worth(1000), 0, Worth(0, (Tax(VAT, 300),))),))

    quote = quoted(order, Wanted(lines=(WantedLine(SHIRT, 1),)))

    assert (quote.total, quote.clamped) == (700, (Clamp("line:shirt", 1000, 700),))


def test_every_code_has_a_sentence() -> None:
    assert set(SENTENCES) == set(StepCode)


@pytest.mark.parametrize(
    ("percent", "shown"), [(Fraction(10), "10"), (Fraction(25, 2), "12.5"), (Fraction("33.333"), "33.333"), (Fraction(1, 3), "1/3")]
)
def test_a_sentence_shows_percentages_plainly(percent: Fraction, shown: str) -> None:
    spoken = sentence(step(StepCode.BONUS, {"percent": percent}, total=1000, bonus=0), 2)

    assert spoken == f"Bonus: {shown} % of 10.00 = 0.00, rounded half up, on top."
