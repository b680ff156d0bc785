"""Store credit in two steps: wherever a run dies, the next one finishes what there is, and nothing is booked or given twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from adapters.simulators.woocommerce import Bought, Fault, Kind, ShopSettings
from adapters.woocommerce import client, crediting
from connector.domain import money
from connector.domain.money import Money
from connector.domain.orders import Order
from connector.domain.platform import (
    CreditOrder,
    OutcomeUnknown,
    PlatformError,
    Receipt,
    Rejected,
    Revoked,
    SightingKind,
    Throttled,
    Voided,
)  # fmt: skip
from tests.adapters.woo_money import Subject, attempt, outcome, selling
from tests.contract.store_contract import a_credit

SETTLED, IN_DOUBT, ABSENT = SightingKind.SETTLED, SightingKind.IN_DOUBT, SightingKind.ABSENT
JSON: Final = "application/json; charset=UTF-8"
QUIET: Final = 15 * 60  # seconds


@pytest.fixture
def subject() -> Iterator[Subject]:
    with selling() as one:
        yield one


def records(subject: Subject, told: CreditOrder) -> list[dict[str, Any]]:
    return [each for each in subject.shop.refunds(int(told.order)) if f"[rma:{told.key}]" in each["reason"]]


def look(subject: Subject, told: CreditOrder, *, age: float = 0) -> SightingKind:
    return subject.store().find_credit(told, attempt(told.key, age=age)).kind


def issue(subject: Subject, told: CreditOrder, still_mine: Callable[[], bool] = lambda: True) -> Receipt:
    return subject.store().issue_credit(told, attempt(told.key, still_mine=still_mine))


def turn(subject: Subject, *, inclusive: bool) -> None:
    """The merchant changes how prices are entered, and no probe has seen it yet."""
    subject.shop.settings = subject.shop.site.settings = replace(subject.shop.settings, prices_include_tax=inclusive)


def complete(subject: Subject, told: CreditOrder, said: Receipt, worth: str = "10.00") -> None:
    """One record, one coupon, no payment, and a receipt of just that."""
    (record,), (coupon,) = records(subject, told), subject.shop.coupons()
    assert (record["amount"], record["refunded_payment"]) == ("12.10", False)
    assert (coupon["code"], coupon["amount"], coupon["usage_limit"], coupon["individual_use"]) == (told.code.lower(), worth, 1, False)
    assert coupon["email_restrictions"] == ["kim@example.com"]
    assert [meta["value"] for meta in coupon["meta_data"] if meta["key"] == "_rma_ref"] == [told.key]
    assert subject.books == []
    assert (said.reference, said.amount) == (str(record["id"]), told.amount)
    assert said.worth == Money(int(worth.replace(".", "")), "EUR")
    assert subject.store().find_credit(told, attempt(told.key)).receipt == said


# ── What a code can buy ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "line", "bonus", "promised", "says"),
    [
        (ShopSettings(), Bought("Shirt", 3, net="30.00"), 0, 1210, "10.00"),
        (ShopSettings(), Bought("Shirt", 3, net="30.00"), 121, 1210, "11.00"),
        (ShopSettings(), Bought("Shirt", 3, net="29.97"), 0, 1208, "9.99"),
        (ShopSettings(prices_include_tax=True), Bought("Shirt", 3, gross="36.30"), 0, 1210, "12.10"),
        (ShopSettings(prices_include_tax=True), Bought("Shirt", 3, gross="36.30"), 121, 1210, "13.31"),
        (ShopSettings(rates=()), Bought("Shirt", 3, net="30.00"), 0, 1000, "10.00"),
        (ShopSettings(currency="JPY", decimals=0), Bought("Shirt", 3, net="3000"), 0, 1210, "1000"),
        (ShopSettings(currency="JPY", decimals=0), Bought("Shirt", 3, net="3000"), 100, 1210, "1083"),
        (ShopSettings(currency="KWD", decimals=3), Bought("Shirt", 3, net="30.000"), 0, 12100, "10.000"),
        (ShopSettings(currency="KWD", decimals=3), Bought("Shirt", 3, net="30.000"), 1, 12100, "10.001"),
        (ShopSettings(currency="EUR", decimals=0, rates=()), Bought("Shirt", 3, net="30"), 150, 1000, "12"),
    ],
)
def test_a23_m7_a_code_says_to_the_cent_what_was_promised(
    settings: ShopSettings, line: Bought, bonus: int, promised: int, says: str
) -> None:
    with selling(settings) as subject:
        told = a_credit(subject.order([line]), bonus=bonus)

        receipt = issue(subject, told)

        assert (told.amount.minor, receipt.amount) == (promised, told.amount)
        assert [coupon["amount"] for coupon in subject.shop.coupons()] == [says]
        assert receipt.worth == Money(money.parse(says, money.decimals(settings.currency)), settings.currency)
        assert subject.store().order(told.order).refunded == promised
        assert subject.books == []


def test_m7_who_types_the_code_gets_what_was_promised_off(subject: Subject) -> None:
    told = a_credit(subject.order(), 3)
    issue(subject, told)

    spent = subject.order([Bought("Coat", 1, net="50.00")], coupons=[told.code])

    assert spent.total == 6050 - told.amount.minor


def test_m7_a_credit_in_another_currency_than_the_shops_is_refused(subject: Subject) -> None:
    told = a_credit(subject.order())

    with pytest.raises(Rejected):
        subject.store({"currency": "USD"}).issue_credit(told, attempt(told.key))

    assert (subject.asked("POST"), subject.asked("POST", "/coupons")) == (0, 0)


def test_m7_no_credit_is_given_where_nobody_could_use_a_code() -> None:
    with selling(ShopSettings(coupons=False)) as subject:
        store, told = subject.store(), a_credit(subject.order())
        assert store.probe()["coupons"] == "no"

        with pytest.raises(Rejected, match="switched off"):
            store.issue_credit(told, attempt(told.key))

        assert not store.capabilities().store_credit
        assert (records(subject, told), subject.shop.coupons()) == ([], [])
        assert (subject.asked("POST"), subject.asked("POST", "/coupons")) == (0, 0)


def test_m7_a_record_that_was_booked_before_coupons_were_switched_off_gets_its_code(subject: Subject) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("POST coupons", Fault(Kind.PAGE, status=503))
    with pytest.raises(OutcomeUnknown):
        issue(subject, told)

    complete(subject, told, subject.store({"coupons": "no"}).issue_credit(told, attempt(told.key)))


def test_m7_the_mode_of_taxes_changes_between_the_steps_and_the_receipt_says_what_the_code_says(subject: Subject) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("POST coupons", Fault(Kind.DROP))
    outcome(lambda: issue(subject, told))
    turn(subject, inclusive=True)

    said = issue(subject, told)  # so it is counted from now on
    again = issue(subject, told)

    complete(subject, told, said, worth="12.10")
    assert again == said


@pytest.mark.parametrize(("before", "worth"), [(False, "12.10"), (True, "10.00")], ids=["to gross", "to net"])
@pytest.mark.parametrize("when", ["before the run", "within the run"])
def test_m7_a_code_is_worth_what_was_promised_though_the_last_probe_saw_another_mode_of_taxes(
    before: bool,
    worth: str,
    when: str,
) -> None:
    with selling(ShopSettings(prices_include_tax=before)) as subject:
        told = a_credit(subject.order([Bought("Shirt", 3, gross="36.30") if before else Bought("Shirt", 3, net="30.00")]))
        store = subject.store({"prices_include_tax": "yes" if before else "no"})  # as it was probed

        def change() -> bool:
            turn(subject, inclusive=not before)
            return True

        if when == "before the run":
            change()
        receipt = store.issue_credit(told, attempt(told.key, still_mine=change))

        complete(subject, told, receipt, worth)
        price = Bought("Coat", 1, net="50.00") if before else Bought("Coat", 1, gross="60.50")
        assert subject.order([price], coupons=[told.code]).total == 6050 - told.amount.minor  # what was given up, to the cent


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.PAGE, status=503),
        Fault(Kind.WAF),
        Fault(Kind.ANSWER, words='{"id": "woocommerce_prices_include_tax", "value": ""}', content_type=JSON),
        Fault(Kind.ANSWER, words="[]", content_type=JSON),
        Fault(Kind.ANSWER, status=400, words='{"code": "rest_invalid_param"}', content_type=JSON),
        Fault(Kind.ANSWER, status=404, words='{"code": "rest_setting_setting_invalid"}', content_type=JSON),
    ],
)
def test_m7_a_mode_of_taxes_that_cannot_be_read_puts_the_credit_off_before_anything_is_written(subject: Subject, fault: Fault) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("GET settings", fault, times=None)

    with pytest.raises(Throttled):
        issue(subject, told)

    assert (subject.asked("POST"), subject.asked("POST", "/coupons")) == (0, 0)
    subject.shop.heal()
    complete(subject, told, issue(subject, told))


# ── Where a run dies ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["POST refunds", "POST coupons"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.DROP),
        Fault(Kind.LOSE_ANSWER),
        Fault(Kind.TRUNCATE),
        Fault(Kind.PAGE),
        Fault(Kind.PAGE, effect=True),
        Fault(Kind.PAGE, status=502, effect=True),
        Fault(Kind.REDIRECT),
        Fault(Kind.REDIRECT, effect=True),
        Fault(Kind.WAF),
        Fault(Kind.MAINTENANCE),
        Fault(Kind.ANSWER, content_type=JSON),
        Fault(Kind.ANSWER, status=201, words='{"id": 7}', content_type=JSON),
        Fault(Kind.ANSWER, status=500, words='{"code": "internal_server_error"}', content_type=JSON),
    ],
)
def test_f02_f10_wherever_a_run_dies_the_next_one_finishes_what_there_is(subject: Subject, where: str, fault: Fault) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next(where, fault)

    with pytest.raises(OutcomeUnknown):
        issue(subject, told)

    both_there = where == "POST coupons" and (fault.effect or fault.kind in {Kind.LOSE_ANSWER, Kind.TRUNCATE})
    assert look(subject, told) is (SETTLED if both_there else IN_DOUBT)
    assert look(subject, told, age=QUIET - 1) is (SETTLED if both_there else IN_DOUBT)
    assert look(subject, told, age=QUIET + 1) is (SETTLED if both_there else ABSENT)
    complete(subject, told, issue(subject, told))


@pytest.mark.parametrize(
    "step", ["before record", "before restock", "before touch", "before hooks", "before meta", "after meta"]
)  # no gateway is asked
def test_f02_php_dies_between_any_two_steps_of_the_record(subject: Subject, step: str) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next(step, Fault(Kind.DIE))

    with pytest.raises(OutcomeUnknown):
        issue(subject, told)

    assert look(subject, told) is IN_DOUBT
    complete(subject, told, issue(subject, told))


@pytest.mark.parametrize("route", ["GET coupons", "GET refunds", "GET settings"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.PAGE, status=429, retry_after="9"),
        Fault(Kind.PAGE, status=503),
        Fault(Kind.ANSWER, words='{"code": "x"}', content_type=JSON),
        Fault(Kind.ANSWER, status=401, words='{"code": "woocommerce_rest_cannot_view"}', content_type=JSON),
        Fault(Kind.ANSWER, status=400, words='{"code": "rest_invalid_param"}', content_type=JSON),
    ],
)
def test_once_the_record_is_booked_nothing_says_that_nothing_happened(subject: Subject, route: str, fault: Fault) -> None:
    told = a_credit(subject.order())

    def then_it_breaks() -> bool:
        subject.shop.fail_next(route, fault, times=2)
        return True

    said = outcome(lambda: issue(subject, told, then_it_breaks))

    subject.shop.heal()
    assert len(records(subject, told)) == 1
    # A list of refunds that is refused is none that shows a second record.
    assert type(said) is (Receipt if route == "GET refunds" and fault.status == 400 else OutcomeUnknown)
    complete(subject, told, issue(subject, told))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, ""),
        (401, "woocommerce_rest_cannot_create"),
        (403, "rest_forbidden"),
        (404, "rest_no_route"),
        (400, "woocommerce_rest_invalid_coupon"),
    ],
)
def test_a_coupon_that_is_refused_after_the_record_is_no_refusal(subject: Subject, status: int, code: str) -> None:
    told = a_credit(subject.order())
    words = json.dumps({"code": code, "message": "Nein."})
    subject.shop.fail_next("POST coupons", Fault(Kind.ANSWER, status=status, words=words, content_type=JSON))

    with pytest.raises(OutcomeUnknown):
        issue(subject, told)

    assert look(subject, told, age=QUIET + 1) is ABSENT
    complete(subject, told, issue(subject, told))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(Kind.PAGE, status=429), Throttled),
        (Fault(Kind.ANSWER, status=401, words='{"code": "woocommerce_rest_cannot_create"}', content_type=JSON), Revoked),
        (Fault(Kind.ANSWER, status=400, words='{"code": "rest_invalid_param"}', content_type=JSON), Rejected),
    ],
)
def test_before_the_record_what_did_nothing_says_so(subject: Subject, fault: Fault, error: type[PlatformError]) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("POST refunds", fault)

    with pytest.raises(error):
        issue(subject, told)

    assert (records(subject, told), subject.shop.coupons()) == ([], [])


def test_f26_a_record_that_the_shop_goes_on_with_alone_is_not_booked_again(subject: Subject) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("POST refunds", Fault(Kind.GO_ON, seconds=500))

    with pytest.raises(OutcomeUnknown):
        issue(subject, told)
    before = look(subject, told, age=QUIET - 1)
    subject.later(501)

    assert before is IN_DOUBT
    assert len(records(subject, told)) == 1
    complete(subject, told, issue(subject, told))


def test_f26_a_coupon_that_comes_late_is_taken_for_ours(subject: Subject) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("POST coupons", Fault(Kind.GO_ON, seconds=500))

    with pytest.raises(OutcomeUnknown):
        issue(subject, told)
    subject.later(501)

    assert look(subject, told) is SETTLED
    complete(subject, told, issue(subject, told))


def test_f57_the_first_write_of_a_run_is_asked_for_whichever_it_is(subject: Subject) -> None:
    told = a_credit(subject.order())
    with pytest.raises(Voided):
        issue(subject, told, lambda: False)
    assert (records(subject, told), subject.shop.coupons()) == ([], [])

    subject.shop.fail_next("POST coupons", Fault(Kind.DROP))
    outcome(lambda: issue(subject, told))
    with pytest.raises(OutcomeUnknown):  # the record is there: it may not be said that nothing happened
        issue(subject, told, lambda: False)

    assert subject.shop.coupons() == []
    complete(subject, told, issue(subject, told))


def test_f57_a_run_that_slept_between_its_steps_writes_no_code_when_it_wakes(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    told = a_credit(subject.order())
    monkeypatch.setattr(crediting, "_SECOND", timedelta(0))

    with pytest.raises(OutcomeUnknown):
        issue(subject, told)

    assert (len(records(subject, told)), subject.shop.coupons()) == (1, [])
    monkeypatch.undo()
    complete(subject, told, issue(subject, told))


def test_the_second_step_ends_before_the_shop_is_quiet() -> None:
    assert timedelta(seconds=30) < crediting._SECOND  # a slow shop has to have time for both
    assert crediting._SECOND + client.WRITE + timedelta(minutes=10) < timedelta(minutes=15)


# ── What others do meanwhile ────────────────────────────────────────────────────────────────────────────────────────


def test_a_code_that_somebody_else_took_is_refused_before_and_for_a_person_after(subject: Subject) -> None:
    order = subject.order()
    taken, late = a_credit(order), a_credit(order)
    subject.shop.add_coupon(taken.code, "5.00")

    with pytest.raises(Rejected):
        issue(subject, taken)
    assert records(subject, taken) == []

    def meanwhile() -> bool:
        subject.shop.add_coupon(late.code, "5.00", meta_data=[{"key": "_rma_ref", "value": taken.key}])
        return True

    with pytest.raises(OutcomeUnknown):
        issue(subject, late, meanwhile)
    assert len(records(subject, late)) == 1
    assert look(subject, late, age=QUIET + 1) is IN_DOUBT  # no further run could finish it


def test_a_coupon_that_the_merchant_deleted_before_anybody_heard_of_it_is_made_again(subject: Subject) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("POST coupons", Fault(Kind.LOSE_ANSWER))
    outcome(lambda: issue(subject, told))
    (coupon,) = subject.shop.coupons()
    subject.shop.site.shelves.drop("coupon", coupon["id"])

    assert look(subject, told) is IN_DOUBT
    assert look(subject, told, age=QUIET + 1) is ABSENT
    complete(subject, told, issue(subject, told))


def test_a_record_that_the_merchant_deleted_is_booked_again_and_the_coupon_kept(subject: Subject) -> None:
    told = a_credit(subject.order())
    first = issue(subject, told)
    subject.shop.delete_refund(int(told.order), int(first.reference))

    assert look(subject, told) is IN_DOUBT
    complete(subject, told, issue(subject, told))


def test_f15_nothing_is_given_where_the_merchant_gave_it_back_already(subject: Subject) -> None:
    told = a_credit(subject.order(), 3)
    subject.shop.refund_in_admin(int(told.order), "30.00", through_gateway=True)

    with pytest.raises(Rejected):
        issue(subject, told)

    assert (records(subject, told), subject.shop.coupons()) == ([], [])


@pytest.mark.parametrize(
    ("amount", "through_gateway", "times"), [("12.10", True, 1), ("9.00", False, 1), ("12.10", False, 2)], ids=["paid", "amount", "twice"]
)
def test_a_record_with_our_marker_that_is_not_ours_to_take_is_for_a_person(
    subject: Subject, amount: str, through_gateway: bool, times: int
) -> None:
    told = a_credit(subject.order())
    for _ in range(times):
        subject.shop.refund_in_admin(int(told.order), amount, through_gateway=through_gateway, reason=f"[rma:{told.key}]")

    with pytest.raises(OutcomeUnknown):
        issue(subject, told)

    assert look(subject, told, age=QUIET + 1) is IN_DOUBT
    assert (subject.asked("POST"), subject.shop.coupons()) == (0, [])


@pytest.mark.parametrize("where", ["GET coupons", "GET refunds"])
@pytest.mark.parametrize("odd", ["{}", '[{"id": 1}]', '[{"id": "x", "code": 5, "meta_data": {}}]'])
def test_a16_what_cannot_be_read_is_never_absent(subject: Subject, where: str, odd: str) -> None:
    told = a_credit(subject.order())
    issue(subject, told)
    subject.shop.fail_next(where, Fault(Kind.ANSWER, words=odd, content_type=JSON))

    assert look(subject, told, age=9e4) is IN_DOUBT


# ── Several at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def at_once(subject: Subject, told: CreditOrder, still_mine: Callable[[], bool]) -> list[Receipt | PlatformError]:
    with ThreadPoolExecutor(2) as pool:
        return [each.result() for each in [pool.submit(outcome, lambda: issue(subject, told, still_mine)) for _ in range(2)]]


def test_f13_two_runs_that_both_saw_nothing_book_twice_and_say_that_a_person_has_to_look(subject: Subject) -> None:
    told = a_credit(subject.order())
    both_have_read = threading.Barrier(2, timeout=20)

    said = at_once(subject, told, lambda: both_have_read.wait() >= 0)

    assert len(records(subject, told)) == 2  # the shop knows no lock: the services let one of them through
    assert len(subject.shop.coupons()) <= 1
    assert OutcomeUnknown in {type(each) for each in said} <= {OutcomeUnknown, Receipt}
    assert look(subject, told, age=QUIET + 1) is IN_DOUBT


def test_f13_two_runs_that_both_finish_a_record_make_one_code(subject: Subject) -> None:
    told = a_credit(subject.order())
    subject.shop.fail_next("POST coupons", Fault(Kind.DROP))
    outcome(lambda: issue(subject, told))
    both_have_read = threading.Barrier(2, timeout=20)

    first, second = at_once(subject, told, lambda: both_have_read.wait() >= 0)

    assert isinstance(first, Receipt)
    assert first == second
    complete(subject, told, first)


def test_a_code_is_the_same_however_it_is_written(subject: Subject) -> None:
    told: CreditOrder = a_credit(subject.order())
    first = issue(subject, told)

    assert issue(subject, replace(told, code=told.code.lower())) == first
    assert len(subject.shop.coupons()) == 1


def test_m7_an_order_without_an_e_mail_gives_a_code_for_whoever_has_it(subject: Subject) -> None:
    order: Order = subject.order(email="")
    told = a_credit(order)

    issue(subject, told)

    assert [coupon["email_restrictions"] for coupon in subject.shop.coupons()] == [[]]
