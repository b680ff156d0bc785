"""Orders and coupons of the simulated shop: statuses, dates, stock, uses given back, lists and searches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.simulators.woocommerce import Bought, Rate, ShopSettings, WooShop
from tests.adapters.woo_simulator import Client, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[Client]:
    shop = WooShop(clock=clock)
    shop.pretend_tls = True
    with shop.serving() as url:
        yield Client(shop, url, shop.add_key())
    shop.close()


def ids(rows: Any) -> list[int]:
    return [row["id"] for row in rows]


# ── How orders come about and change ──


def test_an_order_from_the_checkout_has_taxes_shipping_and_fees(client: Client) -> None:
    shop = client.shop
    order = shop.order(
        shop.place([Bought("Shirt", 3, net="30.00")], shipping="5.00", fees=[("Gift wrap", "2.00"), ("Discount", "-1.00")], number="A-7")
    )

    assert (order["total"], order["total_tax"], order["shipping_tax"], order["number"]) == ("43.56", "7.56", "1.05", "A-7")
    assert [(fee["total"], fee["total_tax"]) for fee in order["fee_lines"]] == [("2.00", "0.42"), ("-1.00", "-0.21")]
    assert (order["status"], order["transaction_id"], order["created_via"]) == ("processing", f"txn_{order['id']}", "checkout")


def test_gross_prices_are_net_on_the_line(client: Client) -> None:
    del client
    with_tax = WooShop(settings=ShopSettings(prices_include_tax=True))

    order = with_tax.order(with_tax.place([Bought("Shirt", 2, gross="24.20")]))

    assert (order["line_items"][0]["total"], order["total"], order["prices_include_tax"]) == ("20.00", "24.20", True)
    with_tax.close()


def test_decimals_are_the_shops_and_not_the_currencys(client: Client) -> None:
    del client
    yen = WooShop(settings=ShopSettings(currency="JPY", decimals=0, rates=(Rate("CT", "10.0000"),)))
    dinar = WooShop(settings=ShopSettings(currency="KWD", decimals=3, rates=()))

    assert yen.order(yen.place([Bought("Shirt", net="1005")]))["total"] == "1106"  # 100.5 of tax is rounded up
    assert dinar.order(dinar.place([Bought("Shirt", net="10.005")]))["total"] == "10.005"
    yen.close()
    dinar.close()


def test_dates_are_the_shops_wall_clock_and_utc(client: Client) -> None:
    order = client.shop.order(client.shop.place(at=datetime(2026, 7, 1, 22, 30, tzinfo=UTC)))

    assert (order["date_created"], order["date_created_gmt"], order["date_paid_gmt"]) == (
        "2026-07-02T00:30:00",
        "2026-07-01T22:30:00",
        "2026-07-01T22:30:00",
    )


def test_cash_on_delivery_is_paid_when_it_is_completed(client: Client, clock: Clock) -> None:
    order = client.shop.place(gateway="cod", paid=False)
    assert client.shop.order(order)["date_paid"] is None

    clock.advance(60)
    client.shop.complete(order)

    found = client.shop.order(order)
    assert (found["date_paid_gmt"], found["date_completed_gmt"], found["date_modified_gmt"]) == ("2026-11-21T19:30:52",) * 3


def test_stock_goes_with_the_status(client: Client) -> None:
    shop = client.shop
    order = shop.place([Bought("Shirt", 3)])
    found = []
    for act in (shop.cancel, shop.reopen, shop.complete):
        act(order)
        found.append(shop.stock("Shirt"))

    assert found == [100, 97, 97]


def test_a_line_is_edited_and_removed_in_the_admin(client: Client) -> None:
    order = client.shop.place([Bought("Shirt", 3, net="30.00"), Bought("Mug", net="8.00")])
    shirt, mug = client.shop.order(order)["line_items"]

    client.shop.edit_line(order, shirt["id"], quantity=2, total="20.00")
    client.shop.edit_line(order, mug["id"], quantity=0)

    found = client.shop.order(order)
    assert ([(line["name"], line["quantity"], line["total"]) for line in found["line_items"]], found["total"]) == (
        [("Shirt", 2, "20.00")],
        "24.20",
    )


def test_meta_is_set_by_key_and_by_id_and_removed_with_null(client: Client) -> None:
    order = client.shop.place()
    client.put(f"orders/{order}", {"meta_data": [{"key": "_a", "value": "1"}, {"key": "_b", "value": "1"}]})
    made = client.put(f"orders/{order}", {"meta_data": [{"key": "_a", "value": {"x": 2}}]})["meta_data"]

    left = client.put(f"orders/{order}", {"meta_data": [{"id": made[1]["id"], "key": "_b", "value": None}]})["meta_data"]

    assert ([(one["key"], one["value"]) for one in made], left) == ([("_a", {"x": 2}), ("_b", "1")], made[:1])


def test_the_bin_and_beyond(client: Client) -> None:
    shop, (binned, gone) = client.shop, (client.shop.place(), client.shop.place())
    shop.trash(binned)
    shop.delete(gone)

    assert (client.get(f"orders/{binned}")["status"], ids(client.get("orders"))) == ("trash", [])
    assert (client.get(f"orders/{gone}")["code"], client.last.status_code) == ("woocommerce_rest_shop_order_invalid_id", 404)
    assert ids(client.get("orders", status="trash")) == [binned]
    shop.untrash(binned)
    assert (client.get(f"orders/{binned}")["status"], ids(client.get("orders", include=f"{binned},{gone}"))) == ("processing", [binned])


def test_rest_bins_first_and_deletes_with_force(client: Client) -> None:
    order = client.shop.place()

    assert client.ask("DELETE", f"orders/{order}")["status"] == "processing"  # as it was before
    assert [meta["key"] for meta in client.get(f"orders/{order}")["meta_data"]] == ["_wp_trash_meta_status", "_wp_trash_meta_time"]
    assert client.ask("DELETE", f"orders/{order}")["code"] == "woocommerce_rest_already_trashed"
    client.ask("DELETE", f"orders/{order}", force="true")

    assert client.shop.orders() == []


def test_a_note_moves_no_date(client: Client, clock: Clock) -> None:
    order = client.shop.place()
    clock.advance(60)

    made = client.post(f"orders/{order}/notes", {"note": "RMA 1"})

    assert (client.get(f"orders/{order}/notes")[0], client.last.status_code) == (made, 200)
    assert client.shop.order(order)["date_modified_gmt"] == "2026-11-21T19:29:52"


# ── Lists ──


def test_the_default_list_has_drafts_of_the_checkout_but_not_the_bin(client: Client) -> None:
    draft, order = client.shop.place(status="checkout-draft", paid=False), client.shop.place()
    client.shop.trash(client.shop.place())

    assert ids(client.get("orders")) == [order, draft]
    assert ids(client.get("orders", status="processing,completed")) == [order]


def test_modified_after_is_exclusive_local_or_utc(client: Client, clock: Clock) -> None:
    first = client.shop.place()
    clock.advance(1)
    second = client.shop.place()

    def after(value: str, **more: str) -> list[int]:
        return ids(client.get("orders", modified_after=value, orderby="modified", order="asc", **more))

    assert after("2026-11-21T19:29:51", dates_are_gmt="true") == [first, second]
    assert after("2026-11-21T19:29:52", dates_are_gmt="true") == [second]
    assert after("2026-11-21T20:29:52") == [second]  # the shop's own time
    assert after("2026-11-21T19:29:52Z") == after("2026-11-21T19:29:52+00:00") == [second]
    assert ids(client.get("orders", before="2026-11-21T19:29:53Z", after="2026-11-21T19:29:51Z")) == [first]


def test_an_old_shop_ignores_what_it_does_not_know(client: Client) -> None:
    order = client.shop.place()
    client.shop.old = True

    assert ids(client.get("orders", modified_after="2027-01-01T00:00:00", dates_are_gmt="true")) == [order]
    assert ids(client.get("orders", number="nope", billing_email="nobody@example.com")) == [order]


def test_pages_count_and_link(client: Client) -> None:
    refs = [client.shop.place() for _ in range(5)]

    assert ids(client.get("orders", per_page=2, page=2)) == [refs[2], refs[1]]
    headers = client.last.headers
    assert (headers["X-WP-Total"], headers["X-WP-TotalPages"]) == ("5", "3")
    assert ('page=1>; rel="prev"' in headers["Link"], 'page=3>; rel="next"' in headers["Link"]) == (True, True)
    assert (client.get("orders", page=9), client.last.headers["X-WP-Total"]) == ([], "0")


def test_search_finds_parts_of_everything_but_the_number(client: Client) -> None:
    shop = client.shop
    shop.site.shelves.at_least("post", 9000)
    gus = shop.place([Bought("Wool Scarf")], email="gus.guest@example.com", name="Gus Guest", number="W-77", transaction="txn_gus")
    shop.place()

    assert all(
        ids(client.get("orders", search=text)) == [gus] for text in ("gus.gu", "GUEST@", "Wool Scarf", "txn_gus", "gus guest", str(gus))
    )
    assert (client.get("orders", search="W-77"), client.get("orders", search="#1")) == ([], [])
    assert (len(client.get("orders", customer=0)), client.get("orders", customer=5)) == (2, [])


def test_fields_trim_the_answer_and_leave_the_links(client: Client) -> None:
    client.shop.place()

    (row,) = client.get("orders", _fields="id,billing.email")

    assert (list(row), row["billing"]) == (["id", "billing", "_links"], {"email": "kim@example.com"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("per_page", "0"), ("page", "0"), ("per_page", "x"), ("orderby", "price"), ("order", "up"), ("after", "soon"), ("customer", "x")],
)
def test_parameters_that_are_wrong_are_refused(client: Client, name: str, value: str) -> None:
    got = client.get("orders", **{name: value})

    assert (client.last.status_code, got["code"], list(got["data"]["params"])) == (400, "rest_invalid_param", [name])


def test_ids_that_are_none_find_nothing(client: Client) -> None:
    client.shop.place()

    assert client.get("orders", include="a,b") == []


def test_a_list_is_taken_as_php_takes_arrays(client: Client) -> None:
    first, second, _ = (client.shop.place() for _ in range(3))

    assert ids(client.ask("GET", f"orders?include[]={first}&include[]={second}")) == [second, first]


# ── Coupons ──


def credit(client: Client, **more: object) -> dict[str, Any]:
    made: dict[str, Any] = client.post("coupons", {"code": "RMA-1-K", "amount": "50.00", "usage_limit": 1, **more})
    assert client.last.status_code == 201, made
    return made


def test_a_code_is_lower_cased_and_given_once(client: Client) -> None:
    made = credit(client, meta_data=[{"key": "_rma_ref", "value": "k"}])

    again = client.post("coupons", {"code": "rma-1-K", "amount": "50.00"})

    assert (client.last.status_code, again["code"]) == (400, "woocommerce_rest_coupon_code_already_exists")
    assert ids(client.get("coupons", code="RMA-1-k")) == [made["id"]]
    assert client.shop.coupon("RMA-1-K") == made


def test_a_coupon_in_the_bin_keeps_neither_its_place_in_the_list_nor_its_code(client: Client) -> None:
    binned = credit(client)

    client.ask("DELETE", f"coupons/{binned['id']}")

    assert (client.get("coupons", code="rma-1-k"), client.get(f"coupons/{binned['id']}")["status"]) == ([], "trash")
    assert credit(client)["id"] != binned["id"]
    client.ask("DELETE", f"coupons/{binned['id']}", force="true")
    assert client.get(f"coupons/{binned['id']}")["code"] == "woocommerce_rest_shop_coupon_invalid_id"


@pytest.mark.parametrize(("amount", "kept"), [(5, "5.00"), ("5,00", "500.00"), ("abc", "0.00")])
def test_the_amount_of_a_coupon_is_taken_as_loosely_as_any(client: Client, amount: object, kept: str) -> None:
    assert credit(client, amount=amount)["amount"] == kept
    assert client.post("coupons", {"code": "less", "amount": "-5"})["code"] == "coupon_invalid_amount"


def test_an_expiry_in_utc_is_ignored_and_a_local_one_is_kept(client: Client) -> None:
    ignored = credit(client, date_expires_gmt="2027-01-01T00:00:00")
    kept = client.put(f"coupons/{ignored['id']}", {"date_expires": "2027-01-01T00:00:00"})

    assert (ignored["date_expires"], kept["date_expires"], kept["date_expires_gmt"]) == (None, "2027-01-01T00:00:00", "2026-12-31T23:00:00")


def test_a_coupon_pays_goods_and_neither_shipping_nor_fees(client: Client) -> None:
    credit(client)

    order = client.shop.order(client.shop.place([Bought("Shirt", 3, net="29.97")], shipping="12.50", coupons=["rma-1-k"]))

    assert (order["total"], order["discount_total"], order["discount_tax"]) == ("15.13", "29.97", "6.29")
    assert [(one["code"], one["discount"], one["nominal_amount"]) for one in order["coupon_lines"]] == [("rma-1-k", "29.97", 50)]


def test_where_prices_include_tax_a_coupon_takes_off_gross(client: Client) -> None:
    del client
    shop = WooShop(settings=ShopSettings(prices_include_tax=True, rates=(Rate("VAT", "20.0000"),)))
    shop.add_coupon("c", "20.00")

    order = shop.order(shop.place([Bought("Shirt", 3, gross="31.14")], coupons=["c"]))

    (line,) = order["coupon_lines"]
    assert (line["discount"], line["discount_tax"], order["total"]) == ("16.67", "3.33", "11.14")
    shop.close()


def test_a_use_is_given_back_on_cancel_and_taken_again_on_restore(client: Client) -> None:
    credit(client)
    order = client.shop.place([Bought("Shirt", net="10.00")], coupons=["rma-1-k"])
    seen = []
    for status in ("cancelled", "processing", "refunded", "failed", "on-hold"):
        client.shop.set_status(order, status)
        coupon = client.shop.coupon("rma-1-k") or {}
        seen.append((coupon["usage_count"], coupon["used_by"]))

    used = (1, ["kim@example.com"])
    assert seen == [(0, []), used, used, (0, []), used]


def test_the_bin_gives_a_use_back_too(client: Client) -> None:
    credit(client)
    order = client.shop.place(coupons=["rma-1-k"])

    client.shop.trash(order)
    assert (client.shop.coupon("rma-1-k") or {})["usage_count"] == 0
    client.shop.untrash(order)
    assert (client.shop.coupon("rma-1-k") or {})["usage_count"] == 1


def test_a_coupon_that_does_not_apply_is_refused_at_the_checkout(client: Client, clock: Clock) -> None:
    credit(client, email_restrictions=["KIM@example.com", "*@example.org"])
    with pytest.raises(ValueError, match="valid email"):
        client.shop.place(email="bob@example.com", coupons=["rma-1-k"])
    client.shop.place(email="bob@example.org", coupons=["rma-1-k"])
    with pytest.raises(ValueError, match="Usage limit"):
        client.shop.place(coupons=["rma-1-k"])
    with pytest.raises(ValueError, match="does not exist"):
        client.shop.place(coupons=["nope"])
    client.shop.add_coupon("old", "1", date_expires="2026-11-22T00:00:00")
    clock.advance(24 * 3600)
    with pytest.raises(ValueError, match="expired"):
        client.shop.place(coupons=["old"])


def test_an_order_that_rest_refuses_for_its_coupon_leaves_a_draft(client: Client) -> None:
    got = client.post("orders", {"coupon_lines": [{"code": "nope"}], "line_items": [{"name": "Shirt", "quantity": 1, "total": "5.00"}]})

    assert (client.last.status_code, got["code"]) == (400, "woocommerce_rest_invalid_coupon")
    assert client.shop.orders() == [got["data"]["new_draft_order_id"]]
    assert [client.shop.order(ref)["status"] for ref in client.shop.orders()] == ["checkout-draft"]


def test_an_order_through_rest_without_an_article_and_its_payment_later(client: Client) -> None:
    made = client.post("orders", {"line_items": [{"name": "Shirt", "quantity": 2, "total": "5.00"}], "payment_method": "test_card"})
    paid = client.put(f"orders/{made['id']}", {"set_paid": True, "transaction_id": "t-1"})

    assert (made["status"], made["needs_payment"], made["total"], made["line_items"][0]["subtotal"]) == ("pending", True, "6.05", "5.00")
    assert (paid["status"], paid["transaction_id"], paid["date_paid"] is not None) == ("processing", "t-1", True)


def test_articles_can_be_made_and_read(client: Client) -> None:
    made = client.post("products", {"name": "Mug", "regular_price": "8.00", "manage_stock": True, "stock_quantity": 3})
    client.post("orders", {"line_items": [{"product_id": made["id"], "quantity": 2}], "set_paid": True})

    assert (client.get(f"products/{made['id']}")["stock_quantity"], ids(client.get("products", search="mug"))) == (1, [made["id"]])
    assert client.get("products/999")["code"] == "woocommerce_rest_product_invalid_id"


def test_books_on_disk_survive_the_shop(client: Client, tmp_path: Any) -> None:
    del client
    before = WooShop(tmp_path / "shop.db")
    order = before.place()
    before.refund_in_admin(order, "1.00", through_gateway=True)
    shown = before.order(order)
    before.close()

    after = WooShop(tmp_path / "shop.db")

    assert (after.order(order), [paid.amount for paid in after.payments()], after.place() > order) == (shown, ["1.00"], True)
    after.close()
