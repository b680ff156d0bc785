"""The simulated shop answers what a genuine WooCommerce 10.5 answered to the same requests: key by key, type by type, cent by cent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from adapters.simulators.woocommerce import Gateway, Rate, ShopSettings, WooShop
from tests.adapters.woo_simulator import FREE, Client, Clock, differences, sample

QUEBEC = (Rate("GST", "5.0000", region="CA-QC"), Rate("QST", "9.9750", compound=True, region="CA-QC"))
CARD = (Gateway("examplepay", "Card", refunds=True), Gateway("cod", "Cash on delivery"))
CANADA = ShopSettings(currency="CAD", rates=QUEBEC, time_zone="America/Montreal", gateways=CARD)
# "GB-VAT-1" was rate 3 there; ids of rates are places in the list here.
BRITAIN = ShopSettings(
    currency="GBP", prices_include_tax=True, round_at_subtotal=True, rates=(Rate("VAT", "20.0000", region="GB"),), gateways=CARD
)

Opened = Callable[[ShopSettings], Client]


@pytest.fixture
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:

        def open_(settings: ShopSettings) -> Client:
            shop = WooShop(clock=Clock(), settings=settings)
            shop.pretend_tls = True
            stack.callback(shop.close)
            return Client(shop, stack.enter_context(shop.serving()), shop.add_key())

        yield open_


def as_sold(genuine: dict[str, Any], *lines: dict[str, Any], **more: object) -> dict[str, Any]:
    """The `POST /orders` that makes such an order."""
    keys = ("billing", "shipping", "customer_id", "customer_note", "payment_method", "payment_method_title", "transaction_id")
    shipping = [{key: line[key] for key in ("method_title", "method_id", "total")} for line in genuine["shipping_lines"]]
    fees = [{key: line[key] for key in ("name", "total", "tax_status")} for line in genuine["fee_lines"]]
    body = {key: genuine[key] for key in keys}
    return {**body, "line_items": list(lines), "shipping_lines": shipping, "fee_lines": fees, "set_paid": True, **more}


def tote_order(client: Client) -> dict[str, Any]:
    """The order of the sample: two rates, one of them compound, a coupon, a variation, something untaxed."""
    shop = client.shop
    tote, sleeve = (
        shop.stock_up("Canvas Tote", "9.99", sku="TOTE-1"),
        shop.stock_up("Gift Card Sleeve (untaxed)", "4.00", sku="SLEEVE-1", taxed=False),
    )
    tee = shop.stock_up("Logo Tee", "19.95")
    small = shop.stock_up("Logo Tee - S", "19.95", sku="TEE-S", parent=tee, attributes={"size": "S"})
    shop.add_coupon("ten", "10", discount_type="percent")
    genuine = sample("order-taxed-coupon-variation")
    lines = ({"product_id": tote, "quantity": 3}, {"product_id": sleeve}, {"product_id": tee, "variation_id": small, "quantity": 2})
    made: dict[str, Any] = client.post("orders", as_sold(genuine, *lines, coupon_lines=[{"code": "TEN"}]))
    assert client.last.status_code == 201, made
    return made


def refund_of(order: dict[str, Any]) -> dict[str, Any]:
    """The request of the sample, for this order."""
    body: dict[str, Any] = sample("refund-create")["request"]["body"]
    body["line_items"][0]["id"], body["line_items"][1]["id"] = order["line_items"][0]["id"], order["shipping_lines"][0]["id"]
    return body


def test_an_order_with_compound_tax_coupon_and_variation_is_the_genuine_one_to_the_cent(opened: Opened) -> None:
    client = opened(CANADA)

    made = tote_order(client)

    genuine = sample("order-taxed-coupon-variation")
    assert differences(client.get(f"orders/{made['id']}"), genuine) == []
    assert differences(client.get("orders"), [genuine]) == []
    assert made == client.get(f"orders/{made['id']}")


def test_six_decimals_show_what_is_stored(opened: Opened) -> None:
    client = opened(CANADA)
    made = tote_order(client)
    wanted = "id,total,total_tax,discount_total,discount_tax,line_items,shipping_lines,tax_lines"

    shown = client.get(f"orders/{made['id']}", dp=6, _fields=wanted)

    genuine = sample("order-taxed-coupon-variation-dp6")
    assert differences(shown, genuine.get("response", {"body": genuine})["body"]) == []


def test_fees_are_taxed_as_genuine_ones_are_the_negative_one_too(opened: Opened) -> None:
    client = opened(CANADA)
    scarf = client.shop.stock_up("Wool Scarf", "33.33", sku="SCARF-1")
    genuine = sample("order-guest-fees")

    made = client.post("orders", as_sold(genuine, {"product_id": scarf, "quantity": 2}))

    assert differences(made, genuine) == []


def test_prices_with_tax_rounded_at_subtotal_leave_the_genuine_cent(opened: Opened) -> None:
    client = opened(BRITAIN)
    tote, mug = client.shop.stock_up("Canvas Tote", "9.99", sku="TOTE-1"), client.shop.stock_up("Round Mug", "10.01", sku="MUG-1")
    client.shop.add_coupon("ten", "10", discount_type="percent")
    genuine = sample("order-tax-inclusive-round-at-subtotal")
    # The genuine shop sat in Quebec, so it took other taxes out of its prices before it put the British ones on.
    prices = {tote: "25.953950", mug: "8.668637"}
    lines = [{"product_id": ref, "quantity": 3 if ref == tote else 1, "subtotal": net, "total": net} for ref, net in prices.items()]

    made = client.post("orders", as_sold(genuine, *lines, coupon_lines=[{"code": "ten"}]))

    assert differences(made, genuine, FREE | {"rate_id"}) == []
    assert made["total"] == "43.39"


def test_a_refund_answers_lists_and_leaves_behind_what_the_genuine_one_does(opened: Opened) -> None:
    client = opened(CANADA)
    order = tote_order(client)

    made = client.post(f"orders/{order['id']}/refunds", refund_of(order))

    genuine, lists = sample("refund-create"), sample("refund-lists")
    assert (client.last.status_code, "(?P<order_id>[\\d]+)" in client.last.headers["Location"]) == (201, True)
    assert differences(made, genuine["response"]["body"]) == []
    assert differences(client.get(f"orders/{order['id']}/refunds"), lists["order_refunds"]["response"]["body"]) == []
    assert differences(client.get("refunds")[:1], lists["all_refunds"]["response"]["body"][:1]) == []


def test_the_coupon_of_a_store_credit_and_the_order_that_uses_it_are_genuine(opened: Opened) -> None:
    client = opened(CANADA)
    tote = client.shop.stock_up("Canvas Tote", "9.99", sku="TOTE-1")
    genuine = sample("coupon-store-credit")

    coupon = client.post("coupons", genuine["create"]["request"]["body"])
    assert differences(coupon, genuine["create"]["response"]["body"], FREE - {"value"}) == []
    lines = {"product_id": tote, "quantity": 3}
    used = genuine["order_using_it"]["response"]["body"]
    order = client.post("orders", as_sold(used, lines, coupon_lines=[{"code": coupon["code"]}]))

    assert differences(order, used) == []
    assert differences(client.get(f"coupons/{coupon['id']}"), genuine["coupon_after"]["response"]["body"]) == []


def test_a_webhook_is_shown_as_the_genuine_one(opened: Opened) -> None:
    client = opened(CANADA)
    genuine = sample("webhook-create-and-ping")["create"]
    body = {**genuine["request"]["body"], "delivery_url": "http://127.0.0.1:9/woo"}

    made = client.post("webhooks", body)

    assert differences(made, genuine["response"]["body"], FREE | {"delivery_url"}) == []


def test_the_shop_says_of_itself_what_a_genuine_one_says(opened: Opened) -> None:
    client = opened(CANADA)
    genuine = {key: value for key, value in sample("system-status-excerpt").items() if key != "note"}

    shown = client.get("system_status")

    assert (
        differences(
            shown,
            {**genuine, "active_plugins": genuine["active_plugins"][1:]},
            frozenset({"home_url", "site_url", "wp_cron", "secure_connection"}),
        )
        == []
    )


@pytest.mark.parametrize("name", ["order-taxed-coupon-variation", "order-guest-fees", "order-tax-inclusive-round-at-subtotal"])
def test_a_genuine_order_that_was_put_in_comes_out_as_it_was(opened: Opened, name: str) -> None:
    client = opened(CANADA)
    genuine = sample(name)

    assert client.shop.put(genuine) == genuine["id"]

    assert differences(client.get(f"orders/{genuine['id']}"), genuine, frozenset({"href", "payment_url"})) == []


def test_a_genuine_order_is_put_in_with_its_refunds(opened: Opened) -> None:
    client = opened(CANADA)
    genuine, refunds = sample("order-taxed-coupon-variation"), sample("refund-lists")["order_refunds"]["response"]["body"]

    ref = client.shop.put(genuine, refunds)

    assert differences(client.get(f"orders/{ref}/refunds"), refunds, frozenset({"href"})) == []
    assert client.shop.order(ref)["refunds"] == [{"id": 219, "reason": "RMA-1001 damaged [rma:7f3a9c]", "total": "-24.82"}]
    assert client.shop.place() > 219


def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sample("api-errors")
    return [
        case
        for case in found
        if case["note"].startswith(("Unknown", "per_page", "Duplicate", "Webhook topic", "Refunds have", "Malformed"))
    ]


@pytest.mark.parametrize("case", cases(), ids=lambda case: str(case["note"]))
def test_what_is_refused_is_refused_in_the_genuine_words(opened: Opened, case: dict[str, Any]) -> None:
    client = opened(CANADA)
    client.shop.add_coupon("ten", "10")
    asked, answered = case["request"], case["response"]
    path, _, query = asked["path"].removeprefix("/wp-json/wc/v3/").partition("?")

    if case["note"] == "Malformed JSON":
        import requests

        headers = {"Content-Type": "application/json"}
        client.last = requests.post(f"{client.url}/wp-json/wc/v3/orders", b"{", auth=client.key, headers=headers, timeout=10)
        got = client.last.json()
    else:
        got = client.ask(asked["method"], path, asked.get("body"), **dict(pair.split("=") for pair in query.split("&") if pair))

    assert (client.last.status_code, got) == (answered["status"], answered["body"])
    for name in ("Content-Type", "Allow"):
        assert client.last.headers.get(name) == answered["headers"].get(name), name


def test_from_10_9_on_the_short_list_of_refunds_tells_their_tax(opened: Opened) -> None:
    shop = opened(ShopSettings(version="10.9.2")).shop
    order = shop.place()
    (line,) = shop.order(order)["line_items"]
    taxed = {"id": line["id"], "refund_total": 2, "refund_tax": [{"id": 1, "refund_total": 0.42}]}
    refund = shop.refund_in_admin(order, "2.42", lines=[taxed])

    assert shop.order(order)["refunds"] == [{"id": refund, "reason": "", "total": "-2.42", "total_tax": "-0.42"}]
