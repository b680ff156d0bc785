"""A number and the address that it belongs to: A31 to A35, A42, A77."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from connector.domain import number as numbers
from connector.domain.orders import Buyer, Order
from connector.models import Mail, MailedCode, Rma
from connector.services import lookup, mirroring
from connector.services.lookup import Asked, Found, asked
from tests.services.acts import at_once
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

KIM = "kim@example.com"


def keeps(world: World, order: Order) -> Order:
    with world.db.transaction() as session:
        mirroring.apply(session, world.shop, order, read_began=world.clock.now, vault=world.vault, now=world.clock.now)
    return order


def found(world: World, number: str, email: str = KIM) -> Found | None:
    with world.db.reading() as session:
        return lookup.find(session, world.shop.id, asked(number, email), vault=world.vault)


def mailed(world: World, number: str = "1001", email: str = KIM, code: int = 42) -> None:
    with world.db.transaction() as session:
        lookup.send_code(
            session, world.shop.id, asked(number, email), vault=world.vault, now=world.clock.now, random_below=lambda below: code % below
        )


def redeemed(world: World, code: str, number: str = "1001", email: str = KIM) -> bool:
    with world.db.transaction() as session:
        return lookup.redeem(session, world.shop.id, asked(number, email), code, vault=world.vault, now=world.clock.now) is not None


def letters(world: World) -> list[dict[str, str]]:
    with world.db.reading() as session:
        rows = session.execute(select(Mail).where(Mail.event == "code").order_by(Mail.made_at)).scalars().all()
    return [json.loads(world.vault.decrypt("mail", row.id.hex, row.sealed)) for row in rows if row.sealed]


@pytest.mark.parametrize(
    ("kept", "typed"),
    [
        *(
            ("1001", typed)
            for typed in ("1001", "#1001", " 1001 ", "# 1001", "\uff031001", "\uff11\uff10\uff10\uff11", "10\u200b01", "\u202e1001")
        ),
        *(("#1001", typed) for typed in ("1001", "#1001")),
        *(("EN1001-A", typed) for typed in ("EN1001-A", "en1001-a", "#EN1001-A")),
    ],
)
def test_a34_an_order_number_is_found_however_it_is_typed(world: World, kept: str, typed: str) -> None:
    order = keeps(world, replace(an_order("7"), number=kept))

    there = found(world, typed)

    assert there is not None
    assert [one.ref for one in there.orders] == [order.ref]


@pytest.mark.parametrize("typed", ["001001", "1001A", "1002", "", " ", "#", "%", "_", "1001' OR '1'='1", "1001\0", "1" * 10_000, "\udc00"])
def test_a34_what_is_another_number_or_none_finds_nothing(world: World, typed: str) -> None:
    keeps(world, an_order("1001"))
    keeps(world, replace(an_order("empty"), number=""))

    assert found(world, typed) is None


@pytest.mark.parametrize(
    "typed", ["KIM@example.com", " kim@example.com ", "kim@EXAMPLE.com.", "\uff4b\uff49\uff4d@example.com", "kim@example.com\u200b"]
)
def test_a33_the_spellings_of_one_mailbox_are_one(world: World, typed: str) -> None:
    keeps(world, an_order("1001"))

    assert found(world, "1001", typed) is not None


@pytest.mark.parametrize(
    "typed",
    [
        *("k.im@example.com", "kim+x@example.com", "k\u0456m@example.com", "kim@example.co", "", "@", "kim", "kim@"),
        "kim@example.com\0",
        "a" * 500,
    ],
)
def test_a33_another_mailbox_is_another(world: World, typed: str) -> None:
    keeps(world, an_order("1001"))
    keeps(world, replace(an_order("1001-nobody"), number="1001", buyer=Buyer()))

    assert found(world, "1001", typed) is None


def test_a35_another_shops_order_is_not_found(make_world: MakeWorld) -> None:
    here, there = make_world(), make_world()
    keeps(there, an_order("1001"))

    assert found(here, "1001") is None


def test_several_orders_of_one_number_come_newest_first_and_are_those_of_this_address(world: World) -> None:
    for days, ref in ((3, "old"), (1, "new"), (2, "middle")):
        keeps(world, replace(an_order(ref), number="1001", placed_at=START - timedelta(days=days)))
    keeps(world, replace(an_order("noor"), number="1001", buyer=Buyer("noor@example.com")))

    there = found(world, "1001")

    assert there is not None
    assert [order.ref for order in there.orders] == ["new", "middle", "old"]


def test_an_order_that_the_platform_forgot_is_not_found(world: World) -> None:
    order = keeps(world, an_order("1001"))
    with world.db.transaction() as session:
        mirroring.gone(session, world.shop, order.ref, now=world.clock.now)

    assert found(world, "1001") is None


def test_a_returns_number_is_found_with_the_orders_address_alone(world: World) -> None:
    order = an_order("1001")
    world.toy.place(order)
    rma = world.requested(order, {"line-1": 1})
    with world.db.reading() as session:
        number = numbers.show(session.get_one(Rma, rma).number)

    there = found(world, number.lower())

    assert there is not None
    assert (there.rma, [one.ref for one in there.orders]) == (number.replace("-", ""), ["1001"])
    assert found(world, number, "noor@example.com") is None


def test_a_code_opens_the_order_once(world: World) -> None:
    keeps(world, an_order("1001"))
    mailed(world)

    assert letters(world) == [{"code": "000042", "email": KIM}]
    assert redeemed(world, " 000 042 ")
    assert not redeemed(world, "000042")


def test_a42_a_code_goes_to_the_address_of_the_order_and_nowhere_else(world: World) -> None:
    keeps(world, an_order("1001"))

    for stranger in ("noor@example.com", "kim@example.com\r\nBcc: noor@example.com", "kim@example.com, noor@example.com", ""):
        mailed(world, email=stranger)
    mailed(world, number="1002")
    assert letters(world) == []
    mailed(world, email="  KIM@Example.COM\n")
    assert [letter["email"] for letter in letters(world)] == [KIM]


def test_a77_at_most_three_codes_an_hour_go_to_one_mailbox(world: World) -> None:
    keeps(world, an_order("1001"))
    for _ in range(6):
        mailed(world)
    assert len(letters(world)) == lookup.CODES_AN_HOUR

    world.clock.advance(timedelta(hours=1, seconds=1))
    mailed(world)
    assert len(letters(world)) == lookup.CODES_AN_HOUR + 1


def test_a_code_is_tried_five_times_and_lives_a_quarter_of_an_hour(world: World) -> None:
    keeps(world, an_order("1001"))
    mailed(world, code=1)
    for _ in range(lookup.CODE_TRIES):
        assert not redeemed(world, "999999")
    assert not redeemed(world, "000001")

    mailed(world, code=2)
    world.clock.advance(lookup.CODE_LIVES)
    assert not redeemed(world, "000002")


def test_a31_a_stranger_who_does_not_know_the_address_uses_up_no_tries(world: World) -> None:
    keeps(world, an_order("1001"))
    mailed(world)

    for _ in range(2 * lookup.CODE_TRIES):
        assert not redeemed(world, "000042", email="noor@example.com")

    assert redeemed(world, "000042")


def test_one_code_at_the_same_instant_opens_once(world: World) -> None:
    keeps(world, an_order("1001"))
    mailed(world)

    came = at_once(*[lambda: redeemed(world, "000042") for _ in range(4)])

    assert sorted(map(str, came)) == ["False", "False", "False", "True"]


def test_guesses_at_the_same_instant_are_five_at_most(world: World) -> None:
    keeps(world, an_order("1001"))
    mailed(world)

    at_once(*[lambda: redeemed(world, "111111") for _ in range(12)])

    with world.db.reading() as session:
        assert session.execute(select(MailedCode.tries)).scalar_one() == lookup.CODE_TRIES


def test_a_code_is_kept_as_a_digest_and_forgotten(world: World) -> None:
    keeps(world, an_order("1001"))
    mailed(world)
    with world.db.reading() as session:
        assert "000042" not in session.execute(select(MailedCode.digest)).scalar_one()

    with world.db.transaction() as session:
        assert lookup.forget(session, before=world.clock.now) == 0
        assert lookup.forget(session, before=world.clock.now + timedelta(seconds=1)) == 1


def test_no_number_spends_no_numbers_budget(world: World) -> None:
    def budget(wish: Asked) -> set[str]:
        return {each.subject for each in lookup.allowances(world.shop.id, wish, "192.0.2.1", vault=world.vault)}

    assert len(budget(asked("", KIM))) == 2
    assert budget(asked("#en1001", KIM)) == budget(asked("EN1001", "noor@example.com"))
    number = numbers.draw(lambda _below: 7)
    assert budget(asked(number, KIM)) == budget(asked(f"RMA {numbers.show(number)}", KIM))
    assert budget(asked("1001", KIM)) & budget(asked("1002", KIM)) == budget(asked("", KIM))


def test_what_was_asked_shows_no_address() -> None:
    assert KIM not in repr(asked("1001", KIM))
