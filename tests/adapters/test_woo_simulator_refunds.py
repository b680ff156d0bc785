"""Refunds of the simulated shop: what is accepted and refused, in which order things happen, and what the gateway's books say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from adapters.simulators.woocommerce import STEPS, Bought, Fault, Gateway, Kind, Problem, ShopSettings, WooShop
from tests.adapters.woo_simulator import FREE, Client, Clock, differences, sample

SHOP = ShopSettings(gateways=(Gateway("test_card", "Card", refunds=True), Gateway("cod", "Cash on delivery")))
PHP_IS_GONE = {"status": 500, "code": "internal_server_error"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[Client]:
    shop = WooShop(clock=clock, settings=SHOP)
    shop.pretend_tls = True
    with shop.serving(workers=8) as url:
        yield Client(shop, url, shop.add_key())
    shop.close()


def an_order(client: Client, **how: Any) -> int:
    """Three shirts of 21.20 net with 21 %: 76.96 with shipping 0."""
    return client.shop.place([Bought("Shirt", 3, net="63.60")], **how)


def refund(client: Client, order: int, **body: object) -> Any:
    return client.post(f"orders/{order}/refunds", body)


def one_shirt(client: Client, order: int, quantity: int = 1) -> list[dict[str, Any]]:
    (line,) = client.shop.order(order)["line_items"]
    return [{"id": line["id"], "quantity": quantity, "refund_total": 21.20, "refund_tax": [{"id": 1, "refund_total": 4.45}]}]


def amounts(client: Client) -> list[str]:
    return [paid.amount for paid in client.shop.payments()]


# ── What is refused and what is let through ──


@pytest.mark.parametrize("case", range(5), ids=["too much", "negative", "a number", "maybe", "unknown order"])
def test_what_is_refused_is_refused_in_the_genuine_words(client: Client, case: int) -> None:
    genuine = sample("refund-errors")[case]
    order = an_order(client)
    path = genuine["request"]["path"].removeprefix("/wp-json/wc/v3/").replace("orders/218/", f"orders/{order}/")

    got = client.post(path, genuine["request"]["body"])

    assert (client.last.status_code, got) == (genuine["response"]["status"], genuine["response"]["body"])
    assert client.last.headers["Allow"] == "GET, POST"
    assert client.shop.refunds(order) == []


@pytest.mark.parametrize(
    ("amount", "stored", "paid"),
    [
        ("1,50", "150.00", "150"),  # by letters it is less than 76.96
        ("5,00", "500.00", "500"),
        ("1e1", "11.00", "11"),
        ("1.00 CAD", "1.00", "1.00"),
        (" 1.00 ", "1.00", "1.00"),
        ("1.005", "1.01", "1.005"),
        ("0", "0.00", "0"),
        ("76.96", "76.96", "76.96"),
    ],
)
def test_amounts_are_compared_loosely_and_the_gateway_is_told_what_became_of_them(
    client: Client, amount: str, stored: str, paid: str
) -> None:
    order = an_order(client)

    made = refund(client, order, amount=amount)

    assert (client.last.status_code, made["amount"]) == (201, stored)
    assert amounts(client) == [paid]


@pytest.mark.parametrize("amount", ["abc", "76.97", "9,00", "999999"])
def test_amounts_above_the_rest_are_refused_by_number_or_by_letter(client: Client, amount: str) -> None:
    got = refund(client, an_order(client), amount=amount)

    assert (client.last.status_code, got["code"], got["data"]) == (500, "woocommerce_rest_cannot_create_order_refund", 500)
    assert (got["message"], amounts(client)) == ("Invalid refund amount.", [])


@pytest.mark.parametrize("amount", ["", "-1,50", "-0.01"])
def test_amounts_below_nothing_are_refused_by_number_or_by_letter(client: Client, amount: str) -> None:
    got = refund(client, an_order(client), amount=amount)

    assert (client.last.status_code, got) == (500, sample("refund-errors")[1]["response"]["body"])


@pytest.mark.parametrize(("name", "value"), [("reason", 5), ("meta_data", "x"), ("meta_data", ["x"])])
def test_parameters_of_the_wrong_type_are_refused_before_anything_is_done(client: Client, name: str, value: object) -> None:
    order = an_order(client)

    got = refund(client, order, amount="1.00", **{name: value})

    assert (client.last.status_code, got["code"], list(got["data"]["params"])) == (400, "rest_invalid_param", [name])
    assert (client.shop.refunds(order), amounts(client)) == ([], [])


def test_no_amount_and_no_priced_lines_tell_the_gateway_an_empty_amount(client: Client) -> None:
    order = an_order(client)
    (line,) = client.shop.order(order)["line_items"]

    refunds = [refund(client, order), refund(client, order, line_items=[{"id": line["id"], "quantity": 1}])]

    assert ([made["amount"] for made in refunds], amounts(client)) == (["", ""], ["", ""])
    assert {one["total"] for one in client.shop.order(order)["refunds"]} == {"-"}


def test_an_amount_that_is_left_out_is_the_sum_of_the_lines(client: Client) -> None:
    order = an_order(client)

    assert refund(client, order, line_items=one_shirt(client, order))["amount"] == "25.65"


def test_lines_are_believed(client: Client) -> None:
    order = an_order(client)
    (line,) = client.shop.order(order)["line_items"]
    lines: list[dict[str, Any]] = [
        {"id": line["id"], "quantity": 99, "refund_total": 500, "refund_tax": [{"id": 7, "refund_total": 1}]},
        {"id": 424242, "quantity": 1, "refund_total": 1},
    ]

    made = refund(client, order, amount="2.00", line_items=lines)

    (taken,) = made["line_items"]
    assert (made["amount"], taken["quantity"], taken["total"], taken["taxes"][0]["id"]) == ("2.00", -99, "-500.00", 7)
    half = refund(client, order, amount="0.50", line_items=[{"id": line["id"], "quantity": 0.5, "refund_total": 0.5}])
    assert half["line_items"][0]["quantity"] == 0


@pytest.mark.parametrize("status", ["pending", "trash"])
def test_orders_that_were_never_paid_or_are_in_the_bin_are_refunded_all_the_same(client: Client, status: str) -> None:
    order = an_order(client, status="pending", paid=False)
    if status == "trash":
        client.shop.trash(order)

    refund(client, order, amount="1.00")

    assert (client.last.status_code, amounts(client)) == (201, ["1.00"])


def test_both_switches_are_on_where_they_are_left_out(client: Client) -> None:
    order = an_order(client)
    assert client.shop.stock("Shirt") == 97

    made = refund(client, order, amount="25.65", line_items=one_shirt(client, order))
    off = refund(client, order, amount="25.65", line_items=one_shirt(client, order), api_refund="false", api_restock=False)

    assert (made["refunded_payment"], off["refunded_payment"]) == (True, False)
    assert (amounts(client), client.shop.stock("Shirt")) == (["25.65"], 98)


def test_a_gateway_that_cannot_send_money_back_and_one_that_is_gone_leave_nothing(client: Client) -> None:
    genuine = sample("refund-errors")[8]["response"]["body"]
    cod, gone = an_order(client, gateway="cod"), an_order(client, gateway="removed")

    assert refund(client, cod, amount="5.00") == genuine
    assert refund(client, gone, amount="5.00")["message"] == "The payment gateway for this order does not exist."
    assert (client.shop.refunds(cod), client.shop.refunds(gone), amounts(client)) == ([], [], [])


# ── Effects ──


def test_the_same_body_twice_is_two_refunds(client: Client) -> None:
    order = an_order(client)

    first, second = (refund(client, order, amount="5.00", reason="[rma:a]") for _ in range(2))

    assert first["id"] != second["id"]
    assert [(paid.amount, paid.reason, paid.order, paid.refund) for paid in client.shop.payments()] == [
        ("5.00", "[rma:a]", order, first["id"]),
        ("5.00", "[rma:a]", order, second["id"]),
    ]


def test_two_at_once_both_reach_the_gateway(client: Client) -> None:
    order = an_order(client)
    client.shop.fail_next("before record", Fault(Kind.SLEEP, 0.4), times=2)
    client.shop.fail_next("gateway", Fault(Kind.SLEEP, 0.4), times=2)

    with ThreadPoolExecutor(2) as pool:
        sent = [
            pool.submit(
                requests.post, f"{client.url}/wp-json/wc/v3/orders/{order}/refunds", json={"amount": "76.96"}, auth=client.key, timeout=10
            )
            for _ in range(2)
        ]
        codes = [one.result().status_code for one in sent]

    assert (codes, amounts(client)) == ([201, 201], ["76.96", "76.96"])
    assert (client.shop.max_concurrent["gateway"], client.shop.max_concurrent["refunds"]) == (2, 2)


def test_goods_go_back_into_stock_and_the_line_says_so_as_the_genuine_one(client: Client) -> None:
    order = an_order(client)

    refund(client, order, amount="25.65", line_items=one_shirt(client, order), api_restock=True)

    found = {meta["key"]: meta["value"] for meta in client.shop.order(order)["line_items"][0]["meta_data"]}
    assert (found, client.shop.stock("Shirt")) == ({"_reduced_stock": "2", "_restock_refunded_items": "1"}, 98)
    assert client.shop.notes(order)[-1].endswith("stock increased from 97 to 98.")


def test_the_last_cent_closes_the_order_and_a_cent_less_does_not(client: Client, clock: Clock) -> None:
    order = an_order(client)

    clock.advance(60)
    refund(client, order, amount="76.95")
    assert (client.shop.order(order)["status"], client.shop.order(order)["date_modified_gmt"]) == ("processing", "2026-11-21T19:30:52")
    refund(client, order, amount="0.01")

    assert client.shop.order(order)["status"] == "refunded"
    assert [one["meta_data"][0]["value"] for one in client.shop.refunds(order)] == ["partial", "full"]


def test_the_status_refunded_by_hand_books_the_rest_and_pays_nobody(client: Client) -> None:
    order = an_order(client)
    refund(client, order, amount="6.96")

    client.put(f"orders/{order}", {"status": "refunded"})

    assert [(one["amount"], one["reason"], one["refunded_payment"]) for one in client.shop.refunds(order)][1:] == [
        ("70.00", "Order fully refunded.", False)
    ]
    assert amounts(client) == ["6.96"]


def test_a_deleted_refund_takes_nothing_back_and_moves_no_date(client: Client, clock: Clock) -> None:
    order = an_order(client)
    made = refund(client, order, amount="76.96")
    before = client.shop.order(order)
    clock.advance(60)

    gone = client.ask("DELETE", f"orders/{order}/refunds/{made['id']}")  # needs no force

    assert (gone, client.shop.refunds(order), amounts(client)) == (made, [], ["76.96"])
    assert client.shop.order(order) == {**before, "refunds": []}


def test_a_refund_of_another_order_is_a_500_and_an_unknown_orders_list_is_empty(client: Client) -> None:
    made = refund(client, an_order(client), amount="1.00")
    other = an_order(client)

    got = client.get(f"orders/{other}/refunds/{made['id']}")

    assert (client.last.status_code, got) == (500, sample("refund-errors")[5]["response"]["body"])
    assert (client.get("orders/99999999/refunds"), client.last.headers["X-WP-Total"]) == ([], "0")


def test_the_list_of_all_refunds_names_their_orders(client: Client) -> None:
    refs = [an_order(client) for _ in range(3)]
    for ref in refs:
        refund(client, ref, amount="1.00")

    page = client.get("refunds", per_page=2)

    assert ([one["parent_id"] for one in page], client.last.headers["X-WP-TotalPages"]) == ([refs[2], refs[1]], "2")
    assert client.last.headers["Link"] == f'<{client.url}/wp-json/wc/v3/refunds?per_page=2&dp=2&page=2>; rel="next"'
    assert client.get("refunds", after="2026-11-21T19:29:52", dates_are_gmt="true") == []


def test_the_merchant_refunds_in_the_admin_with_no_marker(client: Client) -> None:
    order = an_order(client)

    by_hand = client.shop.refund_in_admin(order, "5.00")
    client.shop.refund_in_admin(order, "6.00", through_gateway=True, lines=one_shirt(client, order))
    with pytest.raises(Problem, match="cannot_create_order_refund"):
        client.shop.refund_in_admin(order, "70.00")

    assert amounts(client) == ["6.00"]
    client.shop.delete_refund(order, by_hand)
    assert len(client.shop.refunds(order)) == 1


# ── What goes wrong in the gateway ──


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.REFUSE, "Card refund declined: insufficient balance."),
        (Kind.THROW, "boom"),
        (Kind.RETURN_FALSE, "An error occurred while attempting to create the refund using the payment gateway API."),
        (Kind.SLEEP_AND_REFUSE, "no"),
    ],
)
def test_a_gateway_that_refuses_leaves_no_record(client: Client, kind: Kind, words: str) -> None:
    order = an_order(client)
    client.shop.fail_next("refunds", Fault(kind, words="" if kind in {Kind.REFUSE, Kind.RETURN_FALSE} else words))

    got = refund(client, order, amount="5.00")

    assert (client.last.status_code, got) == (500, {"code": "woocommerce_rest_cannot_create_order_refund", "message": words, "data": 500})
    assert (client.shop.refunds(order), amounts(client)) == ([], [])
    assert refund(client, order, amount="5.00")["refunded_payment"]


def test_a_gateway_that_lies_has_paid_and_the_record_is_gone(client: Client) -> None:
    order = an_order(client)
    client.shop.fail_next("gateway", Fault(Kind.PAY_AND_REFUSE))

    got = refund(client, order, amount="5.00")

    assert (client.last.status_code, got["message"].startswith("cURL error 28")) == (500, True)
    assert (client.shop.refunds(order), amounts(client)) == ([], ["5.00"])


@pytest.mark.parametrize(("kind", "paid"), [(Kind.DIE_BEFORE_PAYING, []), (Kind.DIE_AFTER_PAYING, ["5.00"])])
@pytest.mark.parametrize("status", [0, 200, 502, 504])
def test_php_that_dies_in_the_gateway_leaves_the_genuine_half_of_a_refund(
    client: Client, clock: Clock, kind: Kind, paid: list[str], status: int
) -> None:
    order = an_order(client)
    before = client.shop.order(order)
    clock.advance(60)
    client.shop.fail_next("gateway", Fault(kind, status=status))
    body = sample("refund-errors")[9]["request"]["body"]

    response = requests.post(f"{client.url}/wp-json/wc/v3/orders/{order}/refunds", json=body, auth=client.key, timeout=10)

    match status:
        case 0:
            assert (response.status_code, response.json()) == (500, sample("refund-errors")[9]["response"]["body"])
        case 200:
            assert (response.status_code, response.content) == (200, b"")
        case _:
            assert (response.status_code, response.headers["Content-Type"], "nginx" in response.text) == (
                status,
                "text/html; charset=UTF-8",
                True,
            )
    left = client.get(f"orders/{order}/refunds")
    assert differences(left, sample("refund-errors")[10]["response"]["body"], FREE) == []
    assert amounts(client) == paid
    assert client.shop.order(order) == {**before, "refunds": [{"id": left[0]["id"], "reason": "RMA-1003 [rma:bb22]", "total": "-5.00"}]}


@pytest.mark.parametrize("step", STEPS)
def test_php_can_die_between_any_two_steps(client: Client, clock: Clock, step: str) -> None:
    order = an_order(client)
    clock.advance(60)
    client.shop.fail_next(step, Fault(Kind.DIE))
    place = STEPS.index(step)

    got = refund(
        client, order, amount="25.65", reason="[rma:k]", line_items=one_shirt(client, order), meta_data=[{"key": "_rma_ref", "value": "k"}]
    )

    assert (client.last.status_code, got["code"]) == (500, "internal_server_error")
    left = client.shop.refunds(order)
    assert len(left) == (place > STEPS.index("before record"))
    assert len(amounts(client)) == (place >= STEPS.index("after gateway"))
    assert [one["refunded_payment"] for one in left] == [place >= STEPS.index("before restock")] * len(left)
    assert client.shop.stock("Shirt") == (98 if place >= STEPS.index("before touch") else 97)
    assert (client.shop.order(order)["date_modified_gmt"] == "2026-11-21T19:30:52") == (place >= STEPS.index("before hooks"))
    assert any(meta["key"] == "_rma_ref" for one in left for meta in one["meta_data"]) == (step == "after meta")


def test_a_gateway_that_takes_its_time_shows_a_record_that_is_not_paid_yet(client: Client) -> None:
    order = an_order(client)
    client.shop.fail_next("gateway", Fault(Kind.SLEEP, 0.5))
    sent = threading.Thread(target=refund, args=(client, order), kwargs={"amount": "5.00", "reason": "[rma:s]"})
    sent.start()
    while not (seen := client.shop.refunds(order)):
        pass

    assert [(one["refunded_payment"], one["reason"], one["meta_data"]) for one in seen] == [(False, "[rma:s]", [])]
    sent.join()
    assert client.shop.refunds(order)[0]["refunded_payment"]


# ── Answers that are lost ──


def test_an_answer_that_is_lost_was_paid(client: Client) -> None:
    order = an_order(client)
    client.shop.fail_next("POST refunds", Fault(Kind.LOSE_ANSWER))
    client.get(f"orders/{order}/refunds")  # not this one

    with pytest.raises(requests.ConnectionError):
        refund(client, order, amount="5.00")

    assert (amounts(client), client.shop.refunds(order)[0]["refunded_payment"]) == (["5.00"], True)


def test_a_connection_that_is_dropped_did_nothing(client: Client) -> None:
    order = an_order(client)
    client.shop.fail_next("POST refunds", Fault(Kind.DROP))

    with pytest.raises(requests.ConnectionError):
        refund(client, order, amount="5.00")

    assert (amounts(client), client.shop.refunds(order)) == ([], [])


def test_a_request_that_was_given_up_is_carried_out_when_its_time_comes(client: Client, clock: Clock) -> None:
    order = an_order(client)
    client.shop.fail_next("POST refunds", Fault(Kind.GO_ON, 30))
    with pytest.raises(requests.ConnectionError):
        refund(client, order, amount="5.00")

    clock.advance(29)
    assert (amounts(client), client.shop.refunds(order)) == ([], [])
    clock.advance(1)

    assert (amounts(client), len(client.shop.refunds(order))) == (["5.00"], 1)


def test_a_gateway_that_goes_on_after_the_client_gave_up_shows_its_record_at_once(client: Client, clock: Clock) -> None:
    order = an_order(client)
    client.shop.fail_next("gateway", Fault(Kind.GO_ON, 30))
    with pytest.raises(requests.ConnectionError):
        refund(client, order, amount="5.00", reason="[rma:g]", meta_data=[{"key": "_rma_ref", "value": "g"}])

    (while_it_runs,) = client.shop.refunds(order)
    assert (while_it_runs["refunded_payment"], while_it_runs["meta_data"], amounts(client)) == (False, [], [])
    clock.advance(30)

    (done,) = client.shop.refunds(order)
    assert (done["refunded_payment"], [meta["key"] for meta in done["meta_data"]], amounts(client)) == (
        True,
        ["_refund_type", "_rma_ref"],
        ["5.00"],
    )


def test_a_late_request_that_no_longer_fits_is_refused_and_nobody_hears_of_it(client: Client, clock: Clock) -> None:
    order = an_order(client)
    client.shop.fail_next("POST refunds", Fault(Kind.GO_ON, 30))
    with pytest.raises(requests.ConnectionError):
        refund(client, order, amount="76.96")
    client.shop.refund_in_admin(order, "1.00")

    clock.advance(60)

    assert (amounts(client), len(client.shop.refunds(order))) == ([], 1)
