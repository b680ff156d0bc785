"""The policy: what may come back, until when, at what fee, and why. Case numbers are those of `docs/faults.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain import codec
from connector.domain.money import Money
from connector.domain.orders import LineRef, Order, OrderLine, OrderRef, Product, RateRef, Tax, Worth
from connector.domain.policy import FORM, RULES, Claim, Decision, Fee, Outcome, Policy, Refusal, RuleCode, decide, restocking
from connector.domain.quote import Quote, price
from connector.domain.terms import Authorise, FeeTerms, Limit, Limits, NotReturnable, Resolution, Start, Window, beyond
from connector.domain.wanted import Wanted, WantedLine

SHIRT, MUG = LineRef("shirt"), LineRef("mug")
TODAY = date(2026, 6, 30)
VAT = RateRef("vat")
EUR = "EUR"
NO_FACTS = Product()


def line(ref: LineRef = SHIRT, quantity: int = 3, net: int = 2700, tax: int = 540, product: Product = NO_FACTS) -> OrderLine:
    return OrderLine(ref, quantity, Worth(net, (Tax(VAT, tax),)), product=product, delivered_on=TODAY)


def order(*lines: OrderLine) -> Order:
    sold = lines or (line(),)
    return Order(OrderRef("1"), EUR, sum(one.worth.gross for one in sold), lines=sold, placed_at=datetime(2026, 6, 1, 12, tzinfo=UTC))


def claim(quantity: object = 1, ref: LineRef = SHIRT, reason: str = "changed_mind") -> Claim:
    return Claim(ref, cast("int", quantity), reason)


def judge(
    policy: Policy,
    what: Order | None = None,
    *claims: Claim,
    taken: Mapping[LineRef, int] | None = None,
    today: date = TODAY,
    zone: tzinfo = UTC,
) -> Decision:
    return decide(policy, what or order(), claims or (claim(),), taken=taken or {}, today=today, zone=zone)


def inputs(decision: Decision, rule: RuleCode) -> dict[str, str]:
    findings = [*decision.because, *(finding for one in decision.claims for finding in one.because)]
    return dict(next(finding.inputs for finding in findings if finding.rule is rule))


PLAIN = Policy()
AUTOMATIC = Policy(authorise=Authorise(automatic=True))


# ── The decision as a whole ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_plain_claim_is_allowed_with_every_rule_evaluated() -> None:
    decision = judge(AUTOMATIC)

    assert decision.outcome is Outcome.ALLOW
    assert not decision.refusals
    assert [finding.rule for finding in decision.claims[0].because] == [
        RuleCode.ON_ORDER, RuleCode.WHOLE_UNITS, RuleCode.AT_LEAST_ONE, RuleCode.LISTED_ONCE, RuleCode.ORDER_STANDS, RuleCode.PAID,
        RuleCode.REASON_KNOWN, RuleCode.UNITS_LEFT, RuleCode.WINDOW, RuleCode.FINAL_SALE, RuleCode.RETURNABLE,
    ]  # fmt: skip
    assert len(decision.claims[0].because) == len(FORM) + len(RULES)
    assert [finding.rule for finding in decision.because] == [RuleCode.RESTOCKING_FEE, RuleCode.RETURN_SHIPPING_FEE, RuleCode.AUTHORISE]


def test_nothing_claimed_is_refused() -> None:
    decision = decide(AUTOMATIC, order(), (), taken={}, today=TODAY)

    assert decision.outcome is Outcome.REFUSE
    assert decision.refusals == (Refusal.NOTHING_CLAIMED,)
    assert decision.fees == ()


def test_one_refused_claim_refuses_the_request_and_leaves_the_others_judged() -> None:
    tagged = line(MUG, product=Product(tags=("Final-Sale",)))
    decision = judge(replace(AUTOMATIC, final_sale_tags=("final-sale",)), order(line(), tagged), claim(), claim(ref=MUG))

    assert decision.outcome is Outcome.REFUSE
    assert [one.outcome for one in decision.claims] == [Outcome.ALLOW, Outcome.REFUSE]
    assert all(finding.rule is not RuleCode.AUTHORISE for finding in decision.because)


def test_every_reason_is_given_once_and_in_order() -> None:
    policy = Policy(reasons=("defective",), final_sale_tags=("sale",), not_returnable=NotReturnable(types=("gift card",)))
    sold = replace(line(quantity=1, product=Product(tags=("sale",), kind="Gift Card")), delivered_on=date(2026, 1, 1))
    decision = judge(policy, replace(order(sold, replace(sold, id=MUG)), cancelled=True, paid=False), claim(2), claim(2, MUG))

    assert decision.refusals == (
        Refusal.ORDER_CANCELLED, Refusal.NOT_PAID, Refusal.REASON_UNKNOWN, Refusal.UNITS_GONE, Refusal.OUTSIDE_WINDOW, Refusal.FINAL_SALE,
        Refusal.NOT_RETURNABLE,
    )  # fmt: skip


def test_it_passes_on_what_is_offered() -> None:
    decision = judge(Policy(resolutions=(Resolution.REFUND, Resolution.STORE_CREDIT), bonus_percent=Fraction(10)))

    assert decision.resolutions == (Resolution.REFUND, Resolution.STORE_CREDIT)
    assert decision.bonus_percent == 10


def test_a_decision_survives_its_record() -> None:
    fee = FeeTerms(percent=Fraction(25, 2), free_for=frozenset({"defective"}))
    decision = judge(Policy(restocking=fee), None, claim(), claim(9, MUG))

    assert codec.read(codec.write(decision), Decision) == decision


@given(st.text(), st.integers() | st.floats() | st.text() | st.booleans() | st.none(), st.integers(-5, 5), st.dates())
def test_whatever_is_claimed_is_decided(ref: str, quantity: object, taken: int, today: date) -> None:
    decision = judge(AUTOMATIC, None, claim(quantity, LineRef(ref)), claim(quantity), taken={SHIRT: taken}, today=today)

    assert decision.outcome is Outcome.REFUSE


# ── The form of a claim: A18-A21, A27, A28 ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("quantity", [0, -1, -(2**70)])
def test_a18_a19_less_than_one_unit_is_refused(quantity: int) -> None:
    assert judge(AUTOMATIC, None, claim(quantity)).refusals == (Refusal.NOT_POSITIVE,)


@pytest.mark.parametrize("quantity", [0.5, 1.0, "1", "1e3", "１", " 1 ", True, False, None])  # noqa: RUF001
def test_a20_what_is_no_whole_number_is_refused(quantity: object) -> None:
    assert judge(AUTOMATIC, None, claim(quantity)).refusals == (Refusal.NOT_WHOLE,)


@pytest.mark.parametrize(
    ("units", "taken", "most"),
    [
        ({}, 0, 3),
        ({}, 2, 1),  # one unit each on two open RMAs
        ({"refunded_quantity": 2}, 0, 1),  # refunded, though the caller forgot to count it
        ({"refunded_quantity": 1}, 3, 0),
        ({"refunded_quantity": 99}, 99, 0),  # WooCommerce stores whatever quantity a refund names
        ({"returnable": 2}, 0, 2),  # the platform would take two back
        ({"returnable": 3}, 2, 1),
        ({"returnable": -1}, 0, 0),
        ({"quantity": 0}, 0, 0),
    ],
)
def test_a21_no_more_units_than_are_free(units: dict[str, Any], taken: int, most: int) -> None:
    sold = order(replace(line(), **units))

    for quantity in (1, 2, 3, 4, 2**70):
        decision = judge(AUTOMATIC, sold, claim(quantity), taken={SHIRT: taken})
        assert decision.refusals == (() if quantity <= most else (Refusal.UNITS_GONE,))


def test_a21_the_explanation_counts_the_units() -> None:
    decision = judge(AUTOMATIC, None, claim(2), taken={SHIRT: 2})

    assert inputs(decision, RuleCode.UNITS_LEFT) == {"bought": "3", "taken": "2", "claimed": "2", "free": "1"}


def test_a27_a_line_listed_twice_is_refused_both_times() -> None:
    decision = judge(AUTOMATIC, None, claim(1), claim(2))

    assert [one.refusals for one in decision.claims] == [(Refusal.LISTED_TWICE,)] * 2


@pytest.mark.parametrize("ref", ["shirt ", "SHIRT", "", "gid://shopify/ProductVariant/1"])
def test_a28_a_line_of_another_order_is_refused_without_a_further_look(ref: str) -> None:
    decision = judge(AUTOMATIC, None, claim(0, LineRef(ref)))

    assert decision.refusals == (Refusal.NOT_ON_ORDER, Refusal.NOT_POSITIVE)
    assert len(decision.claims[0].because) == len(FORM)


# ── The window: A29 ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("after", "allowed"), [(-3, True), (0, True), (29, True), (30, True), (31, False)])
def test_a29_the_last_day_is_included(after: int, allowed: bool) -> None:
    delivered = TODAY - timedelta(days=after)

    assert judge(AUTOMATIC, order(replace(line(), delivered_on=delivered))).refusals == (() if allowed else (Refusal.OUTSIDE_WINDOW,))


def test_a29_a_window_of_no_days_ends_on_its_first_day() -> None:
    policy = replace(AUTOMATIC, window=Window(days=0))

    assert not judge(policy).refusals
    assert judge(policy, today=TODAY + timedelta(days=1)).refusals == (Refusal.OUTSIDE_WINDOW,)


@pytest.mark.parametrize(
    ("delivered", "fulfilled", "start", "day"),
    [
        (date(2026, 6, 20), date(2026, 6, 10), "delivered", "2026-06-20"),
        (None, date(2026, 6, 10), "fulfilled", "2026-06-10"),
        (None, None, "placed", "2026-06-01"),
    ],
)
def test_a29_the_first_known_day_in_the_policys_order_counts(delivered: date | None, fulfilled: date | None, start: str, day: str) -> None:
    decision = judge(AUTOMATIC, order(replace(line(), delivered_on=delivered, fulfilled_on=fulfilled)))

    found = inputs(decision, RuleCode.WINDOW)
    assert found == {"counted_from": start, "start": day, "days": "30", "last_day": found["last_day"], "today": "2026-06-30"}
    assert date.fromisoformat(found["last_day"]) == date.fromisoformat(day) + timedelta(days=30)


@pytest.mark.parametrize(
    ("undated", "outcome", "why"),
    [(Outcome.ALLOW, Outcome.ALLOW, ()), (Outcome.PERSON, Outcome.PERSON, ()), (Outcome.REFUSE, Outcome.REFUSE, (Refusal.NOT_DELIVERED,))],
)
def test_a29_where_no_day_is_known_the_policy_says_what_then(undated: Outcome, outcome: Outcome, why: tuple[Refusal, ...]) -> None:
    policy = replace(AUTOMATIC, window=Window(starts=(Start.DELIVERED, Start.PLACED), undated=undated))
    decision = judge(policy, replace(order(replace(line(), delivered_on=None, fulfilled_on=TODAY)), placed_at=None))

    assert (decision.outcome, decision.refusals) == (outcome, why)
    assert inputs(decision, RuleCode.WINDOW) == {"sought": "delivered placed", "today": "2026-06-30"}


@pytest.mark.parametrize(("zone", "allowed"), [("UTC", False), ("Pacific/Auckland", True), ("America/New_York", False)])
def test_a29_the_day_of_an_order_is_that_of_the_shops_time_zone(zone: str, allowed: bool) -> None:
    policy = replace(AUTOMATIC, window=Window(days=30, starts=(Start.PLACED,)))
    evening = datetime(2026, 5, 30, 12, 30, tzinfo=UTC)  # the 31st in Auckland already

    found = judge(policy, replace(order(replace(line(), delivered_on=None)), placed_at=evening), zone=ZoneInfo(zone)).refusals
    assert found == (() if allowed else (Refusal.OUTSIDE_WINDOW,))


def test_a29_the_last_day_never_leaves_the_calendar() -> None:
    decision = judge(
        replace(AUTOMATIC, window=Window(days=10**6)), order(replace(line(), delivered_on=date(9999, 12, 30))), today=date(9999, 12, 31)
    )

    assert decision.outcome is Outcome.ALLOW
    assert inputs(decision, RuleCode.WINDOW)["last_day"] == "9999-12-31"


# ── What never comes back ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("product", "why"),
    [
        (Product(), ()),
        (Product(sku="SHIRT-1", kind="Shirt", tags=("summer",)), ()),
        (Product(tags=("summer", " FINAL-sale ")), (Refusal.FINAL_SALE,)),
        (Product(kind="Gift Card"), (Refusal.NOT_RETURNABLE,)),
        (Product(tags=("Hygiene",)), (Refusal.NOT_RETURNABLE,)),
        (Product(sku="gift-100"), (Refusal.NOT_RETURNABLE,)),
        (Product(sku="A-OUTLET"), (Refusal.NOT_RETURNABLE,)),
        (Product(sku="XGIFT-100"), ()),
    ],
)
def test_some_articles_never_come_back(product: Product, why: tuple[Refusal, ...]) -> None:
    never = NotReturnable(types=("gift card",), tags=("hygiene",), skus=("GIFT-*", "*-outlet"))
    policy = replace(AUTOMATIC, final_sale_tags=("final-sale",), not_returnable=never)

    assert judge(policy, order(line(product=product))).refusals == why


def test_a_pattern_for_everything_spares_an_article_without_sku() -> None:
    assert not judge(replace(AUTOMATIC, not_returnable=NotReturnable(skus=("*",)))).refusals


def test_the_explanation_names_what_matched() -> None:
    never = NotReturnable(types=("gift card",), tags=("hygiene",), skus=("GIFT-*",))
    product = Product(sku="GIFT-1", kind="Gift Card", tags=("Hygiene", "x"))

    assert inputs(judge(Policy(not_returnable=never), order(line(product=product))), RuleCode.RETURNABLE) == {
        "matched": "Gift Card Hygiene GIFT-*"
    }


def test_a_reason_must_be_one_of_the_policys() -> None:
    policy = replace(AUTOMATIC, reasons=("defective",))

    assert not judge(policy, None, claim(reason="defective")).refusals
    assert judge(policy, None, claim(reason="")).refusals == (Refusal.REASON_UNKNOWN,)


def test_a_cancelled_or_unpaid_order_gives_nothing_back() -> None:
    assert judge(AUTOMATIC, replace(order(), cancelled=True)).refusals == (Refusal.ORDER_CANCELLED,)
    assert judge(AUTOMATIC, replace(order(), paid=False)).refusals == (Refusal.NOT_PAID,)


# ── Authorisation and limits ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("terms", "outcome"),
    [
        (Authorise(automatic=False), Outcome.PERSON),
        (Authorise(automatic=True), Outcome.ALLOW),
        (Authorise(automatic=True, up_to=(Money(2160, EUR),)), Outcome.ALLOW),  # two of three shirts: 18.00 + 3.60
        (Authorise(automatic=True, up_to=(Money(2159, EUR),)), Outcome.PERSON),
        (Authorise(automatic=True, up_to=(Money(10**9, "USD"),)), Outcome.PERSON),  # no figure for this currency
        (Authorise(automatic=False, up_to=(Money(10**9, EUR),)), Outcome.PERSON),
    ],
)
def test_a_machine_says_yes_up_to_a_value(terms: Authorise, outcome: Outcome) -> None:
    decision = judge(Policy(authorise=terms), None, claim(2))

    assert decision.outcome is outcome
    assert inputs(decision, RuleCode.AUTHORISE)["value"] == "2160"


def test_the_value_counts_on_from_the_units_refunded_before() -> None:
    sold = replace(line(net=100, tax=0), refunded_quantity=2, refunded=Worth(66, (Tax(VAT, 0),)))

    assert inputs(judge(AUTOMATIC, order(sold)), RuleCode.AUTHORISE)["value"] == "34"


CAPPED = Limits(confirm_above=(Money(5000, EUR),), daily_cap=(Money(20_000, EUR),))


@pytest.mark.parametrize(
    ("limits", "amount", "given", "passed"),
    [
        (Limits(), Money(10**9, EUR), 10**9, ()),
        (CAPPED, Money(5000, EUR), 15_000, ()),
        (CAPPED, Money(5001, EUR), 0, (Limit.CONFIRM_ABOVE,)),
        (CAPPED, Money(5000, EUR), 15_001, (Limit.DAILY_CAP,)),
        (CAPPED, Money(1, "USD"), 0, (Limit.CONFIRM_ABOVE, Limit.DAILY_CAP)),
    ],
)
def test_limits_are_passed_by_what_lies_above_them_and_by_unknown_currencies(
    limits: Limits, amount: Money, given: int, passed: tuple[Limit, ...]
) -> None:
    assert beyond(limits, amount, given_today=given) == passed


# ── Fees ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TWO = order(line(), line(MUG, 1, 1000, 200))
FREE = frozenset({"defective"})
PERCENT = Policy(restocking=FeeTerms(percent=Fraction(10), free_for=FREE))
AMOUNT = Policy(restocking=FeeTerms(amounts=(Money(500, EUR),), free_for=FREE))
SHIPPING = Policy(return_shipping=FeeTerms(amounts=(Money(490, EUR), Money(550, "USD")), free_for=FREE))


def test_without_terms_nothing_is_charged_and_the_explanation_says_so() -> None:
    decision = judge(PLAIN)

    assert decision.fees == ()
    assert [finding.outcome for finding in decision.because[:2]] == [Outcome.FREE] * 2


@pytest.mark.parametrize(("policy", "fee"), [(PERCENT, {"percent": Fraction(10)}), (AMOUNT, {"minor": 500})])
def test_restocking_is_charged_on_the_lines_whose_reason_is_not_free(policy: Policy, fee: dict[str, Any]) -> None:
    decision = judge(policy, TWO, claim(), claim(ref=MUG, reason="defective"))

    assert decision.fee(RuleCode.RESTOCKING_FEE) == Fee(RuleCode.RESTOCKING_FEE, (SHIRT,), **fee)
    assert inputs(decision, RuleCode.RESTOCKING_FEE)["lines"] == "shirt"
    assert judge(policy, TWO, claim(reason="defective")).fees == ()


def test_return_shipping_is_free_where_the_parcel_travels_anyway() -> None:
    assert judge(SHIPPING, TWO, claim(), claim(ref=MUG)).fees == (Fee(RuleCode.RETURN_SHIPPING_FEE, (SHIRT, MUG), minor=490),)
    assert judge(SHIPPING, TWO, claim(), claim(ref=MUG, reason="defective")).fees == ()


def test_an_amount_is_of_the_orders_currency_or_not_charged() -> None:
    assert judge(SHIPPING, replace(TWO, currency="USD")).fees[0].minor == 550
    assert judge(SHIPPING, replace(TWO, currency="CAD")).fees == ()


def test_a_refused_claim_is_charged_nothing() -> None:
    assert judge(PERCENT, TWO, claim(9), claim(ref=MUG)).fees == (Fee(RuleCode.RESTOCKING_FEE, (MUG,), Fraction(10)),)


@pytest.mark.parametrize(
    ("policy", "reasons", "units", "wanted"),
    [
        (Policy(), ("x", "x"), {SHIRT: 1, MUG: 1}, (0, 0)),
        (PERCENT, ("x", "x"), {SHIRT: 1, MUG: 1}, (10, 0)),
        (PERCENT, ("x", "defective"), {SHIRT: 1}, (10, 0)),
        (PERCENT, ("x", "defective"), {MUG: 1}, (0, 0)),
        (PERCENT, ("x", "defective"), {SHIRT: 0, MUG: 1}, (0, 0)),
        (PERCENT, ("x", "defective"), {SHIRT: 2, MUG: 1}, (0, 216)),
        (PERCENT, ("x", "defective"), {SHIRT: 7, MUG: 1}, (0, 324)),  # no more than there are: the quote will refuse it
        (PERCENT, ("x", "defective"), {LineRef("gone"): 1, SHIRT: 1}, (0, 108)),
        (AMOUNT, ("x", "defective"), {SHIRT: 2, MUG: 1}, (0, 500)),
        (AMOUNT, ("x", "defective"), {MUG: 1}, (0, 0)),
    ],
)
def test_the_restocking_fee_as_a_quote_wants_it(
    policy: Policy, reasons: tuple[str, str], units: dict[LineRef, int], wanted: tuple[object, int]
) -> None:
    decision = judge(policy, TWO, claim(reason=reasons[0]), claim(ref=MUG, reason=reasons[1]))

    assert restocking(decision.fee(RuleCode.RESTOCKING_FEE), TWO, units) == wanted


def test_a_line_whose_units_are_all_refunded_adds_nothing_to_the_fee() -> None:
    fee = Fee(RuleCode.RESTOCKING_FEE, (SHIRT,), Fraction(10))
    sold = order(replace(line(), refunded_quantity=3, refunded=Worth(2700, (Tax(VAT, 540),))), line(MUG, 1, 1000, 200))

    assert restocking(fee, sold, {SHIRT: 1, MUG: 1}) == (Fraction(0), 0)


def test_the_mixed_fee_is_what_the_quote_would_charge_for_those_lines_alone() -> None:
    fee = Fee(RuleCode.RESTOCKING_FEE, (SHIRT,), Fraction(25, 2))
    alone = price(TWO, Wanted(lines=(WantedLine(SHIRT, 2),), restocking_percent=Fraction(25, 2)))
    percent, minor = restocking(fee, TWO, {SHIRT: 2, MUG: 1})
    mixed = price(TWO, Wanted(lines=(WantedLine(SHIRT, 2), WantedLine(MUG, 1)), restocking_percent=percent, restocking_fee=minor))

    assert isinstance(alone, Quote)
    assert isinstance(mixed, Quote)
    assert [taken.minor for taken in mixed.deductions] == [taken.minor for taken in alone.deductions] == [270]
