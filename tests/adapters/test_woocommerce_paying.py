"""Refunds through a gateway: whatever goes wrong where, what is said is true, and the gateway's books show no payment too many."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from adapters.simulators.woocommerce import STEPS, Bought, Fault, Kind, ShopSettings
from adapters.woocommerce import client
from adapters.woocommerce.answers import Broken
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.store import WooStore
from connector.domain.money import Money
from connector.domain.orders import LineRef, OrderRef, RateRef, RefundRef, Tax, TenderRef, Worth
from connector.domain.platform import (
    OutcomeUnknown,
    PlatformError,
    Receipt,
    RefundOrder,
    Rejected,
    ReturnedLine,
    Revoked,
    SightingKind,
    TenderPart,
    Throttled,
    Voided,
)  # fmt: skip
from connector.domain.rma import Disposition
from tests.adapters import far
from tests.adapters.woo_money import Subject, attempt, of_amount, outcome, selling
from tests.adapters.woo_simulator import sample
from tests.contract.store_contract import a_refund

SETTLED, IN_DOUBT = SightingKind.SETTLED, SightingKind.IN_DOUBT
JSON: Final = "application/json; charset=UTF-8"
DIED: Final = Fault(Kind.ANSWER, words='{"code":"internal_server_error","message":""}', status=500, content_type=JSON)


@pytest.fixture
def subject() -> Iterator[Subject]:
    with selling() as one:
        yield one


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines for tests."""
    monkeypatch.setattr(client, "WRITE", timedelta(milliseconds=600))


# ── What is written ─────────────────────────────────────────────────────────────────────────────────────────────────


def genuine_refund() -> tuple[RefundOrder, dict[str, Any]]:
    """The genuine request of the samples, and what we are told so that we send it."""
    gst, qst = RateRef("1"), RateRef("2")
    tote = ReturnedLine(LineRef("622"), 1, Worth(899, (Tax(gst, 45), Tax(qst, 94))), ((Disposition.RESTOCK, 1),))
    post = ReturnedLine(LineRef("625"), 0, Worth(1250, (Tax(gst, 63), Tax(qst, 131))))
    amount = Money(2482, "CAD")
    told = RefundOrder(
        "7f3a9c", OrderRef("218"), "RMA-1001", amount, (TenderPart(TenderRef("txn_1001"), 2482),), (tote,), (post,), note="damaged"
    )
    return told, sample("refund-create")["request"]["body"]


def asked_for(told: RefundOrder) -> tuple[dict[str, Any], Receipt]:
    """The body that is posted for it, to a shop that says what the genuine one said."""
    order, made = sample("order-taxed-coupon-variation"), sample("refund-create")["response"]["body"]
    answers = (far.http(json.dumps(order)), far.http("[]"), far.http(json.dumps(made), "201 Created"))
    with far.serving(*answers) as there:
        url = f"http://127.0.0.1:{there.port}"
        platform = WooPlatform(dev=True)
        keys = {"url": url, "consumer_key": "ck_1", "consumer_secret": "cs_1"}
        store = platform.connect(platform.shop_at(url), keys, {"currency": "CAD", "decimals": "2", "gateways": "examplepay"})
        receipt = store.refund(told, attempt(told.key))
    head, _, body = there.requests[-1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /wp-json/wc/v3/orders/218/refunds?")
    return json.loads(body, parse_float=str), receipt


def test_the_request_is_the_genuine_one_with_amounts_as_plain_decimals() -> None:
    told, genuine = genuine_refund()

    body, receipt = asked_for(told)

    lines = body.pop("line_items")
    assert body == {name: value for name, value in genuine.items() if name != "line_items"}
    assert [(line["id"], line["quantity"], line["refund_total"]) for line in lines] == [(622, 1, "8.99"), (625, 0, "12.50")]
    assert lines[0]["refund_tax"] == [{"id": 1, "refund_total": "0.45"}, {"id": 2, "refund_total": "0.94"}]
    assert lines[1]["refund_tax"] == [{"id": 1, "refund_total": "0.63"}, {"id": 2, "refund_total": "1.31"}]
    assert receipt == Receipt(receipt.reference, told.amount)
    assert receipt.reference == "219"


@pytest.mark.parametrize(
    ("dispositions", "restocks"),
    [
        (((Disposition.RESTOCK, 2),), True),
        (((Disposition.RESTOCK, 1), (Disposition.DISPOSE, 1)), False),
        (((Disposition.RESTOCK, 1),), False),
        ((), False),
    ],
)
def test_both_switches_are_always_sent_and_goods_go_back_into_stock_only_together(
    dispositions: tuple[tuple[Disposition, int], ...], restocks: bool
) -> None:
    told, _ = genuine_refund()
    tote = replace(told.lines[0], quantity=2, dispositions=dispositions)

    body, _ = asked_for(replace(told, lines=(tote,)))

    assert (body["api_refund"], body["api_restock"]) == (True, restocks)


def test_a_line_that_is_told_twice_is_booked_once_with_its_sum() -> None:
    told, _ = genuine_refund()

    body, _ = asked_for(replace(told, lines=(*told.lines, *told.lines), charges=()))

    (line,) = body["line_items"]
    assert (line["quantity"], line["refund_total"]) == (2, "17.98")
    assert [tax["refund_total"] for tax in line["refund_tax"]] == ["0.90", "1.88"]


@pytest.mark.parametrize("note", ["<b>kaputt</b> [rma:0000]", "[rma:ffff]", "x" * 500, "zwei\nZeilen\x00\u202e", "“schön” — 5 €"])
def test_a39_a_note_is_plain_and_short_and_cannot_pass_for_a_marker(note: str) -> None:
    told, _ = genuine_refund()

    body, _ = asked_for(replace(told, note=note))

    assert body["reason"].startswith("RMA-1001")
    assert body["reason"].endswith(" [rma:7f3a9c]")
    assert body["reason"].count("[") == body["reason"].count("rma:7f3a9c") == 1
    assert len(body["reason"]) < 130
    assert body["reason"].isprintable()
    assert not set("<>\n") & set(body["reason"])


# ── Currencies ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("currency", "decimals", "net", "minor", "told"),
    [
        ("EUR", 2, "30.00", 1210, "12.10"),
        ("EUR", 2, "30.00", 1, "0.01"),
        ("EUR", 3, "30.00", 1210, "12.10"),
        ("EUR", 0, "300", 1200, "12.00"),
        ("JPY", 0, "3000", 1210, "1210"),
        ("JPY", 2, "3000", 1210, "1210"),
        ("KWD", 3, "30.000", 12101, "12.101"),
        ("KWD", 2, "30.00", 12100, "12.100"),
        ("KWD", 0, "30", 12000, "12.000"),
    ],
)
def test_a23_an_amount_reaches_the_gateway_as_it_was_meant(currency: str, decimals: int, net: str, minor: int, told: str) -> None:
    with selling(ShopSettings(currency=currency, decimals=decimals)) as subject:
        order = subject.order([Bought("Shirt", 3, net=net)])

        receipt = subject.store().refund(of_amount(order, minor), attempt("k"))

        assert [paid.amount for paid in subject.books] == [told]
        assert receipt.amount == Money(minor, currency)
        assert subject.store().order(order.ref).refunded == minor


@pytest.mark.parametrize(("currency", "decimals", "minor"), [("KWD", 2, 12101), ("EUR", 0, 1210), ("EUR", 1, 1211)])
def test_a23_what_the_decimals_of_a_shop_cannot_say_is_refused_and_not_rounded(currency: str, decimals: int, minor: int) -> None:
    with selling(ShopSettings(currency=currency, decimals=decimals)) as subject:
        order = subject.order([Bought("Shirt", 3, net="30")])

        with pytest.raises(Rejected):
            subject.store().refund(of_amount(order, minor), attempt("k"))

        assert (subject.asked("POST"), subject.books) == (0, [])


def test_a24_another_currency_than_the_orders_is_refused(subject: Subject) -> None:
    order = subject.order()

    with pytest.raises(Rejected):
        subject.store().refund(replace(of_amount(order, 100), amount=Money(100, "USD")), attempt("k"))

    assert (subject.asked("POST"), subject.books) == (0, [])


# ── What the order shows just before ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("minor", [0, -100, 3631, 10**12])
def test_a22_an_amount_that_is_none_or_above_the_rest_is_not_sent(subject: Subject, minor: int) -> None:
    order = subject.order()

    with pytest.raises(Rejected):
        subject.store().refund(of_amount(order, minor), attempt("k"))

    assert (subject.asked("POST"), subject.books) == (0, [])


@pytest.mark.parametrize("gateway", ["cod", "bacs", "a_plugin_that_is_gone"])
def test_a_gateway_that_cannot_send_money_back_is_not_asked(subject: Subject, gateway: str) -> None:
    order = subject.order(gateway=gateway)

    with pytest.raises(Rejected):
        subject.store().refund(of_amount(order, 100), attempt("k"))

    assert subject.asked("POST") == 0


def test_an_order_that_was_never_paid_gets_nothing_although_the_shop_would_ask_its_gateway(subject: Subject) -> None:
    ref = subject.place(status="pending", paid=False)
    told = of_amount(subject.store().order(ref), 100)

    with pytest.raises(Rejected):
        subject.store().refund(told, attempt("k"))

    assert (subject.asked("POST"), subject.books) == (0, [])


def test_f25_an_order_that_is_gone_is_refused_and_a_look_says_nothing(subject: Subject) -> None:
    order = subject.order()
    subject.shop.delete(int(order.ref))

    with pytest.raises(Rejected):
        subject.store().refund(of_amount(order, 100), attempt("k"))

    assert subject.store().find_refund(of_amount(order, 100), attempt("k", age=9e4)).kind is IN_DOUBT


@pytest.mark.parametrize("route", ["GET order", "GET refunds"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(Kind.DROP), Throttled),
        (Fault(Kind.PAGE, status=502), Throttled),
        (Fault(Kind.LOGIN_WALL), Throttled),
        (Fault(Kind.WAF), Throttled),
        (Fault(Kind.TRUNCATE), Throttled),
        (Fault(Kind.ANSWER, words='{"id": 1}', content_type=JSON), Throttled),
        (Fault(Kind.ANSWER, words='[{"id": "7"}]', content_type=JSON), Throttled),
        (Fault(Kind.ANSWER, status=401, words='{"code": "woocommerce_rest_cannot_view", "message": "."}', content_type=JSON), Revoked),
    ],
)
def test_f08_f10_what_cannot_be_read_before_leaves_nothing_behind(
    subject: Subject, route: str, fault: Fault, error: type[PlatformError]
) -> None:
    order = subject.order()
    subject.shop.fail_next(route, fault, times=2)

    with pytest.raises(error):
        subject.store().refund(of_amount(order, 100), attempt("k"))

    assert (subject.asked("POST"), subject.books) == (0, [])


# ── Everything that goes wrong ──────────────────────────────────────────────────────────────────────────────────────

ODD: Final = [
    # what happens | what is said | payments | what a look says
    ("gateway refuses", Fault(Kind.REFUSE), OutcomeUnknown, 0, IN_DOUBT),
    ("gateway says false", Fault(Kind.RETURN_FALSE), OutcomeUnknown, 0, IN_DOUBT),
    ("gateway throws", Fault(Kind.THROW, words="Boom"), OutcomeUnknown, 0, IN_DOUBT),
    ("gateway lies", Fault(Kind.PAY_AND_REFUSE), OutcomeUnknown, 1, IN_DOUBT),
    ("php dies before", Fault(Kind.DIE_BEFORE_PAYING), OutcomeUnknown, 0, IN_DOUBT),
    ("php exits before", Fault(Kind.DIE_BEFORE_PAYING, status=200), OutcomeUnknown, 0, IN_DOUBT),
    ("php killed before", Fault(Kind.DIE_BEFORE_PAYING, status=502), OutcomeUnknown, 0, IN_DOUBT),
    ("php dies after", Fault(Kind.DIE_AFTER_PAYING), OutcomeUnknown, 1, IN_DOUBT),
    ("php exits after", Fault(Kind.DIE_AFTER_PAYING, status=200), OutcomeUnknown, 1, IN_DOUBT),
    ("php killed after", Fault(Kind.DIE_AFTER_PAYING, status=502), OutcomeUnknown, 1, IN_DOUBT),
    ("f04 answer lost", Fault(Kind.LOSE_ANSWER), OutcomeUnknown, 1, SETTLED),
    ("f05 dropped", Fault(Kind.DROP), OutcomeUnknown, 0, IN_DOUBT),
    ("f06 f07 cut off", Fault(Kind.TRUNCATE), OutcomeUnknown, 1, SETTLED),
    ("f08 html 200, nothing done", Fault(Kind.PAGE), OutcomeUnknown, 0, IN_DOUBT),
    ("f08 html 200, done", Fault(Kind.PAGE, effect=True), OutcomeUnknown, 1, SETTLED),
    ("f08 login wall", Fault(Kind.LOGIN_WALL), OutcomeUnknown, 0, IN_DOUBT),
    ("f08 firewall", Fault(Kind.WAF), OutcomeUnknown, 0, IN_DOUBT),
    ("f08 maintenance", Fault(Kind.MAINTENANCE), OutcomeUnknown, 0, IN_DOUBT),
    ("f10 502, nothing done", Fault(Kind.PAGE, status=502), OutcomeUnknown, 0, IN_DOUBT),
    ("f10 502, done", Fault(Kind.PAGE, status=502, effect=True), OutcomeUnknown, 1, SETTLED),
    ("f10 503, done", Fault(Kind.PAGE, status=503, effect=True, retry_after="30"), OutcomeUnknown, 1, SETTLED),
    ("f10 504, nothing done", Fault(Kind.PAGE, status=504), OutcomeUnknown, 0, IN_DOUBT),
    ("f11 429", Fault(Kind.PAGE, status=429, retry_after="600"), Throttled, 0, IN_DOUBT),
    ("redirect", Fault(Kind.REDIRECT), OutcomeUnknown, 0, IN_DOUBT),
    ("redirect 307", Fault(Kind.REDIRECT, status=307), OutcomeUnknown, 0, IN_DOUBT),
    ("redirect, done", Fault(Kind.REDIRECT, effect=True), OutcomeUnknown, 1, SETTLED),
    ("empty 200", Fault(Kind.ANSWER, content_type=JSON), OutcomeUnknown, 0, IN_DOUBT),
    ("list of refunds", Fault(Kind.ANSWER, words="[]", content_type=JSON), OutcomeUnknown, 0, IN_DOUBT),
    ("notice before it", Fault(Kind.NOTICE), Receipt, 1, SETTLED),
    ("byte order mark", Fault(Kind.BOM), Receipt, 1, SETTLED),
    ("slow", Fault(Kind.SLOW_ANSWER, seconds=0.05), Receipt, 1, SETTLED),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "said", "payments", "look"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_f02_to_f11_whatever_goes_wrong_what_is_said_is_true(
    subject: Subject, fault: Fault, said: type[object], payments: int, look: SightingKind
) -> None:
    told = a_refund(subject.order())
    store = subject.store()
    subject.shop.fail_next("POST refunds", fault)

    found = outcome(lambda: store.refund(told, attempt(told.key)))

    assert type(found) is said
    assert subject.asked("POST") == 1
    assert subject.paid(told.key) == ["12.10"] * payments
    sighting = store.find_refund(told, attempt(told.key, age=9e4))
    assert sighting.kind is look
    assert sighting.receipt == (Receipt(sighting.receipt.reference, told.amount) if sighting.receipt else None)


@pytest.mark.parametrize("status", [0, 200, 502])
@pytest.mark.parametrize("step", STEPS)
def test_f02_php_dies_between_any_two_steps_and_no_second_payment_follows_a_record(subject: Subject, step: str, status: int) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next(step, Fault(Kind.DIE, status=status))

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt(told.key))

    paid = 0 if step in {"before record", "before gateway"} else 1
    confirmed = STEPS.index(step) > STEPS.index("after gateway")
    assert len(subject.paid(told.key)) == paid
    assert subject.store().find_refund(told, attempt(told.key)).kind is (SETTLED if confirmed else IN_DOUBT)
    again = outcome(lambda: subject.store().refund(told, attempt(told.key)))
    assert type(again) is (Receipt if confirmed or step == "before record" else OutcomeUnknown)
    assert len(subject.paid(told.key)) == (1 if step == "before record" else paid)


def test_the_words_of_the_gateway_reach_the_desk(subject: Subject) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("gateway", Fault(Kind.REFUSE, words="Card <b>declined</b> for kim@example.com"))

    with pytest.raises(OutcomeUnknown) as unknown:
        subject.store().refund(told, attempt(told.key))

    assert "Card declined for …" in unknown.value.words


@pytest.mark.parametrize(
    "fault", [Fault(Kind.SLEEP, seconds=1), Fault(Kind.DRIP, seconds=0.05), Fault(Kind.ENDLESS), Fault(Kind.SLOW_ANSWER, seconds=1)]
)
def test_f04_whoever_pays_beyond_the_deadline_is_found_by_key(subject: Subject, fault: Fault, hurry: None) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("POST refunds", fault)
    began = time.monotonic()

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt(told.key))

    assert time.monotonic() - began < 5
    for _ in range(100):
        if subject.store().find_refund(told, attempt(told.key)).kind is SETTLED:
            break
        time.sleep(0.05)
    assert subject.paid(told.key) == ["12.10"]
    assert subject.store().find_refund(told, attempt(told.key)).kind is SETTLED


def test_f26_a_refund_that_the_shop_goes_on_with_alone_is_in_doubt_until_it_is_there(subject: Subject) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("gateway", Fault(Kind.GO_ON, seconds=300))

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt(told.key))
    before = subject.store().find_refund(told, attempt(told.key, age=9e4))
    subject.later(301)
    after = subject.store().find_refund(told, attempt(told.key))

    assert (before.kind, after.kind) == (IN_DOUBT, SETTLED)
    assert subject.paid(told.key) == ["12.10"]


@pytest.mark.parametrize("where", ["GET order", "GET refunds"])
def test_f39_a_read_over_which_wordpress_fails_before_anything_is_written_says_that_nothing_happened(subject: Subject, where: str) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next(where, DIED, times=None)

    assert isinstance(outcome(lambda: subject.store().refund(told, attempt(told.key))), Throttled)
    assert (subject.asked("POST"), subject.paid(told.key)) == (0, [])


def test_f39_a_look_over_which_wordpress_fails_says_nothing_of_the_payment(subject: Subject) -> None:
    told = a_refund(subject.order())
    subject.store().refund(told, attempt(told.key))
    subject.shop.fail_next("GET refunds", DIED)

    with pytest.raises(Broken):
        subject.store().find_refund(told, attempt(told.key, age=9e4))
    assert subject.store().find_refund(told, attempt(told.key, age=9e4)).kind is SETTLED


def test_f26_a_payment_that_failed_hours_later_and_took_its_record_along_is_in_doubt_again(subject: Subject) -> None:
    told = a_refund(subject.order())
    receipt = subject.store().refund(told, attempt(told.key))
    subject.shop.delete_refund(int(told.order), int(receipt.reference))

    assert subject.store().find_refund(told, attempt(told.key, age=9e4)).kind is IN_DOUBT


# ── Answers that are none ───────────────────────────────────────────────────────────────────────────────────────────

RIGHT: Final = {"id": 77, "amount": "12.10", "reason": "", "refunded_payment": True, "meta_data": []}


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "12.11"},
        {"amount": "1210"},
        {"amount": "-12.10"},
        {"amount": ""},
        {"amount": 12.11},
        {"amount": None},
        {"id": None},
        {"id": "77"},
        {"id": 0},
        {"id": True},
        {"refunded_payment": None},
        {"refunded_payment": "true"},
        {"refunded_payment": 1},
        {"refunded_payment": False},
        {"amount": "12.10 EUR"},
    ],
)
def test_a16_an_answer_of_another_amount_or_without_what_proves_it_proves_nothing(subject: Subject, wrong: dict[str, object]) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("POST refunds", Fault(Kind.ANSWER, status=201, words=json.dumps({**RIGHT, **wrong}), content_type=JSON))

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt(told.key))


@pytest.mark.parametrize("missing", ["id", "amount", "refunded_payment"])
def test_a16_nor_does_one_that_lacks_it(subject: Subject, missing: str) -> None:
    told = a_refund(subject.order())
    body = {name: value for name, value in RIGHT.items() if name != missing}
    subject.shop.fail_next("POST refunds", Fault(Kind.ANSWER, status=201, words=json.dumps(body), content_type=JSON))

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt(told.key))


@pytest.mark.parametrize("status", [200, 202])
def test_a_right_answer_with_another_status_proves_nothing(subject: Subject, status: int) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("POST refunds", Fault(Kind.ANSWER, status=status, words=json.dumps(RIGHT), content_type=JSON))

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt(told.key))


@pytest.mark.parametrize("told_to_wait", ["120", "Fri, 31 Dec 2100 23:59:59 GMT", "-5", "315360000", None, "soon"])
def test_f12_too_many_requests_come_back_after_a_bounded_time(subject: Subject, told_to_wait: str | None) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("POST refunds", Fault(Kind.PAGE, status=429, retry_after=told_to_wait))

    with pytest.raises(Throttled) as busy:
        subject.store().refund(told, attempt(told.key))

    assert timedelta(seconds=1) <= busy.value.retry_after <= timedelta(hours=1)
    assert subject.books == []


# ── What happens between our read and our request ───────────────────────────────────────────────────────────────────


def test_f15_a_500_because_the_merchant_was_faster_is_no_refusal(subject: Subject) -> None:
    told = of_amount(subject.order(), 2000, key="ours")

    def meanwhile() -> bool:
        subject.shop.refund_in_admin(int(told.order), "20.00", through_gateway=True)
        return True

    with pytest.raises(OutcomeUnknown) as unknown:
        subject.store().refund(told, attempt("ours", still_mine=meanwhile))

    assert "Invalid refund amount" in unknown.value.words
    assert [paid.amount for paid in subject.books] == ["20.00"]
    assert subject.store().find_refund(told, attempt("ours")).kind is IN_DOUBT
    with pytest.raises(Rejected):  # what the read before shows is a refusal: nothing is sent
        subject.store().refund(told, attempt("ours"))
    assert subject.asked("POST") == 1


@pytest.mark.parametrize(("what", "error"), [("revoke", Revoked), ("demote", Revoked), ("delete", OutcomeUnknown)])
def test_f25_f27_f28_f30_keys_and_orders_that_go_away_meanwhile(subject: Subject, what: str, error: type[PlatformError]) -> None:
    told = a_refund(subject.order())

    def meanwhile() -> bool:
        match what:
            case "revoke":
                subject.shop.revoke(subject.keys[0])
            case "demote":
                subject.shop.demote()
            case _:
                subject.shop.delete(int(told.order))
        return True

    with pytest.raises(error):
        subject.store().refund(told, attempt(told.key, still_mine=meanwhile))

    assert subject.books == []


def test_f57_it_is_asked_whose_turn_it_is_after_the_reads_and_nothing_is_written_on_a_no(subject: Subject) -> None:
    told, store = a_refund(subject.order()), subject.store()
    store.order(told.order)  # a connection is kept by now
    before: list[int] = []

    def not_mine() -> bool:
        before.append(len(subject.shop.requests))
        return False

    with pytest.raises(Voided):
        store.refund(told, attempt(told.key, still_mine=not_mine))

    assert before == [len(subject.shop.requests)]
    assert (subject.asked("POST"), subject.books) == (0, [])


def test_f06_a_connection_that_broke_is_used_again_for_reads_and_never_for_the_request(subject: Subject) -> None:
    told, store = a_refund(subject.order()), subject.store()
    store.order(told.order)
    subject.shop.fail_next("GET order", Fault(Kind.DROP))  # closed under our hands: asked again
    subject.shop.fail_next("POST refunds", Fault(Kind.DROP))

    with pytest.raises(OutcomeUnknown):
        store.refund(told, attempt(told.key))

    assert subject.asked("POST") == 1
    assert subject.books == []


# ── Markers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_f02_a_refund_that_is_listed_with_our_marker_is_taken_for_ours_and_not_made_again(subject: Subject) -> None:
    told = a_refund(subject.order())
    first = subject.store().refund(told, attempt(told.key))

    assert subject.store().refund(told, attempt(told.key)) == first
    assert subject.asked("POST") == 1


@pytest.mark.parametrize(
    "reason", ["as [rma:ours2] says", "[rma:our]", "[RMA:ours]", "rma:ours", "[rma:ours", "[rma: ours]", "[rma:ours] then [rma:other]"]
)
def test_what_only_looks_like_our_marker_is_somebody_elses(subject: Subject, reason: str) -> None:
    told = of_amount(subject.order(), 1000, key="ours")
    subject.shop.refund_in_admin(int(told.order), "10.00", through_gateway=True, reason=reason)

    look = subject.store().find_refund(told, attempt("ours"))
    subject.store().refund(told, attempt("ours"))

    assert look.kind is IN_DOUBT
    assert [paid.amount for paid in subject.books] == ["10.00", "10.00"]


def test_a_marker_that_a_person_wrote_under_a_refund_by_hand_proves_no_payment_and_stops_ours(subject: Subject) -> None:
    told = of_amount(subject.order(), 1000, key="ours")
    subject.shop.refund_in_admin(int(told.order), "10.00", reason="paid in cash [rma:ours]")

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt("ours"))

    assert subject.store().find_refund(told, attempt("ours", age=9e4)).kind is IN_DOUBT
    assert (subject.asked("POST"), subject.books) == (0, [])


def test_of_two_with_our_marker_the_one_that_paid_counts(subject: Subject) -> None:
    told = of_amount(subject.order(), 1000, key="ours")
    for through_gateway in (False, True, False):
        subject.shop.refund_in_admin(int(told.order), "10.00", through_gateway=through_gateway, reason="[rma:ours]")
    paid = next(each["id"] for each in subject.shop.refunds(int(told.order)) if each["refunded_payment"])

    assert subject.store().find_refund(told, attempt("ours")).receipt == Receipt(RefundRef(str(paid)), told.amount)
    assert subject.store().refund(told, attempt("ours")).reference == str(paid)


def test_another_amount_under_our_marker_is_told_as_it_is_and_never_paid_again(subject: Subject) -> None:
    told = of_amount(subject.order(), 1000, key="ours")
    subject.shop.refund_in_admin(int(told.order), "9.00", through_gateway=True, reason="[rma:ours]")

    with pytest.raises(OutcomeUnknown):
        subject.store().refund(told, attempt("ours"))

    receipt = subject.store().find_refund(told, attempt("ours")).receipt
    assert receipt is not None
    assert receipt.amount == Money(900, "EUR")
    assert subject.asked("POST") == 0


def test_f02_the_oldest_of_more_refunds_than_a_page_holds_is_found(subject: Subject) -> None:
    told = of_amount(subject.order(), 1000, key="ours")
    receipt = subject.store().refund(told, attempt("ours"))
    for _ in range(204):
        subject.shop.refund_in_admin(int(told.order), "0.01")
    reads = subject.asked("GET")

    assert subject.store().find_refund(told, attempt("ours")).receipt == receipt
    assert subject.asked("GET") == reads + 3
    assert subject.store().refund(told, attempt("ours")) == receipt
    assert subject.asked("POST") == 1


@pytest.mark.parametrize("odd", [[{"id": 7}], {"id": 7}, [{"id": 7, "reason": 5, "meta_data": []}], [{"id": 7, "meta_data": [5]}]])
def test_a16_a_list_that_cannot_be_read_leaves_it_in_doubt(subject: Subject, odd: object) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("GET refunds", Fault(Kind.ANSWER, words=json.dumps(odd), content_type=JSON))

    assert subject.store().find_refund(told, attempt(told.key, age=9e4)).kind is IN_DOUBT


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(Kind.PAGE, status=503), Throttled),
        (Fault(Kind.LOGIN_WALL), Throttled),
        (Fault(Kind.DROP), Throttled),
        (Fault(Kind.ANSWER, status=401, words='{"code": "woocommerce_rest_cannot_view"}', content_type=JSON), Revoked),
    ],
)
def test_a_look_at_a_shop_that_does_not_answer_says_so(subject: Subject, fault: Fault, error: type[PlatformError]) -> None:
    told = a_refund(subject.order())
    subject.shop.fail_next("GET refunds", fault, times=2)

    with pytest.raises(error):
        subject.store().find_refund(told, attempt(told.key))


# ── Several at once ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("same_key", [True, False])
def test_f13_two_at_once_are_not_prevented_here_and_nothing_is_said_wrongly(subject: Subject, same_key: bool) -> None:
    order = subject.order()
    both_have_read = threading.Barrier(2, timeout=20)

    def pay(store: WooStore, told: RefundOrder) -> Receipt | PlatformError:
        return outcome(lambda: store.refund(told, attempt(told.key, still_mine=lambda: both_have_read.wait() >= 0)))

    tolds = [of_amount(order, 2000, key="first"), of_amount(order, 2000, key="first" if same_key else "second")]
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(pay, subject.store(), told) for told in tolds]
        said = [each.result() for each in running]

    receipts = [each for each in said if isinstance(each, Receipt)]
    listed = {str(each["id"]): each for each in subject.shop.refunds(int(order.ref))}
    assert {type(each) for each in said} <= {Receipt, OutcomeUnknown}  # a 500 is no refusal
    assert len(receipts) == len(subject.books) == len({each.reference for each in receipts})
    assert all(listed[each.reference]["refunded_payment"] for each in receipts)
    for told in tolds:
        paid = bool(subject.paid(f"{told.key}]"))
        assert (subject.store().find_refund(told, attempt(told.key)).kind is SETTLED) is paid
