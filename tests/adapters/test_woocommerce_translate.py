"""WooCommerce's orders as domain values, against every genuine sample, and against what no shop should say."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.translate import marker, order
from connector.domain import codec
from connector.domain.orders import (
    NOTHING,
    Buyer,
    Charge,
    ChargeRef,
    CustomerRef,
    LineRef,
    Order,
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
from connector.domain.quote import Quote, price
from connector.domain.wanted import Wanted, WantedCharge, WantedLine

Json = Any  # what `json.loads` gives
DATA = Path(__file__).parents[1] / "data" / "woocommerce"
SAMPLES = resources.files("adapters.simulators.samples")


def data(name: str) -> Json:
    return json.loads((DATA / f"{name}.json").read_text("utf-8"))


def sample(name: str) -> Json:
    return json.loads(SAMPLES.joinpath(f"{name}.json").read_text("utf-8"))


COUPON, FEES, INCLUSIVE = "order-taxed-coupon-variation", "order-guest-fees", "order-tax-inclusive-round-at-subtotal"
REFUND = data("refund-create")["response"]["body"]
GST, QST, VAT = RateRef("1"), RateRef("2"), RateRef("3")
TOTE, SLEEVE, TEE, POST = LineRef("622"), LineRef("623"), LineRef("624"), ChargeRef("625")


def worth(net: int, *taxes: tuple[RateRef, int]) -> Worth:
    return Worth(net, tuple(Tax(rate, minor) for rate, minor in taxes))


def refunded_body() -> Json:
    """The order of the first sample after its refund, as the webhook delivered it."""
    return json.loads(data("webhook-order-updated-after-refund")["body_raw"])


def other_refund(ref: int, **facts: Json) -> Json:
    return REFUND | {"id": ref, "reason": "", "line_items": [], "shipping_lines": [], "meta_data": []} | facts


def with_refunds(*refunds: Json) -> Order:
    body = refunded_body() | {"refunds": [{"id": refund["id"], "reason": "", "total": "-"} for refund in refunds]}
    return order(body, list(refunds))


def found_parts(found: Order) -> list[int]:
    lines = [line.worth.gross for line in found.lines]
    return lines + [charge.worth.gross for charge in (*found.shipping, *found.fees)]


# ── The genuine orders ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_order_with_coupon_variation_and_two_rates() -> None:
    found = order(sample(COUPON), [])

    assert (found.ref, found.number, found.currency, found.total) == (OrderRef("218"), "218", "CAD", 9066)
    assert not found.prices_include_tax
    assert [(line.id, line.quantity, line.worth) for line in found.lines] == [
        (TOTE, 3, worth(2698, (GST, 135), (QST, 283))),
        (SLEEVE, 1, worth(360)),
        (TEE, 2, worth(3590, (GST, 180), (QST, 376))),
    ]
    assert found.shipping == (Charge(POST, worth(1250, (GST, 63), (QST, 131)), NOTHING, "Flat rate"),)
    assert found.fees == ()
    assert sum(line.worth.gross for line in found.lines) + found.shipping[0].worth.gross == found.total
    assert found.tenders == (Tender(TenderRef("txn_1001"), 9066, 0, TenderKind.OTHER, "Card", pays_back=True),)
    assert (found.refunded, found.kept, found.refunds) == (0, 0, ())
    assert (found.paid, found.cancelled) == (True, False)
    assert found.placed_at == datetime(2026, 11, 21, 19, 29, 52, tzinfo=UTC)
    assert found.changed_at == datetime(2026, 11, 21, 19, 29, 53, tzinfo=UTC)
    assert found.discount_codes == ("ten",)
    assert (found.channel, found.shop_currency) == ("rest-api", "")
    assert found.buyer == Buyer("zoe@example.com", "H2X 1Y4", "CA", CustomerRef("2"))


def test_the_taxes_of_each_rate_add_up_to_those_of_the_order() -> None:
    body = sample(COUPON)
    found = order(body, [])

    for line in body["tax_lines"]:
        rate = RateRef(str(line["rate_id"]))
        stored = round(float(line["tax_total"]) * 100), round(float(line["shipping_tax_total"]) * 100)
        assert (sum(one.worth.of(rate) for one in found.lines), found.shipping[0].worth.of(rate)) == stored


def test_articles_are_named_and_a_variation_by_its_attributes() -> None:
    tote, sleeve, tee = (line.product for line in order(sample(COUPON), []).lines)

    assert tote == Product(title="Canvas Tote", sku="TOTE-1", product_ref="11")
    assert sleeve == Product(title="Gift Card Sleeve (untaxed)", sku="SLEEVE-1", product_ref="12")
    assert tee == Product(title="Logo Tee", variant="S", sku="TEE-S", product_ref="15", variant_ref="16")


def test_the_order_of_a_guest_with_a_fee_and_a_rebate() -> None:
    found = order(sample(FEES), [])

    assert found.total == 8428
    assert [(line.quantity, line.worth) for line in found.lines] == [(2, worth(6666, (GST, 333), (QST, 698)))]
    assert found.shipping == (Charge(ChargeRef("634"), worth(500, (GST, 25), (QST, 52)), NOTHING, "Flat rate"),)
    assert found.fees == (
        Charge(ChargeRef("635"), worth(333, (GST, 17), (QST, 35)), NOTHING, "Gift wrap"),
        Charge(ChargeRef("636"), worth(-200, (GST, -10), (QST, -21)), NOTHING, "Loyalty rebate"),
    )
    assert sum(found_parts(found)) == found.total
    assert found.buyer == Buyer("gus.guest@example.com", "H2X 1Y4", "CA", None)


def test_the_tax_inclusive_order_costs_a_cent_more_than_its_parts() -> None:
    found = order(sample(INCLUSIVE), [])

    assert (found.currency, found.prices_include_tax) == ("GBP", True)
    assert [line.worth for line in found.lines] == [worth(2336, (VAT, 467)), worth(780, (VAT, 156))]
    assert sum(found_parts(found)) == 4338
    assert found.total == found.tenders[0].captured == 4339


def test_the_whole_tax_inclusive_order_gives_back_its_total() -> None:
    found = order(sample(INCLUSIVE), [])
    everything = Wanted(
        lines=tuple(WantedLine(line.id, line.quantity) for line in found.lines),
        shipping=tuple(WantedCharge(charge.id) for charge in found.shipping),
    )

    quote = price(found, everything)
    assert isinstance(quote, Quote)
    assert (quote.total, quote.remaining) == (4339, 0)


def test_an_order_paid_in_part_with_a_coupon_of_ours() -> None:
    found = order(data("coupon-store-credit")["order_using_it"]["response"]["body"], [])

    assert found.total == 1444
    assert found.lines[0].worth == worth(0, (GST, 0), (QST, 0))
    assert found.discount_codes == ("rma-1001-7f3a9c",)


def test_a_webhook_carries_the_order_that_the_api_answers() -> None:
    assert order(json.loads(data("webhook-order-created")["body_raw"]), []) == order(sample(COUPON), [])


def test_a_webhook_that_carries_an_error_is_no_order() -> None:
    with pytest.raises(Untranslatable, match=r"^currency: missing$"):
        order(json.loads(data("webhook-error-payload")["body_raw"]), [])


@pytest.mark.parametrize("name", [COUPON, FEES, INCLUSIVE])
def test_a_translated_order_survives_its_record(name: str) -> None:
    found = order(sample(name), [])

    assert codec.read(codec.write(found), Order) == found


def test_six_decimals_are_refused_where_the_currency_has_two() -> None:
    body = sample(COUPON) | data("order-taxed-coupon-variation-dp6")["response"]["body"]
    body["line_items"][0]["total"] = "26.980001"

    with pytest.raises(Untranslatable) as refused:
        order(body, [])
    assert (refused.value.key, refused.value.found) == (
        "line_items[0].total",
        "'26.980001' where an amount with 2 decimals was expected",
    )


def test_six_decimals_are_exact_where_they_are_asked_for() -> None:
    body = sample(COUPON) | data("order-taxed-coupon-variation-dp6")["response"]["body"]
    found = order(body, [], decimals=6)

    assert found.total == 90_660_000
    assert found.lines[0].worth == worth(26_980_000, (GST, 1_349_000), (QST, 2_825_818))


# ── Refunds ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "refunds",
    [[REFUND], data("refund-lists")["order_refunds"]["response"]["body"], data("refund-lists")["all_refunds"]["response"]["body"][:1]],
)
def test_a_refund_is_booked_on_its_lines_and_shipping(refunds: Json) -> None:
    found = order(refunded_body(), refunds)

    tote = found.line(TOTE)
    assert tote is not None
    assert (tote.quantity, tote.worth) == (3, worth(2698, (GST, 135), (QST, 283)))  # as before
    assert (tote.refunded_quantity, tote.refunded) == (1, worth(899, (GST, 45), (QST, 94)))
    assert found.shipping[0].refunded == found.shipping[0].worth == worth(1250, (GST, 63), (QST, 131))
    assert all(line.refunded is NOTHING and not line.refunded_quantity for line in found.lines[1:])
    made = datetime(2026, 11, 21, 19, 29, 56, tzinfo=UTC)
    assert found.refunds == (RefundRecord(RefundRef("219"), 2482, 2482, ((TOTE, 1),), made, "7f3a9c"),)
    assert (found.refunded, found.kept) == (2482, 0)
    assert (found.tenders[0].captured, found.tenders[0].refunded) == (9066, 2482)


def test_after_the_refund_the_rest_of_the_order_is_left() -> None:
    found = order(refunded_body(), [REFUND])
    rest = Wanted(lines=(WantedLine(TOTE, 2), WantedLine(SLEEVE, 1), WantedLine(TEE, 2)))

    quote = price(found, rest)
    assert isinstance(quote, Quote)
    assert (quote.total, quote.remaining) == (9066 - 2482, 0)


def test_a_brief_order_knows_what_moved_and_nothing_of_lines() -> None:
    found = order(refunded_body(), None)

    assert found.refunds == (RefundRecord(RefundRef("219"), 2482, 2482, (), None, "7f3a9c"),)
    assert (found.refunded, found.kept, found.tenders[0].refunded) == (2482, 0, 2482)
    assert not any(line.refunded_quantity for line in found.lines)


def test_what_was_booked_but_not_given_back_is_kept() -> None:
    found = with_refunds(REFUND | {"amount": "20.00"}, other_refund(220, amount="5.00"))

    assert (found.refunded, found.kept) == (2500, 482)


def test_refunds_of_one_line_add_up_oldest_first_and_each_counts_once() -> None:
    again = copy.deepcopy(REFUND) | {"id": 230, "shipping_lines": []}
    found = with_refunds(again, REFUND, again)

    tote = found.line(TOTE)
    assert tote is not None
    assert (tote.refunded_quantity, tote.refunded) == (2, worth(1798, (GST, 90), (QST, 188)))
    assert [record.ref for record in found.refunds] == ["219", "230"]
    assert found.refunded == 4964


def test_a_negative_fee_is_refunded_with_a_positive_total() -> None:
    taxes = [{"id": 1, "total": "0.10", "subtotal": ""}, {"id": 2, "total": "0.21", "subtotal": ""}]
    joined = [{"id": 1, "key": "other", "value": {"a": []}}, {"id": 2, "key": "_refunded_item_id", "value": 636}]
    fee = {"id": 700, "name": "Loyalty rebate", "total": "2.00", "total_tax": "0.31", "taxes": taxes, "meta_data": joined}
    found = order(sample(FEES), [other_refund(300, amount="0.00", fee_lines=[fee])])

    assert found.fees[1].refunded == worth(-200, (GST, -10), (QST, -21)) == found.fees[1].worth
    assert found.refunds[0].booked == -231
    assert found.kept == 0


def test_a_half_finished_refund_counts_as_moved() -> None:
    crashed = data("refund-errors")[-1]["response"]["body"]
    body = refunded_body() | {"id": 226, "refunds": [{"id": 227, "reason": "RMA-1003 [rma:bb22]", "total": "-5.00"}]}
    assert crashed[0]["refunded_payment"] is False

    (record,) = order(body, crashed).refunds
    assert (record.moved, record.booked, record.key, record.doubtful) == (500, 0, "bb22", False)


@pytest.mark.parametrize(("amount", "moved"), [("0", 0), ("0.00", 0), ("-0.00", 0), ("1", 100), ("1.5", 150), (7, 700), ("66.66000", 6666)])
def test_plain_amounts_of_a_refund(amount: Json, moved: int) -> None:
    assert with_refunds(other_refund(300, amount=amount)).refunded == moved


@pytest.mark.parametrize("amount", ["", "-"])
def test_a_refund_whose_amount_nobody_knows_may_have_moved_all_the_rest(amount: str) -> None:
    found = with_refunds(REFUND, other_refund(300, amount=amount), other_refund(301, amount=amount))

    assert [(record.moved, record.doubtful) for record in found.refunds] == [(2482, False), (6584, True), (0, True)]
    assert found.refunded == found.total


def test_in_a_brief_order_too() -> None:
    (record,) = order(refunded_body() | {"refunds": [{"id": 219, "reason": "", "total": "-"}]}, None).refunds

    assert (record.moved, record.doubtful) == (9066, True)


def test_more_may_be_refunded_than_the_order_cost() -> None:
    found = with_refunds(REFUND, other_refund(300, amount="90.66"))

    assert found.refunded == 2482 + 9066


def test_any_quantity_of_a_refund_is_told_as_it_is() -> None:
    refund = copy.deepcopy(REFUND)
    refund["line_items"][0]["quantity"] = -99

    found = with_refunds(refund)
    assert found.lines[0].refunded_quantity == 99
    assert found.refunds[0].units == ((TOTE, 99),)


def test_a_line_of_a_refund_without_its_item_counts_for_the_refund_alone() -> None:
    refund = copy.deepcopy(REFUND)
    refund["line_items"][0]["meta_data"] = []
    refund["shipping_lines"][0]["meta_data"][0]["value"] = "999"  # a line that was removed from the order

    found = with_refunds(refund)
    assert (found.lines[0].refunded, found.shipping[0].refunded) == (NOTHING, NOTHING)
    assert (found.refunds[0].booked, found.refunds[0].units, found.kept) == (2482, (), 0)


def test_a_rate_that_the_line_lacks_stays_with_the_refund() -> None:
    refund = copy.deepcopy(REFUND)
    refund["line_items"][0]["taxes"][0]["id"] = 77

    assert with_refunds(refund).lines[0].refunded == worth(899, (RateRef("77"), 45), (QST, 94))


def test_a_tax_that_nobody_entered_is_none() -> None:
    refund = copy.deepcopy(REFUND)
    refund["line_items"][0] |= {"taxes": [{"id": 1, "total": "", "subtotal": ""}], "total_tax": "0.00"}

    assert with_refunds(refund).lines[0].refunded == worth(899, (GST, 0))


@pytest.mark.parametrize(
    ("reason", "key"),
    [
        ("RMA-1001 damaged [rma:7f3a9c]", "7f3a9c"),
        (f"torn {marker('0123456789abcdef0123456789abcdef')}", "0123456789abcdef0123456789abcdef"),
        ("[rma:old] again [rma:new]", "new"),
        ("by hand", ""),
        ("[rma:]", ""),
        ("[rma:a b]", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_marker_in_the_reason_names_the_row(reason: str | None, key: str) -> None:
    assert with_refunds(other_refund(300, reason=reason)).refunds[0].key == key


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"parent_id": 217}, "refunds[0].parent_id"),
        ({"amount": "-5.00"}, "refunds[0].amount"),
        ({"amount": "5,00"}, "refunds[0].amount"),
        ({"amount": "1e1"}, "refunds[0].amount"),
        ({"amount": 5.0}, "refunds[0].amount"),
        ({"id": 0}, "refunds[0].id"),
        ({"date_created_gmt": "2026-11-31T00:00:00"}, "refunds[0].date_created_gmt"),
        ({"line_items": {}}, "refunds[0].line_items"),
    ],
)
def test_a_refund_that_makes_no_sense_is_refused(change: Json, key: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        order(refunded_body(), [REFUND | change])
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("line_items", 0, "quantity"), 1, "refunds[0].line_items[0].quantity"),
        (("line_items", 0, "quantity"), -0.5, "refunds[0].line_items[0].quantity"),
        (("line_items", 0, "meta_data", 0, "value"), "six", "refunds[0].line_items[0].meta_data[0].value"),
        (("line_items", 0, "meta_data", 0, "value"), None, "refunds[0].line_items[0].meta_data[0].value"),
        (("line_items", 0, "taxes", 1, "id"), 1, "refunds[0].line_items[0].taxes"),
        (("shipping_lines", 0, "taxes"), [], "refunds[0].shipping_lines[0].taxes"),
    ],
)
def test_a_line_of_a_refund_that_makes_no_sense_is_refused(path: tuple[str | int, ...], value: Json, key: str) -> None:
    refund = copy.deepcopy(REFUND)
    put(refund, path, value)

    with pytest.raises(Untranslatable) as refused:
        order(refunded_body(), [refund])
    assert refused.value.key == key


def test_a_refund_that_the_order_names_and_the_list_lacks_is_waited_for() -> None:
    with pytest.raises(Untranslatable, match=r"^refunds: not refund 219, which the order names$"):
        order(refunded_body(), [])


def test_a_refund_that_was_made_between_the_two_reads_counts() -> None:
    assert order(sample(COUPON), [REFUND]).refunded == 2482


# ── Payment, standing, currencies ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["cod", "bacs", "cheque", "other", ""])
def test_money_that_no_gateway_moved_a_person_gives_back(method: str) -> None:
    (tender,) = order(sample(COUPON) | {"payment_method": method, "transaction_id": ""}, []).tenders

    assert tender == Tender(TenderRef(method or "manual"), 9066, 0, TenderKind.MANUAL, "Card", pays_back=False)


def test_an_unpaid_order_captured_nothing() -> None:
    found = order(sample(COUPON) | {"date_paid_gmt": None}, [])

    assert not found.paid
    assert found.tenders[0].captured == 0


@pytest.mark.parametrize(
    ("status", "cancelled"), [("completed", False), ("refunded", False), ("cancelled", True), ("trash", True), ("x", False)]
)
def test_some_orders_do_not_stand(status: str, cancelled: bool) -> None:
    assert order(sample(COUPON) | {"status": status}, []).cancelled is cancelled


def test_a_completed_order_was_shipped_on_that_day_of_the_shop() -> None:
    done = {"date_completed": "2026-11-21T23:30:00", "date_completed_gmt": "2026-11-22T04:30:00"}

    assert {line.fulfilled_on for line in order(sample(COUPON) | done, []).lines} == {date(2026, 11, 21)}
    assert {line.fulfilled_on for line in order(sample(COUPON), []).lines} == {None}


@pytest.mark.parametrize(
    ("currency", "text", "minor"),
    [
        ("CAD", "90.66", 9066),
        ("CAD", "90.6600", 9066),
        ("CAD", "90", 9000),
        ("CAD", 91, 9100),
        ("CAD", "90.665", None),
        ("CAD", "90.6600001", None),
        ("JPY", "1040", 1040),
        ("JPY", "1040.00", 1040),
        ("JPY", "10.40", None),  # a shop with two decimals takes it (verified); no yen is worth it
        ("KWD", "1.2345", None),
        ("KWD", "1.2340", 1234),
        ("CAD", "", None),
        ("CAD", "-", None),
        ("CAD", ".", None),
        ("CAD", "1.", None),
        ("CAD", "1.0.0", None),
        ("CAD", "1,000.00", None),
        ("CAD", " 1.00", None),
        ("CAD", "１.00", None),  # noqa: RUF001
        ("CAD", "1e2", None),
        ("CAD", "NaN", None),
        ("CAD", 90.67, None),
        ("CAD", True, None),
        ("CAD", None, None),
        ("CAD", "-90.66", None),
        ("CAD", "0.00" + "0" * 50 + "1", None),
        ("CAD", "9" * 5000, None),
        ("CAD", "9" * 19, None),
        ("CAD", 10**30, None),
        ("cad", "90.66", None),
        ("CA", "90.66", None),
        ("", "90.66", None),
        (None, "90.66", None),
    ],
)
def test_totals_in_the_decimals_of_their_currency(currency: Json, text: Json, minor: int | None) -> None:
    body = sample(COUPON) | {"line_items": [], "shipping_lines": [], "currency": currency, "total": text}

    if minor is not None:
        assert order(body, []).total == minor
    else:
        with pytest.raises(Untranslatable) as refused:
            order(body, [])
        assert refused.value.key == ("total" if currency in {"CAD", "JPY", "KWD"} else "currency")


@pytest.mark.parametrize("name", ["line_items", "shipping_lines", "fee_lines"])
def test_no_line_is_listed_twice(name: str) -> None:
    body = sample(FEES)
    body[name].append(body[name][0])

    with pytest.raises(Untranslatable, match=rf"^{name}: an id that is listed twice$"):
        order(body, [])


def test_net_and_tax_have_one_sign() -> None:
    body = sample(COUPON)
    body["line_items"][0]["taxes"][0]["total"] = "-1.35"

    with pytest.raises(Untranslatable, match=r"^line_items\[0\]: net and tax of different signs$"):
        order(body, [])


@pytest.mark.parametrize(
    ("facts", "product"),
    [
        ({"parent_name": "Logo Tee", "name": "Logo Tee"}, Product("Logo Tee", "", "TEE-S", product_ref="15", variant_ref="16")),
        ({"parent_name": "Old name"}, Product("Old name", "", "TEE-S", product_ref="15", variant_ref="16")),
        ({"sku": None, "product_id": 0, "variation_id": 0}, Product("Logo Tee", "S")),
        (
            {"image": {"id": 1, "src": "https://x/y.jpg"}},
            Product("Logo Tee", "S", "TEE-S", image="https://x/y.jpg", product_ref="15", variant_ref="16"),
        ),
        (
            {"image": None, "parent_name": None, "name": "A\x00B\ud800\u202eC\n"},
            Product("AB\u202eC", "", "TEE-S", product_ref="15", variant_ref="16"),
        ),
        ({"parent_name": "x" * 9000}, Product("x" * 500, "", "TEE-S", product_ref="15", variant_ref="16")),
    ],
)
def test_articles_as_shops_name_them(facts: Json, product: Product) -> None:
    body = sample(COUPON)
    body["line_items"][2] |= facts

    assert order(body, []).lines[2].product == product


def test_personal_facts_are_read_and_never_shown() -> None:
    found = order(sample(COUPON) | {"created_via": None}, [])

    assert "zoe@example.com" not in repr(found)
    assert "H2X" not in repr(found)
    assert found.channel == ""


# ── A16: wrong types everywhere ─────────────────────────────────────────────────────────────────────────────────────

Where = tuple[str | int, ...]
WRONG: list[Json] = [None, True, -1, 0, 1, 2**64, 1.5, "", "x", "\x00\ud800", [], [[]], [None], {}, {"": None}, "1.00", [{"id": 1}]]


def paths(value: Json, so_far: Where = ()) -> Iterator[Where]:
    yield so_far
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from paths(one, (*so_far, key))


def at(value: Json, path: Where) -> Json:
    for key in path:
        value = value[key]
    return value


def put(value: Json, path: Where, wrong: Json) -> None:
    at(value, path[:-1])[path[-1]] = wrong


def outcome(pair: Json) -> Order | Untranslatable:
    try:
        return order(pair["body"], pair["refunds"])
    except Untranslatable as refused:
        return refused


PAIRS = [
    {"body": refunded_body(), "refunds": [REFUND]},
    {"body": sample(FEES), "refunds": []},
    {"body": sample(INCLUSIVE), "refunds": [other_refund(7)]},
    {"body": refunded_body(), "refunds": None},
]


@pytest.mark.parametrize("pair", PAIRS, ids=["refunded", "fees", "inclusive", "brief"])
def test_a16_every_wrong_value_of_every_field_is_an_order_or_untranslatable(pair: Json) -> None:
    for path in list(paths(pair)):
        if len(path) > 1:
            parent = at(pair, path[:-1])
            right = parent[path[-1]]
            for wrong in WRONG:
                parent[path[-1]] = wrong
                assert isinstance(outcome(pair), Order | Untranslatable)
            parent[path[-1]] = right


@pytest.mark.parametrize("pair", PAIRS, ids=["refunded", "fees", "inclusive", "brief"])
def test_a16_every_missing_field_is_an_order_or_untranslatable(pair: Json) -> None:
    for path in list(paths(pair)):
        if len(path) > 1 and isinstance(path[-1], str):
            parent = at(pair, path[:-1])
            right = parent.pop(path[-1])
            assert isinstance(outcome(pair), Order | Untranslatable)
            parent[path[-1]] = right


@given(st.sampled_from(PAIRS), st.data())
def test_a16_several_wrong_values_at_once(pair: Json, source: st.DataObject) -> None:
    made = copy.deepcopy(pair)
    for _ in range(source.draw(st.integers(1, 4))):
        known = [path for path in paths(made) if path and path not in {("body",), ("refunds",)}] or [("body",)]
        junk = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["1.00", "-1.00", "2026-01-01T00:00:00"]),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "total", "taxes", "key"]), inner, max_size=3)
            ),
            max_leaves=5,
        )
        put(made, source.draw(st.sampled_from(known)), source.draw(junk))

    assert isinstance(outcome(made), Order | Untranslatable)


NEEDED = """
id status currency prices_include_tax date_created_gmt date_modified_gmt date_paid_gmt total customer_id number
payment_method payment_method_title transaction_id billing billing.email billing.postcode billing.country
line_items line_items.0.id line_items.0.name line_items.0.product_id line_items.0.variation_id line_items.0.quantity
line_items.0.total line_items.0.total_tax line_items.0.taxes line_items.0.taxes.0.id line_items.0.taxes.0.total
shipping_lines shipping_lines.0.method_title shipping_lines.0.total fee_lines coupon_lines coupon_lines.0.code refunds refunds.0.id
"""
READ = (
    NEEDED + "line_items.0 line_items.0.taxes.0 line_items.0.sku line_items.0.parent_name line_items.0.image.src created_via date_completed"
)


def assert_refused(body: Json, name: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        order(body, [REFUND])
    shown = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in name.split(".")).removeprefix(".")
    assert refused.value.key.startswith(shown)
    assert "zoe" not in str(refused.value)


def where(name: str) -> Where:
    return tuple(int(part) if part.isdecimal() else part for part in name.split("."))


@pytest.mark.parametrize("name", READ.split())
@pytest.mark.parametrize("wrong", [2**64, 1.5, [None], {"": None}], ids=["huge", "float", "list", "object"])
def test_a16_a_wrong_type_is_named_by_its_key(name: str, wrong: Json) -> None:
    body = refunded_body()
    put(body, where(name), wrong)

    assert_refused(body, name)


@pytest.mark.parametrize("name", sorted(set(READ.split()) - {"prices_include_tax"}))
def test_a16_true_is_no_number_no_text_and_no_list(name: str) -> None:
    body = refunded_body()
    put(body, where(name), True)

    assert_refused(body, name)


@pytest.mark.parametrize("name", NEEDED.split())
def test_a16_a_missing_key_is_named(name: str) -> None:
    body = refunded_body()
    del at(body, where(name)[:-1])[where(name)[-1]]

    assert_refused(body, name)


@pytest.mark.parametrize("image", ["https://x/y.jpg", [], 1, True])
def test_a16_an_image_is_an_object(image: Json) -> None:
    body = refunded_body()
    body["line_items"][0]["image"] = image

    assert_refused(body, "line_items.0.image")


@pytest.mark.parametrize("junk", [[1], "x", 1, 1.5, True, {}])
def test_a16_what_is_no_order_or_no_list_of_refunds_is_untranslatable(junk: Json) -> None:
    with pytest.raises(Untranslatable):
        order(junk, [])
    with pytest.raises(Untranslatable):
        order(sample(COUPON), junk)


def test_a_kind_that_json_does_not_have_is_named_too() -> None:
    with pytest.raises(Untranslatable, match=r"^x: tuple where true or false was expected$"):
        At({"x": ()}).truth("x")
