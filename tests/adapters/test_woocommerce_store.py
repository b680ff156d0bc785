"""Orders of one store: one in full, many together, by number and e-mail, by customer, by a search; and the RMA shown on its order."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.simulators.woocommerce import Bought, Fault, Gateway, Kind, ShopSettings
from adapters.woocommerce.answers import Broken
from adapters.woocommerce.fields import Untranslatable
from connector.db import Database
from connector.domain.orders import CustomerRef, LineRef, OrderRef, Worth
from connector.domain.platform import OutcomeUnknown, Rejected, ReturnedLine, ReturnView, Revoked, ShopDomain, Throttled
from connector.services.shops import ShopKeys
from jobs.site import Site
from tests.adapters.far import Trust
from tests.adapters.woo_reading import Read, over_tls, reading

JSON: Final = "application/json"
GONE: Final = OrderRef("987654")


@pytest.fixture
def read() -> Iterator[Read]:
    with reading() as found:
        yield found


def says(read: Read, where: str, body: object, status: int = 200, times: int | None = 1) -> None:
    """An answer in the store's place."""
    words = body if isinstance(body, str) else json.dumps(body)
    read.shop.fail_next(where, Fault(Kind.ANSWER, words=words, status=status, content_type=JSON), times)


def refs(orders: Any) -> list[OrderRef]:
    return [order.ref for order in orders]


# ── One order ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_read_in_full(read: Read) -> None:
    ref = OrderRef(str(read.shop.place([Bought("Shirt", 3, net="30.00")], shipping="5.00", customer=7)))
    read.shop.refund_in_admin(int(ref), "12.10")

    order = read.store({"gateways": "test_card"}).order(ref)

    assert (order.ref, order.total, order.refunded, order.buyer.customer) == (ref, 4235, 1210, "7")
    assert (len(order.refunds), order.tenders[0].pays_back, order.paid) == (1, True, True)


@pytest.mark.parametrize("ref", ["", "0", "-1", "1/refunds", "1?force=true", "１", "1.0", "1" * 19, "../1", "1001\n"])  # noqa: RUF001 - full width, as nobody of ours writes it
def test_a84_a_reference_that_is_none_is_refused_and_nobody_is_asked(read: Read, ref: str) -> None:
    store = read.store()

    for act in (store.order, store.contact):
        with pytest.raises(Rejected):
            act(OrderRef(ref))
    with pytest.raises(Rejected):
        store.mirror_return(ReturnView("m", "2222222X", OrderRef(ref), "open", ()))
    with pytest.raises(Rejected):
        store.orders_of(CustomerRef(ref))
    assert store.orders([OrderRef(ref)]) == []
    assert read.shop.requests == []


def test_f25_an_order_that_is_gone_is_rejected_and_one_in_the_bin_is_cancelled(read: Read) -> None:
    binned, gone = read.place(2)
    read.shop.trash(int(binned))
    read.shop.delete(int(gone))
    store = read.store()

    assert store.order(binned).cancelled
    for act in (store.order, store.contact):
        with pytest.raises(Rejected):
            act(gone)


def test_f25_an_order_that_was_edited_since_is_read_as_it_is_now(read: Read) -> None:
    ref = OrderRef(str(read.shop.place([Bought("Shirt", 3, net="30.00"), Bought("Mug", net="10.00")])))
    store = read.store()
    shirt, mug = (int(line.id) for line in store.order(ref).lines)
    read.shop.edit_line(int(ref), mug, quantity=0)
    read.shop.edit_line(int(ref), shirt, quantity=2, total="15.00")
    read.shop.cancel(int(ref))

    order = store.order(ref)

    assert [(line.id, line.quantity, line.worth.net) for line in order.lines] == [(LineRef(str(shirt)), 2, 1500)]
    assert order.cancelled


def test_a_refund_made_between_the_two_reads_of_an_order_is_read_again(read: Read) -> None:
    (ref,) = read.place()
    read.shop.refund_in_admin(int(ref), "1.00")
    says(read, "GET refunds", [])

    assert len(read.store().order(ref).refunds) == 1
    assert len(read.asked("/refunds")) == 2


def test_f26_a_gateway_that_the_last_probe_did_not_know_is_asked_for_once() -> None:
    gateways = (Gateway("new-pay", "New", refunds=True), Gateway("no-pay", "No"))
    with reading(ShopSettings(gateways=gateways)) as read:
        new, none, gone, bank = (
            OrderRef(str(read.shop.place(gateway=name))) for name in ("new-pay", "no-pay", "a-plugin-that-is-gone", "bacs")
        )
        store = read.store({"gateways": "test_card"})

        assert [store.order(ref).tenders[0].pays_back for ref in (new, new, none, none, gone, bank)] == [
            True,
            True,
            False,
            False,
            False,
            False,
        ]
        assert [len(read.asked(f"/payment_gateways/{name}")) for name in ("new-pay", "no-pay", "a-plugin-that-is-gone", "bacs")] == [
            1,
            1,
            1,
            0,
        ]


# ── Many together ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_orders_are_asked_for_a_hundred_at_a_time(read: Read) -> None:
    made = read.place(205)

    found = read.store().orders([*made, made[0]])

    assert sorted(refs(found)) == sorted(made)
    assert [len(str(params["include"]).split(",")) for params in read.asked("/orders")] == [100, 100, 5]
    assert {params["per_page"] for params in read.asked("/orders")} == {"100"}
    assert len(read.shop.requests) == 3


def test_f25_those_in_the_bin_are_found_alone_and_those_that_are_gone_are_left_out(read: Read) -> None:
    there, binned, gone, draft = read.place(4)
    read.shop.trash(int(binned))
    read.shop.delete(int(gone))
    read.shop.set_status(int(draft), "checkout-draft")

    found = read.store().orders([gone, draft, binned, there, OrderRef("x"), OrderRef("")])

    assert {order.ref: order.cancelled for order in found} == {there: False, binned: True}


def test_no_orders_ask_nobody(read: Read) -> None:
    assert read.store().orders([]) == []
    assert read.shop.requests == []


def test_a_shop_that_ignores_which_orders_are_meant_is_noticed(read: Read) -> None:
    made = read.place(3)
    says(read, "orders", [read.shop.order(int(ref)) for ref in made])

    with pytest.raises(Untranslatable, match="others than were asked for"):
        read.store().orders(made[:2])


def test_one_of_many_that_makes_no_order_is_said_and_not_left_out_as_if_it_were_gone(read: Read) -> None:
    made = read.place(2)
    bodies: list[Any] = [read.shop.order(int(ref)) for ref in made]
    bodies[0]["total"] = "a lot"
    says(read, "orders", bodies)

    with pytest.raises(Untranslatable):
        read.store().orders(made)


def test_a_list_that_leaves_some_out_is_no_proof_that_they_are_gone(read: Read) -> None:
    made = read.place(3)
    says(read, "orders", [])

    assert refs(read.store().orders(made)) == made


@pytest.mark.parametrize(("status", "trouble"), [(404, Throttled), (500, Broken)])
def test_f29_an_order_whose_reading_failed_otherwise_is_not_taken_for_gone(read: Read, status: int, trouble: type[Exception]) -> None:
    (ref,) = read.place()
    says(read, "orders", [])
    says(read, "order", {"code": "rest_no_route", "message": ""}, status)

    with pytest.raises(trouble):
        read.store().orders([ref])


# ── By number and e-mail ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_found_by_exactly_its_number_and_its_e_mail(read: Read) -> None:
    (ref,) = read.place(email="Kim+1@Example.com")
    read.place(email="other@example.com")
    store = read.store()

    found = store.find_order(f" {ref} ", " kIM+1@eXAMPLE.com\n")

    assert found is not None
    assert found.ref == ref
    for number, email in (
        (ref, "kim@example.com"),
        (ref, "im+1@example.com"),
        (f"{ref}0", "kim+1@example.com"),
        (f"0{ref}", "kim+1@example.com"),
    ):
        assert store.find_order(number, email) is None


@pytest.mark.parametrize(("number", "email"), [("", "kim@example.com"), ("1", ""), (" ", "kim@example.com"), ("1", " \t")])
def test_nothing_finds_nothing_and_asks_nobody(read: Read, number: str, email: str) -> None:
    assert read.store().find_order(number, email) is None
    assert read.shop.requests == []


def test_an_order_whose_number_is_not_its_id_is_found_by_the_number_alone(read: Read) -> None:
    """As a numbering plugin has it: the number of one order is the id of another."""
    (first,) = read.place(number="9000")
    (second,) = read.place(number=first)
    store = read.store()

    assert [found and found.ref for found in (store.find_order(number, "kim@example.com") for number in ("9000", first, second))] == [
        first,
        second,
        None,
    ]


@pytest.mark.parametrize("number", ["EN1001-A", "R/2026/7", "#1001", "№ 7", "1001٣", "1" * 30])
def test_a34_a_number_may_look_like_anything(read: Read, number: str) -> None:
    (ref,) = read.place(number=number)

    found = read.store().find_order(number, "kim@example.com")

    assert found is not None
    assert (found.ref, found.number) == (ref, number)
    assert read.asked(f"/orders/{number}") == []


def test_a_number_is_looked_for_on_three_pages_and_no_further(read: Read) -> None:
    (buried,) = read.place(number="A-1", at=read.clock.now - timedelta(days=9))
    (older,) = read.place(number="A-0", at=read.clock.now - timedelta(days=99))
    read.place(299)
    store = read.store()

    found = store.find_order("A-1", "kim@example.com")
    assert found is not None
    assert found.ref == buried
    read.shop.requests.clear()
    assert store.find_order("A-0", "kim@example.com") is None
    assert len(read.asked("/orders")) == 3
    assert store.find_order(older, "kim@example.com") is None


def test_a_search_brings_no_more_of_people_than_is_compared(read: Read) -> None:
    read.place(number="A-1")

    assert read.store().find_order("A-1", "kim@example.com") is not None
    assert read.asked("/orders")[0]["_fields"] == "id,number,status,billing"


def test_a_checkout_that_was_left_is_not_found(read: Read) -> None:
    (ref,) = read.place()
    read.shop.set_status(int(ref), "checkout-draft")

    assert read.store().find_order(ref, "kim@example.com") is None
    assert refs(read.store().search_orders("kim@example.com")) == []


def test_an_order_that_nobody_can_read_hides_no_other(read: Read) -> None:
    (ref,) = read.place(number="A-1")
    odd: list[Any] = [{"id": 5}, {"id": 6, "number": 7, "billing": None}, {"id": 7, "number": "A-1", "status": "completed", "billing": []}]
    says(read, "orders", [*odd, read.shop.order(int(ref))])

    found = read.store().find_order("A-1", "kim@example.com")

    assert found is not None
    assert found.ref == ref


@pytest.mark.parametrize("email", ["a/b@example.com", "100%@example.com"])
def test_a33_an_e_mail_with_signs_that_are_seldom_is_found_over_tls(trust: Trust, email: str) -> None:
    with over_tls(trust) as read:
        (ref,) = read.place(email=email, number="A-1")

        found = read.store().find_order("A-1", email)

        assert found is not None
        assert found.ref == ref


@pytest.mark.parametrize("email", ["x" * 300 + "@example.com", "a/b@example.com"])
def test_a33_an_e_mail_that_cannot_be_searched_for_finds_by_id_only(read: Read, email: str) -> None:
    (ref,) = read.place(email=email)

    found = read.store().find_order(ref, email)
    assert found is not None
    assert read.store().find_order("A-1", email) is None
    assert read.asked("/orders") == []


@pytest.mark.parametrize("fault", [Fault(Kind.MAINTENANCE), Fault(Kind.DROP), Fault(Kind.PAGE, status=500)], ids=lambda fault: fault.kind)
@pytest.mark.parametrize("where", ["order", "orders"])
def test_f10_a_store_that_does_not_answer_never_says_that_there_is_no_such_order(read: Read, where: str, fault: Fault) -> None:
    (ref,) = read.place(number="A-1")
    read.shop.fail_next(where, fault, times=None)

    with pytest.raises(Throttled):
        read.store().find_order(ref, "kim@example.com")


# ── By customer and by a search ─────────────────────────────────────────────────────────────────────────────────────


def test_a_customer_has_his_own_orders_newest_first(read: Read) -> None:
    mine = [OrderRef(str(read.shop.place(customer=7, at=read.clock.now - timedelta(days=days)))) for days in (9, 1, 5)]
    read.shop.place(customer=77)
    read.place()

    assert refs(read.store().orders_of(CustomerRef("7"))) == [mine[1], mine[2], mine[0]]


def test_a35_a_shop_that_ignores_the_customer_gives_nobody_anothers_orders(read: Read) -> None:
    read.shop.place(customer=7)
    says(read, "orders", [read.shop.order(read.shop.place(customer=customer)) for customer in (8, 0, 7)])

    assert [order.buyer.customer for order in read.store().orders_of(CustomerRef("7"))] == ["7"]


@pytest.mark.parametrize("text", ["Kim", "kim@example", "Shirt", " Kim\x00 Example\n", "Kim/Example"])
def test_the_desk_finds_by_a_part_of_what_the_order_says(read: Read, text: str) -> None:
    made = read.place()

    assert refs(read.store().search_orders(text)) == made


@pytest.mark.parametrize("text", ["", "  ", "/", "\x00\n"])
def test_a_search_for_nothing_asks_nobody(read: Read, text: str) -> None:
    assert list(read.store().search_orders(text)) == []
    assert read.shop.requests == []


@pytest.mark.parametrize("text", ["x" * 5000, "kim&status=trash", "a/b", "%' OR 1=1 --", "été ☃ 中", "a+b=c%20d", "'\"<>\\"])
def test_a67_a_search_is_a_text_whatever_it_holds(trust: Trust, text: str) -> None:
    with over_tls(trust) as read:
        read.place()
        assert list(read.store().search_orders(text)) == []
        assert read.asked("/orders")[0]["search"] == text[:200]


@pytest.mark.parametrize("text", ["100% wool", "a/b", "100%25", "%/"])
def test_what_cannot_be_signed_is_left_out_of_a_search_over_http(read: Read, text: str) -> None:
    assert list(read.store().search_orders(text)) == []


def test_the_desk_sees_the_newest_twenty(read: Read) -> None:
    read.place(5, at=read.clock.now - timedelta(days=1))
    made = read.place(20)

    assert sorted(refs(read.store().search_orders("kim"))) == sorted(made)


def test_who_placed_an_order_is_known_by_name(read: Read) -> None:
    ref = OrderRef(str(read.shop.place(email="lee@example.com", name="Lee van der Test")))

    who = read.store().contact(ref)

    assert (who.email, who.name) == ("lee@example.com", "Lee van der Test")
    assert "lee" not in repr(who).lower()


def test_a_contact_without_a_name_is_one_all_the_same(read: Read) -> None:
    (ref,) = read.place()
    says(read, "order", {"id": int(ref), "billing": {"first_name": None, "last_name": "", "email": "lee@example.com"}})

    assert read.store().contact(ref).name == ""


def test_woocommerce_has_no_reasons_and_suggests_no_refund(read: Read) -> None:
    store = read.store()

    assert store.return_reasons() == ()
    assert store.suggested_refund(OrderRef("1"), []) is None
    assert read.shop.requests == []


# ── Who may not ask, and who must wait ──────────────────────────────────────────────────────────────────────────────


def test_f27_f28_keys_that_are_refused_say_so_for_every_question(trust: Trust) -> None:
    with over_tls(trust) as read:
        (ref,) = read.place()
        read.shop.revoke(read.keys[0])
        store = read.store()
        line = ReturnView("m", "2222222X", ref, "open", ())

        for act in (
            lambda: store.order(ref),
            lambda: store.orders([ref]),
            lambda: store.find_order(ref, "kim@example.com"),
            lambda: store.orders_of(CustomerRef("7")),
            lambda: store.search_orders("kim"),
            lambda: store.contact(ref),
            lambda: store.mirror_return(line),
            lambda: store.import_orders(None),
        ):
            with pytest.raises(Revoked):
                act()


def test_f30_a_person_who_lost_his_rights_takes_the_keys_with_him(read: Read) -> None:
    (ref,) = read.place()
    read.shop.demote()

    with pytest.raises(Revoked):
        read.store().order(ref)


def test_f28_keys_that_are_refused_in_the_middle_of_many_leave_none_out(read: Read) -> None:
    made = read.place(150)
    read.shop.fail_next("orders", Fault(Kind.SLOW))  # the first hundred are answered
    says(read, "orders", {"code": "woocommerce_rest_cannot_view", "message": "x", "data": {"status": 401}}, 401)

    with pytest.raises(Revoked):
        read.store().orders(made)
    assert len(read.asked("/orders")) == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7), ("0", 1), ("-5", 1), ("315360000", 3600), (None, 30), ("soon", 30), ("Wed, 21 Oct 2015 07:28:00 GMT", 1)],
)
def test_f11_f12_however_a_store_says_when_to_come_back_it_is_a_second_to_an_hour(read: Read, said: str | None, seconds: int) -> None:
    (ref,) = read.place()
    read.shop.fail_next("order", Fault(Kind.PAGE, status=429, retry_after=said))

    with pytest.raises(Throttled) as busy:
        read.store().order(ref)

    assert busy.value.retry_after == timedelta(seconds=seconds)


@pytest.mark.parametrize("there", ["http://[x/", "//[", "http://a]b/"])
def test_a60_a_redirect_to_no_address_at_all_is_an_answer_that_did_not_come(read: Read, there: str) -> None:
    (ref,) = read.place()
    read.shop.fail_next("order", Fault(Kind.REDIRECT, words=there))

    with pytest.raises(Throttled):
        read.store().order(ref)


# ── The RMA on its order ────────────────────────────────────────────────────────────────────────────────────────────


def view(ref: OrderRef, state: str = "received") -> ReturnView:
    return ReturnView("m", "2222222X", ref, state, (ReturnedLine(LineRef("5"), 2, Worth(1000, ())),))


def metas(read: Read, ref: OrderRef) -> list[tuple[str, str]]:
    return [(each["key"], each["value"]) for each in read.shop.order(int(ref))["meta_data"]]


def test_an_rma_is_shown_once_on_its_order_and_changes_with_its_state(read: Read) -> None:
    (ref,) = read.place()
    store = read.store()

    first, again = store.mirror_return(view(ref)), read.store().mirror_return(view(ref))
    assert first == again == f"{ref}/_retour_rma_2222222X"
    assert metas(read, ref) == [("_retour_rma_2222222X", '{"lines": {"5": 2}, "state": "received"}')]
    assert len(read.asked(f"/orders/{ref}", "PUT")) == 1  # what stands there already is not written: it would be delivered to us

    store.mirror_return(view(ref, "closed"))
    assert metas(read, ref) == [("_retour_rma_2222222X", '{"lines": {"5": 2}, "state": "closed"}')]


def test_what_others_wrote_on_the_order_stays(read: Read) -> None:
    (ref,) = read.place()
    read.store().mirror_return(view(ref))
    read.store().mirror_return(ReturnView("m", "3333333X", ref, "open", ()))

    assert [key for key, _ in metas(read, ref)] == ["_retour_rma_2222222X", "_retour_rma_3333333X"]


@pytest.mark.parametrize("fault", [Fault(Kind.LOSE_ANSWER), Fault(Kind.TRUNCATE), Fault(Kind.PAGE, status=502), Fault(Kind.REDIRECT)])
def test_f04_f06_f10_showing_it_again_after_an_answer_was_lost_shows_it_once(read: Read, fault: Fault) -> None:
    (ref,) = read.place()
    read.shop.fail_next("PUT order", fault)
    with pytest.raises(OutcomeUnknown):
        read.store().mirror_return(view(ref))

    read.store().mirror_return(view(ref))
    assert len(metas(read, ref)) == 1


def test_f25_an_rma_of_an_order_that_is_gone_is_rejected_and_one_in_the_bin_is_shown(read: Read) -> None:
    (ref,) = read.place()
    read.shop.trash(int(ref))

    read.store().mirror_return(view(ref))
    assert "_retour_rma_2222222X" in dict(metas(read, ref))
    with pytest.raises(Rejected):
        read.store().mirror_return(view(GONE))


# ── What it can do ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_is_patient_enough_for_money(read: Read, tmp_path: Path) -> None:
    facts = read.store().probe()
    database = Database(f"sqlite:///{tmp_path / 'retour.db'}")
    keys = ShopKeys(uuid.uuid4(), "woocommerce", ShopDomain("shop.example"), "UTC", b"")

    can = Site(database, lambda _keys: read.store(facts)).store(keys).capabilities()  # raises `Impatient` otherwise

    database.dispose()
    assert (can.refund_gateways, can.store_credit, can.currency) == (frozenset({"test_card", "examplepay"}), True, "EUR")
