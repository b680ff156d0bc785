"""Asking for a return: R1, F14, F16, and the inputs A18 to A21, A27 to A29, A35, A38."""

from __future__ import annotations

import itertools
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from connector.db import Database
from connector.domain import codec, number
from connector.domain.orders import Buyer, LineRef, Order
from connector.domain.platform import Contact
from connector.domain.policy import Claim, Decision, Refusal, RuleCode
from connector.domain.rma import RmaState
from connector.models import ContactRow, Rma
from connector.secrets import Misplaced, Vault, new_key
from connector.services import policies, shopper, shops
from connector.services.policies import NoPolicy
from connector.services.shopper import NotReturnable
from connector.services.shops import ShopKeys, keys_of
from tests.processes import together
from tests.services.acts import at_once, everything, kinds, opened, told, work
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

BY_HAND = 'format = 1\nreasons = ["too_small", "defective"]\n[restocking_fee]\npercent = 10\nfree_for = ["defective"]\n'
KIM = Contact("kim@example.com", "Kim", "en")


def ask(
    world: World,
    order: Order,
    claims: Sequence[Claim],
    *,
    token: str = "",
    contact: Contact = KIM,
    now: datetime = START,
    random_below: Callable[[int], int] = secrets.randbelow,
) -> Rma:
    """A shopper's request as the portal makes it."""
    with world.db.transaction() as session:
        return shopper.request_return(
            session,
            world.shop,
            order,
            claims,
            read_began=now,
            contact=contact,
            form_token=token or uuid.uuid4().hex,
            vault=world.vault,
            now=now,
            random_below=random_below,
        )


def one(ref: str = "line-1", count: int = 1) -> list[Claim]:
    return [Claim(LineRef(ref), count)]


def drawing(*numbers: str) -> Callable[[int], int]:
    """Chance, arranged: these numbers come up, one after the other."""
    digits = iter([number.ALPHABET.index(character) for drawn in numbers for character in drawn])
    return lambda _below: next(digits)


def count(world: World, what: type[object]) -> int:
    with world.db.reading() as session:
        return session.execute(select(func.count()).select_from(what)).scalar_one()


# ── What a request is ──


def test_r1_the_number_is_drawn_with_the_request_and_a_policy_that_may_authorises_at_once(world: World) -> None:
    rma = ask(world, an_order(), one())

    assert number.check(rma.number)
    assert (rma.state, rma.expires_on) == (RmaState.AUTHORISED, date(2026, 4, 1))
    assert sorted(row.kind for row in work(world.db)) == ["mail", "mirror"]


def test_r3_a_request_says_who_when_and_what(world: World) -> None:
    rma = ask(world, an_order(), one())

    assert [(what, who) for what, who, _ in told(world.db, rma.id)] == [("rma.requested", "shopper"), ("rma.authorise", "policy")]
    assert [facts for _, _, facts in told(world.db, rma.id)] == [{"outcome": "allow"}, {"expires_on": "2026-04-01"}]


def test_r1_where_a_person_decides_there_is_a_number_but_no_authorisation(make_world: MakeWorld) -> None:
    world = make_world(policy=BY_HAND)

    rma = ask(world, an_order(), [Claim(LineRef("line-1"), 1, "too_small")])

    assert number.check(rma.number)
    assert (rma.state, rma.expires_on) == (RmaState.REQUESTED, None)
    assert [what for what, _, _ in told(world.db, rma.id)] == ["rma.requested"]


def test_y1_the_decision_is_kept_with_every_rule_and_its_inputs(world: World) -> None:
    rma = ask(world, an_order(), one())

    decision = codec.read(rma.decision, Decision)
    window = next(finding for finding in decision.claims[0].because if finding.rule is RuleCode.WINDOW)
    assert dict(window.inputs)["last_day"] == "2026-04-01"


def test_the_contact_opens_with_the_vault_and_only_for_its_own_rma(world: World) -> None:
    first, second = ask(world, an_order(), one()), ask(world, an_order(), one())

    with world.db.reading() as session:
        sealed = session.get_one(ContactRow, first.id).sealed or b""
    assert codec.read(world.vault.decrypt_bytes("contact", first.id.hex, sealed), Contact) == KIM
    with pytest.raises(Misplaced):
        world.vault.decrypt("contact", second.id.hex, sealed)


def test_nothing_personal_is_kept_outside_the_contact_and_there_only_as_ciphertext(world: World) -> None:
    buyer = Buyer("CANARY-mail@example.com", "CANARY-1012", "NL")
    order = an_order()
    order = Order(**{each.name: getattr(order, each.name) for each in fields(order)} | {"buyer": buyer})

    ask(world, order, one(), contact=Contact("CANARY-mail@example.com", "CANARY Kim", "CANARY"))

    kept = everything(world.db)
    assert len(kept["contacts"]) == len(kept["mails"]) == len(kept["orders"]) == 1
    for table, rows in kept.items():
        for row in rows:
            for column, value in row.items():
                shown = value if isinstance(value, bytes) else str(value).encode()
                assert b"canary" not in shown.lower(), f"{table}.{column}"


# ── R1: unique in its shop ──


def test_r1_a_number_that_the_shop_used_is_drawn_again(world: World) -> None:
    first = ask(world, an_order(), one(), random_below=drawing("2222222"))
    second = ask(world, an_order(), one(), random_below=drawing("2222222", "2222222", "3333333"))

    assert (first.number[:7], second.number[:7]) == ("2222222", "3333333")


def test_r1_a_number_of_a_closed_case_is_never_used_again(world: World) -> None:
    first = ask(world, an_order(), one(), random_below=drawing("2222222"))
    with world.db.transaction() as session:
        session.get_one(Rma, first.id).state = RmaState.CANCELLED

    assert ask(world, an_order(), one(), random_below=drawing("2222222", "3333333")).number[:7] == "3333333"


def test_r1_two_shops_may_have_the_same_number(world: World, make_world: MakeWorld) -> None:
    first = ask(world, an_order(), one(), random_below=drawing("2222222"))
    second = ask(make_world(), an_order(), one(), random_below=drawing("2222222"))

    assert first.number == second.number


def test_r1_of_two_requests_that_draw_the_same_number_at_once_one_is_made_again(world: World) -> None:
    """On SQLite writers take turns; on PostgreSQL the unique index has the last word."""
    drawn = threading.Barrier(2)

    def act(ref: str, then: str) -> Callable[[], Rma]:
        chance, place = drawing("2222222", then), itertools.count()

        def below(size: int) -> int:
            if world.db.dialect == "postgresql" and next(place) == 6:
                drawn.wait(10)
            return chance(size)

        return lambda: ask(world, an_order(ref), one(), random_below=below)

    first, second = at_once(act("1", "3333333"), act("2", "4444444"))

    for ref, made in (("1", first), ("2", second)):
        if isinstance(made, Exception):
            assert isinstance(made, IntegrityError)
            ask(world, an_order(ref), one(), random_below=drawing("5555555"))
    with world.db.reading() as session:
        numbers = session.execute(select(Rma.number)).scalars().all()
    assert len(numbers) == len(set(numbers)) == 2


# ── F14: the form is sent twice ──


def test_f14_the_same_form_again_finds_the_first_rma_and_adds_nothing(world: World) -> None:
    order = an_order()
    first = ask(world, order, one(), token="form")
    before = (told(world.db), len(work(world.db)))

    second = ask(world, order, one("line-1", 2), token="form")  # and what it says by now counts no more

    assert second.id == first.id
    assert (told(world.db), len(work(world.db))) == before


def test_f14_two_threads_with_the_same_form_make_one_rma(world: World) -> None:
    made = at_once(*[lambda: ask(world, an_order(), one(), token="form").id] * 4)

    assert len(set(made)) == 1
    assert count(world, Rma) == 1
    assert len(told(world.db)) == 2


def ask_in_a_process(meet: Callable[[], object], url: str, shop: ShopKeys) -> str:
    database, vault = opened(url), Vault.of([new_key()], new_key())
    meet()
    with database.transaction() as session:
        rma = shopper.request_return(
            session, shop, an_order(), one(), read_began=START, contact=KIM, form_token="form", vault=vault, now=START
        )
    database.dispose()
    return rma.id.hex


def test_f14_two_processes_with_the_same_form_make_one_rma(world: World, database_url: str) -> None:
    made = together(ask_in_a_process, [(database_url, world.shop)] * 2)

    assert len(set(made)) == 1
    assert count(world, Rma) == 1


def test_a35_a_form_token_belongs_to_one_shop(world: World, make_world: MakeWorld) -> None:
    other = make_world()

    first, second = ask(world, an_order(), one(), token="form"), ask(other, an_order(), one(), token="form")

    assert first.id != second.id
    assert (first.shop_id, second.shop_id) == (world.shop.id, other.shop.id)


# ── Units ──


def test_f16_two_requests_at_once_cannot_claim_the_same_units(world: World) -> None:
    for round_ in range(5):
        order = an_order(f"order-{round_}", units=3)

        made = at_once(*[lambda order=order: ask(world, order, one("line-1", 2))] * 2)

        assert kinds(made) == {"Rma": 1, "NotReturnable": 1}
        (refused,) = [each for each in made if isinstance(each, NotReturnable)]
        assert refused.decision.refusals == (Refusal.UNITS_GONE,)


def test_a21_units_of_another_open_return_cannot_be_claimed_again(world: World) -> None:
    order = an_order(units=3)
    ask(world, order, one("line-1", 2))

    with pytest.raises(NotReturnable, match="units_gone"):
        ask(world, order, one("line-1", 2))
    ask(world, order, one("line-1", 1))


def test_the_same_order_number_in_another_shop_is_another_order(world: World, make_world: MakeWorld) -> None:
    ask(world, an_order(units=1), one())

    assert ask(make_world(), an_order(units=1), one()).state is RmaState.AUTHORISED


# ── Inputs ──

FULL_WIDTH: Any = "１"  # noqa: RUF001 - as somebody may type it
EXPONENT: Any = "1e0"
FRACTION: Any = 1.5
REFUSED: Mapping[str, tuple[list[Claim], Refusal]] = {
    "a18_negative": (one("line-1", -1), Refusal.NOT_POSITIVE),
    "a19_zero": (one("line-1", 0), Refusal.NOT_POSITIVE),
    "a20_fraction": (one("line-1", FRACTION), Refusal.NOT_WHOLE),
    "a20_true": (one("line-1", True), Refusal.NOT_WHOLE),
    "a20_exponent": (one("line-1", EXPONENT), Refusal.NOT_WHOLE),
    "a20_full_width": (one("line-1", FULL_WIDTH), Refusal.NOT_WHOLE),
    "a21_more_than_bought": (one("line-1", 4), Refusal.UNITS_GONE),
    "a27_twice": (one("line-1") + one("line-1"), Refusal.LISTED_TWICE),
    "a28_of_another_order": (one("line-9"), Refusal.NOT_ON_ORDER),
    "a28_a_variant_for_a_line": (one("variant-1"), Refusal.NOT_ON_ORDER),
    "nothing": ([], Refusal.NOTHING_CLAIMED),
    "a21_one_line_of_two": (one("line-2") + one("line-1", 4), Refusal.UNITS_GONE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_is_refused_says_why_and_leaves_nothing_behind(world: World, case: str) -> None:
    claims, why = REFUSED[case]
    order = an_order(lines=2)
    before = everything(world.db)

    with pytest.raises(NotReturnable) as refused:
        ask(world, order, claims)

    assert set(refused.value.decision.refusals) == {why}
    assert everything(world.db) == before


def test_a38_what_a_shopper_sends_decides_neither_state_nor_fee(make_world: MakeWorld) -> None:
    world = make_world(policy=BY_HAND)
    assert {each.name for each in fields(Claim)} == {"line", "quantity", "reason", "condition"}

    with pytest.raises(NotReturnable, match="reason_unknown"):
        ask(world, an_order(), [Claim(LineRef("line-1"), 1, "free")])
    rma = ask(world, an_order(), [Claim(LineRef("line-1"), 1, "too_small", "approved")])

    fee = codec.read(rma.decision, Decision).fee(RuleCode.RESTOCKING_FEE)
    assert fee is not None
    assert (rma.state, str(fee.percent)) == (RmaState.REQUESTED, "10")


def test_without_a_policy_in_force_nothing_is_taken(world: World) -> None:
    before = everything(world.db)

    with pytest.raises(NoPolicy):
        ask(world, an_order(), one(), now=START - timedelta(days=90))

    assert everything(world.db) == before


@pytest.mark.parametrize(("zone", "taken"), [("UTC", True), ("Pacific/Kiritimati", False), ("Pacific/Pago_Pago", True)])
def test_a29_the_last_day_is_that_of_the_shops_time_zone(database: Database, world: World, zone: str, taken: bool) -> None:
    """Delivered on 2 March, thirty days: at eleven in the morning of 1 April UTC it is the 2nd already on Kiritimati."""
    noon = datetime.fromisoformat("2026-04-01T11:00:00+00:00")
    with database.transaction() as session:
        shop = shops.connect(session, platform="toy", domain=world.shop.domain, credentials={}, vault=world.vault, time_zone=zone, now=noon)
        world.shop = keys_of(session, shop)

    made = at_once(lambda: ask(world, an_order(), one(), now=noon))

    assert kinds(made) == ({"Rma": 1} if taken else {"NotReturnable": 1})


def test_a_new_policy_judges_from_its_own_day_on(world: World) -> None:
    with world.db.transaction() as session:
        policies.publish(
            session, world.shop.id, "format = 1\n[window]\ndays = 0\n", effective_from=date(2026, 3, 5), who="owner", now=START
        )

    assert ask(world, an_order("before"), one(), now=START + timedelta(days=2)).state is RmaState.AUTHORISED
    with pytest.raises(NotReturnable, match="outside_window"):
        ask(world, an_order("after"), one(), now=START + timedelta(days=3))
